"""Interference that many baselines show is on all of them, if too weak to be found on each."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from dsa110_contimg.visibilities.models import SpwInfo
from dsa110_contimg.visibilities.ms_info import open_table

Flags = npt.NDArray[np.bool_]
Numbers = npt.NDArray[np.intp]


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
        pairs = np.stack([ms.getcol("ANTENNA1"), ms.getcol("ANTENNA2")])
    with table(str(ms_path), readonly=False, ack=False) as ms:
        for spw in spws:
            rows = np.flatnonzero((description == spw.data_desc_id) & (pairs[0] != pairs[1]))
            if not len(rows):
                continue
            selected = ms.selectrows(rows)
            flags = selected.getcol("FLAG")
            baseline = np.unique(pairs[:, rows], axis=1, return_inverse=True)[1].ravel()
            integration = np.unique(times[rows], return_inverse=True)[1]
            reached = _find_cells(flags, baseline, integration, quorum)
            if reached.any():
                selected.putcol("FLAG", flags | reached[integration][:, :, None])
                n_cells += int(reached.sum())
    return n_cells


def _find_cells(flags: Flags, baseline: Numbers, integration: Numbers, quorum: float) -> Flags:
    """Find the channels of integrations that reach the quorum, shape (nintegration, nchan)."""
    # One that is flagged throughout, as those of dead antennas are, has no voice.
    has_data = np.zeros(baseline.max() + 1, bool)
    np.logical_or.at(has_data, baseline, ~flags.all(axis=(1, 2)))
    voice = np.flatnonzero(has_data[baseline])
    shape = (integration.max() + 1, flags.shape[1])
    flagged, count = np.zeros(shape, np.int64), np.bincount(integration[voice], minlength=shape[0])
    for number in range(shape[0]):
        rows = voice[integration[voice] == number]
        flagged[number] = np.count_nonzero(flags[rows].any(axis=2), axis=0)
    return np.asarray((flagged > quorum * count[:, None]) & (flagged < count[:, None]))
