"""The amplitude beyond which a visibility is interference without further search."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from dsa110_contimg.visibilities.models import SpwInfo
from dsa110_contimg.visibilities.ms_info import open_table, spread_over_band

_ROW_STEP = 16


def find_clip_limit(ms_path: Path, spws: list[SpwInfo], *, sigma: float) -> float:
    """Find the largest amplitude that is no interference, from some of the data.

    Parameters
    ----------
    ms_path : Path
        The MS.
    spws : list of SpwInfo
        Its windows.
    sigma : float
        So many robust standard deviations above the median of a window.

    Returns
    -------
    float
        The largest limit of some windows of cross-correlations, in the unit of DATA; the
        largest number where there are no data.
    """
    from astropy.stats import mad_std

    limits = []
    with open_table(ms_path) as ms:
        description = ms.getcol("DATA_DESC_ID")
        own = ms.getcol("ANTENNA1") == ms.getcol("ANTENNA2")
        for spw in spread_over_band(spws):
            rows = np.flatnonzero((description == spw.data_desc_id) & ~own)[::_ROW_STEP]
            amplitude = np.abs(ms.selectrows(rows).getcol("DATA"))
            amplitude = amplitude[amplitude > 0.0]
            if amplitude.size:
                limits.append(float(np.median(amplitude)) + sigma * float(mad_std(amplitude)))
    return max(limits, default=float(np.finfo(np.float32).max))
