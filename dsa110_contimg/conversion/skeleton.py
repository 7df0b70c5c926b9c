"""A Measurement Set with everything but its bulk data, made by casacore.

The bulk columns stand each in a TiledColumnStMan of its own, with tiles that span whole
cells: the file of such a column is a plain C array ``[row][channel][polarization]`` that the
fill can write without casacore. casacore would first write zeros to all of it: it is given the
null device instead, and the file that was filled takes its place.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from astropy.coordinates import EarthLocation

from dsa110_contimg import __version__
from dsa110_contimg.conversion.bulk import BULK_CELLS
from dsa110_contimg.conversion.geometry import PhaseCenter
from dsa110_contimg.instrument import DISH_DIAMETER_M, POLARIZATIONS_CASA

FloatArray = npt.NDArray[np.float64]

_SECONDS_PER_DAY = 86400.0
_MJD_ZERO_JD = 2400000.5
_MAX_TILE_ROWS = 1200
"""Bounds a DATA tile to about 1 MB: small enough to cache, large enough to stream."""

_ANTENNA_BUCKET_BYTES = 1 << 16
"""casacore's default, 32 rows, makes these columns ten times as slow to write and to read."""

_ANTENNA_COLUMNS = ("ANTENNA1", "ANTENNA2")
_CONSTANT_COLUMNS = {
    "ARRAY_ID": 0,
    "FEED1": 0,
    "FEED2": 0,
    "FIELD_ID": 0,
    "FLAG_ROW": False,
    "OBSERVATION_ID": 0,
    "PROCESSOR_ID": -1,
    "SCAN_NUMBER": 1,
    "STATE_ID": -1,
}
_INCREMENTAL_COLUMNS = (
    *_CONSTANT_COLUMNS,
    "DATA_DESC_ID",
    "EXPOSURE",
    "FLAG_CATEGORY",
    "INTERVAL",
    "TIME",
    "TIME_CENTROID",
)


@dataclass(frozen=True)
class MsLayout:
    """All that the tables of one MS need to know.

    Attributes
    ----------
    times_jd : ndarray of float64, shape (ntimes,)
        Bin centres, UTC as Julian dates.
    integration_time_s : float
        Length of an integration in seconds.
    antenna1, antenna2 : ndarray of int32, shape (nbls,)
        Rows of the ANTENNA table, ``antenna1 <= antenna2``.
    antenna_names : list of str
        One per row of the ANTENNA table.
    antenna_itrf_m : ndarray of float64, shape (nants_telescope, 3)
        Geocentric positions in metres.
    site : EarthLocation
        Position of the telescope.
    telescope_name : str
        Must be known to CASA's observatory table.
    center : PhaseCenter
        The one field.
    field_name : str
        Its name.
    spw_names : list of str
        Ascending in frequency.
    spw_freqs_hz : list of ndarray of float64, shape (nchan,)
        Channel centres per window, ascending.
    """

    times_jd: FloatArray
    integration_time_s: float
    antenna1: npt.NDArray[np.int32]
    antenna2: npt.NDArray[np.int32]
    antenna_names: list[str]
    antenna_itrf_m: FloatArray
    site: EarthLocation
    telescope_name: str
    center: PhaseCenter
    field_name: str
    spw_names: list[str]
    spw_freqs_hz: list[FloatArray]

    @property
    def n_rows_per_spw(self) -> int:
        """Number of rows of one spectral window."""
        return len(self.times_jd) * len(self.antenna1)

    @property
    def n_channels(self) -> int:
        """Number of channels of one spectral window."""
        return len(self.spw_freqs_hz[0])

    @property
    def n_rows(self) -> int:
        """Number of rows of the main table."""
        return self.n_rows_per_spw * len(self.spw_names)


