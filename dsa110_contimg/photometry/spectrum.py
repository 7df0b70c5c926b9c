"""The shape of a source's spectrum over the band."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dsa110_contimg.photometry.models import PowerLaw, SpwMeasurement

_MIN_SNR = 5.0
"""Below it, the mean flux density is too uncertain to have a spectral index."""
_MIN_WINDOWS = 3


def fit_power_law(spws: Sequence[SpwMeasurement]) -> PowerLaw | None:
    """Fit ``S = S0 (f / f0) ** alpha`` to the flux densities of a source.

    Parameters
    ----------
    spws : sequence of SpwMeasurement
        The windows.

    Returns
    -------
    PowerLaw or None
        Weighted least squares (scipy.optimize.curve_fit), errors from those of the windows; None
        with fewer than three windows, a mean below five errors, or no convergence.
    """
    from scipy.optimize import OptimizeWarning, curve_fit

    if len(spws) < _MIN_WINDOWS:
        return None
    freq_hz = np.array([spw.freq_hz for spw in spws])
    flux_jy = np.array([spw.flux_jy for spw in spws])
    rms_jy = np.array([spw.rms_jy for spw in spws])
    mean_jy = np.average(flux_jy, weights=rms_jy**-2)
    if mean_jy < _MIN_SNR * np.sum(rms_jy**-2) ** -0.5:
        return None
    ref_freq_hz = float(freq_hz.mean())
    ratio = freq_hz / ref_freq_hz

    def model(ratio: np.ndarray, flux: float, index: float) -> np.ndarray:
        return flux * ratio**index

    try:
        best, covariance = curve_fit(
            model,
            ratio,
            flux_jy / mean_jy,
            p0=(1.0, 0.0),
            sigma=rms_jy / mean_jy,
            absolute_sigma=True,
        )
    except (RuntimeError, OptimizeWarning):
        return None
    left = (flux_jy / mean_jy - model(ratio, *best)) / (rms_jy / mean_jy)
    errors = np.sqrt(np.diag(covariance))
    return PowerLaw(
        flux_jy=mean_jy * best[0],
        flux_rms_jy=mean_jy * errors[0],
        ref_freq_hz=ref_freq_hz,
        spectral_index=best[1],
        spectral_index_rms=errors[1],
        reduced_chi2=float(np.sum(left**2)) / (len(spws) - 2),
    )
