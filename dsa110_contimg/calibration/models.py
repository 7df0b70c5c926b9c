"""A set of solutions, what it may be applied to, and what was chosen for a Measurement Set."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from pydantic import Field

from dsa110_contimg.models import Model
from dsa110_contimg.provenance import Provenance
from dsa110_contimg.storage.ms_change import ChangeRecord

FREQ_TOLERANCE_HZ: Final = 1e3
"""Two windows with centres and widths this close are the same; a channel is 244 kHz wide."""

CALIBRATOR_ALONE: Final = "the model is the calibrator alone"
"""So begins the note of a set that was solved without the field's other sources."""


class TableKind(StrEnum):
    """What a calibration table corrects, in the order in which it is solved."""

    DELAY = "delay"
    BANDPASS = "bandpass"
    GAIN = "gain"


class WindowKey(Model):
    """A spectral window, whatever its number in one MS or another."""

    freq_hz: float
    """Mean of the channel centres in Hz."""
    bandwidth_hz: float
    """Total width in Hz."""
    n_channels: int
    """Number of channels."""

    def matches(self, other: WindowKey) -> bool:
        """Whether two windows are the same.

        Parameters
        ----------
        other : WindowKey
            Another window.

        Returns
        -------
        bool
            True if channels agree in number, and centre and width within `FREQ_TOLERANCE_HZ`.
        """
        return (
            self.n_channels == other.n_channels
            and abs(self.freq_hz - other.freq_hz) <= FREQ_TOLERANCE_HZ
            and abs(self.bandwidth_hz - other.bandwidth_hz) <= FREQ_TOLERANCE_HZ
        )


class TableQuality(Model):
    """How good the solutions of one table are."""

    unflagged_fraction: float
    """Solutions that are there, of those that the data called for."""
    median_snr: float
    """Median signal-to-noise ratio of the solutions; NaN for delays, of which CASA gives none."""
    phase_scatter_deg: float
    """Robust scatter of the phase about a smooth course, in degrees."""
    amplitude_scatter: float
    """The same of the amplitude, as a fraction of it."""
    phase_drift_deg: float | None = None
    """Median over the antennas of how far the phase runs during the observation, in degrees;
    None for what is solved once."""
    antennas_without: list[str] = Field(default_factory=list)
    """Antennas without any solution, by name."""


class CalTable(Model):
    """One calibration table of a set."""

    kind: TableKind
    """What it corrects."""
    name: str
    """Its directory below that of the set."""
    files: dict[str, str]
    """File below it to its SHA-256, without the lock file."""
    quality: TableQuality
    """How good it is."""
    plot: str | None = None
    """Its picture below the directory of the set."""


class SolutionSet(Model):
    """Solutions of one calibrator transit, which are applied together."""

    set_id: str
    """``GROUP_CALIBRATOR``; the name of its directory."""
    calibrator: str
    """Name of the calibrator."""
    calibrator_flux_jy: float
    """Its flux density at the middle of the band in Jy, before the primary beam."""
    group_id: str
    """The group that it was solved on."""
    ms_path: str
    """The MS of that group."""
    mid_mjd: float
    """Middle of the observation, MJD (UTC)."""
    duration_s: float
    """Its length in seconds."""
    dec_deg: float
    """Declination of its phase centre (ICRS) in degrees."""
    array: list[str]
    """Names of all stations, in the order of the ids that the tables use."""
    antennas: list[str]
    """Names of the antennas with solutions."""
    windows: list[WindowKey]
    """In the order of the ids that the tables use."""
    refant: str
    """Reference antenna, by name."""
    directory: str
    """Absolute path of the published set."""
    tables: list[CalTable]
    """In the order in which they were solved."""
    notes: list[str] = Field(default_factory=list)
    """What its reader should know, a sentence each."""
    provenance: Provenance
    """What made it."""


class CalibrationNeed(Model):
    """What a set must match to be applied to an MS."""

    ms_path: str
    """The MS."""
    mid_mjd: float
    """Middle of the observation, MJD (UTC)."""
    dec_deg: float
    """Declination of the phase centre (ICRS) in degrees."""
    array: list[str]
    """Names of all stations, in the order of their ids."""
    antennas: list[str]
    """Names of the antennas with data that are not flagged as a whole."""
    windows: list[WindowKey]
    """In the order of their ids."""


