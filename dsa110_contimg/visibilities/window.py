"""Read the visibilities of one spectral window, rotate them to a source and average them."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dsa110_contimg.errors import ScienceQualityError
from dsa110_contimg.instrument import SPEED_OF_LIGHT_M_S
from dsa110_contimg.visibilities.flags_kernel import apply_flags
from dsa110_contimg.visibilities.models import Averaging, MsInfo, SpwInfo
from dsa110_contimg.visibilities.ms_info import open_table

FloatArray = npt.NDArray[np.float64]

_CHUNK_ROWS = 4096
"""Rows rotated at once, so that the intermediate arrays stay in the processor's cache."""


_UNIFORM_TOLERANCE = 1e-6
"""Largest departure of the channels from equal spacing, as a fraction of it."""


@dataclass(frozen=True)
class Window:
    """The visibilities of one spectral window, autocorrelations without weight.

    Attributes
    ----------
    spw : SpwInfo
        The window.
    freqs_hz : ndarray of float64, shape (nchan,)
        Channel centres, ascending.
    widths_hz : ndarray of float64, shape (nchan,)
        Channel widths, positive.
    time_mjd_s : ndarray of float64, shape (nrow,)
        Centre of the integration, MJD in seconds.
    interval_s : ndarray of float64, shape (nrow,)
        Its length.
    antenna1, antenna2 : ndarray of int32, shape (nrow,)
        The baseline.
    uvw_m : ndarray of float64, shape (nrow, 3)
        Baseline coordinates in metres.
    data : ndarray of complex64, shape (nrow, nchan, ncorr)
        Visibilities in Jy; zero where they have no weight.
    weight : ndarray of float32, shape (nrow, nchan, ncorr)
        Weights; zero where flagged, not finite or an autocorrelation.
    """

    spw: SpwInfo
    freqs_hz: FloatArray
    widths_hz: FloatArray
    time_mjd_s: FloatArray
    interval_s: FloatArray
    antenna1: npt.NDArray[np.int32]
    antenna2: npt.NDArray[np.int32]
    uvw_m: FloatArray
    data: npt.NDArray[np.complex64]
    weight: npt.NDArray[np.float32]

    @property
    def flagged_fraction(self) -> float:
        """Fraction of the cross-correlations without weight; 1 if there are none."""
        n_rows = np.count_nonzero(self.antenna1 != self.antenna2)
        n_visibilities = max(1, n_rows) * self.weight.shape[1] * self.weight.shape[2]
        return 1.0 - float(np.count_nonzero(self.weight) / n_visibilities)

    @property
    def n_antennas(self) -> int:
        """Number of antennas with data."""
        used = self.weight.any(axis=(1, 2))
        return len(np.union1d(self.antenna1[used], self.antenna2[used]))

    @property
    def longest_baseline_wavelengths(self) -> float:
        """Greatest distance in the uv plane, in wavelengths."""
        longest_m = np.hypot(self.uvw_m[:, 0], self.uvw_m[:, 1]).max()
        return float(longest_m * self.freqs_hz.max() / SPEED_OF_LIGHT_M_S)


