"""Divide a calibrator's visibilities by its model and average them: what is left is gains.

``D = sum(w V conj(M)) / sum(w |M|**2)`` over a few integrations is the least-squares estimate
of ``g_i conj(g_j)`` (Thompson, Moran & Swenson, section 10.3, for a source of unit flux). The
model holds the drift through the primary beam and the field's other sources, which no
component list of CASA could; and what is solved is as many times smaller as was averaged.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from dsa110_contimg.errors import ScienceQualityError
from dsa110_contimg.visibilities.window import Window, group_rows, sum_groups

_MIN_PAIRS = 100


def normalise_window(window: Window, model: npt.NDArray[np.complex64], integrations: int) -> Window:
    """Divide a window by a model and average it in time.

    Parameters
    ----------
    window : Window
        As read.
    model : ndarray of complex64, shape (nrow, nchan)
        Stokes I of all known sources in Jy.
    integrations : int
        Number of integrations averaged into one.

    Returns
    -------
    Window
        Dimensionless; a perfect array shows a source of 1 at the phase centre. Weights are
        inverse variances.

    Raises
    ------
    ScienceQualityError
        If the noise cannot be estimated, for want of data.
    """
    conjugate = model.conj()[:, :, None]
    product = window.data * conjugate
    power = window.weight * (np.abs(model) ** 2)[:, :, None]
    variance = _noise_variance(window, product, model)
    group = group_rows(window, integrations)
    sums = sum_groups(product * window.weight, group)
    weight = sum_groups(power, group)
    n_rows = sum_groups(np.ones(len(group)), group)
    first = np.unique(group, return_index=True)[1]
    return replace(
        window,
        time_mjd_s=sum_groups(window.time_mjd_s, group) / n_rows,
        interval_s=sum_groups(window.interval_s, group),
        antenna1=window.antenna1[first],
        antenna2=window.antenna2[first],
        uvw_m=sum_groups(window.uvw_m, group) / n_rows[:, None],
        data=np.divide(sums, weight, out=np.zeros_like(sums), where=weight > 0.0),
        weight=(weight / variance).astype(np.float32),
    )


def _noise_variance(
    window: Window, product: npt.NDArray[np.complex64], model: npt.NDArray[np.complex64]
) -> float:
    """Variance of real or imaginary part at unit weight in Jy^2, from successive integrations.

    After the model's phase is taken out the source stands still, so that differences are noise.
    """
    from astropy.stats import mad_std

    channel = np.flatnonzero(np.any(window.weight, axis=(0, 2)))
    chosen = channel[:: max(1, len(channel) // 4)]
    order = np.lexsort((window.time_mjd_s, window.antenna2, window.antenna1))
    here, after = order[:-1], order[1:]
    same = (window.antenna1[here] == window.antenna1[after]) & (
        window.antenna2[here] == window.antenna2[after]
    )
    here, after = here[same], after[same]
    amplitude = np.abs(model)[:, chosen, None]
    root = np.sqrt(window.weight[:, chosen])
    part = product[:, chosen] / np.maximum(amplitude, np.finfo(np.float32).tiny) * root
    used = (root[here] > 0.0) & (root[after] > 0.0)
    difference = (part[after] - part[here])[used]
    if len(difference) < _MIN_PAIRS:
        raise ScienceQualityError(
            "too few visibilities are left to tell their noise", reason="too_few_visibilities"
        )
    return float(mad_std(np.concatenate([difference.real, difference.imag])) ** 2 / 2.0)