class ValidityRules(Model):
    """How far a set may be borrowed."""

    max_hours: float = Field(30.0, gt=0.0)
    """Largest distance in time between a set and the MS it is applied to."""
    max_dec_deg: float = Field(0.5, gt=0.0)
    """Largest difference of the declinations: delays and beams are those of one pointing."""
    min_antenna_fraction: float = Field(0.9, gt=0.0, le=1.0)
    """Least fraction of the MS's antennas with solutions; the others are flagged."""
    interpolate: bool = True
    """Whether to interpolate in time between the set before and the one after."""
    own_hours: float = Field(0.04, ge=0.0)
    """A set this near in time is not counted as borrowed: it is of the same group."""


class Refusal(Model):
    """A set that may not be applied to an MS."""

    set_id: str
    """The set."""
    reason: str
    """A slug: ``too_old``, ``declination``, ``antennas``, ``array``, ``windows``,
    ``withdrawn``, ``refused``, ``missing_table``, ``corrupt_table``, ``half_flagged``,
    ``corrupt_record``."""
    sentence: str
    """What is wrong, with the figures."""


class Choice(Model):
    """The sets that are applied to an MS."""

    sets: list[SolutionSet] = Field(min_length=1, max_length=2)
    """One, or the one before and the one after the MS, in order of time."""
    hours: list[float]
    """Distance in time of each from the MS, positive if it is later."""
    borrowed: bool
    """Whether none of them is of the MS's own group."""
    refused: list[Refusal] = Field(default_factory=list)
    """Sets that are nearer in time and were passed over."""

    @property
    def sentence(self) -> str:
        """The choice in words, for records and products."""
        parts = [
            f"{chosen.set_id} ({abs(hours):.1f} h {'later' if hours > 0 else 'earlier'})"
            for chosen, hours in zip(self.sets, self.hours, strict=True)
        ]
        if not self.borrowed:
            return f"solved on this very group: {self.sets[0].set_id}"
        how = "borrowed, interpolated between" if len(parts) > 1 else "borrowed from"
        return f"{how} {' and '.join(parts)}"


class AppliedSet(Model):
    """A set that was applied, as products remember it."""

    set_id: str
    """The set."""
    calibrator: str
    """What it was solved on."""
    hours: float
    """Its distance in time from the MS, positive if it is later."""
    directory: str
    """Where it stands."""
    tables: dict[str, dict[str, str]]
    """Table to its files and their SHA-256."""


class CalibrationRecord(ChangeRecord):
    """What was applied to an MS: the record beside it."""

    group_id: str
    """The MS's name without suffix."""
    ms_path: str
    """The MS."""
    applied: list[AppliedSet]
    """One set, or the two that were interpolated."""
    borrowed: bool
    """Whether none of them is of the MS's own group."""
    sentence: str
    """The choice in words."""
    refused: list[Refusal]
    """Nearer sets that were passed over."""
    flagged_before: float
    """Fraction of the cross-correlations that was flagged."""
    flagged_after: float
    """The same with those that have no solutions."""
    flagged_by_window: list[float] = Field(default_factory=list)
    """The same of each spectral window, in order of id; empty in older records."""
    worst_error: float
    """Largest relative departure of a sampled visibility from one corrected by hand."""
    stage_seconds: dict[str, float]
    """Wall time per step."""
    seconds: float = 0.0
    """Wall time in all."""
    skipped: bool = False
    """Whether the same had been applied before."""
    notes: list[str] = Field(default_factory=list)
    """What the reader should know."""
    provenance: Provenance
    """Versions, options and inputs."""


class SolveState(StrEnum):
    """What became of the solve on a group."""

    SOLVED = "solved"
    REFUSED = "refused"
    """The solutions were poor."""
    FAILED = "failed"
    """There are no solutions."""


class SolveOutcome(Model):
    """What became of the solve on a group."""

    group_id: str
    """The group."""
    calibrator: str
    """Name of the calibrator."""
    state: SolveState
    """solved, refused or failed."""
    solutions: SolutionSet | None = None
    """The solutions; poor ones as they are kept for inspection, None if there are none."""
    reason: str | None = None
    """Why they are not, in a sentence."""
    seconds: float = 0.0
    """Wall time."""
