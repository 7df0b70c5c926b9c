"""Predict known sources, or take them out of the visibilities of a window or of their averages."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from dsa110_contimg.catalog.sources import Source
from dsa110_contimg.visibilities.cells import MAX_INTEGRATIONS, Cells
from dsa110_contimg.visibilities.cells_kernel import CellArrays
from dsa110_contimg.visibilities.field import place_sources
from dsa110_contimg.visibilities.model_kernel import fill_design
from dsa110_contimg.visibilities.models import MsInfo, SpwInfo
from dsa110_contimg.visibilities.window import Window, channel_step_hz, count_integrations

_DESIGN_BYTES = 1 << 22
"""What is worked on at once: it stays in the processor's cache."""


def subtract_sources(
    window: Window, info: MsInfo, sources: Sequence[Source], flux_jy: Sequence[float]
) -> Window:
    """Subtract point sources, as the primary beam saw them, from a window.

    Parameters
    ----------
    window : Window
        As read.
    info : MsInfo
        The MS.
    sources : sequence of Source
        Where.
    flux_jy : sequence of float
        Flux density of each in this window in Jy, before the primary beam.

    Returns
    -------
    Window
        The same window with other data; what is flagged is zero still.

    Raises
    ------
    ScienceQualityError
        If the channels are not equally spaced.
    """
    if not sources:
        return window
    model = predict_window(window, info, sources, flux_jy)
    left = window.data - model[:, :, None]
    return replace(window, data=np.where(window.weight > 0.0, left, np.complex64(0.0)))


def subtract_from_cells(
    cells: Cells,
    info: MsInfo,
    spw: SpwInfo,
    sources: Sequence[Source],
    flux_jy: npt.NDArray[np.float64],
) -> npt.NDArray[np.complex64]:
    """Subtract point sources, as the primary beam and the averaging saw them, from cells.

    Parameters
    ----------
    cells : Cells
        A window, averaged no further than these sources allow.
    info : MsInfo
        The MS.
    spw : SpwInfo
        The window.
    sources : sequence of Source
        Where.
    flux_jy : ndarray of float64, shape (nsource,)
        Flux density of each in Jy, before the primary beam.

    Returns
    -------
    ndarray of complex64, shape (ncell,)
        What is left; zero in cells without weight.
    """
    arrays, flux = cells.arrays, flux_jy.astype(np.float32)
    placed = place_sources(sources, info, spw, cells.n_times, MAX_INTEGRATIONS)
    at_once = max(1, _DESIGN_BYTES // (8 * max(1, len(sources))))
    left = np.zeros_like(arrays.vis)
    row = 0
    while row < len(arrays.freq_hz):
        begin = arrays.start[row]
        last = max(row + 1, int(np.searchsorted(arrays.start, begin + at_once, "right")) - 1)
        here = slice(begin, arrays.start[last])
        root = np.sqrt(arrays.weight[here])
        design = np.empty((2, len(root), len(sources)), np.float32)
        fill_design(arrays, row, last, placed, design)
        real, imag = design @ flux
        used = root > 0.0
        model = (real[used] + np.complex64(1j) * imag[used]) / root[used]
        left[here][used] = arrays.vis[here][used] - model
        row = last
    return left


def predict_window(
    window: Window, info: MsInfo, sources: Sequence[Source], flux_jy: Sequence[float]
) -> npt.NDArray[np.complex64]:
    """Predict point sources, as the primary beam saw them, in every visibility of a window.

    Parameters
    ----------
    window : Window
        As read.
    info : MsInfo
        The MS.
    sources : sequence of Source
        Where; at least one.
    flux_jy : sequence of float
        Flux density of each in this window in Jy, before the primary beam.

    Returns
    -------
    ndarray of complex64, shape (nrow, nchan)
        Stokes I in Jy.

    Raises
    ------
    ScienceQualityError
        If the channels are not equally spaced.
    """
    flux = np.array(flux_jy, np.float32)
    time, n_times = count_integrations(window)
    placed = place_sources(sources, info, window.spw, n_times)
    n_rows, n_chan = window.data.shape[:2]
    model = np.empty((n_rows, n_chan), np.complex64)
    at_once = max(1, _DESIGN_BYTES // (8 * n_chan * len(sources)))
    for begin in range(0, n_rows, at_once):
        rows = slice(begin, min(begin + at_once, n_rows))
        cells = _every_visibility(window, rows, time)
        design = np.empty((2, len(cells.weight), len(sources)), np.float32)
        fill_design(cells, 0, len(cells.freq_hz), placed, design)
        real, imag = design @ flux
        model[rows].real, model[rows].imag = real.reshape(-1, n_chan), imag.reshape(-1, n_chan)
    return model


def _every_visibility(window: Window, rows: slice, time: npt.NDArray[np.intp]) -> CellArrays:
    """Make every visibility of some rows a cell of its own, without data."""
    n_chan = len(window.freqs_hz)
    n_rows = rows.stop - rows.start
    return CellArrays(
        uvw_m=window.uvw_m[rows],
        spread_m=np.zeros((n_rows, 3)),
        freq_hz=np.full(n_rows, window.freqs_hz[0]),
        step_hz=np.full(n_rows, channel_step_hz(window)),
        freq_spread_hz=np.zeros(n_rows),
        start=np.arange(n_rows + 1) * n_chan,
        half_step=2 * time[rows],
        span=np.ones(n_rows, np.int64),
        vis=np.empty(0, np.complex64),
        weight=np.ones(n_rows * n_chan, np.float32),
    )
