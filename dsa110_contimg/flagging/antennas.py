"""Antennas that do not work, found by their power against the rest of the array."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt

from dsa110_contimg.flagging.models import DeadAntenna
from dsa110_contimg.visibilities.models import SpwInfo
from dsa110_contimg.visibilities.ms_info import open_table, read_station_names, spread_over_band

FloatArray = npt.NDArray[np.float64]

_CHANNEL_STEP = 8
_KINDS = ("autocorrelation", "cross-correlations")
_TINY = 1e-30
"""Stands for a power of zero in a logarithm."""


def find_dead_antennas(
    ms_path: Path, spws: list[SpwInfo], *, power_ratio: float
) -> list[DeadAntenna]:
    """Find antennas whose signal is much weaker or stronger than the others'.

    Both what an antenna receives by itself (autocorrelation) and what its baselines show are
    compared, in each polarization; medians over time and channels leave interference out.

    Parameters
    ----------
    ms_path : Path
        The MS.
    spws : list of SpwInfo
        Its windows.
    power_ratio : float
        Factor between an antenna's power and the array's median beyond which it is dead.

    Returns
    -------
    list of DeadAntenna
        In order of id.
    """
    names = read_station_names(ms_path)
    powers = [_powers(ms_path, spw, len(names)) for spw in spread_over_band(spws)]
    dead: dict[int, str] = {}
    for what, of_windows in zip(_KINDS, zip(*powers, strict=True), strict=True):
        power = _median(np.array(of_windows))
        # Where most antennas are silent, the others are still the measure.
        usual = _median(np.where(power > 0.0, power, np.nan))
        ratio = np.nan_to_num(power / usual, nan=1.0)
        distance = np.abs(np.log(np.maximum(ratio, _TINY)))
        for antenna in np.flatnonzero((distance > np.log(power_ratio)).any(axis=1)):
            worst = ratio[antenna, np.argmax(distance[antenna])]
            sentence = f"the power of its {what} is {worst:.2g} times the array's median"
            dead.setdefault(int(antenna), sentence)
    return [
        DeadAntenna(name=names[antenna], antenna_id=antenna, reason=dead[antenna])
        for antenna in sorted(dead)
    ]


def flag_antennas(ms_path: Path, spws: list[SpwInfo], antennas: list[int]) -> None:
    """Flag all data of some antennas.

    By id, without a selection in CASA's syntax: that one prefers names, which may be blank,
    shared by antennas, or the number of another one.

    Parameters
    ----------
    ms_path : Path
        The MS, held and writable.
    spws : list of SpwInfo
        Its windows.
    antennas : list of int
        Ids.
    """
    from casacore.tables import table

    with table(str(ms_path), readonly=False, ack=False) as ms:
        touched = np.isin(ms.getcol("ANTENNA1"), antennas)
        touched |= np.isin(ms.getcol("ANTENNA2"), antennas)
        description = ms.getcol("DATA_DESC_ID")
        for spw in spws:
            rows = np.flatnonzero(touched & (description == spw.data_desc_id))
            if not len(rows):
                continue
            selected = ms.selectrows(rows)
            selected.putcol("FLAG", np.ones_like(selected.getcol("FLAG")))
            selected.putcol("FLAG_ROW", np.ones(len(rows), bool))


def _median(values: FloatArray) -> FloatArray:
    """Median along the first axis of what is there; NaN where nothing is."""
    there = np.isfinite(values).any(axis=0)
    return np.where(there, np.nanmedian(np.where(there, values, 0.0), axis=0), np.nan)


def _powers(ms_path: Path, spw: SpwInfo, n_antennas: int) -> tuple[FloatArray, FloatArray]:
    """Median power of each antenna's auto- and cross-correlations, shape (nantenna, ncorr)."""
    with open_table(ms_path) as ms:
        rows = ms.selectrows(np.flatnonzero(ms.getcol("DATA_DESC_ID") == spw.data_desc_id))
        antenna1, antenna2 = rows.getcol("ANTENNA1"), rows.getcol("ANTENNA2")
        n_corr = rows.getcell("DATA", 0).shape[1]
        data = rows.getcolslice("DATA", [0, 0], [-1, -1], [_CHANNEL_STEP, 1])
    amplitude = np.median(np.abs(data), axis=1)
    own, cross = (np.full((n_antennas, n_corr), np.nan) for _ in _KINDS)
    is_own = antenna1 == antenna2
    for antenna in np.unique(np.concatenate([antenna1, antenna2])):
        mine = (antenna1 == antenna) | (antenna2 == antenna)
        # An autocorrelation is a power; the square of a cross-correlation is the product of
        # two antennas' powers, of which the median over the other antenna is the same for all.
        if (mine & is_own).any():
            own[antenna] = np.median(amplitude[mine & is_own], axis=0)
        if (mine & ~is_own).any():
            cross[antenna] = np.median(amplitude[mine & ~is_own] ** 2, axis=0)
    return own, cross
