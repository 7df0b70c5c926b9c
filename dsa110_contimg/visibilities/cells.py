"""Visibilities averaged over cells of channels and integrations, as much as a field allows.

Short baselines see little detail: their visibilities may be averaged over many channels and
integrations before a source at the edge of the field loses anything that a model of the
averaging does not give back. A full-size window shrinks some tenfold, and no source within the
field is lost: baseline-dependent averaging (Wijnholds, Willis & Salvini 2018, MNRAS 476, 2029).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from dsa110_contimg.errors import ScienceQualityError
from dsa110_contimg.instrument import SPEED_OF_LIGHT_M_S
from dsa110_contimg.visibilities.cells_kernel import (
    CellArrays,
    Samples,
    average_cells,
    measure_noise,
    weigh_rows,
)
from dsa110_contimg.visibilities.window import Window, channel_step_hz, count_integrations

FloatArray = npt.NDArray[np.float64]

MAX_PHASE_RAD = 1.0
"""A source at the edge of the field turns at most so much from the centre of a cell to its rim.
It loses up to 16 per cent of its amplitude there. The model knows that to 3e-3 in phase, which
is worst for cells of two or three integrations, and to 4e-2 in quadrature, since the beam drifts
meanwhile; the flux density of such a source is right to 1e-3."""
_NOISE_SAMPLES = 2_000_000
"""Of so many visibilities the noise is known to 0.1 per cent."""
MAX_INTEGRATIONS = 8
"""Longest averaging in time, for the primary beam drifts over the sources meanwhile."""


@dataclass(frozen=True)
class Cells:
    """Stokes I of one window in cells.

    Attributes
    ----------
    arrays : CellArrays
        Visibilities and where they lie.
    n_times : int
        Number of integrations from the first to the last.
    noise_scale : float
        Variance of the real (or imaginary) part of a visibility of weight one, from XX - YY;
        NaN where there is only one of them.
    """

    arrays: CellArrays
    n_times: int
    noise_scale: float

    @property
    def rms_baseline_wavelengths(self) -> float:
        """Weighted root mean square of the baselines' lengths in the uv plane, in wavelengths."""
        weight = np.add.reduceat(self.arrays.weight, self.arrays.start[:-1])
        mean_square = np.average((self.arrays.uvw_m[:, :2] ** 2).sum(axis=1), weights=weight)
        return float(np.sqrt(mean_square) * self.arrays.freq_hz.mean() / SPEED_OF_LIGHT_M_S)


def make_cells(window: Window, directions: FloatArray) -> Cells:
    """Average a window as far as sources in some directions allow.

    Parameters
    ----------
    window : Window
        As read.
    directions : ndarray of float64, shape (nsource, 3)
        Direction cosines l, m and n - 1 of the sources; see `directions.source_directions`.

    Returns
    -------
    Cells
        Weighted means over cells. A cell that is flagged in part is not averaged at all: its
        visibilities become rows of their own.

    Raises
    ------
    ScienceQualityError
        If a baseline occurs twice at one time, or the channels are not equally spaced.
    """
    row_of = _index_rows(window)
    channels, integrations = _cell_sizes(window, row_of, directions)
    samples = Samples(
        row_of,
        window.uvw_m,
        window.data,
        window.weight,
        *weigh_rows(window.weight),
        float(window.freqs_hz[0]),
        channel_step_hz(window),
    )
    n_rows, n_cells = average_cells(samples, channels, integrations, _room(0, 0), False)
    arrays = _room(n_rows, n_cells)
    average_cells(samples, channels, integrations, arrays, True)
    total, count = measure_noise(window.data, window.weight, _noise_step(window))
    noise_scale = total / (2.0 * count) if count else float("nan")
    return Cells(arrays, row_of.shape[1], noise_scale)


def _noise_step(window: Window) -> int:
    """Choose the rows that tell the noise: every so many."""
    return max(1, window.data.size // _NOISE_SAMPLES)


def _room(n_rows: int, n_cells: int) -> CellArrays:
    """Make room for cells."""
    return CellArrays(
        uvw_m=np.empty((n_rows, 3)),
        spread_m=np.empty((n_rows, 3)),
        freq_hz=np.empty(n_rows),
        step_hz=np.empty(n_rows),
        freq_spread_hz=np.empty(n_rows),
        start=np.zeros(n_rows + 1, np.int64),
        half_step=np.empty(n_rows, np.int64),
        span=np.empty(n_rows, np.int64),
        vis=np.empty(n_cells, np.complex64),
        weight=np.empty(n_cells, np.float32),
    )


def _index_rows(window: Window) -> npt.NDArray[np.int64]:
    """Find the row of each cross-correlation at each time; -1 where there is none."""
    cross = np.flatnonzero(window.antenna1 != window.antenna2)
    time, n_times = count_integrations(window)
    n_antennas = 1 + int(max(window.antenna1.max(), window.antenna2.max()))
    pair = window.antenna1[cross].astype(np.int64) * n_antennas + window.antenna2[cross]
    pairs, baseline = np.unique(pair, return_inverse=True)
    row_of = np.full((len(pairs), n_times), -1, np.int64)
    row_of[baseline, time[cross]] = cross
    if np.count_nonzero(row_of >= 0) < len(cross):
        raise ScienceQualityError("a baseline occurs twice at one time", reason="repeated_rows")
    return row_of


def _cell_sizes(
    window: Window, row_of: npt.NDArray[np.int64], directions: FloatArray
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Choose the channels and the integrations that each baseline may average."""
    extent_m, motion_m = _extents(window, row_of)
    reach = np.array([np.hypot(*directions[:, :2].T).max(), np.abs(directions[:, 2]).max()])
    delay_s, drift_s = (
        np.stack([np.hypot(*span_m[:, :2].T), span_m[:, 2]], axis=1) @ reach / SPEED_OF_LIGHT_M_S
        for span_m in (extent_m, motion_m)
    )
    n_chan = len(window.freqs_hz)
    divisors = np.array([n for n in range(1, n_chan + 1) if n_chan % n == 0])
    with np.errstate(divide="ignore"):
        most_channels = MAX_PHASE_RAD / (np.pi * delay_s * abs(channel_step_hz(window)))
        most_integrations = MAX_PHASE_RAD / (np.pi * drift_s * window.freqs_hz.max())
    channels = divisors[np.searchsorted(divisors, np.maximum(most_channels, 1.0), "right") - 1]
    return channels, np.clip(most_integrations, 1, MAX_INTEGRATIONS).astype(np.int64)


def _extents(window: Window, row_of: npt.NDArray[np.int64]) -> tuple[FloatArray, FloatArray]:
    """Largest coordinates of each baseline, and its motion per integration, without signs."""
    present = row_of >= 0
    first = np.argmax(present, axis=1)
    last = row_of.shape[1] - 1 - np.argmax(present[:, ::-1], axis=1)
    baseline = np.arange(len(row_of))
    begin_m, end_m = (window.uvw_m[row_of[baseline, time]] for time in (first, last))
    motion_m = (end_m - begin_m) / np.maximum(1, last - first)[:, None]
    return np.maximum(np.abs(begin_m), np.abs(end_m)), np.abs(motion_m)