def make_skeleton(path: Path, layout: MsLayout) -> dict[str, Path]:
    """Make the tables and fill everything but the bulk columns.

    Parameters
    ----------
    path : Path
        The MS to make; must not exist.
    layout : MsLayout
        Its content.

    Returns
    -------
    dict of str to Path
        Bulk column to the place of its file, which is to be put there.
    """
    from casacore.tables import default_ms, table

    description, managers = _main_table(layout)
    with default_ms(str(path), description, managers) as ms:
        files = {
            column: path / f"table.f{ms.getdminfo(column)['SEQNR']}_TSM0" for column in BULK_CELLS
        }
    for file in files.values():
        file.unlink()
        file.symlink_to(os.devnull)
    with table(str(path), readonly=False, ack=False) as ms:
        _add_rows(ms, layout)
    _put_subtables(path, layout)
    return files


def tile_rows(n_rows_per_spw: int) -> int:
    """Choose the rows of a tile: the largest divisor of a window's rows within the bound.

    Parameters
    ----------
    n_rows_per_spw : int
        Rows of one spectral window.

    Returns
    -------
    int
        Rows per tile; windows then begin on tile boundaries.
    """
    return max(n for n in range(1, _MAX_TILE_ROWS + 1) if n_rows_per_spw % n == 0)


def _main_table(layout: MsLayout) -> tuple[dict[str, Any], dict[str, Any]]:
    """Describe the main table and its storage managers."""
    from casacore.tables import complete_ms_desc, required_ms_desc

    # Required columns keep their keywords (units, measures), or it is no valid MS.
    description = required_ms_desc()
    description["DATA"] = complete_ms_desc()["DATA"]
    managers: dict[str, Any] = {}

    def manage(columns: Sequence[str], kind: str, name: str, spec: dict[str, Any]) -> None:
        for column in columns:
            description[column].update(dataManagerType=kind, dataManagerGroup=name)
        managers[f"*{len(managers)}"] = {
            "TYPE": kind,
            "NAME": name,
            "SEQNR": len(managers),
            "COLUMNS": list(columns),
            "SPEC": spec,
        }

    n_tile = tile_rows(layout.n_rows_per_spw)
    for column, cell in BULK_CELLS.items():
        shape = list(cell.shape)
        description[column].update(ndim=len(shape), shape=shape, _c_order=True, option=5)
        tile = [*reversed(shape), n_tile]
        manage([column], "TiledColumnStMan", f"Tiled{column}", {"DEFAULTTILESHAPE": tile})
    manage(_ANTENNA_COLUMNS, "StandardStMan", "Antennas", {"BUCKETSIZE": _ANTENNA_BUCKET_BYTES})
    manage(_INCREMENTAL_COLUMNS, "IncrementalStMan", "Incremental", {})
    return description, managers


def _add_rows(ms: Any, layout: MsLayout) -> None:
    """Add all rows, with the columns of one value per row.

    An IncrementalStMan gives a new row the value of the row before it, so a value is put
    only where it changes; putting whole columns took four times as long.
    """
    n_bls = len(layout.antenna1)
    mjd_s = _mjd_s(layout.times_jd)
    ms.addrows(1)
    for column, value in _CONSTANT_COLUMNS.items():
        ms.putcell(column, 0, value)
    for column in ("INTERVAL", "EXPOSURE"):
        ms.putcell(column, 0, layout.integration_time_s)
    for block in range(len(layout.spw_names) * len(mjd_s)):
        spw, time = divmod(block, len(mjd_s))
        row = block * n_bls
        if row:
            ms.addrows(1)
        ms.putcell("DATA_DESC_ID", row, spw)
        ms.putcell("TIME", row, mjd_s[time])
        ms.putcell("TIME_CENTROID", row, mjd_s[time])
        ms.addrows(n_bls - 1)
    n_blocks = layout.n_rows // n_bls
    for column, antennas in zip(_ANTENNA_COLUMNS, (layout.antenna1, layout.antenna2), strict=True):
        ms.putcol(column, np.tile(antennas, n_blocks))


def _put_subtables(path: Path, layout: MsLayout) -> None:
    """Fill the subtables that CASA reads."""
    _put_antennas(path, layout)
    _put_feeds(path, layout)
    _put_spectral_windows(path, layout)
    _put_polarization(path)
    _put_field(path, layout)
    _put_observation(path, layout)
    _put_history(path)


