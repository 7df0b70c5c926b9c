"""What the night report says."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

from pydantic import Field

from dsa110_contimg.conversion.models import GroupState, RejectedFile, SpectralWindow
from dsa110_contimg.imaging.field_products import FieldImage
from dsa110_contimg.models import Model
from dsa110_contimg.photometry.models import (
    Blend,
    Detection,
    PowerLaw,
    SpwFailure,
    SpwMeasurement,
)
from dsa110_contimg.provenance import Provenance
from dsa110_contimg.qa.calibration_models import CalibrationReport


class Verdict(StrEnum):
    """What the night came to, from best to worst."""

    COMPLETE = "complete"
    """All that was found was processed."""
    LOSSES = "losses"
    """Nothing failed, but some of the input was rejected, incomplete or lost on the way."""
    PARTIAL = "partial"
    """Something failed; the rest of the night is done."""
    FAILED = "failed"
    """Nothing came of the night."""
    EMPTY = "empty"
    """There was nothing to process."""


class GroupOutcome(StrEnum):
    """What became of a group."""

    CONVERTED = "converted"
    SKIPPED = "skipped"
    """Its MS was there already."""
    FAILED = "failed"
    REJECTED = "rejected"
    """Too few subbands."""
    LEFT_OUT = "left-out"
    """The run did not ask for it."""
    UNFINISHED = "unfinished"
    """No outcome on record: its task is still running, or was killed."""


class MsCondition(StrEnum):
    """What was found of an MS when the report was written."""

    SOUND = "sound"
    GONE = "gone"
    """Neither MS nor manifest: removed since."""
    REMOVED = "removed"
    """Removed by housekeeping, as the settings say; the manifest tells what it was."""
    INCOMPLETE = "incomplete"
    """MS or manifest alone, or a damaged manifest."""


class FlagStage(StrEnum):
    """The last stage that set flags."""

    CONVERSION = "conversion"
    FLAGGING = "flagging"
    CALIBRATION = "calibration"

    @property
    def description(self) -> str:
        """When the flags were counted."""
        return "as converted" if self is FlagStage.CONVERSION else f"after {self.value}"


class FailureKind(StrEnum):
    """What kind of thing failed."""

    NIGHT = "night"
    GROUP = "group"
    CALIBRATOR = "calibrator"
    MS = "MS"
    SOURCE = "source"
    RECORD = "record"


class Failure(Model):
    """One thing that failed."""

    kind: FailureKind
    """What kind of thing."""
    subject: str
    """Its name."""
    group_id: str | None = None
    """The group that it belongs to."""
    code: str | None = None
    """The error's slug, where it has one."""
    reason: str
    """Why: the first line is a sentence, further lines are the end of a log."""
    remedy: str
    """What the operator can do about it."""


class Totals(Model):
    """The night in numbers."""

    groups: int
    """Groups, however they ended."""
    groups_by_outcome: dict[GroupOutcome, int]
    """The same by outcome; every outcome is present."""
    groups_by_completeness: dict[GroupState, int]
    """The groups that discovery listed, by completeness; every state is present."""
    subband_files: int
    """Files in groups."""
    rejected_files: int
    """Files in no group."""
    measurement_sets: int
    """Sound MSs."""
    solution_sets: int = 0
    """Sets of solutions that the night made and that are good."""
    calibrated_sets: int = 0
    """MSs that solutions were applied to."""
    mean_flagged_fraction: float | None = None
    """Mean over the MSs of what is flagged in the end; None if nothing was flagged."""
    source_measurements: int
    """Sources imaged, counted once per MS."""
    sources: int
    """Distinct names among them."""
    sources_failed: int
    """Source measurements that failed or are missing."""
    detections: int
    """Detections at or above the target SNR."""
    sources_detected: int
    """Source measurements with at least one."""
    failures: int
    """Length of the list of failures."""


class GroupReport(Model):
    """A group and what became of it."""

    group_id: str
    """Start of the observation, UTC."""
    completeness: GroupState | None
    """None if discovery did not list it."""
    present: list[str]
    """Subbands with a usable file."""
    missing: list[str]
    """Subbands without one."""
    problems: list[str]
    """What discovery found wrong."""
    outcome: GroupOutcome
    """What became of it."""
    reason: str | None
    """Why."""
    warnings: list[str]
    """What went wrong without harm to the MS."""
    ms_path: str | None
    """Absolute path of the MS, where there is one."""
    seconds: float
    """Wall time of the conversion."""


