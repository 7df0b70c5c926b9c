"""What photometry takes, and what it and imaging return for one source in one MS."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field, model_validator

from dsa110_contimg.catalog.sources import Source
from dsa110_contimg.models import Model
from dsa110_contimg.provenance import InputFile, Provenance


class Photometry(StrEnum):
    """How flux densities are measured."""

    UVFIT = "uvfit"
    IMAGE = "image"


class BinningOptions(Model):
    """How spectral windows are binned to find a source."""

    target_snr: float = Field(5.0, gt=0.0, allow_inf_nan=False)
    """A bin at or above this ratio of flux density to error is a detection."""
    min_width: int = Field(1, ge=1)
    """Smallest number of windows in a bin."""
    max_width: int = Field(16, ge=1)
    """Largest number of windows in a bin."""
    bridge_gaps: bool = False
    """Let a bin reach across windows that are missing or were not measured."""

    @model_validator(mode="after")
    def _widths_are_ordered(self) -> BinningOptions:
        """Refuse a range of widths that is empty."""
        if self.min_width > self.max_width:
            raise ValueError(f"min_width {self.min_width} exceeds max_width {self.max_width}")
        return self


class SpwMeasurement(Model):
    """A source in one spectral window."""

    spw_id: int
    """Spectral window of the MS."""
    freq_hz: float
    """Centre frequency in Hz."""
    bandwidth_hz: float
    """Width in Hz."""
    flux_jy: float
    """Flux density in Jy, corrected for the primary beam."""
    rms_jy: float
    """Its error in Jy, corrected likewise."""
    snr: float
    """Ratio of the two."""
    flagged_fraction: float
    """Fraction of the window's cross-correlations that are flagged or not finite."""
    error_inflation: float | None = None
    """How many times larger the error is for the neighbours that had to be told apart; None
    where none were."""
    reduced_chi2: float | None = None
    """Squared residuals of the joint fit over what noise alone leaves; above 1, the model of
    the field lacks something."""


class Blend(Model):
    """A neighbour so close that the two flux densities depend on each other."""

    name: str
    """Name of the neighbour."""
    separation_arcsec: float
    """Its distance."""
    correlation: float
    """Of the two flux densities, the strongest of all windows; towards -1, only the sum is
    known."""
    n_summed: int = 2
    """How many flux densities the sum holds: these two, or the whole group if more cannot be
    told apart."""
    sum_flux_jy: float
    """Flux density of them together in Jy, the inverse-variance mean of the windows."""
    sum_rms_jy: float
    """Its error in Jy."""


class FittedSource(Model):
    """A source of the field and what the joint fit gave for it."""

    source: Source
    """The source."""
    flux_jy: dict[int, float]
    """Spectral window to flux density in Jy, corrected for the primary beam."""
    inflation: dict[int, float]
    """Spectral window to how many times larger the error is for the neighbours."""
    blends: list[Blend]
    """Neighbours that it was hard to tell from."""


class FieldFit(Model):
    """Every source of a field, fitted together: what imaging subtracts around a target."""

    ms_path: str
    """Absolute path of the MS."""
    sources: list[FittedSource]
    """Targets and the field's other known sources."""
    ms_file: InputFile | None = None
    """The state of the MS that was fitted; None: not known."""


class PowerLaw(Model):
    """A power law through the flux densities of all windows."""

    flux_jy: float
    """Flux density at `ref_freq_hz` in Jy."""
    flux_rms_jy: float
    """Its error in Jy."""
    ref_freq_hz: float
    """Mean frequency of the windows in Hz."""
    spectral_index: float
    """alpha in S proportional to frequency ** alpha."""
    spectral_index_rms: float
    """Its error."""
    reduced_chi2: float
    """Of the fit; well above 1, the spectrum is not a power law."""


class SpwFailure(Model):
    """A spectral window that gave no measurement."""

    spw_id: int
    """Spectral window of the MS."""
    reason: str
    """Why, in a sentence."""
    retryable: bool = False
    """True if it may succeed when it is run again; False if the data are to blame."""


class Detection(Model):
    """A run of adjacent spectral windows that together reach the target SNR."""

    spw_ids: list[int]
    """The windows, ascending."""
    bin_width: int
    """Their number."""
    center_freq_hz: float
    """Mean of their centre frequencies in Hz."""
    flux_jy: float
    """Inverse-variance mean flux density in Jy."""
    rms_jy: float
    """Error of that mean in Jy."""
    snr: float
    """Ratio of the two."""
    false_alarm_probability: float
    """Probability that noise alone reaches this SNR anywhere in the search of this source."""


class SourceResult(Model):
    """One source in one MS: what was measured, what was found, what failed."""

    name: str
    """Name of the source."""
    ra_deg: float
    """Right ascension (ICRS) in degrees."""
    dec_deg: float
    """Declination (ICRS) in degrees."""
    success: bool
    """True if every requested window was measured."""
    error: str | None = None
    """Why not, in a sentence."""
    n_spws: int
    """Number of windows asked for."""
    spws: list[SpwMeasurement]
    """The measurements, in order of `spw_id`."""
    failed_spws: list[SpwFailure] = Field(default_factory=list)
    """The windows without one."""
    detections: list[Detection]
    """In order of frequency."""
    power_law: PowerLaw | None = None
    """Fit to the windows; None where they tell too little."""
    blends: list[Blend] = Field(default_factory=list)
    """Neighbours that the source was hard to tell from."""
    notes: list[str] = Field(default_factory=list)
    """What a reader must know, e.g. the bias of the method."""
    skipped: bool = False
    """True if the products were there already, made from the same inputs and options."""
    ms_path: str
    """Absolute path of the MS."""
    products_dir: str | None = None
    """Directory of this source's images, plots and tables."""
    products: list[str] = Field(default_factory=list)
    """Names of the files in it, but for ``result.json``, which holds this record."""
    seconds: float = 0.0
    """Wall time."""
    stage_seconds: dict[str, float] = Field(default_factory=dict)
    """Step to its wall time."""
    provenance: Provenance
    """Versions, options and inputs."""
