"""Simulate a night: options in, a directory of UVH5 groups and their truth out."""

from __future__ import annotations

import os
import re
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np
from pydantic import Field, ValidationInfo, field_validator

from dsa110_contimg.catalog.sources import BRIGHTEST_JY, Source
from dsa110_contimg.errors import InputError, TransientError
from dsa110_contimg.instrument import (
    N_CHANNELS_PER_SUBBAND,
    N_SUBBANDS,
    N_TIMES,
    SEFD_JY,
    subband_channel_freqs_hz,
)
from dsa110_contimg.models import Model
from dsa110_contimg.simulation.array import (
    antenna_positions_m,
    baseline_pairs,
    select_stations,
)
from dsa110_contimg.simulation.directory import (
    NightTruth,
    check_directory,
    claim_directory,
    hold_directory,
    require_space,
)
from dsa110_contimg.simulation.gains import deaden, draw_gains, gain_array, ideal_gains
from dsa110_contimg.simulation.rfi import draw_dead_stations, draw_events, rfi_phasors
from dsa110_contimg.simulation.schedule import PlannedGroup, plan_groups
from dsa110_contimg.simulation.sky import (
    default_field,
    track_sources,
    transiting_calibrator,
)
from dsa110_contimg.simulation.truth import (
    CALIBRATORS_FILE,
    GAINS_FILE,
    RFI_FILE,
    SOURCES_FILE,
    TRUTH_FILE,
    read_gains,
)

if TYPE_CHECKING:
    from dsa110_contimg.simulation.visibilities import Complexes, Floats

DEFAULT_START: Final = datetime(2026, 1, 25, 8, 6, 19, tzinfo=UTC)
"""0834+555, the classic calibrator, crosses the meridian as the first group ends."""
DEFAULT_DEC_DEG: Final = 54.573

_MOST_GROUPS: Final = 10_000
"""A month of them."""
_YEARS: Final = range(1900, 2200)
"""Beyond, not even a failed look-up of the Earth's orientation makes sense."""
_BYTES_PER_VISIBILITY: Final = 2 * (8 + 1 + 4)
"""Value, flag and weight in two polarizations."""


Job = tuple[PlannedGroup, int, Path]
"""Group, subband and path of a file."""


