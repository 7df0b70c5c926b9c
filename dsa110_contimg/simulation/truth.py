"""What was simulated, written beside the files so that a test can recover everything."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

import numpy as np

from dsa110_contimg.astrometry import meridian_icrs_deg
from dsa110_contimg.catalog.sources import Source
from dsa110_contimg.catalog.tables import load_table, read_rows
from dsa110_contimg.instrument import BAND_CENTER_FREQ_HZ, primary_beam_attenuation
from dsa110_contimg.simulation.gains import GAIN_FORMULA, AntennaGain
from dsa110_contimg.simulation.rfi import RfiEvent, RfiTruth
from dsa110_contimg.simulation.schedule import PlannedGroup
from dsa110_contimg.simulation.sky import SkyTrack, track_sources
from dsa110_contimg.storage.files import atomic_path

TRUTH_FILE: Final = "truth.ecsv"
GAINS_FILE: Final = "truth_gains.ecsv"
RFI_FILE: Final = "truth_rfi.ecsv"
SOURCES_FILE: Final = "sources.ecsv"
CALIBRATORS_FILE: Final = "calibrators.ecsv"

_COLUMNS: Final = {
    "group": ("", "index of the group in the night"),
    "group_start": ("", "start of the first integration, UTC"),
    "phase_center_ra_deg": ("deg", "ICRS, the meridian at the middle of the group"),
    "phase_center_dec_deg": ("deg", "ICRS, the pointing at the middle of the group"),
    "name": ("", "name of the source"),
    "ra_deg": ("deg", "ICRS"),
    "dec_deg": ("deg", "ICRS"),
    "flux_jy": ("Jy", "Stokes I at ref_freq_hz; XX = YY = I"),
    "ref_freq_hz": ("Hz", "frequency of flux_jy"),
    "spectral_index": ("", "alpha in S ~ f ** alpha"),
    "is_target": ("", "whether it stands in the catalogue of sources to image"),
    "separation_deg": ("deg", "from the pointing, mean over the group"),
    "primary_beam": ("", "power response at band_center_hz, mean over the group"),
    "apparent_flux_jy": ("Jy", "flux density at band_center_hz times primary_beam"),
}
"""Column to unit and meaning."""

_RFI_COLUMNS: Final = {
    "group": ("", int, "index of the group in the night"),
    "emitter": ("", int, "number of the emitter in its group"),
    "kind": ("", str, "carrier or burst"),
    "first_freq_hz": ("Hz", float, "centre of the lowest channel"),
    "last_freq_hz": ("Hz", float, "centre of the highest channel"),
    "first_time_jd": ("d", float, "centre of the first integration, Julian date (UTC)"),
    "last_time_jd": ("d", float, "centre of the last integration, Julian date (UTC)"),
    "flux_jy": ("Jy", float, "visibility amplitude of the median baseline, XX and YY alike"),
}
"""Column to unit, type and meaning."""


def write_truth(
    path: Path,
    sources: list[Source],
    target_names: set[str],
    groups: list[PlannedGroup],
    dec_deg: float,
    meta: dict[str, Any],
) -> None:
    """Write one row per group and source.

    Parameters
    ----------
    path : Path
        The ECSV file.
    sources : list of Source
        The sky; sources that do not come near a group's beam have no row for it.
    target_names : set of str
        Names of the sources to image.
    groups : list of PlannedGroup
        The night.
    dec_deg : float
        Declination of date of the pointing, in degrees.
    meta : dict
        What else to record; ``band_center_hz`` and ``groups`` (start, phase centre, times and
        files of each) are added.
    """
    from astropy.table import Table

    rows = []
    described = []
    for group in groups:
        ra_deg, center_dec_deg = meridian_icrs_deg(dec_deg, group.mid_jd)
        of_group = {
            "group": group.index,
            "group_start": group.start_utc,
            "phase_center_ra_deg": ra_deg,
            "phase_center_dec_deg": center_dec_deg,
        }
        described.append(
            {**of_group, "times_jd": group.times_jd().tolist(), "files": group.file_names}
        )
        track = track_sources(sources, dec_deg, group.times_jd())
        rows += [{**of_group, **row} for row in _source_rows(track, target_names)]
    table = Table(rows=rows, names=list(_COLUMNS)) if rows else Table(names=list(_COLUMNS))
    for name, (unit, description) in _COLUMNS.items():
        table[name].unit = unit or None
        table[name].description = description
    table.meta.update(meta, band_center_hz=BAND_CENTER_FREQ_HZ, groups=described)
    with atomic_path(path) as temporary:
        table.write(temporary, format="ascii.ecsv")


def _source_rows(track: SkyTrack, target_names: set[str]) -> list[dict[str, Any]]:
    """Describe the sources as one group sees them."""
    band_center = np.array([BAND_CENTER_FREQ_HZ])
    beam = primary_beam_attenuation(track.separation_deg, BAND_CENTER_FREQ_HZ).mean(axis=1)
    apparent = track.apparent_flux_jy(band_center)[..., 0].mean(axis=1)
    return [
        {
            **source.model_dump(),
            "is_target": source.name in target_names,
            "separation_deg": float(separation),
            "primary_beam": float(response),
            "apparent_flux_jy": float(flux_jy),
        }
        for source, separation, response, flux_jy in zip(
            track.sources, track.separation_deg.mean(axis=1), beam, apparent, strict=True
        )
    ]


def write_gains(path: Path, gains: list[AntennaGain], dead_stations: tuple[int, ...]) -> None:
    """Write the gain errors, one row per station and polarization.

    Parameters
    ----------
    path : Path
        The ECSV file.
    gains : list of AntennaGain
        What the visibilities were multiplied with.
    dead_stations : tuple of int
        Stations that receive nothing but their own noise.
    """
    from astropy.table import Table

    table = Table(rows=[gain.model_dump() for gain in gains], names=list(AntennaGain.model_fields))
    table.meta.update(
        formula=GAIN_FORMULA,
        convention="visibility of ant_1, ant_2 = g_1 * conj(g_2) * (sources + RFI + noise),"
        " without sources and RFI where one of the two is dead",
        dead_stations=list(dead_stations),
    )
    with atomic_path(path) as temporary:
        table.write(temporary, format="ascii.ecsv")


def read_gains(path: Path) -> list[AntennaGain]:
    """Read the gain errors of a night.

    Parameters
    ----------
    path : Path
        Its ``truth_gains.ecsv``.

    Returns
    -------
    list of AntennaGain
        By station, XX before YY; without drift if the night was simulated before there was any.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    return read_rows(path, load_table(path, "the truth"), AntennaGain)


