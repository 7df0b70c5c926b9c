"""Read what a Measurement Set says of itself, without its bulk data and without CASA."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import numpy as np

from dsa110_contimg import instrument
from dsa110_contimg.errors import InputError
from dsa110_contimg.provenance import InputFile
from dsa110_contimg.visibilities.models import MsInfo, SpwInfo

DATA_UNITS = "QuantumUnits"
"""Keyword of the column DATA that states its unit, as pyuvdata writes and reads it."""
_SECONDS_PER_DAY = 86400.0
_READABLE_FRAMES = ("J2000", "ICRS")
_VOLATILE_FILE = "table.lock"
"""casacore rewrites it on every open."""
_N_SPREAD = 4
_NOT_PLAIN = re.compile(r"[^\w.+-]", re.ASCII)


@contextmanager
def open_table(path: Path, subtable: str = "") -> Iterator[Any]:
    """Open an MS or one of its subtables for reading, without taking casacore's locks.

    Parameters
    ----------
    path : Path
        The MS.
    subtable : str, optional
        Name of a subtable, e.g. ``"FIELD"``.

    Yields
    ------
    casacore.tables.table
        Closed again at the end.
    """
    from casacore.tables import table

    name = str(path / subtable) if subtable else str(path)
    # Whoever needs to keep writers out holds storage.ms_access.exclusive_ms around this.
    with table(name, readonly=True, lockoptions="usernoread", ack=False) as opened:
        yield opened


def read_ms_info(ms_path: Path) -> MsInfo:
    """Read windows, phase centre and times of an MS.

    Parameters
    ----------
    ms_path : Path
        An MS with one field and one polarization setup.

    Returns
    -------
    MsInfo
        What it says of itself.

    Raises
    ------
    InputError
        If it is absent, damaged, empty or has more than one field.
    """
    path = ms_path.absolute()
    require_ms(path)
    try:
        return _read(path)
    except RuntimeError as error:  # casacore's only exception
        raise InputError(
            f"{path} is damaged: {error}", reason="damaged_ms", remedy="convert its group again"
        ) from error


def require_ms(ms_path: Path) -> None:
    """Refuse a path that leads to no MS.

    Parameters
    ----------
    ms_path : Path
        Path of the MS.

    Raises
    ------
    InputError
        If there is none.
    """
    path = ms_path.absolute()
    if not (path / "table.dat").is_file():
        what = "is not a Measurement Set" if path.exists() else "does not exist"
        raise InputError(f"{path} {what}", reason="missing_ms", remedy="check the path")


def read_station_names(ms_path: Path) -> list[str]:
    """List the stations of an MS by names that tell them apart.

    Names are for people: other programs get ids, or `antenna_label`.

    Parameters
    ----------
    ms_path : Path
        The MS.

    Returns
    -------
    list of str
        Names, in order of id. One that is blank, not plain text, or that of several stations
        has its id added, as ``name#id``.
    """
    with open_table(ms_path, "ANTENNA") as antennas:
        names = [str(name).strip() for name in antennas.getcol("NAME")]
    count = Counter(names)
    return [
        name
        if count[name] == 1 and instrument.PLAIN_NAME.fullmatch(name)
        else f"{_NOT_PLAIN.sub('_', name)}#{number}"
        for number, name in enumerate(names)
    ]


def antenna_label(antenna_id: int) -> str:
    """Name an antenna for CASA, which takes a number for a name before it takes it for an id.

    Parameters
    ----------
    antenna_id : int
        Its id.

    Returns
    -------
    str
        A name without meaning in CASA's syntax of selections.
    """
    return f"id{antenna_id}"


def label_antennas(path: Path, names: Sequence[str] | None = None) -> None:
    """Rename the antennas of a table of our own.

    Parameters
    ----------
    path : Path
        An MS or a calibration table.
    names : sequence of str, optional
        The names, in order of id; default `antenna_label`.
    """
    from casacore.tables import table

    with table(str(path / "ANTENNA"), readonly=False, ack=False) as antennas:
        labels = names or [antenna_label(row) for row in range(antennas.nrows())]
        antennas.putcol("NAME", list(labels))


def read_antennas(ms_path: Path) -> tuple[list[str], list[int]]:
    """List the stations of an MS, and those that have data.

    Parameters
    ----------
    ms_path : Path
        The MS.

    Returns
    -------
    names : list of str
        Of all stations, in order of id.
    used : list of int
        Ids of those in the main table, ascending.
    """
    names = read_station_names(ms_path)
    with open_table(ms_path) as ms:
        used = np.union1d(ms.getcol("ANTENNA1"), ms.getcol("ANTENNA2"))
    return names, used.tolist()


def spread_over_band(spws: list[SpwInfo]) -> list[SpwInfo]:
    """Choose windows that stand for all.

    Parameters
    ----------
    spws : list of SpwInfo
        The windows of an MS.

    Returns
    -------
    list of SpwInfo
        At most four, evenly spread.
    """
    return spws[:: max(1, -(-len(spws) // _N_SPREAD))]


def list_spws(ms_path: Path) -> list[SpwInfo]:
    """List the spectral windows of an MS.

    Parameters
    ----------
    ms_path : Path
        The MS.

    Returns
    -------
    list of SpwInfo
        In order of id.

    Raises
    ------
    InputError
        As `read_ms_info` raises it.
    """
    return read_ms_info(ms_path).spws


def select_spws(info: MsInfo, spws: tuple[int, ...] | None, max_spws: int | None) -> list[SpwInfo]:
    """Apply a selection of windows.

    Parameters
    ----------
    info : MsInfo
        The MS.
    spws : tuple of int or None
        Ids; None selects all.
    max_spws : int or None
        Keep the first so many; None keeps all.

    Returns
    -------
    list of SpwInfo
        In order of id.

    Raises
    ------
    InputError
        If the MS lacks a window that was asked for.
    """
    present = {spw.spw_id: spw for spw in info.spws}
    wanted = sorted(present if spws is None else spws)
    absent = [str(spw_id) for spw_id in wanted if spw_id not in present]
    if absent:
        raise InputError(
            f"{info.ms_path} has no spectral window {', '.join(absent)}",
            reason="missing_spw",
            remedy=f"it has {', '.join(map(str, present))}",
        )
    return [present[spw_id] for spw_id in wanted[:max_spws]]


def describe_ms(ms_path: Path) -> InputFile:
    """Identify an MS by the size and the latest change of its main table.

    Calibration and flagging change it; opening it does not.

    Parameters
    ----------
    ms_path : Path
        An existing MS.

    Returns
    -------
    InputFile
        The MS, the sum of its main table's sizes and the latest modification time.
    """
    stats = []
    for file in ms_path.glob("table.*"):
        if file.name != _VOLATILE_FILE:
            with suppress(FileNotFoundError):  # a column that is taken away by who holds the MS
                stats.append(file.stat())
    return InputFile(
        path=str(ms_path.absolute()),
        size_bytes=sum(stat.st_size for stat in stats),
        mtime_ns=max((stat.st_mtime_ns for stat in stats), default=0),
    )


def _read(path: Path) -> MsInfo:
    """Read the main table's times and the subtables that matter."""
    with open_table(path) as ms:
        if ms.nrows() == 0:
            raise InputError(f"{path} holds no rows", reason="empty_ms")
        times_s = ms.getcol("TIME")
        integration_s = float(ms.getcell("INTERVAL", 0))
        names = set(ms.colnames())
        units = np.ravel(ms.getcolkeywords("DATA").get(DATA_UNITS, "")) if "DATA" in names else [""]
    ra_deg, dec_deg, frame = _read_center(path)
    telescope, itrf_m = _read_telescope(path)
    spws = _read_spws(path)
    if not spws:
        raise InputError(f"{path} has no spectral window", reason="empty_ms")
    start_s = float(times_s.min()) - integration_s / 2
    return MsInfo(
        ms_path=str(path),
        telescope=telescope,
        telescope_itrf_m=itrf_m,
        spws=spws,
        center_ra_deg=ra_deg,
        center_dec_deg=dec_deg,
        frame=frame,
        start_mjd=start_s / _SECONDS_PER_DAY,
        duration_s=float(times_s.max()) + integration_s / 2 - start_s,
        integration_time_s=integration_s,
        data_column="CORRECTED_DATA" if "CORRECTED_DATA" in names else "DATA",
        n_rows=len(times_s),
        data_units=str(units[0]),
    )


