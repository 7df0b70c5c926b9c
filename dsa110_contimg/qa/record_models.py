"""What tasks put on record of a night."""

from __future__ import annotations

from datetime import datetime

from pydantic import Field

from dsa110_contimg.calibration.calibrator_plan import CalibratorPlan
from dsa110_contimg.calibration.models import CalibrationRecord, SolveOutcome
from dsa110_contimg.conversion.models import ConversionResult, GroupListing
from dsa110_contimg.flagging.models import FlagRecord
from dsa110_contimg.models import Model
from dsa110_contimg.photometry.models import SourceResult


class MsFailure(Model):
    """An MS that could not be flagged, calibrated or imaged at all."""

    group_id: str
    """The group that the MS was made from."""
    reason: str
    """Why, in a sentence."""
    is_retried: bool = False
    """Whether the surroundings failed, so that Airflow may try again."""


class StageFailure(Model):
    """A stage of the night that failed as a whole, e.g. discovery in an unreadable directory."""

    stage: str
    """The stage, fit for a file name."""
    reason: str
    """Why, in a sentence."""
    remedy: str | None = None
    """What the operator can do about it."""


class Looked(Model):
    """Where the groups of a night were last looked for."""

    start: datetime
    """Start of the interval, UTC."""
    end: datetime
    """First moment that is not in it any more."""


class Arrival(Model):
    """Whether the files of an interval had arrived when a run closed it."""

    start: datetime
    """Start of the interval, UTC."""
    is_settled: bool
    """Whether none of them had changed for a while."""
    sentence: str
    """How it was known, or what the run did not wait for."""


class StageSeconds(Model):
    """How long a stage of the night took as a whole."""

    stage: str
    """The stage, fit for a file name."""
    seconds: float
    """Wall time."""


class ImagingPlan(Model):
    """The sources that are to be imaged in an MS: whoever is missing at the end was lost."""

    group_id: str
    """The group that the MS was made from."""
    source_names: list[str]
    """Names of the sources; empty if none lies in the field."""


class UnreadableRecord(Model):
    """A record that is damaged."""

    file: str
    """Absolute path."""
    reason: str
    """What is wrong with it."""


class NightRecord(Model):
    """All that is on record for one night."""

    date: str
    """UTC date, ``YYYY-MM-DD``."""
    listing: GroupListing | None = None
    """What was found in the input directory; None if nobody looked."""
    arrivals: list[Arrival] = Field(default_factory=list)
    """How the intervals of the night were closed, in order of time; none if nobody waited."""
    conversions: list[ConversionResult] = Field(default_factory=list)
    """In order of group."""
    calibrators: CalibratorPlan | None = None
    """The calibrators that transit in the night; None if nobody looked."""
    flaggings: list[FlagRecord] = Field(default_factory=list)
    """What was flagged, in order of group."""
    solves: list[SolveOutcome] = Field(default_factory=list)
    """What became of the solves, in order of group."""
    calibrations: list[CalibrationRecord] = Field(default_factory=list)
    """What was applied, in order of group."""
    plans: list[ImagingPlan] = Field(default_factory=list)
    """The sources to be imaged, in order of group."""
    sources: dict[str, list[SourceResult]] = Field(default_factory=dict)
    """Group to the sources imaged in its MS, in order of name."""
    ms_failures: list[MsFailure] = Field(default_factory=list)
    """MSs that could not be imaged at all."""
    stage_failures: list[StageFailure] = Field(default_factory=list)
    """Stages that failed as a whole."""
    stage_seconds: list[StageSeconds] = Field(default_factory=list)
    """Wall time of the stages that were timed as a whole."""
    unreadable: list[UnreadableRecord] = Field(default_factory=list)
    """Records that are damaged."""
    by_hand: dict[str, NightRecord] = Field(default_factory=dict)
    """Run to the results that were asked for by hand: they are none of the night's."""
