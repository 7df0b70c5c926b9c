"""The compiled inner loops of the fill: rows out of their chunks, rotated, flagged, weighed.

All of them read a row from where its chunks lie and go over it while it is in the fastest
cache. What pays: indices that are unsigned (a signed one is tested for being negative) and
loops of a length that the compiler knows; the two together made them four times as fast.
"""

from __future__ import annotations

from typing import Any

import numba
import numpy as np

from dsa110_contimg.instrument import N_CHANNELS_PER_SUBBAND, POLARIZATIONS_CASA

LARGEST_VISIBILITY = np.float32(1e38)
"""Beyond it a visibility counts as not finite: its rotation could overflow single precision."""

_N_CHAN = N_CHANNELS_PER_SUBBAND
_N_POL = len(POLARIZATIONS_CASA)
_N_ROW = _N_CHAN * _N_POL
_USUAL_RUN = 12
"""Channels of a chunk as HDF5 guesses it for the correlator's arrays of numbers."""
_ZERO, _ONE, _HUGE = np.float32(0), np.float32(1), np.float32(1e38)

# Sums may be reordered and products fused; values that are not finite stay what they are.
_jit = numba.njit(
    cache=True,
    nogil=True,
    boundscheck=False,
    error_model="numpy",
    fastmath={"contract", "reassoc"},
)