class SimulationOptions(Model):
    """What to simulate."""

    output_dir: Path
    """Directory of the files; made if absent."""
    start: datetime = DEFAULT_START
    """Start of the first integration, UTC where it names no zone."""
    n_groups: int = Field(default=1, ge=1, le=_MOST_GROUPS)
    """Number of consecutive groups of 309.24 s."""
    n_antennas: int = Field(default=96, ge=2, le=96)
    """Antennas with data; 96 is the real array."""
    sources: tuple[Source, ...] | None = None
    """The sky, all of it targets; None makes a default field around the middle of the night."""
    dec_deg: float = Field(default=DEFAULT_DEC_DEG, ge=-50.0, le=90.0)
    """Declination of date of the pointing, in degrees."""
    sefd_jy: float = Field(default=SEFD_JY, ge=0.0, allow_inf_nan=False)
    """System equivalent flux density of an antenna in Jy; 0 makes noise-free data."""
    jitter: bool = True
    """Let the time stamps in the names of a group's files differ as real ones do."""
    missing: tuple[str, ...] = Field(default=(), max_length=N_SUBBANDS - 1)
    """Subbands (``sb00`` .. ``sb15``) that are left out of every group."""
    gain_errors: bool = False
    """Multiply the data with antenna gains that drift, which are written beside them."""
    rfi: bool = False
    """Add carriers and bursts of interference, which are written beside the data."""
    dead_antennas: int | None = Field(default=None, ge=0, validate_default=True)
    """Antennas that receive nothing; None makes one if there is interference, else none."""
    calibrator_jy: float | None = Field(default=None, gt=0.0, le=BRIGHTEST_JY)
    """Flux density at 1.4 GHz of a calibrator that transits 0.1 deg north of the pointing."""
    calibrator_group: int = Field(default=0, ge=0)
    """Group (0-based) in whose middle it transits."""
    seed: int = Field(default=0, ge=0)
    """Equal seeds give equal bytes."""

    @field_validator("start")
    @classmethod
    def _to_utc(cls, start: datetime) -> datetime:
        """Take a time without a zone as UTC."""
        if start.year not in _YEARS:
            raise ValueError(f"the year must be {_YEARS[0]} to {_YEARS[-1]}")
        return start.replace(tzinfo=UTC) if start.tzinfo is None else start.astimezone(UTC)

    @field_validator("missing")
    @classmethod
    def _check_missing(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        """Refuse names that are no subbands."""
        bad = [n for n in names if not re.fullmatch(r"sb\d\d", n) or int(n[2:]) >= N_SUBBANDS]
        if bad:
            raise ValueError(f"no such subband: {', '.join(bad)} (they are sb00 to sb15)")
        return tuple(sorted(set(names)))

    @field_validator("dead_antennas")
    @classmethod
    def _leave_two(cls, n_dead: int | None, info: ValidationInfo) -> int:
        """Settle the number, and refuse an array without a baseline."""
        settled = int(info.data.get("rfi", False)) if n_dead is None else n_dead
        n_antennas = info.data.get("n_antennas", 0)
        if settled > max(n_antennas - 2, 0):
            raise ValueError(f"{settled} of {n_antennas} antennas cannot be dead: two must live")
        return settled

    @field_validator("calibrator_group")
    @classmethod
    def _is_in_the_night(cls, index: int, info: ValidationInfo) -> int:
        """Refuse a group that is not there, or a transit of nothing."""
        n_groups = info.data.get("n_groups", index + 1)
        if index >= n_groups:
            raise ValueError(f"there is no group {index}: they are 0 to {n_groups - 1}")
        if index and info.data.get("calibrator_jy", 0.0) is None:
            raise ValueError("a calibrator needs a flux density")
        return index


class SimulationResult(Model):
    """What was simulated."""

    output_dir: str
    """Absolute path of the directory."""
    groups: list[PlannedGroup]
    """The groups in order of time."""
    files: list[str]
    """Absolute paths of all files of the night."""
    written: int
    """How many of them this run wrote; 0 if all were there."""
    truth_path: str
    """Table of what was simulated."""
    sources_path: str
    """Catalogue of the sources to image."""
    gains_path: str | None = None
    """Table of the gain errors, where there are any."""
    rfi_path: str | None = None
    """Table of the interference and the dead antennas, where there are any."""
    calibrators_path: str | None = None
    """Catalogue of the calibrator, where there is one."""
    seconds: float
    """Wall time."""


def simulate(
    options: SimulationOptions,
    progress: Callable[[int, int], None] | None = None,
    *,
    workers: int | None = None,
) -> SimulationResult:
    """Simulate a night of subband files, or complete one that was interrupted.

    Parameters
    ----------
    options : SimulationOptions
        What to simulate.
    progress : callable, optional
        Called with the number of files done and the number of files, once before the first.
    workers : int, optional
        Threads; default the number of processors. It does not change a byte of the files.

    Returns
    -------
    SimulationResult
        The files, and where their truth stands.

    Raises
    ------
    InputError
        If the directory holds anything but this very night, or the options cannot be met.
    TransientError
        If the disk has no room for the night, a file cannot be written, or another simulation
        writes there.
    """
    started = time.monotonic()
    night = _Night(options)
    out = night.output_dir
    check_directory(out, night.truth)
    require_space(out, len(night.missing_jobs()), night.bytes_per_file())
    night.claim_directory()
    with hold_directory(out):
        check_directory(out, night.truth)  # another simulation may have claimed it just before
        jobs, todo = night.jobs(), night.missing_jobs()
        _write_all(night, todo, len(jobs), progress, workers)
    return SimulationResult(
        output_dir=str(out),
        groups=night.truth.groups,
        files=[str(path) for _, _, path in jobs],
        written=len(todo),
        truth_path=str(out / TRUTH_FILE),
        sources_path=str(out / SOURCES_FILE),
        gains_path=str(out / GAINS_FILE) if options.gain_errors else None,
        rfi_path=str(out / RFI_FILE) if night.truth.has_rfi else None,
        calibrators_path=str(out / CALIBRATORS_FILE) if options.calibrator_jy else None,
        seconds=time.monotonic() - started,
    )


def _write_all(
    night: _Night,
    todo: list[Job],
    n_files: int,
    progress: Callable[[int, int], None] | None,
    workers: int | None,
) -> None:
    """Write the files that are not there."""
    n_there = n_files - len(todo)
    if progress:
        progress(n_there, n_files)
    # Threads suffice: the kernel, the random numbers and the file writes release the GIL.
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        running = [pool.submit(night.write, *job) for job in todo]
        try:
            for n_done, finished in enumerate(as_completed(running), start=n_there + 1):
                finished.result()
                if progress:
                    progress(n_done, n_files)
        finally:
            pool.shutdown(cancel_futures=True)


class _Night:
    """What the files of one night share, and the making of each."""

    def __init__(self, options: SimulationOptions):
        self.options = options
        self.output_dir = options.output_dir.absolute()
        self.truth = _decide(options)
        self.baselines = baseline_pairs(options.n_antennas)
        self.gains = self.truth.gain_errors or deaden(
            ideal_gains(self.truth.stations), self.truth.dead_stations
        )

    def claim_directory(self) -> None:
        """Write the truth into the directory, or find it there."""
        claim_directory(self.output_dir, self.truth)
        if self.truth.gain_errors:
            # What stands there rules: an earlier version may have begun the night.
            self.gains = read_gains(self.output_dir / GAINS_FILE)

    def jobs(self) -> list[Job]:
        """Group, subband and path of every file."""
        return [
            (group, int(subband.removeprefix("sb")), self.output_dir / name)
            for group in self.truth.groups
            for subband, name in group.file_names.items()
        ]

    def missing_jobs(self) -> list[Job]:
        """Those of them whose file is not there."""
        return [job for job in self.jobs() if not job[2].exists()]

    def bytes_per_file(self) -> int:
        """Size of the data of one file."""
        n_rows = N_TIMES * len(self.baselines[0])
        return n_rows * N_CHANNELS_PER_SUBBAND * _BYTES_PER_VISIBILITY

    def write(self, group: PlannedGroup, subband: int, path: Path) -> None:
        """Simulate and write one file."""
        from dsa110_contimg.simulation import uvh5_writer, visibilities

        options = self.options
        freq_hz = subband_channel_freqs_hz(subband)
        positions_m = antenna_positions_m()
        antennas = np.array(self.truth.stations) - 1
        local_m = visibilities.to_meridian_frame(positions_m[antennas])
        uvw_m = visibilities.meridian_uvw_m(local_m, options.dec_deg)
        # A stream per file makes the bytes independent of who writes which file, and when.
        stream = np.random.SeedSequence(options.seed, spawn_key=(3, group.index, subband))
        data = visibilities.simulate_visibilities(
            self._phasors(group, local_m, freq_hz),
            self.baselines,
            gain_array(self.gains, freq_hz, group.times_jd()),
            options.sefd_jy,
            np.random.Generator(np.random.SFC64(stream)),
        )
        header = uvh5_writer.SubbandHeader(
            freq_hz=freq_hz,
            times_jd=group.times_jd(),
            antenna_numbers=antennas,
            baselines=self.baselines,
            antenna_positions_m=positions_m,
            uvw_m=uvw_m[self.baselines[1]] - uvw_m[self.baselines[0]],
            dec_deg=options.dec_deg,
            is_calibrated=not options.gain_errors,
        )
        try:
            uvh5_writer.write_subband(path, header, data)
        except OSError as error:
            raise TransientError(f"cannot write {path}: {error}", reason="write_failed") from error

    def _phasors(self, group: PlannedGroup, local_m: Floats, freq_hz: Floats) -> Complexes:
        """Make what each antenna receives, from the sky and from the ground."""
        from dsa110_contimg.simulation.visibilities import antenna_phasors

        truth, times_jd = self.truth, group.times_jd()
        track = track_sources(truth.sources, self.options.dec_deg, times_jd)
        phasors = antenna_phasors(local_m, track, freq_hz)
        events = [event for event in truth.events if event.group == group.index]
        if events:
            ground = rfi_phasors(events, truth.stations, freq_hz, times_jd, self.options.seed)
            phasors = np.concatenate([phasors, ground], axis=2)
        phasors[:, np.isin(truth.stations, truth.dead_stations)] = 0
        return phasors


def _decide(options: SimulationOptions) -> NightTruth:
    """Settle all that is not noise."""
    groups = plan_groups(
        options.start,
        options.n_groups,
        jitter=options.jitter,
        missing=options.missing,
        seed=options.seed,
    )
    targets, others = _sky(options, groups)
    calibrators = []
    if options.calibrator_jy is not None:
        transit_jd = groups[options.calibrator_group].mid_jd
        calibrators = [transiting_calibrator(options.dec_deg, transit_jd, options.calibrator_jy)]
    stations = select_stations(options.n_antennas)
    dead = draw_dead_stations(stations, options.dead_antennas or 0, options.seed)
    gains = deaden(draw_gains(stations, options.seed), dead) if options.gain_errors else []
    return NightTruth(
        options=_recorded(options),
        option_defaults=_recorded(SimulationOptions(output_dir=options.output_dir)),
        groups=groups,
        dec_deg=options.dec_deg,
        stations=stations,
        sources=[*targets, *others, *calibrators],
        targets=targets,
        calibrators=calibrators,
        gain_errors=gains,
        events=[event for group in groups for event in draw_events(group, options.seed)]
        if options.rfi
        else [],
        dead_stations=dead,
    )


def _recorded(options: SimulationOptions) -> dict[str, Any]:
    """Turn the options into what the truth says of them."""
    return options.model_dump(mode="json", exclude={"output_dir"})


def _sky(
    options: SimulationOptions, groups: list[PlannedGroup]
) -> tuple[list[Source], list[Source]]:
    """Give the sources to image, and the others of the field."""
    if options.sources is None:
        middle_jd = (groups[0].mid_jd + groups[-1].mid_jd) / 2
        return default_field(options.dec_deg, middle_jd, options.n_groups, options.seed)
    without = [source.name for source in options.sources if source.flux_jy is None]
    if without:
        raise InputError(
            f"the source(s) {', '.join(without)} have no flux density",
            reason="no_flux",
            remedy="give the catalogue a column flux_jy",
        )
    return list(options.sources), []