def write_rfi(path: Path, truth: RfiTruth) -> None:
    """Write the interference, one row per event, and the dead antennas.

    Parameters
    ----------
    path : Path
        The ECSV file.
    truth : RfiTruth
        What was injected.
    """
    from astropy.table import Table

    table = Table(
        rows=[event.model_dump(mode="json") for event in truth.events] or None,
        names=list(_RFI_COLUMNS),
        dtype=[kind for _, kind, _ in _RFI_COLUMNS.values()],
    )
    for name, (unit, _, description) in _RFI_COLUMNS.items():
        table[name].unit = unit or None
        table[name].description = description
    table.meta.update(dead_stations=truth.dead_stations)
    with atomic_path(path) as temporary:
        table.write(temporary, format="ascii.ecsv")


def read_rfi(path: Path) -> RfiTruth:
    """Read the interference of a night.

    Parameters
    ----------
    path : Path
        Its ``truth_rfi.ecsv``.

    Returns
    -------
    RfiTruth
        The events and the dead antennas.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    table = load_table(path, "the truth")
    events = read_rows(path, table, RfiEvent)
    return RfiTruth(events=events, dead_stations=table.meta["dead_stations"])


def read_truth_meta(path: Path) -> dict[str, Any]:
    """Read what a night was simulated from.

    Parameters
    ----------
    path : Path
        Its ``truth.ecsv``.

    Returns
    -------
    dict
        The metadata.

    Raises
    ------
    InputError
        If the file cannot be read.
    """
    return dict(load_table(path, "the truth").meta)