def read_window(
    ms_path: Path, info: MsInfo, spw: SpwInfo, flags_table: Path | None = None
) -> Window:
    """Read one window.

    Parameters
    ----------
    ms_path : Path
        The MS.
    info : MsInfo
        What it says of itself.
    spw : SpwInfo
        The window.
    flags_table : Path, optional
        Table with the columns ``FLAG`` and ``FLAG_ROW`` of another state of the MS, such as a
        flag version; None: the flags that are in force.

    Returns
    -------
    Window
        The visibilities.

    Raises
    ------
    ScienceQualityError
        If there are none, or none that may be used.
    RuntimeError
        If casacore cannot read them.
    """
    with open_table(ms_path, "SPECTRAL_WINDOW") as windows:
        freqs_hz = windows.getcell("CHAN_FREQ", spw.spw_id)
        widths_hz = windows.getcell("CHAN_WIDTH", spw.spw_id)
    with open_table(ms_path) as ms, open_table(flags_table or ms_path) as flags:
        rows = np.flatnonzero(ms.getcol("DATA_DESC_ID") == spw.data_desc_id)
        if not len(rows):
            raise ScienceQualityError("the MS holds no rows of this window", reason="no_rows")
        antenna1, antenna2 = _get(ms, "ANTENNA1", rows), _get(ms, "ANTENNA2", rows)
        data = _get(ms, info.data_column, rows)
        weight = apply_flags(
            data,
            _get(flags, "FLAG", rows),
            _get(flags, "FLAG_ROW", rows) | (antenna1 == antenna2),
            _get_weight(ms, rows),
        )
        if not weight.any():
            raise ScienceQualityError(
                "no visibility is left: all are flagged or not finite", reason="all_flagged"
            )
        order = np.argsort(freqs_hz)
        if np.any(np.diff(order) < 0):  # gridders want channels to ascend
            data, weight = data[:, order], weight[:, order]
        return Window(
            spw=spw,
            freqs_hz=freqs_hz[order],
            widths_hz=np.abs(widths_hz[order]),
            time_mjd_s=_get(ms, "TIME", rows),
            interval_s=_get(ms, "INTERVAL", rows),
            antenna1=antenna1,
            antenna2=antenna2,
            uvw_m=_get(ms, "UVW", rows),
            data=data,
            weight=weight,
        )


def channel_step_hz(window: Window) -> float:
    """Distance from each channel to the next.

    Parameters
    ----------
    window : Window
        The window.

    Returns
    -------
    float
        In Hz.

    Raises
    ------
    ScienceQualityError
        If the channels are not equally spaced.
    """
    if len(window.freqs_hz) == 1:
        return float(window.widths_hz[0])
    steps_hz = np.diff(window.freqs_hz)
    if np.ptp(steps_hz) > _UNIFORM_TOLERANCE * abs(steps_hz[0]):
        raise ScienceQualityError("the channels are not equally spaced", reason="uneven_channels")
    return float(steps_hz.mean())


def count_integrations(window: Window) -> tuple[npt.NDArray[np.intp], int]:
    """Count the integrations of a window; where some are missing, their numbers are left out.

    Parameters
    ----------
    window : Window
        The window.

    Returns
    -------
    integration : ndarray of intp, shape (nrow,)
        Number of each row's integration, from 0.
    n_integrations : int
        Number of integrations from the first to the last.
    """
    times_s = np.unique(window.time_mjd_s)
    if len(times_s) == 1:
        return np.zeros(len(window.time_mjd_s), np.intp), 1
    steps = np.rint((window.time_mjd_s - times_s[0]) / np.median(np.diff(times_s)))
    return steps.astype(np.intp), int(steps.max()) + 1


def average_window(window: Window, rotation: FloatArray, options: Averaging) -> Window:
    """Rotate a window to another phase centre, then average it in frequency and time.

    A source at the new centre loses nothing, for its visibilities are constant. One at a
    distance r is smeared by r x (bandwidth / frequency) and by r x 7.3e-5 rad/s x time: over
    12 channels and 4 integrations by 0.8 and 1.4 arcsec at the edge of a stamp of 13 arcmin.

    Parameters
    ----------
    window : Window
        As read.
    rotation : ndarray of float64, shape (3, 3)
        From the UVW frame of the window to that of the new centre; see `directions.uvw_rotation`.
    options : Averaging
        How much to average.

    Returns
    -------
    Window
        Weighted means, with the sums of the weights as weights.
    """
    starts = np.arange(0, len(window.freqs_hz), options.channels)
    n_averaged = np.diff(np.r_[starts, len(window.freqs_hz)])
    uvw_m = window.uvw_m @ rotation.T
    sums, weight = _sum_channels(window, uvw_m[:, 2] - window.uvw_m[:, 2], starts)
    group = group_rows(window, options.integrations)
    sums, weight = sum_groups(sums, group), sum_groups(weight, group)
    rows_per_group = sum_groups(np.ones(len(group)), group)
    first = np.unique(group, return_index=True)[1]
    return Window(
        spw=window.spw,
        freqs_hz=np.add.reduceat(window.freqs_hz, starts) / n_averaged,
        widths_hz=np.add.reduceat(window.widths_hz, starts),
        time_mjd_s=sum_groups(window.time_mjd_s, group) / rows_per_group,
        interval_s=sum_groups(window.interval_s, group),
        antenna1=window.antenna1[first],
        antenna2=window.antenna2[first],
        uvw_m=sum_groups(uvw_m, group) / rows_per_group[:, None],
        data=np.divide(sums, weight, out=np.zeros_like(sums), where=weight > 0.0),
        weight=weight,
    )