@_jit
def pack_flags(
    first: int, samples: Any, starts: Any, chunk: Any, first_row: int, packed: Any
) -> int:  # pragma: no cover - compiled
    """Turn the flags of a block of rows into bits.

    Parameters
    ----------
    first : int
        Row of the dataset at which the block begins.
    samples, starts, chunk, first_row
        The flags as bytes, as in `ChunkTable`.
    packed : ndarray of uint8, shape (nrows, nchan * npol // 8)
        Receives the flags as bits, the lowest first, channels in ascending frequency.

    Returns
    -------
    int
        Number of flagged visibilities.
    """
    row_flags = np.empty(_N_ROW, np.uint8)
    words = row_flags.view(np.uint64)
    flagged = 0
    for row in range(packed.shape[0]):
        packed[row] = 0
        _read_row(samples, starts, chunk, first + row - first_row, row_flags)
        seen = np.uint64(0)
        for word in range(_N_ROW // 8):
            seen |= words[word]
        if seen:
            for sample in range(_N_ROW):
                if row_flags[sample]:
                    flagged += _set_bit(packed[row], sample)
    return flagged


@_jit
def rotate(
    first: int,
    baselines: Any,
    phasors: Any,
    samples: Any,
    starts: Any,
    chunk: Any,
    first_row: int,
    data: Any,
    packed: Any,
) -> tuple[int, int]:  # pragma: no cover - compiled
    """Rotate a block of rows to the phase centre, in the conjugation of the MS.

    Parameters
    ----------
    first : int
        Row of the dataset at which the block begins; rows are time-major.
    baselines : ndarray of int32, shape (nbls, 3)
        Antenna rows p <= q of the MS, and 1 where the file has them as (p, q), 0 as (q, p).
    phasors : ndarray of complex64, shape (ntimes, nants, nchan)
        From `geometry.antenna_phasors`, channels in the order of the file.
    samples, starts, chunk, first_row
        The visibilities, as in `ChunkTable`.
    data : ndarray of complex64, shape (nrows, nchan, npol)
        Receives the visibilities, channels in ascending frequency; zero for those that are
        not finite.
    packed : ndarray of uint8, shape (nrows, nchan * npol // 8)
        Flags from `pack_flags`; completed by those of the visibilities that are not finite.

    Returns
    -------
    flagged, nonfinite : int
        Number of visibilities flagged in addition, and of those that are not finite.
    """
    n_bls = baselines.shape[0]
    flagged = 0
    nonfinite = 0
    flat = data.reshape(data.shape[0], _N_ROW)
    raw = np.empty(_N_ROW, np.complex64)
    turned = np.empty(_N_ROW, np.complex64)
    values, products = raw.view(np.float32), turned.view(np.float32)
    cosine, sine = np.empty(_N_CHAN, np.float32), np.empty(_N_CHAN, np.float32)
    for row in range(data.shape[0]):
        time = (first + row) // n_bls
        baseline = first + row - time * n_bls
        p, q, in_order = baselines[baseline, 0], baselines[baseline, 1], baselines[baseline, 2]
        for channel in range(_N_CHAN):
            # conj(V') of V' = V conj(f_q) f_p, the MS being conjugate to UVH5.
            factor = phasors[time, q, channel] * np.conj(phasors[time, p, channel])
            cosine[channel], sine[channel] = factor.real, factor.imag
        _read_row(samples, starts, chunk, first + row - first_row, raw)
        bad = _multiply(values, cosine, sine, -_ONE if in_order else _ONE, products)
        if bad:
            nonfinite += bad
            flagged += _blank(raw, turned, packed[row])
        _interleave(turned, flat[row])
    return flagged, nonfinite


@_jit
def weigh(
    first: int, samples: Any, starts: Any, chunk: Any, first_row: int, weight: Any, sigma: Any
) -> None:  # pragma: no cover - compiled
    """Average the sample counts of a block of rows over the channels.

    Parameters
    ----------
    first : int
        Row of the dataset at which the block begins.
    samples, starts, chunk, first_row
        Fractions of the integration that were observed, as in `ChunkTable`; what is not
        finite or negative counts as 0.
    weight : ndarray of float32, shape (nrows, npol)
        Receives the mean.
    sigma : ndarray of float32, shape (nrows, npol)
        Receives ``weight ** -0.5``, 0 where the weight is 0.
    """
    counts = np.empty(_N_ROW, np.float32)
    for row in range(weight.shape[0]):
        _read_row(samples, starts, chunk, first + row - first_row, counts)
        for pol in range(_N_POL):
            total = _ZERO
            for channel in range(_N_CHAN):
                count = counts[pol * _N_CHAN + channel]
                total += count if _ZERO < count < _HUGE else _ZERO
            mean = total / np.float32(_N_CHAN)
            weight[row, pol] = mean
            sigma[row, pol] = _ONE / np.sqrt(mean) if mean > 0 else _ZERO


@_jit
def _read_row(
    samples: Any, starts: Any, chunk: Any, row: int, out: Any
) -> None:  # pragma: no cover - compiled
    """Copy a row out of its chunks: all channels of one polarization, then of the next."""
    rows, channels, pols = chunk
    index = row // rows
    inside = (row - index * rows) * channels * pols
    for channel_chunk in range(starts.shape[1]):
        channel0 = channel_chunk * channels
        length = min(channels, _N_CHAN - channel0)
        for pol_chunk in range(starts.shape[2]):
            source = np.uint64(starts[index, channel_chunk, pol_chunk] + inside)
            if pols == 1 and length == _USUAL_RUN:
                target = np.uint64(pol_chunk * _N_CHAN + channel0)
                for item in range(np.uint64(_USUAL_RUN)):
                    out[target + item] = samples[source + item]
            else:
                for pol in range(min(pols, _N_POL - pol_chunk * pols)):
                    target = np.uint64((pol_chunk * pols + pol) * _N_CHAN + channel0)
                    _copy(samples, source + np.uint64(pol), np.uint64(pols), out, target, length)


@_jit
def _copy(
    samples: Any, source: int, step: int, out: Any, target: int, length: int
) -> None:  # pragma: no cover - compiled
    """Copy ``samples[source::step]`` to ``out[target : target + length]``."""
    for item in range(np.uint64(length)):
        out[target + item] = samples[source + item * step]


@_jit
def _multiply(
    values: Any, cosine: Any, sine: Any, sign: Any, products: Any
) -> int:  # pragma: no cover - compiled
    """Multiply a row, conjugated if the sign is -1; count the values that are not finite."""
    bad = 0
    for pol in range(_N_POL):
        for channel in range(_N_CHAN):
            sample = 2 * (pol * _N_CHAN + channel)
            real, imag = values[sample], values[sample + 1] * sign
            # A sum with a NaN is not less than anything.
            bad += not abs(real) + abs(imag) < LARGEST_VISIBILITY
            products[sample] = real * cosine[channel] - imag * sine[channel]
            products[sample + 1] = real * sine[channel] + imag * cosine[channel]
    return bad


@_jit
def _interleave(turned: Any, out: Any) -> None:  # pragma: no cover - compiled
    """Put a row in the order of the MS: channels ascending, polarizations side by side."""
    for channel in range(_N_CHAN):
        for pol in range(_N_POL):
            out[(_N_CHAN - 1 - channel) * _N_POL + pol] = turned[pol * _N_CHAN + channel]


@_jit
def _blank(raw: Any, turned: Any, bits: Any) -> int:  # pragma: no cover - compiled
    """Zero and flag the values of a row that are not finite; the number newly flagged."""
    flagged = 0
    for sample in range(_N_ROW):
        if not abs(raw[sample].real) + abs(raw[sample].imag) < LARGEST_VISIBILITY:
            turned[sample] = 0
            flagged += _set_bit(bits, sample)
    return flagged


@_jit
def _set_bit(bits: Any, sample: int) -> int:  # pragma: no cover - compiled
    """Set the flag of a sample of a row; 1 if it was not set, else 0."""
    pol, channel = divmod(sample, _N_CHAN)
    bit = (_N_CHAN - 1 - channel) * _N_POL + pol
    mask = np.uint8(1 << (bit & 7))
    if bits[bit >> 3] & mask:
        return 0
    bits[bit >> 3] |= mask
    return 1
