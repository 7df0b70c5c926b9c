"""Imaging weights: how much each visibility counts in an image."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from dsa110_contimg.imaging.models import CleanOptions, Weighting
from dsa110_contimg.instrument import SPEED_OF_LIGHT_M_S

FloatArray = npt.NDArray[np.float64]


def imaging_weight(
    weight: npt.NDArray[np.float32],
    uv_m: FloatArray,
    freqs_hz: FloatArray,
    *,
    options: CleanOptions,
    width_rad: float,
) -> npt.NDArray[np.float32]:
    """Weigh visibilities by their noise and by how many others lie beside them.

    Parameters
    ----------
    weight : ndarray of float32, shape (nrow, nchan)
        Inverse variances up to a factor; zero where flagged.
    uv_m : ndarray of float64, shape (nrow, 2)
        Baseline coordinates in metres.
    freqs_hz : ndarray of float64, shape (nchan,)
        Channel centres.
    options : CleanOptions
        Natural, uniform or Briggs weighting (Briggs 1995, PhD thesis, section 3.1.1).
    width_rad : float
        Width of the image in radians: its inverse is the cell in which visibilities count as
        neighbours.

    Returns
    -------
    ndarray of float32, shape (nrow, nchan)
        The weights.
    """
    if options.weighting is Weighting.NATURAL:
        return weight
    here, opposite, n_cells = _cells(uv_m, freqs_hz, width_rad)
    density = np.bincount(here, weight.ravel(), n_cells)
    # A real sky has the conjugate of every visibility at the opposite place.
    density += np.bincount(opposite, weight.ravel(), n_cells)
    local = density[here].reshape(weight.shape)
    if options.weighting is Weighting.UNIFORM:
        divisor = np.where(local > 0.0, local, 1.0)
    else:
        mean_local = (density**2).sum() / (2.0 * weight.sum(dtype=np.float64))
        divisor = 1.0 + local * (5.0 * 10.0**-options.robust) ** 2 / mean_local
    return np.asarray(weight / divisor, dtype=np.float32)


def _cells(
    uv_m: FloatArray, freqs_hz: FloatArray, width_rad: float
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp], int]:
    """Find the cell of each visibility and of its conjugate, and the number of cells."""
    scale = freqs_hz / SPEED_OF_LIGHT_M_S * width_rad
    u, v = (axis[:, None] * scale for axis in uv_m.T)
    reach_u, reach_v = (int(np.ceil(np.abs(axis).max(initial=0.0))) for axis in (u, v))
    n_v = 2 * reach_v + 1

    def number(u: FloatArray, v: FloatArray) -> npt.NDArray[np.intp]:
        # CASA's cells begin, rather than lie, at the origin.
        cell = (np.floor(u) + reach_u) * n_v + np.floor(v) + reach_v
        return cell.astype(np.intp).ravel()

    return number(u, v), number(-u, -v), (2 * reach_u + 1) * n_v
