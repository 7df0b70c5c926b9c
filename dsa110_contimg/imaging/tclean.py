"""Image one spectral window around one source with CASA's tclean."""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from dsa110_contimg.catalog.sources import Source
from dsa110_contimg.errors import ScienceQualityError, TransientError
from dsa110_contimg.imaging.models import CleanOptions
from dsa110_contimg.imaging.stamp import (
    BORDER_FRACTION,
    PADDING,
    FloatImage,
    Stamp,
    make_stamp,
    observation_cards,
)
from dsa110_contimg.visibilities.models import MsInfo

if TYPE_CHECKING:
    from astropy.io.fits import Header

_CYCLE_FACTOR = 0.5
"""CLEANs twice as deep between major cycles as the default: for a source at the phase centre
the PSF is exact over the stamp, so the result is the same, in two thirds of the time."""
_NO_MASK = -1e-6
"""Limit of CASA's primary beam (an Airy disc on the stamp, not this telescope's) below which
nothing is blanked; at -1 there would be no beam at all, and CLEAN would find no noise."""

_SCHEDULING_KEYWORDS = ("MPIPROCS", "CHNCHNKS", "MEMREQ", "MEMAVAIL", "USEWEIGH")
"""How tclean split its work: of no use to a reader."""


class TcleanImager:
    """Images windows of one MS around one source.

    Parameters
    ----------
    ms_path : Path
        The MS; it is only read.
    data_column : str
        ``"DATA"`` or ``"CORRECTED_DATA"``; it must exist, for tclean would take another one
        without a word.
    source : Source
        Centre of the stamps.
    info : MsInfo
        The MS, for its frame and the place of the telescope.
    cell_arcsec : float
        Pixel size.
    options : CleanOptions
        How to image and deconvolve.
    scratch_dir : Path
        Directory for CASA's images.
    """

    def __init__(
        self,
        ms_path: Path,
        *,
        data_column: str,
        source: Source,
        info: MsInfo,
        cell_arcsec: float,
        options: CleanOptions,
        scratch_dir: Path,
    ):
        image_size_px = PADDING * options.image_size_px
        self._stamp_size_px = options.image_size_px
        self._info = info
        self._scratch_dir = scratch_dir
        self._parameters: dict[str, Any] = {
            "vis": str(ms_path),
            "datacolumn": "corrected" if data_column == "CORRECTED_DATA" else "data",
            "specmode": "mfs",
            "gridder": "standard",
            "deconvolver": "hogbom",
            "imsize": image_size_px,
            "cell": f"{cell_arcsec:.9f}arcsec",
            "phasecenter": f"{info.frame} {source.ra_deg:.12f}deg {source.dec_deg:.12f}deg",
            "stokes": "I",
            "weighting": options.weighting.value,
            "robust": options.robust,
            "niter": options.max_iterations,
            "nsigma": options.stop_sigma,
            "cyclefactor": _CYCLE_FACTOR,
            "mask": _clean_region(image_size_px),
            "pblimit": _NO_MASK,
            "interactive": False,
            "savemodel": "none",
        }

    def image(self, spw_id: int) -> Stamp:
        """Image one window.

        Parameters
        ----------
        spw_id : int
            The window.

        Returns
        -------
        Stamp
            The image.

        Raises
        ------
        ScienceQualityError
            If tclean returned without an error, but not with an image.
        TransientError
            If it failed.
        """
        from casatasks import tclean

        # A name that was used before would make tclean go on from what it finds there.
        folder = self._scratch_dir / f"spw{spw_id:02d}"
        folder.mkdir()
        prefix = folder / "stamp"
        try:
            tclean(**self._parameters, spw=str(spw_id), imagename=str(prefix))
            image, residual, header = _read_products(prefix, self._info)
        except (RuntimeError, OSError, ValueError) as error:  # as casatasks raises them
            raise TransientError(f"tclean failed: {error}", reason="tclean_failed") from error
        finally:
            shutil.rmtree(folder)
        return make_stamp(image, residual, header, size_px=self._stamp_size_px, program="tclean")


def _clean_region(size_px: int) -> str:
    """Keep CLEAN away from the border, where it would take aliases for sources."""
    width_px = round((1.0 - 2.0 * BORDER_FRACTION) * size_px)
    return f"centerbox[[{size_px // 2}pix, {size_px // 2}pix], [{width_px}pix, {width_px}pix]]"


def _read_products(prefix: Path, info: MsInfo) -> tuple[FloatImage, FloatImage, Header]:
    """Read tclean's image, residual and coordinates; check that data went into them."""
    if not np.all(_read_image(prefix, "sumwt") > 0.0):
        raise ScienceQualityError("tclean gave no visibility any weight", reason="no_weight")
    image, residual = _read_image(prefix, "image"), _read_image(prefix, "residual")
    return image, residual, _export_header(prefix, info)


def _read_image(prefix: Path, kind: str) -> FloatImage:
    """Read one plane of a CASA image as ``[y, x]``."""
    from casatools import image

    path = Path(f"{prefix}.{kind}")
    if not path.is_dir():
        raise ScienceQualityError(f"tclean made no {kind} image", reason="no_image")
    opened = image()
    try:
        opened.open(str(path))
        return np.asarray(opened.getchunk()[:, :, 0, 0].T, dtype=np.float32)
    finally:
        opened.done()


def _export_header(prefix: Path, info: MsInfo) -> Header:
    """Let CASA write the coordinates of its image, and mend what it says of the telescope."""
    from astropy.io import fits
    from casatasks import exportfits

    path = prefix.with_suffix(".fits")
    exportfits(imagename=f"{prefix}.image", fitsimage=str(path), history=False)
    with fits.open(path) as hdus:
        header: Header = hdus[0].header.copy()
    for keyword in _SCHEDULING_KEYWORDS:
        header.remove(keyword, ignore_missing=True)
    header.update(observation_cards(info))
    return header
