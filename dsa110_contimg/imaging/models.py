"""What the imaging stage takes."""

from __future__ import annotations

from enum import StrEnum

from pydantic import Field, model_validator

from dsa110_contimg.calibration.snapshot import CalibrationDemand, MsSnapshot, take_snapshot
from dsa110_contimg.catalog.sources import Source
from dsa110_contimg.models import AbsolutePath, Model
from dsa110_contimg.photometry.models import BinningOptions
from dsa110_contimg.settings import get_settings
from dsa110_contimg.storage.ms_work import MsWorkOptions
from dsa110_contimg.visibilities.models import Averaging


class Backend(StrEnum):
    """The program that makes the images."""

    TCLEAN = "tclean"
    WSCLEAN = "wsclean"
    DUCC0 = "ducc0"


class Weighting(StrEnum):
    """How visibilities are weighted."""

    NATURAL = "natural"
    BRIGGS = "briggs"
    UNIFORM = "uniform"


class CleanOptions(Model):
    """How a window is imaged and deconvolved."""

    image_size_px: int = Field(256, ge=64, le=2048, multiple_of=2)
    """Width and height of the stamp in pixels; it is cut from an image twice as wide."""
    cell_arcsec: float | None = Field(None, gt=0.0)
    """Pixel size in arcsec; None: a fifth of the finest fringe in the MS."""
    weighting: Weighting = Weighting.BRIGGS
    """Briggs at robust 0.5 has a quarter of natural's far side lobes (rms 0.6 against 2.2 per
    cent of a source) for 17 per cent more noise, and the field's other sources are the larger
    error."""
    robust: float = Field(0.5, ge=-2.0, le=2.0)
    """Robustness of Briggs weighting."""
    max_iterations: int = Field(200, ge=0)
    """Limit on CLEAN components per window; 0 leaves the image dirty."""
    stop_sigma: float = Field(5.0, gt=0.0)
    """CLEAN stops at this multiple of the residual's robust noise; well above it, lest noise be
    cleaned away and the measured rms be too small."""


class ImagingOptions(MsWorkOptions):
    """How sources in one MS are imaged and measured."""

    products_dir: AbsolutePath
    """Directory that gets one directory per source."""
    backend: Backend = Backend.TCLEAN
    """The program that makes the images."""
    field_fit: AbsolutePath | None = None
    """A `photometry.models.FieldFit` as JSON: its sources, but for the one that is imaged, are
    subtracted from the private copy first; None: they stay, with their side lobes. It says, too,
    which sources cannot be told apart."""
    binning: BinningOptions = BinningOptions()
    """Search for runs of windows that reach the target SNR."""
    clean: CleanOptions = CleanOptions()
    """Imaging and deconvolution of one window."""
    private_copy: Averaging | None = Averaging()
    """Image a copy that is rotated to the source and averaged; None: image the MS itself, at
    about seven times the cost."""
    spws: tuple[int, ...] | None = None
    """Ids of the windows to image; None: all."""
    max_spws: int | None = Field(None, ge=1)
    """Image only the first so many of them."""
    serialize_ms_access: bool = True
    """Hold the MS's lock while the MS is open."""
    calibration: CalibrationDemand = CalibrationDemand.STATED
    """What must show that the data are calibrated."""
    timeout_s: float = Field(default_factory=lambda: get_settings().imaging_timeout_s, gt=0)
    """Limit for one source, in seconds, not counting the wait for the MS."""

    @model_validator(mode="after")
    def _spws_make_sense(self) -> ImagingOptions:
        """Refuse an empty or repeating selection."""
        if self.spws is not None and (not self.spws or len(set(self.spws)) < len(self.spws)):
            raise ValueError("spws must name at least one window, and none twice")
        return self

    def take_snapshot(self, doing: str) -> MsSnapshot:
        """Wait for the MS, read what it holds, and refuse what is not to be measured.

        Parameters
        ----------
        doing : str
            What for, unless the options say it.

        Returns
        -------
        MsSnapshot
            What the MS holds.

        Raises
        ------
        InputError
            If the MS cannot be read, was left in the middle of a change, or is not calibrated.
        TransientError
            If it is held for too long, or its calibration is not on record any more.
        """
        snapshot = take_snapshot(
            self.ms_path,
            self.purpose or doing,
            timeout_s=self.lock_timeout_s,
            access_log=self.access_log,
            locked=self.serialize_ms_access,
        )
        snapshot.require_measurable(self.calibration)
        return snapshot


class ImageSourceOptions(ImagingOptions):
    """One source in one MS."""

    source: Source
    """What to image."""


class ImageSourcesOptions(ImagingOptions):
    """Several sources in one MS."""

    sources: list[Source] = Field(min_length=1)
    """What to image, each under a name of its own."""
    max_workers: int = Field(1, ge=1)
    """Sources worked on at once."""

    @model_validator(mode="after")
    def _names_are_unique(self) -> ImageSourcesOptions:
        """Refuse two sources of one name, for products are filed by name."""
        names = [source.name for source in self.sources]
        if len(set(names)) < len(names):
            raise ValueError("the sources must have different names")
        return self
