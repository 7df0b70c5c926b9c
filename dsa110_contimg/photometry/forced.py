"""Forced photometry: the flux density at a known position, and the noise around it."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

_EXCLUDED_BEAMS = 2.0
"""Radius around the source, in beams, that does not count as noise."""

FloatImage = npt.NDArray[np.floating]


def central_value(image: FloatImage) -> float:
    """Read the pixel on which the image's tangent point lies.

    The stamps are made with the source at the tangent point, so there is nothing to
    interpolate.

    Parameters
    ----------
    image : ndarray, shape (ny, nx)
        An image whose tangent point lies on pixel ``(ny // 2, nx // 2)``.

    Returns
    -------
    float
        The value there, in the unit of the image: for a point source in an image in
        Jy/beam its flux density in Jy.
    """
    n_y, n_x = image.shape
    return float(image[n_y // 2, n_x // 2])


def robust_rms(image: FloatImage, *, beam_px: float = 0.0) -> float:
    """Estimate the noise of an image from its median absolute deviation.

    Parameters
    ----------
    image : ndarray, shape (ny, nx)
        Best the residual image, in which side lobes of the source do not count as noise.
    beam_px : float, optional
        Width of the beam in pixels; a disc of two beams around the centre is left out.

    Returns
    -------
    float
        Standard deviation of the Gaussian with this median absolute deviation, in the unit
        of the image; other sources in a small part of the stamp hardly change it.
    """
    from astropy.stats import mad_std

    n_y, n_x = image.shape
    y, x = np.ogrid[:n_y, :n_x]
    distance_px = np.hypot(y - n_y // 2, x - n_x // 2)
    values = image[distance_px >= _EXCLUDED_BEAMS * beam_px]
    return float(mad_std(values))
