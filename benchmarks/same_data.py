"""Do two MSs hold the same visibilities? A benchmark compares only what does the same job."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

_ROWS = 500
_ROWS_CORRECTED = 5000
_TOLERANCE = 1e-5
"""Relative: both rotate in single precision."""


def require_same(ours: Path, theirs: Path) -> None:
    """Compare a sample of the rows of two MSs by time, baseline and frequency.

    Parameters
    ----------
    ours, theirs : Path
        MSs; they may differ in the order of rows and channels and in the cut into windows.

    Raises
    ------
    RuntimeError
        If a visibility differs.
    """
    from casacore.tables import table

    generator = np.random.default_rng(0)
    with table(str(ours), ack=False) as left, table(str(theirs), ack=False) as right:
        rows = generator.integers(0, left.nrows(), _ROWS)
        index = _index(right)
        windows, their_windows = _windows(ours), _windows(theirs)
        for row in rows:
            freqs = windows[left.getcell("DATA_DESC_ID", int(row))]
            key = tuple(left.getcell(name, int(row)) for name in ("TIME", "ANTENNA1", "ANTENNA2"))
            found = np.full((len(freqs), 2), np.nan, dtype=np.complex128)
            for there in index[_rounded(*key)]:
                their_freqs = their_windows[right.getcell("DATA_DESC_ID", there)]
                order = np.argsort(their_freqs)
                place = np.searchsorted(their_freqs[order], freqs - 1.0)
                inside = place < len(order)
                place = order[np.minimum(place, len(order) - 1)]
                inside &= np.abs(their_freqs[place] - freqs) < 1.0
                found[inside] = right.getcell("DATA", there)[place[inside]]
            vis = left.getcell("DATA", int(row))
            if not np.abs(found - vis).max() <= _TOLERANCE * np.abs(vis).max():
                raise RuntimeError(f"row {row} of {ours.name} differs in {theirs.name}")


def require_same_corrected(ours: Path, theirs: Path) -> float:
    """Compare CORRECTED_DATA of a sample of the rows of an MS and its copy.

    Parameters
    ----------
    ours, theirs : Path
        MSs with the same rows, corrected with the same tables.

    Returns
    -------
    float
        Largest relative difference of what is unflagged in both.

    Raises
    ------
    RuntimeError
        If it is not small.
    """
    from casacore.tables import table

    generator = np.random.default_rng(0)
    with table(str(ours), ack=False) as left, table(str(theirs), ack=False) as right:
        rows = np.sort(generator.integers(0, left.nrows(), _ROWS_CORRECTED))
        one, other = left.selectrows(rows), right.selectrows(rows)
        good = ~(one.getcol("FLAG") | other.getcol("FLAG"))
        vis, found = one.getcol("CORRECTED_DATA")[good], other.getcol("CORRECTED_DATA")[good]
        difference = float(np.max(np.abs(found - vis) / np.maximum(np.abs(vis), 1e-6)))
    if not difference <= _TOLERANCE:
        raise RuntimeError(f"CORRECTED_DATA of {ours.name} differs by {difference:.2g}")
    return difference


def _rounded(time_s: float, antenna1: int, antenna2: int) -> tuple[int, int, int]:
    """Make a key of a row, good to a millisecond."""
    return round(time_s * 1e3), int(antenna1), int(antenna2)


def _index(ms: object) -> dict[tuple[int, int, int], list[int]]:
    """Find the rows of every time and baseline."""
    columns = [ms.getcol(name) for name in ("TIME", "ANTENNA1", "ANTENNA2")]
    index: dict[tuple[int, int, int], list[int]] = {}
    for row, key in enumerate(zip(*(column.tolist() for column in columns), strict=True)):
        index.setdefault(_rounded(*key), []).append(row)
    return index


def _windows(ms: Path) -> dict[int, npt.NDArray[np.float64]]:
    """Channel frequencies in Hz by DATA_DESC_ID."""
    from casacore.tables import table

    with (
        table(f"{ms}::DATA_DESCRIPTION", ack=False) as descriptions,
        table(f"{ms}::SPECTRAL_WINDOW", ack=False) as windows,
    ):
        ids = descriptions.getcol("SPECTRAL_WINDOW_ID")
        return {
            number: windows.getcell("CHAN_FREQ", int(window)) for number, window in enumerate(ids)
        }