class MsReport(Model):
    """A Measurement Set, as its manifest describes it."""

    group_id: str
    """The group that it was made from."""
    ms_path: str
    """Absolute path."""
    condition: MsCondition
    """Whether the manifest could be read; if not, the fields from it are empty."""
    problem: str | None = None
    """What is wrong, in a sentence."""
    spectral_windows: list[SpectralWindow] = Field(default_factory=list)
    """In order of id, with the fractions of the flags in force."""
    missing: list[str] = Field(default_factory=list)
    """Subbands that the MS lacks."""
    phase_center_ra_deg: float | None = None
    """Right ascension of the one field (ICRS) in degrees."""
    phase_center_dec_deg: float | None = None
    """Declination of the one field (ICRS) in degrees."""
    start_utc: str | None = None
    """Start of the first integration, ISO 8601."""
    duration_s: float | None = None
    """Length of the observation in seconds."""
    flagged_fraction: float | None = None
    """Fraction that is flagged by the flags in force: of all visibilities as converted, of the
    cross-correlations after flagging and calibration."""
    flag_stage: FlagStage = FlagStage.CONVERSION
    """The stage that set the flags in force, which this and `spectral_windows` count."""
    nonfinite: int | None = None
    """Visibilities that were not finite."""
    size_bytes: int | None = None
    """Size of the data files."""
    stage_seconds: dict[str, float] = Field(default_factory=dict)
    """Wall time per stage of the conversion."""
    sources_planned: int | None = None
    """Sources to be imaged in it; None if there is no plan on record."""
    sources: int = 0
    """Sources with a result."""
    detections: int = 0
    """Their detections."""


class SourceReport(Model):
    """A source in one MS."""

    group_id: str
    """The group that the MS was made from."""
    name: str
    """Name of the source."""
    ra_deg: float
    """Right ascension (ICRS) in degrees."""
    dec_deg: float
    """Declination (ICRS) in degrees."""
    success: bool
    """True if every requested window was measured."""
    error: str | None
    """Why not."""
    n_spws: int
    """Number of windows asked for."""
    spws: list[SpwMeasurement]
    """The measurements, in order of `spw_id`."""
    failed_spws: list[SpwFailure]
    """The windows without one."""
    detections: list[Detection]
    """In order of frequency."""
    best_snr: float | None
    """Highest SNR among the detections."""
    power_law: PowerLaw | None = None
    """Fit to the windows; None where they tell too little."""
    blends: list[Blend] = Field(default_factory=list)
    """Neighbours that the source was hard to tell from."""
    error_inflation: float | None = None
    """How many times larger its errors are for its neighbours, the largest of all windows; None
    where it was not fitted jointly with others."""
    reduced_chi2: float | None = None
    """Of the joint fit, the largest of all windows; None where there was none."""
    notes: list[str]
    """What a reader must know."""
    skipped: bool
    """True if the products were there already."""
    seconds: float
    """Wall time."""
    ms_path: str
    """Absolute path of the MS."""
    products_dir: str | None
    """Absolute path of the directory of products."""
    products: dict[str, str]
    """Kind (stamp, spectrum, detections, result) to path relative to the report, where present."""
    n_images: int
    """FITS images in that directory."""


class FieldReport(Model):
    """The field of one MS, fitted jointly."""

    group_id: str
    """The group that the MS was made from."""
    sources: int
    """Sources measured in it."""
    image: FieldImage | None
    """Noise, beam and brightest residual; None if they are not on record."""
    picture: str | None
    """Path of the picture relative to the report, where there is one."""
    products_dir: str
    """Absolute path of the directory of the field's products."""


class StageTime(Model):
    """Time spent in one stage."""

    stage: str
    """Name."""
    part_of: str | None = None
    """The stage that it is a part of."""
    count: int
    """How often it ran."""
    total_s: float
    """Sum of wall times."""
    mean_s: float
    """Mean wall time."""
    max_s: float
    """Longest wall time."""


class StageProvenance(Model):
    """What made the products of one stage."""

    stage: str
    """Name."""
    products: int
    """How many."""
    first_created: str
    """UTC, ISO 8601."""
    last_created: str
    """UTC, ISO 8601."""
    hosts: list[str]
    """The machines."""
    versions: dict[str, list[str]]
    """Package to the versions in use: more than one means that the night is not uniform."""
    options: dict[str, Any]
    """The options that all products share."""
    varying_options: list[str]
    """Names of those that differ."""


class ByHandReport(Model):
    """The results of a run of `image_ms` by hand."""

    run: str
    """Its name in the records."""
    group_id: str
    """The group that the MS was made from."""
    verdict: Verdict
    """What the run came to."""
    headline: str
    """The same in a sentence."""
    failures: list[Failure]
    """What failed or has no outcome."""
    sources: list[SourceReport]
    """In order of name."""


class NightReport(Model):
    """Everything that the night report says."""

    date: str
    """UTC date, ``YYYY-MM-DD``."""
    verdict: Verdict
    """What the night came to."""
    headline: str
    """The same in a sentence."""
    totals: Totals
    """The night in numbers."""
    failures: list[Failure]
    """Everything that failed, the largest thing first."""
    losses: list[str]
    """What was lost without a failure, a sentence each."""
    groups: list[GroupReport]
    """In order of time."""
    calibration: CalibrationReport | None = None
    """Calibrators, solutions and flags; None where nobody flagged or calibrated."""
    measurement_sets: list[MsReport]
    """In order of time."""
    sources: list[SourceReport]
    """In order of group, then name."""
    fields: list[FieldReport] = Field(default_factory=list)
    """The fields that were fitted and imaged, in order of group."""
    rejected_files: list[RejectedFile]
    """In order of name."""
    stage_times: list[StageTime]
    """Parts follow their whole."""
    stage_provenance: list[StageProvenance]
    """In order of the data flow."""
    provenance: Provenance
    """What made this report."""
    by_hand: list[ByHandReport] = Field(default_factory=list)
    """Results that were asked for by hand; the verdict does not count them."""
