"""The beam that an image is said to have: a Gaussian fitted to the PSF's main lobe."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dsa110_contimg.errors import ScienceQualityError

_LOBE_LEVEL = 0.35
"""The main lobe is what stands above this part of its peak, as in CASA (`psfcutoff`)."""
_FWHM_PER_SIGMA = float(np.sqrt(8.0 * np.log(2.0)))
_MIN_PIXELS = 7
"""Fewer do not determine the three numbers of an ellipse."""


@dataclass(frozen=True)
class Beam:
    """An elliptical Gaussian beam.

    Attributes
    ----------
    major_px, minor_px : float
        Axes (FWHM) in pixels.
    angle_deg : float
        Position angle of the major axis in degrees, from north through east, in [0, 180).
    """

    major_px: float
    minor_px: float
    angle_deg: float

    def cards(self, cell_deg: float) -> dict[str, float]:
        """Make the FITS keywords of the beam.

        Parameters
        ----------
        cell_deg : float
            Pixel size in degrees.

        Returns
        -------
        dict of str to float
            ``BMAJ``, ``BMIN`` and ``BPA`` in degrees.
        """
        return {
            "BMAJ": self.major_px * cell_deg,
            "BMIN": self.minor_px * cell_deg,
            "BPA": self.angle_deg,
        }


def fit_beam(psf: npt.NDArray[np.floating]) -> Beam:
    """Fit an elliptical Gaussian to the main lobe of a PSF.

    Parameters
    ----------
    psf : ndarray, shape (ny, nx)
        With its peak on pixel ``(ny // 2, nx // 2)``; east is left.

    Returns
    -------
    Beam
        The Gaussian.

    Raises
    ------
    ScienceQualityError
        If the main lobe is too small or no ellipse.
    """
    from scipy.optimize import least_squares

    east_px, north_px, values = _main_lobe(psf)
    if len(values) < _MIN_PIXELS:
        raise ScienceQualityError("the PSF's main lobe is too small", reason="no_beam")
    squares = np.stack([east_px**2, 2.0 * east_px * north_px, north_px**2])

    def misfit(shape: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        return np.asarray(np.exp(-0.5 * shape @ squares) - values)

    # A round Gaussian falls to the level at the radius of a disc as large as the lobe.
    start = -2.0 * np.log(_LOBE_LEVEL) * np.pi / len(values)
    fit = least_squares(misfit, (start, 0.0, start))
    ee, en, nn = fit.x
    precision, axes = np.linalg.eigh([[ee, en], [en, nn]])
    if not (fit.success and precision[0] > 0.0):
        raise ScienceQualityError("the PSF's main lobe is no ellipse", reason="no_beam")
    major_px, minor_px = _FWHM_PER_SIGMA / np.sqrt(precision)
    east, north = axes[:, 0]
    return Beam(float(major_px), float(minor_px), float(np.rad2deg(np.arctan2(east, north)) % 180))


def _main_lobe(
    psf: npt.NDArray[np.floating],
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Return offsets to the east and the north, and values, of the pixels in the main lobe."""
    from scipy.ndimage import label

    y, x = psf.shape[0] // 2, psf.shape[1] // 2
    peak = float(psf[y, x])
    lobes, _ = label(psf > _LOBE_LEVEL * peak)
    rows, columns = np.nonzero((lobes == lobes[y, x]) & (lobes > 0))
    east_px, north_px = (x - columns).astype(float), (rows - y).astype(float)
    return east_px, north_px, psf[rows, columns].astype(float) / peak
