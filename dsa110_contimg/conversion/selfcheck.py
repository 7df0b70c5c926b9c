"""A look at the finished MS through casacore, before it is published.

A few rows of every window are read back and compared with the raw file read by h5py and
rotated by a formula of its own, so that a wrong offset, order, sign or window is seen.
"""

from __future__ import annotations

import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import numpy.typing as npt

from dsa110_contimg.conversion.fill import BaselineTable
from dsa110_contimg.conversion.geometry import GroupGeometry
from dsa110_contimg.conversion.hdf5_header import named_errors, open_unlocked
from dsa110_contimg.conversion.kernel import LARGEST_VISIBILITY
from dsa110_contimg.conversion.layout import MsLayout
from dsa110_contimg.errors import TransientError
from dsa110_contimg.instrument import SPEED_OF_LIGHT_M_S

_ROWS_PER_WINDOW = 4
_RELATIVE_TOLERANCE = 1e-5
"""The rotation is single precision: a few units in the last place, 1e-6, with a margin."""


def check_ms(
    ms_path: Path,
    layout: MsLayout,
    geometry: GroupGeometry,
    baselines: BaselineTable,
    inputs: Sequence[Path],
) -> None:
    """Compare a few rows of every window with the raw files.

    Parameters
    ----------
    ms_path : Path
        The MS.
    layout : MsLayout
        What it should hold.
    geometry : GroupGeometry
        How the data were brought to the phase centre.
    baselines : BaselineTable
        The baselines of one integration.
    inputs : sequence of Path
        One subband file per window, in order of the windows.

    Raises
    ------
    TransientError
        If anything differs.
    """
    from casacore.tables import table

    generator = np.random.default_rng(zlib.crc32(layout.field_name.encode()))
    with table(str(ms_path), ack=False) as ms:
        if ms.nrows() != layout.n_rows:
            raise _failed(f"{ms.nrows()} rows instead of {layout.n_rows}")
        for spw, path in enumerate(inputs):
            rows = generator.integers(0, layout.n_rows_per_spw, _ROWS_PER_WINDOW).tolist()
            with named_errors(path), open_unlocked(path) as raw:
                expected = [_expected_row(layout, geometry, baselines, spw, raw, r) for r in rows]
            for row, columns in zip(rows, expected, strict=True):
                place = spw * layout.n_rows_per_spw + row
                for column, value in columns.items():
                    if not _equal(np.asarray(ms.getcell(column, place)), np.asarray(value)):
                        raise _failed(f"{column} of row {place} (window {spw}, {path.name})")


def _expected_row(
    layout: MsLayout,
    geometry: GroupGeometry,
    baselines: BaselineTable,
    spw: int,
    raw: h5py.File,
    row: int,
) -> dict[str, object]:
    """Compute what one row must hold, from the raw file."""
    time, baseline = divmod(row, len(layout.antenna1))
    p, q, in_order = baselines.rows[baseline]
    vis = _raw_row(raw, "visdata", row).astype(np.complex128)
    # A damaged boolean may be neither 0 nor 1.
    flags = _raw_row(raw, "flags", row).view(np.uint8) != 0
    delta_w = geometry.antenna_delta_w_m[time]
    turns = np.outer(layout.spw_freqs_hz[spw] / SPEED_OF_LIGHT_M_S, delta_w[p] - delta_w[q])
    bad = ~(np.abs(vis.real) + np.abs(vis.imag) < LARGEST_VISIBILITY)
    vis[bad] = 0.0
    conjugated = np.conj(vis) if in_order else vis
    return {
        "DATA": conjugated * np.exp(-2j * np.pi * turns),
        "FLAG": flags | bad,
        "UVW": geometry.antenna_uvw_m[time, p] - geometry.antenna_uvw_m[time, q],
        "ANTENNA1": p,
        "ANTENNA2": q,
        "DATA_DESC_ID": spw,
    }


def _raw_row(raw: h5py.File, name: str, row: int) -> npt.NDArray[Any]:
    """Read a row of a raw file, shape (nchan, npol), lowest frequency first."""
    values = raw[f"Data/{name}"][row]
    return np.asarray(values.reshape(values.shape[-2:])[::-1])


def _equal(found: np.ndarray, expected: np.ndarray) -> bool:
    """Compare exactly what is exact, and the rest within single precision."""
    if expected.dtype.kind not in "fc":
        return bool(np.array_equal(found, expected))
    scale = float(np.abs(expected).max(initial=0.0))
    return bool(np.abs(found - expected).max(initial=0.0) <= _RELATIVE_TOLERANCE * scale)


def _failed(what: str) -> TransientError:
    """Name a failed check; a new attempt may pass if memory or disk lied."""
    return TransientError(
        f"the finished MS differs from its inputs: {what}",
        reason="self_check",
        remedy="if it happens again, report it as a bug",
    )
