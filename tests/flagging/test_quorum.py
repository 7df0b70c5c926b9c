"""Flags of enough baselines become flags of all, and no others do."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from casacore.tables import table
from support.rfi_night import RfiGroup, read_column

from dsa110_contimg.flagging.quorum import extend_to_all_baselines
from dsa110_contimg.storage.files import make_writable
from dsa110_contimg.visibilities.ms_info import read_ms_info

pytestmark = pytest.mark.casa

WINDOW, INTEGRATION, CHANNEL = 3, 5, 17
QUORUM = 0.2


@pytest.fixture
def unflagged(rfi_group: RfiGroup, tmp_path: Path) -> Path:
    """A copy of a group without flags, but for one baseline that has no data at all."""
    ms = tmp_path / "group.ms"
    shutil.copytree(rfi_group.clean_ms, ms)
    make_writable(ms)
    write(ms, dead_baseline(ms))
    return ms


def write(ms: Path, flags: np.ndarray) -> None:
    with table(str(ms), readonly=False, ack=False) as opened:
        opened.putcol("FLAG", flags)


def dead_baseline(ms: Path) -> np.ndarray:
    """Flags of the first baseline between two antennas."""
    first, second = read_column(ms, "ANTENNA1"), read_column(ms, "ANTENNA2")
    row = np.flatnonzero(first != second)[0]
    flags = np.zeros(read_column(ms, "FLAG").shape, bool)
    flags[(first == first[row]) & (second == second[row])] = True
    return flags


def rows_of(ms: Path) -> np.ndarray:
    """Rows of the living baselines in one integration of one window."""
    times = read_column(ms, "TIME")
    here = (read_column(ms, "DATA_DESC_ID") == WINDOW) & (times == np.unique(times)[INTEGRATION])
    here &= read_column(ms, "ANTENNA1") != read_column(ms, "ANTENNA2")
    return np.flatnonzero(here & ~dead_baseline(ms).any(axis=(1, 2)))


@pytest.mark.parametrize(("more", "cells"), [(0, 0), (1, 1)])
def test_more_than_the_quorum_is_needed(unflagged: Path, more: int, cells: int) -> None:
    rows = rows_of(unflagged)
    before = dead_baseline(unflagged)
    voices = rows[: int(QUORUM * len(rows)) + more]
    before[voices, CHANNEL, 1] = True
    write(unflagged, before)
    assert extend_to_all_baselines(unflagged, read_ms_info(unflagged).spws, QUORUM) == cells
    expected = before.copy()
    if cells:
        expected[rows, CHANNEL] = True
    after = read_column(unflagged, "FLAG")
    cross = read_column(unflagged, "ANTENNA1") != read_column(unflagged, "ANTENNA2")
    np.testing.assert_array_equal(after[cross], expected[cross])
    np.testing.assert_array_equal(after[~cross], before[~cross])


def test_an_integration_that_is_flagged_whole_counts(unflagged: Path) -> None:
    """Flags that were extended over all channels of a baseline are voices, too."""
    rows = rows_of(unflagged)
    before = dead_baseline(unflagged)
    before[rows[: len(rows) // 2]] = True
    write(unflagged, before)
    n_channels = before.shape[1]
    spws = read_ms_info(unflagged).spws
    assert extend_to_all_baselines(unflagged, spws, QUORUM) == n_channels
    assert read_column(unflagged, "FLAG")[rows].all()
