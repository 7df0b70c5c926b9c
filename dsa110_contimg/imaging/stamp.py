"""The image of one spectral window around one source, whichever program makes it."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Protocol

import numpy as np
import numpy.typing as npt

from dsa110_contimg.errors import ScienceQualityError
from dsa110_contimg.imaging.models import CleanOptions
from dsa110_contimg.visibilities.models import MsInfo

if TYPE_CHECKING:
    from astropy.io.fits import Header

FloatImage = npt.NDArray[np.float32]

PADDING = 2
"""An image is made so many times wider than the stamp that is kept: a neighbour just outside
the stamp is CLEANed instead of leaving its side lobes and aliases in it."""
BORDER_FRACTION = 0.1
"""Part of the image's width, on each side, where CLEAN would take aliases for sources."""

_CELLS_PER_FRINGE = 5.0


@dataclass(frozen=True)
class Stamp:
    """The image of one spectral window around a source, before primary-beam correction.

    Attributes
    ----------
    image, residual : ndarray of float32, shape (ny, nx)
        The image, and what is left of it without the sources, in Jy/beam; the source is on
        pixel ``(ny // 2, nx // 2)``, east is left.
    header : astropy.io.fits.Header
        With four axes: RA, Dec, frequency, Stokes.
    beam_major_px : float
        Major axis of the restoring beam (FWHM) in pixels.
    """

    image: FloatImage
    residual: FloatImage
    header: Header
    beam_major_px: float


class Imager(Protocol):
    """Images the windows of one MS around one source."""

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
            If the data of this window give no image.
        TransientError
            If the program failed.
        """
        ...


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


def make_stamp(
    image: FloatImage, residual: FloatImage, header: Header, *, size_px: int, program: str
) -> Stamp:
    """Check a program's images, and keep their centre.

    Parameters
    ----------
    image, residual : ndarray of float32, shape (ny, nx)
        Restored and residual image in Jy/beam.
    header : astropy.io.fits.Header
        Their coordinates and beam.
    size_px : int
        Width and height of what is kept.
    program : str
        Who made them, for the errors.

    Returns
    -------
    Stamp
        The centre.

    Raises
    ------
    ScienceQualityError
        If they are not finite or have no beam.
    """
    if not (np.isfinite(image).all() and np.isfinite(residual).all()):
        raise ScienceQualityError(f"{program}'s image is not finite", reason="nonfinite_image")
    beam_deg, cell_deg = float(header.get("BMAJ", 0.0)), abs(float(header["CDELT2"]))
    if not beam_deg > 0.0:
        raise ScienceQualityError(f"{program} found no beam", reason="no_beam")
    return _cut(Stamp(image, residual, header, beam_deg / cell_deg), size_px)


def observation_cards(info: MsInfo) -> dict[str, float | str]:
    """State start and place of an observation, which programs leave out or mistake.

    CASA's table of observatories gives OVRO_MMA's height as its distance from the geocentre.

    Parameters
    ----------
    info : MsInfo
        The observation.

    Returns
    -------
    dict of str to float or str
        FITS keyword to value.
    """
    from astropy.time import Time

    return {
        "DATE-OBS": Time(info.start_mjd, format="mjd", scale="utc").isot,
        "MJD-OBS": info.start_mjd,
        **{f"OBSGEO-{axis}": v for axis, v in zip("XYZ", info.telescope_itrf_m, strict=True)},
    }


def frame_cards(info: MsInfo) -> dict[str, float | str]:
    """State the frame of an MS's positions.

    Parameters
    ----------
    info : MsInfo
        The MS.

    Returns
    -------
    dict of str to float or str
        FITS keyword to value.
    """
    if info.frame == "ICRS":
        return {"RADESYS": "ICRS"}
    return {"RADESYS": "FK5", "EQUINOX": 2000.0}


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
