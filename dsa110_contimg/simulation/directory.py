"""The directory of a simulated night: whose it is, what stands beside the files, its room."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from dsa110_contimg.catalog.sources import Source, write_sources
from dsa110_contimg.errors import InputError, TransientError, name_os_error
from dsa110_contimg.provenance import package_versions
from dsa110_contimg.simulation.gains import AntennaGain
from dsa110_contimg.simulation.rfi import RfiEvent, RfiTruth
from dsa110_contimg.simulation.schedule import PlannedGroup
from dsa110_contimg.simulation.truth import (
    CALIBRATORS_FILE,
    GAINS_FILE,
    RFI_FILE,
    SOURCES_FILE,
    TRUTH_FILE,
    read_truth_meta,
    write_gains,
    write_rfi,
    write_truth,
)
from dsa110_contimg.storage.files import atomic_path
from dsa110_contimg.storage.locks import hold_existing


@dataclass(frozen=True)
class NightTruth:
    """What is known of a night before it is simulated.

    Attributes
    ----------
    options : dict
        The options, by which the night is recognized.
    option_defaults : dict
        What they are if nothing is said: a night may be older than an option.
    groups : list of PlannedGroup
        The groups in order of time.
    dec_deg : float
        Declination of date of the pointing, in degrees.
    stations : tuple of int
        Station numbers (1-based).
    sources : list of Source
        The whole sky.
    targets : list of Source
        Those of it to image.
    calibrators : list of Source
        Those of it to calibrate on.
    gain_errors : list of AntennaGain
        Gains of all antennas; empty if there are no errors.
    events : list of RfiEvent
        The interference of all groups.
    dead_stations : tuple of int
        Station numbers of the antennas that receive nothing.
    """

    options: dict[str, Any]
    option_defaults: dict[str, Any]
    groups: list[PlannedGroup]
    dec_deg: float
    stations: tuple[int, ...]
    sources: list[Source]
    targets: list[Source]
    calibrators: list[Source]
    gain_errors: list[AntennaGain]
    events: list[RfiEvent]
    dead_stations: tuple[int, ...]

    @property
    def has_rfi(self) -> bool:
        """Whether there is anything that a flagger should find."""
        return bool(self.events or self.dead_stations)


def check_directory(out: Path, night: NightTruth) -> None:
    """See that a directory is empty or holds this very night; make it if it is absent.

    Parameters
    ----------
    out : Path
        The directory.
    night : NightTruth
        What is to be simulated in it.

    Raises
    ------
    InputError
        If the directory holds anything else, or cannot be made.
    """
    if (out / TRUTH_FILE).exists():
        _require_same_night(out, night)
    else:
        _require_empty(out)


@contextmanager
def hold_directory(out: Path) -> Iterator[None]:
    """Keep other simulations out of a directory for as long as the body runs.

    Parameters
    ----------
    out : Path
        The directory; the truth is there.

    Yields
    ------
    None
        The body runs alone.

    Raises
    ------
    TransientError
        If another simulation writes there.
    """
    with hold_existing(out / TRUTH_FILE) as is_held:
        if not is_held:
            raise TransientError(
                f"another simulation writes to {out}",
                reason="simulation_runs",
                remedy="wait until it has ended, or choose another directory",
            )
        yield


def claim_directory(out: Path, night: NightTruth) -> None:
    """Write the truth of a night into its directory, as far as it is not there.

    Parameters
    ----------
    out : Path
        The directory.
    night : NightTruth
        What is to be simulated in it.

    Raises
    ------
    InputError, TransientError
        If it cannot be written.
    """
    try:
        _write_beside(out, night)
    except OSError as error:
        raise name_os_error(error, f"cannot write the truth of the night to {out}") from error


def _write_beside(out: Path, night: NightTruth) -> None:
    """Write what stands beside the files."""
    if not (out / TRUTH_FILE).exists():
        meta = {
            "options": night.options,
            "versions": package_versions(),
            "stations": list(night.stations),
        }
        names = {source.name for source in night.targets}
        # First of all: it marks the directory as this night's, should the run be interrupted.
        write_truth(out / TRUTH_FILE, night.sources, names, night.groups, night.dec_deg, meta)
    _write_catalogue(out / SOURCES_FILE, night.targets)
    if night.calibrators:
        _write_catalogue(out / CALIBRATORS_FILE, night.calibrators)
    if night.gain_errors and not (out / GAINS_FILE).exists():
        write_gains(out / GAINS_FILE, night.gain_errors, night.dead_stations)
    if night.has_rfi and not (out / RFI_FILE).exists():
        truth = RfiTruth(events=night.events, dead_stations=list(night.dead_stations))
        write_rfi(out / RFI_FILE, truth)


def require_space(out: Path, n_files: int, bytes_per_file: int) -> None:
    """Refuse to begin what the disk cannot hold.

    Parameters
    ----------
    out : Path
        The directory of the files.
    n_files : int
        How many are to be written.
    bytes_per_file : int
        Size of each.

    Raises
    ------
    TransientError
        If there is no room for them.
    """
    needed = n_files * bytes_per_file
    free = shutil.disk_usage(out).free
    if free < needed:
        raise TransientError(
            f"{out} has {free / 1e9:.3g} GB free, and {n_files} files need {needed / 1e9:.3g} GB",
            reason="no_space",
            remedy="simulate fewer groups or antennas, or elsewhere",
        )


def _require_same_night(out: Path, night: NightTruth) -> None:
    """Refuse a directory whose night was simulated with other options."""
    stored = read_truth_meta(out / TRUTH_FILE).get("options")
    if stored is None or {**night.option_defaults, **stored} != night.options:
        raise InputError(
            f"{out} holds a night that was simulated with other options",
            reason="other_night",
            remedy="choose another directory, or remove this one yourself",
        )


def _write_catalogue(path: Path, sources: list[Source]) -> None:
    """Write a catalogue unless it is there."""
    if not path.exists():
        with atomic_path(path) as temporary:
            write_sources(sources, temporary)


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
