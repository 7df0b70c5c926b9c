"""Image one spectral window around one source with CASA's tclean."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dsa110_contimg.catalog.sources import Source
from dsa110_contimg.errors import ScienceQualityError
from dsa110_contimg.imaging.models import CleanOptions
from dsa110_contimg.visibilities.models import MsInfo

if TYPE_CHECKING:
    from astropy.io.fits import Header

_CELLS_PER_FRINGE = 5.0
_PADDING = 2
"""The image is made so many times wider than the stamp that is kept: a neighbour just outside
the stamp is CLEANed instead of leaving its side lobes and aliases in it."""
_BORDER_FRACTION = 0.1
"""Part of the image's width, on each side, where CLEAN would take aliases for sources."""
_CYCLE_FACTOR = 0.5
"""CLEANs twice as deep between major cycles as the default: for a source at the phase centre
the PSF is exact over the stamp, so the result is the same, in two thirds of the time."""
_NO_MASK = -1e-6
"""Limit of CASA's primary beam (an Airy disc on the stamp, not this telescope's) below which
nothing is blanked; at -1 there would be no beam at all, and CLEAN would find no noise."""

_SCHEDULING_KEYWORDS = ("MPIPROCS", "CHNCHNKS", "MEMREQ", "MEMAVAIL", "USEWEIGH")
"""How tclean split its work: of no use to a reader."""


@dataclass(frozen=True)
class Stamp:
    """The image of one spectral window around a source, before primary-beam correction.

    Attributes
    ----------
    image, residual : ndarray of float32, shape (ny, nx)
        Restored and residual image in Jy/beam; the source is on pixel ``(ny // 2, nx // 2)``.
    header : astropy.io.fits.Header
        As CASA wrote it, with four axes: RA, Dec, frequency, Stokes.
    beam_major_px : float
        Major axis of the restoring beam (FWHM) in pixels.
    """

    image: npt.NDArray[np.float32]
    residual: npt.NDArray[np.float32]
    header: Header
    beam_major_px: float


def choose_cell_arcsec(options: CleanOptions, longest_baseline_wavelengths: float) -> float:
    """Choose the pixel size of a stamp.

    Parameters
    ----------
    options : CleanOptions
        May name the size.
    longest_baseline_wavelengths : float
        Greatest distance in the uv plane, in wavelengths.

    Returns
    -------
    float
        Pixel size in arcsec: a fifth of the fringe of the longest baseline.
    """
    if options.cell_arcsec is not None:
        return options.cell_arcsec
    return float(np.rad2deg(1.0 / longest_baseline_wavelengths) * 3600.0 / _CELLS_PER_FRINGE)


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
        image_size_px = _PADDING * options.image_size_px
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
        RuntimeError
            As casatasks raises it.
        """
        from casatasks import tclean

        # A name that was used before would make tclean go on from what it finds there.
        folder = self._scratch_dir / f"spw{spw_id:02d}"
        folder.mkdir()
        prefix = folder / "stamp"
        try:
            tclean(**self._parameters, spw=str(spw_id), imagename=str(prefix))
            return _cut(_read_stamp(prefix, self._info), self._stamp_size_px)
        finally:
            shutil.rmtree(folder)


def _clean_region(size_px: int) -> str:
    """Keep CLEAN away from the border, where it would take aliases for sources."""
    width_px = round((1.0 - 2.0 * _BORDER_FRACTION) * size_px)
    return f"centerbox[[{size_px // 2}pix, {size_px // 2}pix], [{width_px}pix, {width_px}pix]]"


def _read_stamp(prefix: Path, info: MsInfo) -> Stamp:
    """Read tclean's products, and check that they are an image."""
    if not np.all(_read_image(prefix, "sumwt") > 0.0):
        raise ScienceQualityError("tclean gave no visibility any weight", reason="no_weight")
    image, residual = _read_image(prefix, "image"), _read_image(prefix, "residual")
    if not (np.isfinite(image).all() and np.isfinite(residual).all()):
        raise ScienceQualityError("tclean's image is not finite", reason="nonfinite_image")
    header = _export_header(prefix, info)
    beam_deg, cell_deg = float(header.get("BMAJ", 0.0)), abs(float(header["CDELT2"]))
    if not beam_deg > 0.0:
        raise ScienceQualityError("tclean found no beam", reason="no_beam")
    return Stamp(image, residual, header, beam_deg / cell_deg)


def _cut(stamp: Stamp, size_px: int) -> Stamp:
    """Keep the centre of an image."""
    first = stamp.image.shape[0] // 2 - size_px // 2
    kept = slice(first, first + size_px)
    header = stamp.header.copy()
    header["CRPIX1"] -= first
    header["CRPIX2"] -= first
    return replace(
        stamp, image=stamp.image[kept, kept], residual=stamp.residual[kept, kept], header=header
    )


def _read_image(prefix: Path, kind: str) -> npt.NDArray[np.float32]:
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
    header.update(_observation_cards(info))
    return header


def _observation_cards(info: MsInfo) -> dict[str, float | str]:
    """State start and place of the observation.

    CASA's table of observatories gives OVRO_MMA's height as its distance from the geocentre.
    """
    from astropy.time import Time

    return {
        "DATE-OBS": Time(info.start_mjd, format="mjd", scale="utc").isot,
        "MJD-OBS": info.start_mjd,
        **{f"OBSGEO-{axis}": v for axis, v in zip("XYZ", info.telescope_itrf_m, strict=True)},
    }
