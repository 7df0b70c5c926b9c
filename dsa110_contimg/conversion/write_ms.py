"""One group of subband files to one MS, in this process: the work inside the sandbox."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
from astropy import units
from astropy.coordinates import EarthLocation

from dsa110_contimg.conversion.agreement import find_contradictions
from dsa110_contimg.conversion.bulk import BulkFiles
from dsa110_contimg.conversion.diagnosis import check_open_files
from dsa110_contimg.conversion.fill import BaselineTable, start_fill
from dsa110_contimg.conversion.geometry import GroupGeometry, group_geometry
from dsa110_contimg.conversion.layout import MsLayout
from dsa110_contimg.conversion.models import HeaderContradictions, SpectralWindow
from dsa110_contimg.conversion.selfcheck import check_ms
from dsa110_contimg.conversion.skeleton import make_skeleton
from dsa110_contimg.conversion.uvh5 import SubbandHeader, check_consistent, read_header
from dsa110_contimg.errors import InputError
from dsa110_contimg.models import Model
from dsa110_contimg.stages import StageClock


class WriteMsOptions(Model):
    """What the child that writes an MS is told."""

    group_id: str
    """Name of the group, and of the field."""
    files: list[Path]
    """The subband files, in any order."""
    ms_path: Path
    """The MS to make, inside a sandbox; must not exist."""
    workers: int
    """Fill workers."""
    header_contradictions: HeaderContradictions = "refuse"
    """What to do with a header that contradicts itself."""


class WriteMsReport(Model):
    """What the child says of the MS."""

    spectral_windows: list[SpectralWindow]
    """In order of id."""
    phase_center_ra_deg: float
    """Right ascension of the field (ICRS) in degrees."""
    phase_center_dec_deg: float
    """Declination of the field (ICRS) in degrees."""
    start_utc: str
    """Start of the first integration, ISO 8601."""
    duration_s: float
    """Length of the observation in seconds."""
    stage_seconds: dict[str, float]
    """Wall time per stage."""
    warnings: list[str]
    """What the headers say twice, and not alike."""


def write_ms(options: WriteMsOptions) -> WriteMsReport:
    """Write one MS directly from its subband files.

    Parameters
    ----------
    options : WriteMsOptions
        The files and the place.

    Returns
    -------
    WriteMsReport
        What was written.

    Raises
    ------
    InputError
        If a file is damaged, or the files do not belong together.
    TransientError
        If too few files may be open, or the finished MS does not pass its self-check.
    """
    # A fork has the limits of its server, not those of the task.
    check_open_files(options.workers)
    clock = StageClock(options.group_id)
    with (
        BulkFiles(options.ms_path.with_suffix(".bulk")) as bulk,
        ThreadPoolExecutor(options.workers, thread_name_prefix="fill") as pool,
    ):
        with clock.stage("headers"):
            first = read_header(options.files[0])
            # All files are alike, or are refused: the space can be taken while they are read.
            reserving = pool.submit(bulk.reserve, len(options.files) * first.data_shape[0])
            headers = _check_alike([first, *map(read_header, options.files[1:])])
            warnings = _check_agreement(headers, options.header_contradictions)
            layout, geometry, baselines = _plan(options.group_id, headers)
        inputs = [header.path for header in headers]
        with clock.stage("skeleton"):
            windows = start_fill(pool, bulk, layout, geometry, baselines, inputs)
            places = make_skeleton(options.ms_path, layout)
            reserving.result()
            bulk.move(places)
        with clock.stage("fill"):
            statistics = [window.result() for window in windows]
    with clock.stage("self-check"):
        check_ms(options.ms_path, layout, geometry, baselines, inputs)
    return WriteMsReport(
        spectral_windows=[
            SpectralWindow(
                spw_id=spw,
                subband=name,
                min_freq_hz=float(freqs[0]),
                max_freq_hz=float(freqs[-1]),
                flagged_fraction=stats.flagged_fraction,
                nonfinite=stats.nonfinite,
            )
            for spw, (name, freqs, stats) in enumerate(
                zip(layout.spw_names, layout.spw_freqs_hz, statistics, strict=True)
            )
        ],
        phase_center_ra_deg=float(np.rad2deg(geometry.center.ra_rad)) % 360.0,
        phase_center_dec_deg=float(np.rad2deg(geometry.center.dec_rad)),
        start_utc=_typical(headers).start_utc.isoformat(timespec="milliseconds"),
        duration_s=len(layout.times_jd) * layout.integration_time_s,
        stage_seconds=clock.seconds,
        warnings=warnings,
    )


def _check_alike(headers: Sequence[SubbandHeader]) -> list[SubbandHeader]:
    """Put headers in order, lowest frequency first; refuse files that do not belong together."""
    headers = sorted(headers, key=lambda header: -header.subband)
    odd = check_consistent(headers)
    if odd:
        sentences = "; ".join(f"{path.name}: {sentence}" for path, sentence in odd)
        raise InputError(
            f"the subbands do not belong together: {sentences}",
            reason="inconsistent_subbands",
            remedy="remove the odd file from the input directory, or fetch it again",
        )
    return headers


def _check_agreement(
    headers: Sequence[SubbandHeader], header_contradictions: HeaderContradictions
) -> list[str]:
    """Refuse headers that contradict themselves, or say in what."""
    found = find_contradictions(_typical(headers), headers)
    if header_contradictions == "refuse" and any(one.is_grave for one in found):
        raise InputError(
            f"the headers contradict themselves: {'; '.join(one.sentence for one in found)}",
            reason="contradictory_header",
            remedy="mend the headers; or, if they are right, set header_contradictions to 'warn'",
        )
    return [f"the headers contradict themselves: {one.sentence}" for one in found]


def _typical(headers: Sequence[SubbandHeader]) -> SubbandHeader:
    """Choose a header whose geometry most files share to the last bit.

    Files of a group agree within tolerances, so one of them may have a bit flipped.
    """
    keys = [
        (
            header.times_jd.tobytes(),
            header.integration_time_s,
            header.antenna_positions_m.tobytes(),
            header.pointing_dec_rad,
            (header.latitude_deg, header.longitude_deg, header.altitude_m),
        )
        for header in headers
    ]
    ((commonest, _),) = Counter(keys).most_common(1)
    return headers[keys.index(commonest)]


def _plan(
    group_id: str, headers: Sequence[SubbandHeader]
) -> tuple[MsLayout, GroupGeometry, BaselineTable]:
    """Work out what the MS will hold."""
    first = _typical(headers)
    site = EarthLocation.from_geodetic(
        first.longitude_deg * units.deg,
        first.latitude_deg * units.deg,
        first.altitude_m * units.m,
    )
    geometry = group_geometry(
        first.times_jd, first.antenna_positions_m, site, first.pointing_dec_rad
    )
    order = np.argsort(first.antenna_numbers)
    baselines = BaselineTable.from_file(
        order[np.searchsorted(first.antenna_numbers, first.ant_1_array, sorter=order)],
        order[np.searchsorted(first.antenna_numbers, first.ant_2_array, sorter=order)],
    )
    origin_m = np.array([axis.to_value("m") for axis in site.geocentric])
    layout = MsLayout(
        times_jd=first.times_jd,
        integration_time_s=first.integration_time_s,
        antenna1=baselines.rows[:, 0],
        antenna2=baselines.rows[:, 1],
        antenna_names=list(first.antenna_names),
        antenna_itrf_m=origin_m + first.antenna_positions_m,
        site=site,
        telescope_name=first.telescope_name,
        center=geometry.center,
        field_name=f"meridian_{group_id}",
        spw_names=[header.label for header in headers],
        spw_freqs_hz=[header.freqs_hz[::-1].copy() for header in headers],
        vis_units=first.vis_units,
    )
    return layout, geometry, baselines
