"""The compiled loop that averages visibilities over cells of channels and integrations."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dsa110_contimg.compiled import numba

_jit = numba.njit(cache=True, nogil=True, boundscheck=False, error_model="numpy")


class Samples(NamedTuple):
    """A window as the loop reads it.

    Attributes
    ----------
    row_of : ndarray of int64, shape (nbls, ntimes)
        Row of each baseline at each time, -1 where there is none.
    uvw, data, weight : ndarray
        As `Window` has them.
    row_weight : ndarray of float32, shape (nrow,)
        Largest weight of Stokes I in each row: that of its channels that are not flagged.
    row_is_even : ndarray of bool, shape (nrow,)
        Whether all channels of a row have that weight.
    first_hz, width_hz : float
        Centre of the first channel, and from there to the next.
    """

    row_of: npt.NDArray[np.int64]
    uvw: npt.NDArray[np.float64]
    data: npt.NDArray[np.complex64]
    weight: npt.NDArray[np.float32]
    row_weight: npt.NDArray[np.float32]
    row_is_even: npt.NDArray[np.bool_]
    first_hz: float
    width_hz: float


class CellArrays(NamedTuple):
    """Stokes I of one window in cells; a row is one baseline over some integrations.

    Attributes
    ----------
    uvw_m : ndarray of float64, shape (nrow, 3)
        Baseline coordinates at the weighted mean time in metres.
    spread_m : ndarray of float64, shape (nrow, 3)
        Standard deviation of the coordinates within the row's time, with the sign of the motion.
    freq_hz, step_hz : ndarray of float64, shape (nrow,)
        Centre of the row's first cell, and from each cell to the next.
    freq_spread_hz : ndarray of float64, shape (nrow,)
        Standard deviation of the frequencies within a cell.
    start : ndarray of int64, shape (nrow + 1,)
        Where the cells of each row begin.
    half_step : ndarray of int64, shape (nrow,)
        Mean time in units of half an integration since the first one.
    span : ndarray of int64, shape (nrow,)
        Integrations over which the row is averaged.
    vis : ndarray of complex64, shape (ncell,)
        Weighted mean visibility in Jy.
    weight : ndarray of float32, shape (ncell,)
        Sum of the weights; zero where a cell is empty.
    """

    uvw_m: npt.NDArray[np.float64]
    spread_m: npt.NDArray[np.float64]
    freq_hz: npt.NDArray[np.float64]
    step_hz: npt.NDArray[np.float64]
    freq_spread_hz: npt.NDArray[np.float64]
    start: npt.NDArray[np.int64]
    half_step: npt.NDArray[np.int64]
    span: npt.NDArray[np.int64]
    vis: npt.NDArray[np.complex64]
    weight: npt.NDArray[np.float32]


@_jit
def weigh_rows(weight: Any) -> tuple[Any, Any]:  # pragma: no cover - compiled
    """Find the largest weight of Stokes I in each row, and whether all channels have it.

    Parameters
    ----------
    weight : ndarray of float32, shape (nrow, nchan, ncorr)
        Weights of a window; zero where flagged.

    Returns
    -------
    largest : ndarray of float32, shape (nrow,)
        The largest weight.
    is_even : ndarray of bool, shape (nrow,)
        Whether all channels have the same.
    """
    largest, is_even = np.zeros(weight.shape[0], np.float32), np.ones(weight.shape[0], np.bool_)
    for row in range(weight.shape[0]):
        first = _weight_of_i(weight[row, 0])
        largest[row] = first
        for channel in range(1, weight.shape[1]):
            here = _weight_of_i(weight[row, channel])
            largest[row] = max(largest[row], here)
            is_even[row] &= here == first
    return largest, is_even


@_jit
def average_cells(
    samples: Any, channels: Any, integrations: Any, out: Any, fill: bool
) -> tuple[int, int]:  # pragma: no cover - compiled
    """Average every baseline over its cells, or count how much room that takes.

    A cell that is flagged in part would have its mean off its centre: it stays empty, and its
    visibilities become rows of their own.

    Parameters
    ----------
    samples : Samples
        The window.
    channels, integrations : ndarray of int64, shape (nbls,)
        Size of each baseline's cells; the first divides the number of channels.
    out : CellArrays
        Receives the cells.
    fill : bool
        False only counts.

    Returns
    -------
    n_rows, n_cells : int
        Size of the result.
    """
    n_bls, n_times = samples.row_of.shape
    n_chan = samples.data.shape[1]
    row = cell = 0
    for baseline in range(n_bls):
        wide = channels[baseline]
        for begin in range(0, n_times, integrations[baseline]):
            rows = samples.row_of[baseline, begin : begin + integrations[baseline]]
            if not _has_weight(samples, rows):
                continue
            if fill:
                _place_row(samples, rows, begin, wide, row, cell, out)
            is_even = _all_even(samples, rows)
            first = cell
            row, cell = row + 1, cell + n_chan // wide
            for block in range(n_chan // wide):
                if is_even or _is_even(samples, rows, block * wide, wide):
                    if fill:
                        _fill_cell(samples, rows, block * wide, wide, first + block, out)
                    continue
                if fill:
                    out.vis[first + block] = out.weight[first + block] = 0.0
                row, cell = _spread_out(
                    samples, rows, begin, block * wide, wide, row, cell, out, fill
                )
    if fill:
        out.start[row] = cell
    return row, cell


@_jit
def measure_noise(
    data: Any, weight: Any, every: int
) -> tuple[float, int]:  # pragma: no cover - compiled
    """Sum ``|XX - YY|^2`` over its variance at unit weight.

    Parameters
    ----------
    data : ndarray of complex64, shape (nrow, nchan, ncorr)
        Visibilities.
    weight : ndarray of float32, shape (nrow, nchan, ncorr)
        Their weights; zero where flagged.
    every : int
        Only every so many rows.

    Returns
    -------
    total : float
        The sum.
    count : int
        Its number of terms.
    """
    total, count, last = 0.0, 0, data.shape[2] - 1
    for row in range(0, data.shape[0], every):
        for channel in range(data.shape[1]):
            first_weight = np.float64(weight[row, channel, 0])
            last_weight = np.float64(weight[row, channel, last])
            if last > 0 and first_weight > 0.0 and last_weight > 0.0:
                odd = data[row, channel, 0] - data[row, channel, last]
                total += (odd.real**2 + odd.imag**2) / (1.0 / first_weight + 1.0 / last_weight)
                count += 1
    return total, count


@_jit
def _weight_of_i(weight: Any) -> float:  # pragma: no cover - compiled
    """Weight of Stokes I: of the parallel hands, which come first and last."""
    if weight.size == 1:
        return weight[0]  # type: ignore[no-any-return]
    return weight[0] + weight[-1]  # type: ignore[no-any-return]


@_jit
def _sum_of_i(data: Any, weight: Any) -> complex:  # pragma: no cover - compiled
    """Weighted sum of the parallel hands."""
    if weight.size == 1:
        return weight[0] * data[0]  # type: ignore[no-any-return]
    return weight[0] * data[0] + weight[-1] * data[-1]  # type: ignore[no-any-return]


@_jit
def _has_weight(samples: Any, rows: Any) -> bool:  # pragma: no cover - compiled
    """Whether anything in these rows is not flagged."""
    total = 0.0
    for source in rows:
        if source >= 0:
            total += samples.row_weight[source]
    return total > 0.0


@_jit
def _all_even(samples: Any, rows: Any) -> bool:  # pragma: no cover - compiled
    """Whether each of these rows has one weight in all its channels."""
    odd = 0
    for source in rows:
        if source >= 0:
            odd += not samples.row_is_even[source]
    return odd == 0


@_jit
def _is_even(
    samples: Any, rows: Any, channel0: int, wide: int
) -> bool:  # pragma: no cover - compiled
    """Whether all visibilities of a cell have the weight of their rows, or all have none."""
    n_full = n_empty = 0
    for source in rows:
        if source < 0 or samples.row_weight[source] == 0:
            continue
        for channel in range(channel0, channel0 + wide):
            weight = _weight_of_i(samples.weight[source, channel])
            if weight == 0:
                n_empty += 1
            elif weight == samples.row_weight[source]:
                n_full += 1
            else:
                return False
    return n_full == 0 or n_empty == 0


@_jit
def _place_row(
    samples: Any, rows: Any, begin: int, wide: int, row: int, cell: int, out: Any
) -> None:  # pragma: no cover - compiled
    """Work out where in the uv plane, in frequency and in time the cells of a row lie."""
    total, mean, first, last = 0.0, 0.0, -1, -1
    out.uvw_m[row] = 0.0
    for step in range(rows.size):
        if rows[step] >= 0:
            weight = np.float64(samples.row_weight[rows[step]])
            total += weight
            mean += weight * step
            out.uvw_m[row] += weight * samples.uvw[rows[step]]
            first = step if first < 0 else first
            last = step
    mean /= total
    out.uvw_m[row] /= total
    variance = 0.0
    for step in range(rows.size):
        if rows[step] >= 0:
            variance += samples.row_weight[rows[step]] * (step - mean) ** 2 / total
    motion = (samples.uvw[rows[last]] - samples.uvw[rows[first]]) / max(1, last - first)
    out.spread_m[row] = motion * np.sqrt(variance)
    out.freq_hz[row] = samples.first_hz + 0.5 * (wide - 1) * samples.width_hz
    out.step_hz[row] = wide * samples.width_hz
    out.freq_spread_hz[row] = abs(samples.width_hz) * np.sqrt((wide * wide - 1.0) / 12.0)
    out.start[row] = cell
    out.half_step[row] = int(2.0 * (begin + mean) + 0.5)
    out.span[row] = last + 1 - first


@_jit
def _fill_cell(
    samples: Any, rows: Any, channel0: int, wide: int, cell: int, out: Any
) -> None:  # pragma: no cover - compiled
    """Average the visibilities of a cell."""
    total, weight = np.complex128(0.0), 0.0
    for source in rows:
        if source < 0:
            continue
        for channel in range(channel0, channel0 + wide):
            total += _sum_of_i(samples.data[source, channel], samples.weight[source, channel])
            weight += _weight_of_i(samples.weight[source, channel])
    out.vis[cell] = total / weight if weight > 0.0 else 0.0
    out.weight[cell] = weight


@_jit
def _spread_out(
    samples: Any,
    rows: Any,
    begin: int,
    channel0: int,
    wide: int,
    row: int,
    cell: int,
    out: Any,
    fill: bool,
) -> tuple[int, int]:  # pragma: no cover - compiled
    """Give each visibility of a cell a row of its own; the next free row and cell."""
    for step in range(rows.size):
        source = rows[step]
        if source < 0:
            continue
        for channel in range(channel0, channel0 + wide):
            weight = _weight_of_i(samples.weight[source, channel])
            if weight == 0:
                continue
            if fill:
                out.uvw_m[row] = samples.uvw[source]
                out.spread_m[row] = 0.0
                out.freq_hz[row] = samples.first_hz + channel * samples.width_hz
                out.step_hz[row] = out.freq_spread_hz[row] = 0.0
                out.start[row] = cell
                out.half_step[row] = 2 * (begin + step)
                out.span[row] = 1
                total = _sum_of_i(samples.data[source, channel], samples.weight[source, channel])
                out.vis[cell] = total / weight
                out.weight[cell] = weight
            row, cell = row + 1, cell + 1
    return row, cell
