"""The compiled inner loops of the fill: rows out of their chunks, rotated, flagged, weighed.

All of them read a row from where its chunks lie and go over it while it is in the fastest
cache. What pays: indices that are unsigned (a signed one is tested for being negative) and
loops of a length that the compiler knows; the two together made them four times as fast.
Visibilities are written from here as well, so that a worker does without the interpreter's
lock for a whole window while another one looks up its chunks under it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from dsa110_contimg.compiled import numba
from dsa110_contimg.instrument import N_CHANNELS_PER_SUBBAND, POLARIZATIONS_CASA

LARGEST_VISIBILITY = np.float32(1e38)
"""Beyond it a visibility counts as not finite: its rotation could overflow single precision."""

_N_CHAN = N_CHANNELS_PER_SUBBAND
_N_POL = len(POLARIZATIONS_CASA)
_N_ROW = _N_CHAN * _N_POL
_USUAL_RUN = 12
"""Channels of a chunk as HDF5 guesses it for the correlator's arrays of numbers."""
_BLOCK_ROWS = 1024
"""A block of visibilities is 0.8 MB: it is still in a core's cache when it is written."""
_pwrite: Any = numba.types.ExternalFunction(
    "pwrite",
    numba.types.ssize_t(
        numba.types.intc, numba.types.voidptr, numba.types.size_t, numba.types.int64
    ),
)
_ZERO, _ONE = np.float32(0), np.float32(1)
_MOST_COUNTS = np.float32(1e6)
"""The correlator counts 96; a weight out of garbage would outweigh all others in an image."""

# No fast mathematics: a group gives the same bits however its files are stored, on any machine.
_jit = numba.njit(cache=True, nogil=True, boundscheck=False, error_model="numpy")
# Counts are whole numbers or few-bit fractions of them: their sum is exact in any order.
_jit_sums = numba.njit(
    cache=True, nogil=True, boundscheck=False, error_model="numpy", fastmath={"reassoc"}
)


@_jit
def fill_rows(
    first: int,
    last: int,
    baselines: Any,
    phasors: Any,
    vis: Any,
    flags: Any,
    counts: Any,
    file: int,
    place: int,
    packed: Any,
    weight: Any,
    sigma: Any,
) -> tuple[int, int, int]:  # pragma: no cover - compiled
    """Convert rows of one window, and write their visibilities.

    Parameters
    ----------
    first, last : int
        Half-open range of rows of the dataset; rows are time-major.
    baselines : ndarray of int32, shape (nbls, 3)
        Antenna rows p <= q of the MS, and 1 where the file has them as (p, q), 0 as (q, p).
    phasors : ndarray of complex64, shape (ntimes, nants, nchan)
        From `geometry.antenna_phasors`, channels in the order of the file.
    vis, flags, counts : ChunkTable
        The datasets ``visdata``, ``flags`` (as bytes) and ``nsamples``.
    file : int
        Descriptor of the file of DATA.
    place : int
        Where in it row 0 of the dataset goes, in bytes.
    packed : ndarray of uint8, shape (Nblts, nchan * npol // 8)
        Receives the flags as bits, the lowest first, channels in ascending frequency.
    weight, sigma : ndarray of float32, shape (Nblts, npol)
        Receive the mean of the sample counts over the channels, and its ``-0.5`` power.

    Returns
    -------
    done : int
        The row before which everything is written: `last`, unless a write failed.
    flagged, nonfinite : int
        Number of visibilities that are flagged, and of those that were not finite.
    """
    flagged = nonfinite = 0
    data = np.empty((_BLOCK_ROWS, _N_ROW), np.complex64)
    for start in range(first, last, _BLOCK_ROWS):
        stop = min(start + _BLOCK_ROWS, last)
        rows, bits = data[: stop - start], packed[start:stop]
        flagged += _pack_flags(start, flags, bits)
        more_flagged, more_nonfinite = _rotate(start, baselines, phasors, vis, rows, bits)
        flagged, nonfinite = flagged + more_flagged, nonfinite + more_nonfinite
        _weigh(start, counts, weight[start:stop], sigma[start:stop])
        if _pwrite(file, rows.ctypes, rows.nbytes, place + start * _N_ROW * 8) != rows.nbytes:
            return start, flagged, nonfinite
    return last, flagged, nonfinite


@_jit
def _pack_flags(first: int, flags: Any, packed: Any) -> int:  # pragma: no cover - compiled
    """Turn the flags of a block of rows into bits; the number of those set."""
    row_flags = np.empty(_N_ROW, np.uint8)
    words = row_flags.view(np.uint64)
    flagged = 0
    for row in range(packed.shape[0]):
        packed[row] = 0
        _read_row(flags, first + row, row_flags)
        seen = np.uint64(0)
        for word in range(_N_ROW // 8):
            seen |= words[word]
        if seen:
            for sample in range(_N_ROW):
                if row_flags[sample]:
                    flagged += _set_bit(packed[row], sample)
    return flagged


@_jit
def _rotate(
    first: int, baselines: Any, phasors: Any, vis: Any, data: Any, packed: Any
) -> tuple[int, int]:  # pragma: no cover - compiled
    """Rotate a block of rows to the phase centre, in the conjugation of the MS.

    What is not finite is zeroed and flagged; the numbers newly flagged and not finite.
    """
    n_bls = baselines.shape[0]
    flagged = nonfinite = 0
    raw, turned = np.empty(_N_ROW, np.complex64), np.empty(_N_ROW, np.complex64)
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
        _read_row(vis, first + row, raw)
        bad = _multiply(values, cosine, sine, -_ONE if in_order else _ONE, products)
        if bad:
            nonfinite += bad
            flagged += _blank(raw, turned, packed[row])
        _interleave(turned, data[row])
    return flagged, nonfinite


@_jit_sums
def _weigh(first: int, counts: Any, weight: Any, sigma: Any) -> None:  # pragma: no cover - compiled
    """Average the sample counts of a block of rows; what is no count counts as 0."""
    values = np.empty(_N_ROW, np.float32)
    for row in range(weight.shape[0]):
        _read_row(counts, first + row, values)
        for pol in range(_N_POL):
            total = _ZERO
            for channel in range(_N_CHAN):
                count = values[pol * _N_CHAN + channel]
                total += count if _ZERO < count < _MOST_COUNTS else _ZERO
            mean = total / np.float32(_N_CHAN)
            weight[row, pol] = mean
            sigma[row, pol] = _ONE / np.sqrt(mean) if mean > 0 else _ZERO


@_jit
def _read_row(table: Any, row: int, out: Any) -> None:  # pragma: no cover - compiled
    """Copy a row out of its chunks: all channels of one polarization, then of the next."""
    samples, starts = table.samples, table.starts
    rows, channels, pols = table.chunk
    index = (row - table.first_row) // rows
    inside = (row - table.first_row - index * rows) * channels * pols
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
    samples: Any, source: Any, step: Any, out: Any, target: Any, length: int
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
