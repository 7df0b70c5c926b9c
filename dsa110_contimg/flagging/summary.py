"""Count the flags of an MS by antenna, baseline length, window and channel."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from dsa110_contimg.flagging.models import BaselineBin, FlagSummary
from dsa110_contimg.visibilities.models import SpwInfo
from dsa110_contimg.visibilities.ms_info import open_table, read_station_names

_N_BASELINE_BINS = 10


def summarize_flags(ms_path: Path, spws: list[SpwInfo]) -> FlagSummary:
    """Count the flags of the cross-correlations.

    Parameters
    ----------
    ms_path : Path
        The MS.
    spws : list of SpwInfo
        Its windows.

    Returns
    -------
    FlagSummary
        Fractions of the visibilities.
    """
    names = read_station_names(ms_path)
    rows, channels = _count(ms_path, spws)
    antenna1, antenna2, length_m, flagged, total = rows
    by_antenna = [
        np.bincount(antenna1, weights, len(names)) + np.bincount(antenna2, weights, len(names))
        for weights in (flagged, total)
    ]
    return FlagSummary(
        fraction=float(flagged.sum() / max(1.0, total.sum())),
        by_antenna={
            name: float(bad / all_of_it)
            for name, bad, all_of_it in zip(names, *by_antenna, strict=True)
            if all_of_it
        },
        by_baseline=_bin_baselines(length_m, flagged, total),
        by_window=[float(np.mean(fractions)) for fractions in channels],
        by_channel=[fractions.tolist() for fractions in channels],
    )


def _count(
    ms_path: Path, spws: list[SpwInfo]
) -> tuple[list[npt.NDArray[np.float64]], list[npt.NDArray[np.float64]]]:
    """Read antennas, lengths, flagged and all visibilities of rows; fractions of channels."""
    parts, channels = [], []
    with open_table(ms_path) as ms:
        description = ms.getcol("DATA_DESC_ID")
        for spw in spws:
            rows = ms.selectrows(np.flatnonzero(description == spw.data_desc_id))
            antenna1, antenna2 = rows.getcol("ANTENNA1"), rows.getcol("ANTENNA2")
            cross = antenna1 != antenna2
            flags = rows.getcol("FLAG")[cross] | rows.getcol("FLAG_ROW")[cross, None, None]
            length_m = np.linalg.norm(rows.getcol("UVW")[cross], axis=1)
            total = np.full(len(flags), float(flags[0].size) if len(flags) else 0.0)
            parts.append(
                [antenna1[cross], antenna2[cross], length_m, flags.sum(axis=(1, 2)), total]
            )
            channels.append(flags.mean(axis=(0, 2)) if len(flags) else np.ones(spw.n_channels))
    return [np.concatenate(column) for column in zip(*parts, strict=True)], channels


def _bin_baselines(
    length_m: npt.NDArray[np.float64],
    flagged: npt.NDArray[np.float64],
    total: npt.NDArray[np.float64],
) -> list[BaselineBin]:
    """Put as many baselines in each bin."""
    order = np.argsort(length_m, kind="stable")
    return [
        BaselineBin(
            min_m=float(length_m[part[0]]),
            max_m=float(length_m[part[-1]]),
            flagged_fraction=float(flagged[part].sum() / total[part].sum()),
        )
        for part in np.array_split(order, _N_BASELINE_BINS)
        if len(part)
    ]