def _read_center(path: Path) -> tuple[float, float, str]:
    """Read the phase centre, in degrees, and its frame."""
    with open_table(path, "FIELD") as field:
        if field.nrows() != 1:
            raise InputError(
                f"{path} has {field.nrows()} fields instead of one", reason="many_fields"
            )
        ra_rad, dec_rad = np.ravel(field.getcell("PHASE_DIR", 0))[:2]
        frame = str(field.getcolkeyword("PHASE_DIR", "MEASINFO").get("Ref", ""))
    if frame not in _READABLE_FRAMES:
        raise InputError(f"{path} has its phase centre in the frame {frame!r}", reason="frame")
    return float(np.rad2deg(ra_rad) % 360.0), float(np.rad2deg(dec_rad)), frame


def _read_telescope(path: Path) -> tuple[str, tuple[float, float, float]]:
    """Read name and place of the telescope; the antennas' mean stands in for the place."""
    with open_table(path, "OBSERVATION") as observation:
        name = str(observation.getcell("TELESCOPE_NAME", 0))
        if "TELESCOPE_LOCATION" in observation.colnames():
            position_m = observation.getcell("TELESCOPE_LOCATION", 0)
        else:
            with open_table(path, "ANTENNA") as antennas:
                position_m = antennas.getcol("POSITION").mean(axis=0)
    x, y, z = (float(value) for value in position_m)
    return name, (x, y, z)


def _read_spws(path: Path) -> list[SpwInfo]:
    """Read the windows that the data description refers to."""
    with open_table(path, "DATA_DESCRIPTION") as description:
        spw_of_description = description.getcol("SPECTRAL_WINDOW_ID").tolist()
    with open_table(path, "SPECTRAL_WINDOW") as windows:
        spws = []
        for data_desc_id, spw_id in enumerate(spw_of_description):
            freqs_hz = windows.getcell("CHAN_FREQ", spw_id)
            spws.append(
                SpwInfo(
                    spw_id=spw_id,
                    data_desc_id=data_desc_id,
                    freq_hz=float(freqs_hz.mean()),
                    bandwidth_hz=float(np.abs(windows.getcell("CHAN_WIDTH", spw_id)).sum()),
                    n_channels=len(freqs_hz),
                )
            )
    return sorted(spws, key=lambda spw: spw.spw_id)
