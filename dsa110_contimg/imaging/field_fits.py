"""The image of a field as a FITS file."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dsa110_contimg.imaging.field_products import FieldImage
from dsa110_contimg.imaging.fits_provenance import add_provenance
from dsa110_contimg.imaging.stamp import frame_cards, observation_cards
from dsa110_contimg.provenance import Provenance
from dsa110_contimg.visibilities.models import MsInfo

if TYPE_CHECKING:
    from astropy.io.fits import Header
    from astropy.wcs import WCS

FloatImage = npt.NDArray[np.float32]


@dataclass(frozen=True)
class FieldMaps:
    """The image of a field.

    Attributes
    ----------
    observed, residual : ndarray of float32, shape (ny, nx)
        As observed, and without the model's sources, in Jy/beam, not corrected for the primary
        beam; the phase centre is on pixel ``(ny // 2, nx // 2)``, east is left.
    header : astropy.io.fits.Header
        Coordinates and beam, with four axes.
    about : FieldImage
        Noise, beam and brightest residual.
    """

    observed: FloatImage
    residual: FloatImage
    header: Header
    about: FieldImage


def write_field_image(path: Path, maps: FieldMaps, provenance: Provenance) -> None:
    """Write the image of a field as FITS.

    Parameters
    ----------
    path : Path
        The file: the image as observed, and an extension ``RESIDUAL``.
    maps : FieldMaps
        The image.
    provenance : Provenance
        Versions, options and inputs.
    """
    from astropy.io import fits

    header = maps.header.copy()
    header["NSPW"] = (maps.about.n_windows, "windows in this inverse-variance mean")
    header["NOISE"] = (maps.about.noise_jy, "[Jy/beam] robust noise of the residual")
    add_provenance(header, provenance)
    observed, residual = (
        image.astype(np.float32)[np.newaxis, np.newaxis] for image in (maps.observed, maps.residual)
    )
    fits.HDUList(
        [
            fits.PrimaryHDU(observed, header),
            fits.ImageHDU(residual, maps.header, name="RESIDUAL"),
        ]
    ).writeto(path)


def read_field_image(path: Path, about: FieldImage) -> FieldMaps:
    """Read the image of a field.

    Parameters
    ----------
    path : Path
        As `write_field_image` wrote it.
    about : FieldImage
        What is known of it.

    Returns
    -------
    FieldMaps
        The image.

    Raises
    ------
    OSError
        If it is absent or damaged.
    """
    from astropy.io import fits

    with fits.open(path, memmap=False) as hdus:
        observed, residual = (np.asarray(hdus[k].data[0, 0], np.float32) for k in (0, 1))
        return FieldMaps(observed, residual, hdus[0].header.copy(), about)


def make_header(wcs: WCS, info: MsInfo) -> Header:
    """Describe the image of a field.

    Parameters
    ----------
    wcs : astropy.wcs.WCS
        Its coordinates.
    info : MsInfo
        The MS.

    Returns
    -------
    astropy.io.fits.Header
        Coordinates, unit, and where and when it was observed.
    """
    header: Header = wcs.to_header()
    cards: dict[str, Any] = {
        "BUNIT": "Jy/beam",
        "BTYPE": "Intensity",
        "PBCOR": False,
        "TELESCOP": info.telescope,
        "TIMESYS": "UTC",
        **frame_cards(info),
        **observation_cards(info),
    }
    header.update(cards)
    return header


def make_wcs(info: MsInfo, freq_hz: float, size_px: int, cell_deg: float) -> WCS:
    """Make the coordinates of the image of a field; the frequency is topocentric.

    Parameters
    ----------
    info : MsInfo
        The MS.
    freq_hz : float
        Mean frequency in Hz.
    size_px : int
        Width and height.
    cell_deg : float
        Pixel size in degrees.

    Returns
    -------
    astropy.wcs.WCS
        Right ascension, declination, frequency and Stokes.
    """
    from astropy.wcs import WCS

    bandwidth_hz = max(spw.freq_hz + spw.bandwidth_hz / 2 for spw in info.spws) - min(
        spw.freq_hz - spw.bandwidth_hz / 2 for spw in info.spws
    )
    wcs = WCS(naxis=4)
    wcs.wcs.ctype = ["RA---SIN", "DEC--SIN", "FREQ", "STOKES"]
    wcs.wcs.cunit = ["deg", "deg", "Hz", ""]
    wcs.wcs.crpix = [size_px // 2 + 1.0, size_px // 2 + 1.0, 1.0, 1.0]
    wcs.wcs.crval = [info.center_ra_deg, info.center_dec_deg, freq_hz, 1.0]
    wcs.wcs.cdelt = [-cell_deg, cell_deg, bandwidth_hz, 1.0]
    wcs.wcs.restfrq = freq_hz
    wcs.wcs.specsys = "TOPOCENT"
    return wcs