def _put_rows(path: Path, name: str, n_rows: int, columns: dict[str, Any]) -> None:
    """Append rows to a subtable and fill whole columns."""
    from casacore.tables import table

    with table(str(path / name), readonly=False, ack=False) as subtable:
        subtable.addrows(n_rows)
        for column, values in columns.items():
            subtable.putcol(column, values)


def _put_antennas(path: Path, layout: MsLayout) -> None:
    """Fill ANTENNA: every station of the telescope, so that ids are antenna numbers."""
    n_ant = len(layout.antenna_names)
    _put_rows(
        path,
        "ANTENNA",
        n_ant,
        {
            "NAME": layout.antenna_names,
            "STATION": layout.antenna_names,
            "TYPE": ["GROUND-BASED"] * n_ant,
            "MOUNT": ["ALT-AZ"] * n_ant,
            "POSITION": layout.antenna_itrf_m,
            "OFFSET": np.zeros((n_ant, 3)),
            "DISH_DIAMETER": np.full(n_ant, DISH_DIAMETER_M),
            "FLAG_ROW": np.zeros(n_ant, dtype=bool),
        },
    )


def _put_feeds(path: Path, layout: MsLayout) -> None:
    """Fill FEED: two linear receptors per antenna, valid for every window and time."""
    n_ant = len(layout.antenna_names)
    _put_rows(
        path,
        "FEED",
        n_ant,
        {
            "ANTENNA_ID": np.arange(n_ant, dtype=np.int32),
            "FEED_ID": np.zeros(n_ant, dtype=np.int32),
            "SPECTRAL_WINDOW_ID": np.full(n_ant, -1, dtype=np.int32),
            "BEAM_ID": np.full(n_ant, -1, dtype=np.int32),
            "NUM_RECEPTORS": np.full(n_ant, 2, dtype=np.int32),
            "TIME": np.zeros(n_ant),
            "INTERVAL": np.zeros(n_ant),
            "POSITION": np.zeros((n_ant, 3)),
            "BEAM_OFFSET": np.zeros((n_ant, 2, 2)),
            "RECEPTOR_ANGLE": np.zeros((n_ant, 2)),
            "POL_RESPONSE": np.tile(np.eye(2, dtype=np.complex64), (n_ant, 1, 1)),
            "POLARIZATION_TYPE": {"shape": [n_ant, 2], "array": ["X", "Y"] * n_ant},
        },
    )


def _put_spectral_windows(path: Path, layout: MsLayout) -> None:
    """Fill SPECTRAL_WINDOW and DATA_DESCRIPTION, one row each per window."""
    freqs = np.array(layout.spw_freqs_hz)
    n_spw, n_chan = freqs.shape
    widths = np.broadcast_to(np.abs(np.diff(freqs, axis=1)).mean(), freqs.shape).copy()
    topocentric = 5
    _put_rows(
        path,
        "SPECTRAL_WINDOW",
        n_spw,
        {
            "NAME": layout.spw_names,
            "NUM_CHAN": np.full(n_spw, n_chan, dtype=np.int32),
            "CHAN_FREQ": freqs,
            "CHAN_WIDTH": widths,
            "EFFECTIVE_BW": widths,
            "RESOLUTION": widths,
            "TOTAL_BANDWIDTH": widths.sum(axis=1),
            "REF_FREQUENCY": freqs[:, 0],
            "MEAS_FREQ_REF": np.full(n_spw, topocentric, dtype=np.int32),
            "NET_SIDEBAND": np.ones(n_spw, dtype=np.int32),
            "IF_CONV_CHAIN": np.zeros(n_spw, dtype=np.int32),
            "FREQ_GROUP": np.zeros(n_spw, dtype=np.int32),
            "FREQ_GROUP_NAME": [""] * n_spw,
            "FLAG_ROW": np.zeros(n_spw, dtype=bool),
        },
    )
    _put_rows(
        path,
        "DATA_DESCRIPTION",
        n_spw,
        {
            "SPECTRAL_WINDOW_ID": np.arange(n_spw, dtype=np.int32),
            "POLARIZATION_ID": np.zeros(n_spw, dtype=np.int32),
            "FLAG_ROW": np.zeros(n_spw, dtype=bool),
        },
    )