def _get(ms: Any, column: str, rows: npt.NDArray[np.intp]) -> npt.NDArray[Any]:
    """Read some rows of a column, in one piece where they lie in one."""
    if rows[-1] - rows[0] == len(rows) - 1:
        return np.asarray(ms.getcol(column, int(rows[0]), len(rows)))
    return np.asarray(ms.selectrows(rows).getcol(column))


def _get_weight(ms: Any, rows: npt.NDArray[np.intp]) -> npt.NDArray[np.float32]:
    """Read the weights, per channel where the MS has them so."""
    if "WEIGHT_SPECTRUM" in ms.colnames() and ms.iscelldefined("WEIGHT_SPECTRUM", int(rows[0])):
        return _get(ms, "WEIGHT_SPECTRUM", rows)
    return _get(ms, "WEIGHT", rows)[:, None, :]


def _sum_channels(
    window: Window, path_m: FloatArray, starts: npt.NDArray[np.intp]
) -> tuple[npt.NDArray[np.complex64], npt.NDArray[np.float32]]:
    """Rotate, weight and add up channels; return the sums and the sums of the weights."""
    shape = (len(path_m), len(starts), window.data.shape[2])
    sums, weight = np.empty(shape, np.complex64), np.empty(shape, np.float32)
    for begin in range(0, len(path_m), _CHUNK_ROWS):
        rows = slice(begin, begin + _CHUNK_ROWS)
        cycles = -path_m[rows, None] / SPEED_OF_LIGHT_M_S * window.freqs_hz
        cycles -= np.rint(cycles)
        angle = (2.0 * np.pi * cycles).astype(np.float32)
        phasor = np.cos(angle) + np.complex64(1j) * np.sin(angle)
        weighted = window.data[rows] * window.weight[rows] * phasor[:, :, None]
        sums[rows] = np.add.reduceat(weighted, starts, axis=1)
        weight[rows] = np.add.reduceat(window.weight[rows], starts, axis=1)
    return sums, weight


def group_rows(window: Window, integrations: int) -> npt.NDArray[np.intp]:
    """Give the rows to be averaged into one the same number.

    Parameters
    ----------
    window : Window
        The window.
    integrations : int
        Number of integrations that are averaged.

    Returns
    -------
    ndarray of intp, shape (nrow,)
        Numbers from 0, in order of time, then baseline.
    """
    times = np.unique(window.time_mjd_s, return_inverse=True)[1] // integrations
    n_antennas = 1 + max(window.antenna1.max(), window.antenna2.max())
    key = (times * n_antennas + window.antenna1) * n_antennas + window.antenna2
    return np.asarray(np.unique(key, return_inverse=True)[1])


def sum_groups(values: npt.NDArray[Any], group: npt.NDArray[np.intp]) -> npt.NDArray[Any]:
    """Add up the rows of each group.

    Parameters
    ----------
    values : ndarray, shape (nrow, ...)
        What is added up.
    group : ndarray of intp, shape (nrow,)
        Number of each row's group; none is left out.

    Returns
    -------
    ndarray, shape (ngroup, ...)
        The sums.
    """
    order = np.argsort(group, kind="stable")
    starts = np.flatnonzero(np.diff(group[order], prepend=-1))
    return np.asarray(np.add.reduceat(values[order], starts, axis=0))
