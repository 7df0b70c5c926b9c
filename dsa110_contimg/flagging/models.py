"""What flagging takes, and what it says of an MS."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field

from dsa110_contimg.models import Model
from dsa110_contimg.provenance import Provenance
from dsa110_contimg.settings import get_settings
from dsa110_contimg.storage.ms_change import ChangeRecord
from dsa110_contimg.storage.ms_work import MsWorkOptions
from dsa110_contimg.visibilities.models import SpwInfo


class Flagger(StrEnum):
    """The program that finds interference."""

    CASA = "casa"
    """tfcrop and rflag of casatasks."""
    AOFLAGGER = "aoflagger"
    """A Debian package."""


class FlagStrategy(Model):
    """What is flagged; the result depends on nothing else."""

    flagger: Flagger = Flagger.CASA
    """The program that finds interference."""
    dead_power_ratio: float = Field(4.0, gt=1.0)
    """An antenna whose power is this factor above or below the array's median is dead."""
    clip_sigma: float = Field(10.0, gt=0.0)
    """Amplitudes this far above the median of their window are clipped, in robust standard
    deviations; a bright source raises the median with it."""
    tfcrop_time_sigma: float = Field(4.0, gt=0.0)
    """tfcrop's threshold along time (``casa``)."""
    tfcrop_freq_sigma: float = Field(4.0, gt=0.0)
    """tfcrop's threshold along frequency (``casa``)."""
    rflag_sigma: float = Field(5.0, gt=0.0)
    """rflag's thresholds in time and frequency (``casa``)."""
    aoflagger_threshold: float = Field(1.2, gt=0.0)
    """Threshold of SumThreshold, in units of AOFlagger's own (``aoflagger``)."""
    aoflagger_rank_level: float = Field(0.2, ge=0.0, lt=1.0)
    """Share of clean samples that is flagged along with bad ones around them (``aoflagger``)."""
    grow_percent: float = Field(75.0, gt=0.0, le=100.0)
    """A channel, or an integration, of a baseline that is flagged in more than this is flagged
    whole."""
    quorum: float = Field(0.2, gt=0.0, le=1.0)
    """A channel of an integration that is flagged on more than this fraction of the baselines is
    flagged on all."""


class FlagOptions(MsWorkOptions):
    """How an MS is flagged."""

    strategy: FlagStrategy = Field(
        default_factory=lambda: FlagStrategy(flagger=Flagger(get_settings().flagger))
    )
    """What is flagged."""
    timeout_s: float = Field(default_factory=lambda: get_settings().flagging_timeout_s, gt=0)
    """Limit for one MS in seconds, not counting the wait for it."""


class DeadAntenna(Model):
    """An antenna that is flagged as a whole."""

    name: str
    """Its name."""
    antenna_id: int | None = None
    """Its id; older records have none."""
    reason: str
    """Why, with the figures."""


class BaselineBin(Model):
    """Baselines of about the same length."""

    min_m: float
    """Shortest length in metres."""
    max_m: float
    """Longest."""
    flagged_fraction: float
    """Fraction of their visibilities."""


class FlagSummary(Model):
    """Fractions of the cross-correlations that are flagged, seen from several sides."""

    fraction: float
    """Of all."""
    by_antenna: dict[str, float]
    """Of the baselines of each antenna with data, by name."""
    by_baseline: list[BaselineBin]
    """By length, shortest first, as many baselines in each."""
    by_window: list[float]
    """Of each spectral window, in order of id."""
    by_channel: list[list[float]]
    """Of each channel of each window."""


class FlagRecord(ChangeRecord):
    """What was flagged in an MS: the record beside it."""

    group_id: str
    """The MS's name without suffix."""
    ms_path: str
    """The MS."""
    strategy: FlagStrategy
    """What was flagged."""
    spws: list[SpwInfo] = Field(default_factory=list)
    """Its spectral windows, in order of id."""
    dead: list[DeadAntenna]
    """Antennas flagged as a whole."""
    before: FlagSummary
    """As converted."""
    after: FlagSummary
    """As flagged."""
    plot: str | None = None
    """Its picture: an absolute path, or a name beside the MS."""
    stage_seconds: dict[str, float]
    """Wall time per step."""
    seconds: float = 0.0
    """Wall time in all."""
    skipped: bool = False
    """Whether it had been done before."""
    provenance: Provenance
    """Versions, options and inputs."""
