"""Simulate a night: options in, a directory of UVH5 groups and their truth out."""

from __future__ import annotations

import os
import re
import shutil
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import numpy as np
from pydantic import Field, field_validator

from dsa110_contimg.catalog.sources import Source, write_sources
from dsa110_contimg.errors import InputError, TransientError
from dsa110_contimg.instrument import (
    N_CHANNELS_PER_SUBBAND,
    N_SUBBANDS,
    N_TIMES,
    SEFD_JY,
    subband_channel_freqs_hz,
)
from dsa110_contimg.models import Model
from dsa110_contimg.provenance import package_versions
from dsa110_contimg.simulation.array import (
    antenna_positions_m,
    baseline_pairs,
    select_stations,
)
from dsa110_contimg.simulation.gains import draw_gains, gain_array
from dsa110_contimg.simulation.schedule import PlannedGroup, plan_groups
from dsa110_contimg.simulation.sky import default_field, track_sources
from dsa110_contimg.simulation.truth import (
    GAINS_FILE,
    SOURCES_FILE,
    TRUTH_FILE,
    read_truth_meta,
    write_gains,
    write_truth,
)
from dsa110_contimg.storage.files import atomic_path

DEFAULT_START: Final = datetime(2026, 1, 25, 8, 6, 19, tzinfo=UTC)
"""0834+555, the classic calibrator, crosses the meridian as the first group ends."""
DEFAULT_DEC_DEG: Final = 54.573

_BYTES_PER_VISIBILITY: Final = 2 * (8 + 1 + 4)
"""Value, flag and weight in two polarizations."""


