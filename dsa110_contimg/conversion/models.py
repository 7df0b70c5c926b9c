"""What the conversion stage takes and returns."""

from __future__ import annotations

from enum import StrEnum
from typing import Literal

from pydantic import Field

from dsa110_contimg.instrument import MIN_SUBBANDS_SEMI_COMPLETE, N_SUBBANDS
from dsa110_contimg.models import Model
from dsa110_contimg.provenance import Provenance

HeaderContradictions = Literal["refuse", "warn"]
"""What a conversion does with headers that contradict themselves."""


class GroupState(StrEnum):
    """How complete a group is."""

    COMPLETE = "complete"
    SEMI_COMPLETE = "semi-complete"
    INCOMPLETE = "incomplete"

    @classmethod
    def of(cls, n_present: int) -> GroupState:
        """Judge a group by the number of its usable subbands.

        Parameters
        ----------
        n_present : int
            Distinct subbands with a usable file.

        Returns
        -------
        GroupState
            complete at 16, semi-complete from 12, else incomplete.
        """
        if n_present >= N_SUBBANDS:
            return cls.COMPLETE
        if n_present >= MIN_SUBBANDS_SEMI_COMPLETE:
            return cls.SEMI_COMPLETE
        return cls.INCOMPLETE


class RejectedFile(Model):
    """A file that belongs to no group."""

    file: str
    """Absolute path."""
    reason: str
    """Why, in a sentence."""
    unusable: bool = False
    """Whether it is raw data that cannot be used; not so what is still being written, a second
    copy, or a file of another kind."""


class SubbandGroup(Model):
    """The subband files of one observation."""

    group_id: str
    """Start of the observation, UTC ``YYYY-MM-DDTHH:MM:SS``: the name of its MS."""
    state: GroupState
    """complete (16 subbands), semi-complete (12-15) or incomplete."""
    present: list[str]
    """Subbands with a usable file, ``sb00`` .. ``sb15``, ascending."""
    missing: list[str]
    """Subbands without one."""
    files: list[str]
    """Absolute paths, in the order of `present`."""
    problems: list[str]
    """What is wrong, a sentence each."""
    unusable: list[RejectedFile] = Field(default_factory=list)
    """Files that were meant for it and cannot be used, in order of subband."""


class GroupListing(Model):
    """Every file of a directory: in exactly one group, or rejected with a reason."""

    groups: list[SubbandGroup]
    """In order of time."""
    rejects: list[RejectedFile]
    """In order of name."""


class ConversionState(StrEnum):
    """What became of a group."""

    CONVERTED = "converted"
    SKIPPED = "skipped"
    FAILED = "failed"
    REJECTED = "rejected"
    LEFT_OUT = "left-out"


class ConversionResult(Model):
    """What became of one group, for the CLI's JSON, the task's XCom and the night report."""

    group_id: str
    """The group."""
    state: ConversionState
    """converted; skipped (its MS is there and checks out); failed; rejected (incomplete);
    left-out (the run did not ask for it)."""
    ms_path: str | None = None
    """Absolute path of the MS, where there is one."""
    reason: str | None = None
    """Why it was skipped, failed, rejected or left out; or, of a converted group, why its MS was
    made anew, and what it lacks."""
    unusable: list[RejectedFile] = Field(default_factory=list)
    """Files that were meant for the group and cannot be used, each with the reason."""
    is_retried: bool = False
    """Whether the surroundings failed, so that Airflow may try again."""
    seconds: float = 0.0
    """Wall time."""
    warnings: list[str] = Field(default_factory=list)
    """What went wrong without harm to the MS, e.g. a sandbox that could not be removed."""
    cleanup_failures: list[str] = Field(default_factory=list)
    """Those of the warnings that say what could not be removed."""


class SpectralWindow(Model):
    """One window of a published MS."""

    spw_id: int
    """0 is the lowest frequency."""
    subband: str
    """The subband that it came from."""
    min_freq_hz: float
    """Lowest channel centre in Hz."""
    max_freq_hz: float
    """Highest channel centre in Hz."""
    flagged_fraction: float
    """Fraction of visibilities that are flagged."""
    nonfinite: int
    """Visibilities that were not finite, flagged and set to zero."""


class Manifest(Model):
    """The last file written: an MS is complete if, and only if, its manifest checks out."""

    group_id: str
    """The group."""
    state: GroupState
    """complete or semi-complete."""
    missing: list[str]
    """Subbands that the MS lacks."""
    spectral_windows: list[SpectralWindow]
    """In order of id."""
    phase_center_ra_deg: float
    """Right ascension of the one field (ICRS) in degrees."""
    phase_center_dec_deg: float
    """Declination of the one field (ICRS) in degrees."""
    start_utc: str
    """Start of the first integration, ISO 8601."""
    duration_s: float
    """Length of the observation in seconds."""
    files: dict[str, int]
    """Path inside the MS to size in bytes of each data file."""
    stage_seconds: dict[str, float]
    """Wall time per stage of the conversion."""
    warnings: list[str] = Field(default_factory=list)
    """What the headers say twice, and not alike."""
    provenance: Provenance
    """Versions, options and inputs."""
