"""The compiled loop that takes the weight of what may not be used."""

from __future__ import annotations

from typing import Any

import numpy as np

from dsa110_contimg.compiled import numba


@numba.njit(cache=True, nogil=True, boundscheck=False, error_model="numpy")
def apply_flags(
    data: Any, flags: Any, row_flags: Any, weight: Any
) -> Any:  # pragma: no cover - compiled
    """Zero visibilities that are flagged or not finite, and give the weights of all.

    Parameters
    ----------
    data : ndarray of complex64, shape (nrow, nchan, ncorr)
        Visibilities, changed in place.
    flags : ndarray of bool, shape (nrow, nchan, ncorr)
        True for what may not be used.
    row_flags : ndarray of bool, shape (nrow,)
        The same for whole rows.
    weight : ndarray of float32, shape (nrow, nchan, ncorr) or (nrow, 1, ncorr)
        As the MS has it.

    Returns
    -------
    ndarray of float32, shape (nrow, nchan, ncorr)
        The weights; zero where there is nothing to use.
    """
    n_rows, n_chan, n_corr = data.shape
    per_channel = weight.shape[1] == n_chan
    weights = np.empty(data.shape, np.float32)
    for row in range(n_rows):
        for channel in range(n_chan):
            for corr in range(n_corr):
                value = data[row, channel, corr]
                usable = (
                    not flags[row, channel, corr]
                    and not row_flags[row]
                    and np.isfinite(value.real)
                    and np.isfinite(value.imag)
                )
                if usable:
                    weights[row, channel, corr] = weight[row, channel if per_channel else 0, corr]
                else:
                    data[row, channel, corr] = 0.0
                    weights[row, channel, corr] = 0.0
    return weights