class SimulationOptions(Model):
    """What to simulate."""

    output_dir: Path
    """Directory of the files; made if absent."""
    start: datetime = DEFAULT_START
    """Start of the first integration, UTC where it names no zone."""
    n_groups: int = Field(default=1, ge=1)
    """Number of consecutive groups of 309.24 s."""
    n_antennas: int = Field(default=96, ge=2, le=96)
    """Antennas with data; 96 is the real array."""
    sources: tuple[Source, ...] | None = None
    """The sky, all of it targets; None makes a default field around the middle of the night."""
    dec_deg: float = Field(default=DEFAULT_DEC_DEG, ge=-50.0, le=90.0)
    """Declination of date of the pointing, in degrees."""
    sefd_jy: float = Field(default=SEFD_JY, ge=0.0)
    """System equivalent flux density of an antenna in Jy; 0 makes noise-free data."""
    jitter: bool = True
    """Let the time stamps in the names of a group's files differ as real ones do."""
    missing: tuple[str, ...] = Field(default=(), max_length=N_SUBBANDS - 1)
    """Subbands (``sb00`` .. ``sb15``) that are left out of every group."""
    gain_errors: bool = False
    """Multiply the data with antenna gains, which are written beside them."""
    seed: int = Field(default=0, ge=0)
    """Equal seeds give equal bytes."""

    @field_validator("start")
    @classmethod
    def _to_utc(cls, start: datetime) -> datetime:
        """Take a time without a zone as UTC."""
        return start.replace(tzinfo=UTC) if start.tzinfo is None else start.astimezone(UTC)

    @field_validator("missing")
    @classmethod
    def _check_missing(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        """Refuse names that are no subbands."""
        bad = [n for n in names if not re.fullmatch(r"sb\d\d", n) or int(n[2:]) >= N_SUBBANDS]
        if bad:
            raise ValueError(f"no such subband: {', '.join(bad)} (they are sb00 to sb15)")
        return tuple(sorted(set(names)))


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
        If the disk has no room for the night, or a file cannot be written.
    """
    started = time.monotonic()
    night = _Night(options)
    out = night.output_dir
    _claim_directory(night)
    jobs = night.jobs()
    todo = [job for job in jobs if not job[2].exists()]
    _require_space(night, len(todo))
    n_there = len(jobs) - len(todo)
    if progress:
        progress(n_there, len(jobs))
    # Threads suffice: the kernel, the random numbers and the file writes release the GIL.
    with ThreadPoolExecutor(workers or os.cpu_count()) as pool:
        running = [pool.submit(night.write, *job) for job in todo]
        try:
            for n_done, finished in enumerate(as_completed(running), start=n_there + 1):
                finished.result()
                if progress:
                    progress(n_done, len(jobs))
        finally:
            pool.shutdown(cancel_futures=True)
    return SimulationResult(
        output_dir=str(out),
        groups=night.groups,
        files=[str(path) for _, _, path in jobs],
        written=len(todo),
        truth_path=str(out / TRUTH_FILE),
        sources_path=str(out / SOURCES_FILE),
        gains_path=str(out / GAINS_FILE) if options.gain_errors else None,
        seconds=time.monotonic() - started,
    )


class _Night:
    """What the files of one night share, and the making of each."""

    def __init__(self, options: SimulationOptions):
        self.options = options
        self.output_dir = options.output_dir.absolute()
        self.groups = plan_groups(
            options.start,
            options.n_groups,
            jitter=options.jitter,
            missing=options.missing,
            seed=options.seed,
        )
        if options.sources is None:
            middle_jd = (self.groups[0].mid_jd + self.groups[-1].mid_jd) / 2
            self.targets, field = default_field(
                options.dec_deg, middle_jd, options.n_groups, options.seed
            )
            self.sources = [*self.targets, *field]
        else:
            self.sources = self.targets = list(options.sources)
            _require_fluxes(self.sources)
        self.stations = select_stations(options.n_antennas)
        self.baselines = baseline_pairs(options.n_antennas)
        self.gains = draw_gains(self.stations, options.seed) if options.gain_errors else []

    def jobs(self) -> list[tuple[PlannedGroup, int, Path]]:
        """Group, subband and path of every file."""
        return [
            (group, int(subband.removeprefix("sb")), self.output_dir / name)
            for group in self.groups
            for subband, name in group.file_names.items()
        ]

    def write(self, group: PlannedGroup, subband: int, path: Path) -> None:
        """Simulate and write one file."""
        from dsa110_contimg.simulation import uvh5_writer, visibilities

        options = self.options
        freq_hz = subband_channel_freqs_hz(subband)
        positions_m = antenna_positions_m()
        antennas = np.array(self.stations) - 1
        local_m = visibilities.to_meridian_frame(positions_m[antennas])
        uvw_m = visibilities.meridian_uvw_m(local_m, options.dec_deg)
        track = track_sources(self.sources, options.dec_deg, group.times_jd())
        # A stream per file makes the bytes independent of who writes which file, and when.
        stream = np.random.SeedSequence(options.seed, spawn_key=(3, group.index, subband))
        data = visibilities.simulate_visibilities(
            visibilities.antenna_phasors(local_m, track, freq_hz),
            self.baselines,
            gain_array(self.gains, len(antennas), freq_hz),
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
        )
        try:
            uvh5_writer.write_subband(path, header, data)
        except OSError as error:
            raise TransientError(f"cannot write {path}: {error}", reason="write_failed") from error


def _require_fluxes(sources: list[Source]) -> None:
    """Refuse a sky whose brightness is not known."""
    without = [source.name for source in sources if source.flux_jy is None]
    if without:
        raise InputError(
            f"the source(s) {', '.join(without)} have no flux density",
            reason="no_flux",
            remedy="give the catalogue a column flux_jy",
        )


def _require_space(night: _Night, n_files: int) -> None:
    """Refuse to begin what the disk cannot hold."""
    n_rows = N_TIMES * len(night.baselines[0])
    needed = n_files * n_rows * N_CHANNELS_PER_SUBBAND * _BYTES_PER_VISIBILITY
    free = shutil.disk_usage(night.output_dir).free
    if free < needed:
        raise TransientError(
            f"{night.output_dir} has {free / 1e9:.2f} GB free, and {n_files} files need"
            f" {needed / 1e9:.2f} GB",
            reason="no_space",
            remedy="simulate fewer groups or antennas, or elsewhere",
        )


def _claim_directory(night: _Night) -> None:
    """Write the truth into an empty directory, or see that this very night is there."""
    out = night.output_dir
    options = night.options.model_dump(mode="json", exclude={"output_dir"})
    if (out / TRUTH_FILE).exists():
        if read_truth_meta(out / TRUTH_FILE).get("options") != options:
            raise InputError(
                f"{out} holds a night that was simulated with other options",
                reason="other_night",
                remedy="choose another directory, or remove this one yourself",
            )
    else:
        _require_empty(out)
        names = {source.name for source in night.targets}
        meta = {
            "options": options,
            "versions": package_versions(),
            "stations": list(night.stations),
        }
        # First of all: it marks the directory as this night's, should the run be interrupted.
        write_truth(
            out / TRUTH_FILE, night.sources, names, night.groups, night.options.dec_deg, meta
        )
    if not (out / SOURCES_FILE).exists():
        with atomic_path(out / SOURCES_FILE) as temporary:
            write_sources(night.targets, temporary)
    if night.gains and not (out / GAINS_FILE).exists():
        write_gains(out / GAINS_FILE, night.gains)


def _require_empty(out: Path) -> None:
    """Make the directory, or refuse one that holds something else."""
    try:
        out.mkdir(parents=True, exist_ok=True)
        present = sorted(path.name for path in out.iterdir())
    except OSError as error:
        raise InputError(f"cannot use {out}: {error}", reason="output_directory") from error
    if present:
        raise InputError(
            f"{out} is not empty and holds no simulated night: it has {present[0]}"
            + (f" and {len(present) - 1} more" if present[1:] else ""),
            reason="directory_not_empty",
            remedy="choose an empty directory",
        )
