"""The compiled loop over cells and sources: what each source gives in each cell.

Sources lie side by side in the processor's registers. From one cell of a row to the next each
source's phase advances by the same angle, so that trigonometry is needed twice per row only.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from dsa110_contimg.compiled import numba
from dsa110_contimg.instrument import SPEED_OF_LIGHT_M_S

_jit = numba.njit(
    cache=True, nogil=True, boundscheck=False, error_model="numpy", fastmath={"contract"}
)
_LIGHT_S_PER_M = 1.0 / SPEED_OF_LIGHT_M_S
_TWO_PI = np.float32(2.0 * np.pi)
_HALF, _QUARTER, _ONE, _ZERO = (np.float32(x) for x in (0.5, 0.25, 1.0, 0.0))
# Taylor series of the sine up to t**11: 6e-8 off at a quarter turn.
_S3, _S5, _S7 = np.float32(-1 / 6), np.float32(1 / 120), np.float32(-1 / 5040)
_S9, _S11 = np.float32(1 / 362880), np.float32(-1 / 39916800)


class PointSources(NamedTuple):
    """Point sources as the loop needs them.

    Attributes
    ----------
    directions : ndarray of float64, shape (3, nsource)
        Direction cosines l, m and n - 1.
    response : ndarray of float32, shape (nspan, nhalfstep, nsource)
        Primary beam towards each, the mean over 1, 2, ... integrations around times that are
        half an integration apart.
    """

    directions: npt.NDArray[np.float64]
    response: npt.NDArray[np.float32]


@_jit
def fill_design(
    cells: Any, first: int, last: int, sources: Any, design: Any
) -> None:  # pragma: no cover - compiled
    """Work out what each source at 1 Jy gives in the cells of some rows.

    A source of flux S in direction (l, m, n) gives ``S exp(2 pi i (u l + v m + w (n - 1)) f / c)``
    (the convention of CASA), less what averaging over a cell takes away: the sinc of the phase
    across it, in frequency and in time, to fourth order.

    Parameters
    ----------
    cells : CellArrays
        Where the visibilities lie, and their weights.
    first, last : int
        Half-open range of rows.
    sources : PointSources
        The sources.
    design : ndarray of float32, shape (2, ncell, nsource)
        Receives the real and the imaginary parts, times the root of the cells' weights;
        ``ncell`` counts the cells of these rows.
    """
    n = sources.directions.shape[1]
    amplitude, step_real, step_imag = (
        np.empty(n, np.float32),
        np.empty(n, np.float32),
        np.empty(n, np.float32),
    )
    real, imag = np.empty(n, np.float32), np.empty(n, np.float32)
    begin = cells.start[first]
    for row in range(first, last):
        _start_row(cells, row, sources, amplitude, real, imag, step_real, step_imag)
        for cell in range(cells.start[row], cells.start[row + 1]):
            root = np.sqrt(cells.weight[cell])
            _store(root, amplitude, real, imag, design[0, cell - begin], design[1, cell - begin])
            if cell + 1 < cells.start[row + 1]:
                _advance(real, imag, step_real, step_imag)


@_jit
def _start_row(
    cells: Any,
    row: int,
    sources: Any,
    amplitude: Any,
    real: Any,
    imag: Any,
    step_real: Any,
    step_imag: Any,
) -> None:  # pragma: no cover - compiled
    """Work out amplitude and phase of each source in a row's first cell, and the phase's step."""
    dir_l, dir_m, dir_n = sources.directions[0], sources.directions[1], sources.directions[2]
    response = sources.response[cells.span[row] - 1, cells.half_step[row]]
    u, v, w = (
        cells.uvw_m[row, 0] * _LIGHT_S_PER_M,
        cells.uvw_m[row, 1] * _LIGHT_S_PER_M,
        cells.uvw_m[row, 2] * _LIGHT_S_PER_M,
    )
    along_freq = 2.0 * np.pi * cells.freq_spread_hz[row]
    n_cells = cells.start[row + 1] - cells.start[row]
    middle_hz = cells.freq_hz[row] + 0.5 * (n_cells - 1) * cells.step_hz[row]
    along_time = 2.0 * np.pi * middle_hz * _LIGHT_S_PER_M
    du, dv, dw = (
        cells.spread_m[row, 0] * along_time,
        cells.spread_m[row, 1] * along_time,
        cells.spread_m[row, 2] * along_time,
    )
    freq_hz, step_hz = cells.freq_hz[row], cells.step_hz[row]
    for s in range(real.size):
        delay_s = u * dir_l[s] + v * dir_m[s] + w * dir_n[s]
        turns, step = delay_s * freq_hz, delay_s * step_hz
        real[s] = np.float32(turns - np.rint(turns))
        step_real[s] = np.float32(step - np.rint(step))
        across = np.float32(delay_s * along_freq)
        during = np.float32(du * dir_l[s] + dv * dir_m[s] + dw * dir_n[s])
        amplitude[s] = response[s] * _kept(across * across) * _kept(during * during)
    _turn(real, imag)
    _turn(step_real, step_imag)


@_jit
def _kept(variance: Any) -> Any:  # pragma: no cover - compiled
    """Mean of exp(i x) for x spread evenly about zero with a variance: sinc to fourth order."""
    return _ONE - variance * (_HALF - np.float32(0.075) * variance)


@_jit
def _turn(real: Any, imag: Any) -> None:  # pragma: no cover - compiled
    """Replace turns in [-1/2, 1/2], in `real`, by their cosines and sines."""
    for s in range(real.size):
        turns = real[s]
        real[s] = _sine(_QUARTER - abs(turns))
        folded = turns
        if abs(turns) > _QUARTER:
            folded = (_HALF if turns > _ZERO else -_HALF) - turns
        imag[s] = _sine(folded)


@_jit
def _sine(turns: Any) -> Any:  # pragma: no cover - compiled
    """Sine of an angle in turns, within [-1/4, 1/4]."""
    t = turns * _TWO_PI
    t2 = t * t
    return t * (_ONE + t2 * (_S3 + t2 * (_S5 + t2 * (_S7 + t2 * (_S9 + t2 * _S11)))))


@_jit
def _store(
    root: Any, amplitude: Any, real: Any, imag: Any, out_real: Any, out_imag: Any
) -> None:  # pragma: no cover - compiled
    """Store what the sources give in a cell."""
    for s in range(real.size):
        scale = root * amplitude[s]
        out_real[s] = scale * real[s]
        out_imag[s] = scale * imag[s]


@_jit
def _advance(
    real: Any, imag: Any, step_real: Any, step_imag: Any
) -> None:  # pragma: no cover - compiled
    """Turn each source's phase to the next cell."""
    for s in range(real.size):
        old = real[s]
        real[s] = old * step_real[s] - imag[s] * step_imag[s]
        imag[s] = old * step_imag[s] + imag[s] * step_real[s]
