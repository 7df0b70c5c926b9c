"""Interference that many baselines show is on all of them, if too weak to be found on each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from dsa110_contimg.visibilities.models import SpwInfo
from dsa110_contimg.visibilities.ms_info import open_table

Flags = npt.NDArray[np.bool_]


def extend_to_all_baselines(ms_path: Path, spws: list[SpwInfo], quorum: float) -> int:
    """Flag a channel of an integration on all baselines, if enough of them are flagged there.

    A search per baseline leaves interference where its antennas hear it faintly; what is left
    is correlated over the array, so that it biases sources although it is little power. False
    alarms of a search fall on baselines at random and never make a quorum.

    Parameters
    ----------
    ms_path : Path
        The MS, held and writable.
    spws : list of SpwInfo
        Its windows.
    quorum : float
        Fraction of the baselines that have data at all.

    Returns
    -------
    int
        Number of channels of integrations that were flagged whole.
    """
    from casacore.tables import table

    n_cells = 0
    with open_table(ms_path) as ms:
        description, times = ms.getcol("DATA_DESC_ID"), ms.getcol("TIME")
        own = ms.getcol("ANTENNA1") == ms.getcol("ANTENNA2")
    with table(str(ms_path), readonly=False, ack=False) as ms:
        for spw in spws:
            rows = np.flatnonzero((description == spw.data_desc_id) & ~own)
            if not len(rows):
                continue
            selected = ms.selectrows(rows)
            flags = selected.getcol("FLAG")
            cells, extended = _extend(flags, np.unique(times[rows], return_inverse=True)[1], quorum)
            if cells:
                selected.putcol("FLAG", extended)
                n_cells += cells
    return n_cells


def _extend(flags: Flags, integration: npt.NDArray[np.intp], quorum: float) -> tuple[int, Flags]:
    """Extend flags of shape (nrow, nchan, ncorr) in each integration; count what was extended."""
    alive = ~flags.all(axis=(1, 2))
    order = np.argsort(integration[alive], kind="stable")
    numbers = integration[alive][order]
    if not len(numbers):
        return 0, flags
    starts = np.flatnonzero(np.diff(numbers, prepend=-1))
    flagged = np.add.reduceat(flags[alive][order].any(axis=2), starts, axis=0, dtype=np.int64)
    count = np.diff(np.append(starts, len(numbers)))
    reached = np.zeros((integration.max() + 1, flags.shape[1]), bool)
    reached[numbers[starts]] = (flagged > quorum * count[:, None]) & (flagged < count[:, None])
    return int(reached.sum()), flags | reached[integration][:, :, None]