def _put_polarization(path: Path) -> None:
    """Fill POLARIZATION: XX and YY."""
    _put_rows(
        path,
        "POLARIZATION",
        1,
        {
            "NUM_CORR": np.array([2], dtype=np.int32),
            "CORR_TYPE": np.array([POLARIZATIONS_CASA], dtype=np.int32),
            "CORR_PRODUCT": np.array([[[0, 0], [1, 1]]], dtype=np.int32),
            "FLAG_ROW": np.zeros(1, dtype=bool),
        },
    )


def _put_field(path: Path, layout: MsLayout) -> None:
    """Fill FIELD: one phase centre, in ICRS, with equal delay and reference directions."""
    from casacore.tables import table

    direction = np.array([[[layout.center.ra_rad, layout.center.dec_rad]]])
    names = ("DELAY_DIR", "PHASE_DIR", "REFERENCE_DIR")
    _put_rows(
        path,
        "FIELD",
        1,
        {
            "NAME": [layout.field_name],
            "CODE": [""],
            "TIME": _mjd_s(layout.times_jd[[0, -1]]).mean(keepdims=True),
            "NUM_POLY": np.zeros(1, dtype=np.int32),
            "SOURCE_ID": np.array([-1], dtype=np.int32),
            "FLAG_ROW": np.zeros(1, dtype=bool),
            **dict.fromkeys(names, direction),
        },
    )
    with table(str(path / "FIELD"), readonly=False, ack=False) as field:
        for name in names:
            field.putcolkeyword(name, "MEASINFO", {"type": "direction", "Ref": "ICRS"})


def _put_observation(path: Path, layout: MsLayout) -> None:
    """Fill OBSERVATION, with the telescope's location, which pyuvdata wants."""
    from casacore.tables import makearrcoldesc, maketabdesc, table

    half_s = layout.integration_time_s / 2
    first_s, last_s = _mjd_s(layout.times_jd[[0, -1]]).tolist()
    with table(str(path / "OBSERVATION"), readonly=False, ack=False) as observation:
        column = makearrcoldesc("TELESCOPE_LOCATION", 0.0, shape=[3], options=5)
        observation.addcols(maketabdesc(column))
        observation.putcolkeyword(
            "TELESCOPE_LOCATION", "MEASINFO", {"type": "position", "Ref": "ITRF"}
        )
        observation.putcolkeyword("TELESCOPE_LOCATION", "QuantumUnits", ["m", "m", "m"])
    _put_rows(
        path,
        "OBSERVATION",
        1,
        {
            "TELESCOPE_NAME": [layout.telescope_name],
            "TELESCOPE_LOCATION": np.array([[v.to_value("m") for v in layout.site.geocentric]]),
            "TIME_RANGE": np.array([[first_s - half_s, last_s + half_s]]),
            "OBSERVER": [""],
            "PROJECT": ["DSA-110 continuum imaging"],
            "SCHEDULE_TYPE": [""],
            "RELEASE_DATE": np.zeros(1),
            "FLAG_ROW": np.zeros(1, dtype=bool),
        },
    )


def _put_history(path: Path) -> None:
    """Leave one line that says who made the MS."""
    from astropy.time import Time

    _put_rows(
        path,
        "HISTORY",
        1,
        {
            "TIME": np.array([Time.now().mjd * _SECONDS_PER_DAY]),
            "OBSERVATION_ID": np.zeros(1, dtype=np.int32),
            "MESSAGE": ["one table written directly from the UVH5 subbands"],
            "PRIORITY": ["INFO"],
            "ORIGIN": ["DirectSubbandWriter"],
            "OBJECT_ID": np.zeros(1, dtype=np.int32),
            "APPLICATION": [f"dsa110-contimg {__version__}"],
        },
    )


def _mjd_s(times_jd: FloatArray) -> FloatArray:
    """Convert to modified Julian dates in seconds, as an MS has its times."""
    return (times_jd - _MJD_ZERO_JD) * _SECONDS_PER_DAY
