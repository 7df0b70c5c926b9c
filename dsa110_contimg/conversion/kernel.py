"""The compiled inner loops of the fill: gather, rotate, flag, pack."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

_jit = numba.njit(cache=True, nogil=True, boundscheck=False)


@_jit
def gather(
    samples: Any, starts: Any, chunk: Any, first_row: int, first: int, out: Any
) -> None:  # pragma: no cover - compiled
    """Copy rows out of chunks, with the channels reversed.

    Parameters
    ----------
    samples, starts, chunk, first_row
        As in `ChunkTable`.
    first : int
        First row of the dataset to copy.
    out : ndarray, shape (nrows, nchan, npol)
        Receives the rows, channels in reverse order.
    """
    n_rows, n_chan, n_pol = out.shape
    rows, channels, pols = chunk
    for channel_chunk in range(starts.shape[1]):
        for pol_chunk in range(starts.shape[2]):
            pol0 = pol_chunk * pols
            channel0 = channel_chunk * channels
            n_channels = min(channels, n_chan - channel0)
            n_pols = min(pols, n_pol - pol0)
            for row in range(n_rows):
                source = first + row - first_row
                start = starts[source // rows, channel_chunk, pol_chunk]
                start += (source % rows) * channels * pols
                for channel in range(n_channels):
                    target = n_chan - 1 - channel0 - channel
                    for pol in range(n_pols):
                        out[row, target, pol0 + pol] = samples[start + channel * pols + pol]


@_jit
def rotate_and_flag(
    first: int, baselines: Any, phasors: Any, vis: Any, flags: Any, packed: Any
) -> tuple[int, int]:  # pragma: no cover - compiled
    """Rotate a block to the phase centre, in the conjugation of the MS, and pack its flags.

    Parameters
    ----------
    first : int
        Row of the dataset at which the block begins; rows are time-major.
    baselines : ndarray of int32, shape (nbls, 3)
        Antenna rows p <= q of the MS, and 1 where the file has them as (p, q), 0 as (q, p).
    phasors : ndarray of complex64, shape (ntimes, nants, nchan)
        From `geometry.antenna_phasors`, channels in the order of `vis`.
    vis : ndarray of complex64, shape (nrows, nchan, npol)
        Visibilities; rotated in place. Those that are not finite are flagged and zeroed.
    flags : ndarray of uint8, shape (nrows, nchan, npol)
        Flags; completed in place.
    packed : ndarray of uint8, shape (nrows, nchan * npol // 8)
        Receives the flags as bits, the lowest first.

    Returns
    -------
    flagged, nonfinite : int
        Number of flagged visibilities, and of those that were not finite.
    """
    n_rows, n_chan, n_pol = vis.shape
    n_bls = baselines.shape[0]
    flagged = 0
    nonfinite = 0
    packed[:] = 0
    for row in range(n_rows):
        time = (first + row) // n_bls
        baseline = (first + row) % n_bls
        phasors_p = phasors[time, baselines[baseline, 0]]
        phasors_q = phasors[time, baselines[baseline, 1]]
        sign = np.float32(-1.0) if baselines[baseline, 2] == 1 else np.float32(1.0)
        for channel in range(n_chan):
            # conj(V') of V' = V conj(f_q) f_p, the MS being conjugate to UVH5.
            factor = phasors_q[channel] * np.conj(phasors_p[channel])
            for pol in range(n_pol):
                real = vis[row, channel, pol].real
                imag = vis[row, channel, pol].imag * sign
                flag = flags[row, channel, pol] != 0
                if not (np.isfinite(real) and np.isfinite(imag)):
                    real = np.float32(0.0)
                    imag = np.float32(0.0)
                    flag = True
                    nonfinite += 1
                vis[row, channel, pol] = complex(
                    real * factor.real - imag * factor.imag,
                    real * factor.imag + imag * factor.real,
                )
                if flag:
                    bit = channel * n_pol + pol
                    packed[row, bit >> 3] |= np.uint8(1 << (bit & 7))
                    flagged += 1
    return flagged, nonfinite


@_jit
def weigh(nsamples: Any, weight: Any, sigma: Any) -> None:  # pragma: no cover - compiled
    """Average the sample counts over the channels of a row.

    Parameters
    ----------
    nsamples : ndarray of float32, shape (nrows, nchan, npol)
        Fraction of the integration that was observed; not finite or negative counts as 0.
    weight : ndarray of float32, shape (nrows, npol)
        Receives the mean.
    sigma : ndarray of float32, shape (nrows, npol)
        Receives ``weight ** -0.5``, 0 where the weight is 0.
    """
    n_rows, n_chan, n_pol = nsamples.shape
    for row in range(n_rows):
        for pol in range(n_pol):
            total = 0.0
            for channel in range(n_chan):
                value = nsamples[row, channel, pol]
                if np.isfinite(value) and value > 0:
                    total += value
            mean = total / n_chan
            weight[row, pol] = mean
            sigma[row, pol] = 1.0 / np.sqrt(mean) if mean > 0 else 0.0
