"""What the night report says of calibrators, solutions and flags."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from dsa110_contimg.calibration.models import Refusal, SolveState, TableKind, TableQuality
from dsa110_contimg.flagging.models import DeadAntenna
from dsa110_contimg.models import Model


class TransitState(StrEnum):
    """What became of a calibrator's transit."""

    SOLVED = "solved"
    REFUSED = "refused"
    """The solutions were poor."""
    FAILED = "failed"
    """There are no solutions."""
    WAITING = "waiting"
    """No outcome on record: its task has not come so far, or was killed."""
    UNRECORDED = "unrecorded"
    """No group that makes an MS covers it."""
    OUTSHONE = "outshone"
    """A brighter calibrator transits in the same group, which is solved on."""


class TransitReport(Model):
    """A calibrator's transit and what became of it."""

    calibrator: str
    """Name."""
    transit_utc: str
    """Time of the upper culmination, UTC, ISO 8601."""
    offset_deg: float
    """Declination of the calibrator less that of the pointing, in degrees."""
    beam: float
    """Response of the primary beam at transit, at the middle of the band."""
    flux_jy: float
    """Flux density at the middle of the band in Jy."""
    apparent_flux_jy: float
    """The same through the beam."""
    group_id: str | None
    """The group that it falls in."""
    set_id: str | None = None
    """The solutions that came of it, also refused ones."""
    state: TransitState
    """What became of it."""
    reason: str | None = None
    """Why, in a sentence."""


class TableReport(Model):
    """One calibration table of a set."""

    kind: TableKind
    """What it corrects."""
    quality: TableQuality
    """How good it is."""
    plot: str | None
    """Path of its picture relative to the report, where there is one."""


class SetReport(Model):
    """A set of solutions that was made in the night, or applied in it."""

    set_id: str
    """``GROUP_CALIBRATOR``."""
    calibrator: str
    """Name of the calibrator."""
    state: SolveState
    """solved, or refused: kept for inspection only."""
    reason: str | None
    """Why it was refused."""
    is_own: bool
    """Whether the night made it; others were borrowed from other nights."""
    group_id: str | None
    """The group that it was solved on; this and what follows is None, or empty, where the
    description of the set cannot be read."""
    flux_jy: float | None
    """Flux density of the calibrator at the middle of the band in Jy."""
    refant: str | None
    """Reference antenna."""
    n_antennas: int | None
    """Antennas with solutions."""
    n_stations: int | None
    """Stations of the array."""
    n_windows: int | None
    """Spectral windows."""
    tables: list[TableReport]
    """In the order in which they were solved."""
    notes: list[str]
    """What its reader should know."""
    directory: str
    """Absolute path."""
    applied_to: int
    """MSs of the night that it was applied to."""


class MsCalibrationState(StrEnum):
    """How an MS was calibrated."""

    OWN = "own"
    """With solutions of its own group."""
    INTERPOLATED = "interpolated"
    """Between those of two other groups."""
    BORROWED = "borrowed"
    """With those of another group."""
    FAILED = "failed"
    """It could not be flagged or calibrated."""
    MISSING = "missing"
    """Nothing is on record."""


class AppliedReport(Model):
    """A set that was applied to an MS."""

    set_id: str
    """The set."""
    calibrator: str
    """What it was solved on."""
    hours: float
    """Its distance in time from the MS, positive if it is later."""


class MsCalibrationReport(Model):
    """How an MS was flagged and calibrated."""

    group_id: str
    """The group that it was made from."""
    ms_path: str
    """Absolute path."""
    state: MsCalibrationState
    """How it was calibrated."""
    problem: str | None
    """Why it was not."""
    applied: list[AppliedReport]
    """One set, or the two that were interpolated."""
    sentence: str | None
    """The choice in words."""
    refused: list[Refusal]
    """Nearer sets that were passed over."""
    flagged_as_converted: float | None
    """Fraction of the cross-correlations that was flagged when it was converted."""
    flagged_by_flagging: float | None
    """The same after flagging."""
    flagged_by_calibration: float | None
    """The same with those that have no solutions."""
    flagged_by_window: list[float]
    """In the end, of each spectral window in order of id."""
    dead: list[DeadAntenna]
    """Antennas flagged as a whole."""
    flag_plot: str | None
    """Path of the plot of its flags relative to the report, where there is one."""
    worst_error: float | None
    """Largest relative departure of a sampled visibility from one corrected by hand."""
    notes: list[str]
    """What the reader should know."""

    @property
    def flagged(self) -> float | None:
        """Fraction that is flagged in the end."""
        if self.flagged_by_calibration is not None:
            return self.flagged_by_calibration
        return self.flagged_by_flagging


class CalibrationReport(Model):
    """What the night report says of calibrators, solutions and flags."""

    min_apparent_jy: float | None
    """Least apparent flux density of the transits; None if nobody looked for them."""
    transits: list[TransitReport]
    """In order of time."""
    problems: list[str]
    """What keeps transits from being used, a sentence each."""
    sets: list[SetReport]
    """Those of the night in order of group, then the borrowed ones."""
    measurement_sets: list[MsCalibrationReport] = Field(default_factory=list)
    """In order of time."""
