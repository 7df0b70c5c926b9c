"""Draw calibration tables for the eye that judges them."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from dsa110_contimg.calibration.models import TableKind
from dsa110_contimg.calibration.tables import Solutions, read_solutions, read_window_freqs_hz

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

_POLARIZATIONS: Final = ("XX", "YY")
_SIZE_IN: Final = (11.0, 6.5)
_DPI: Final = 90
_MAX_NAMES: Final = 24
"""Antennas named along an axis, about."""


def plot_table(path: Path, table_dir: Path, kind: TableKind, names: list[str], title: str) -> None:
    """Draw a table: bandpass against frequency, gain against time, delay against antenna.

    Parameters
    ----------
    path : Path
        The PNG to make.
    table_dir : Path
        The table.
    kind : TableKind
        What it corrects.
    names : list of str
        Names of all stations, in order of id.
    title : str
        Headline.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE_IN, layout="constrained")
    FigureCanvasAgg(figure)
    solutions = read_solutions(table_dir, kind)
    if kind is TableKind.BANDPASS:
        _draw_bandpass(figure, solutions, read_window_freqs_hz(table_dir), names)
    elif kind is TableKind.GAIN:
        _draw_gain(figure, solutions)
    else:
        _draw_delay(figure, solutions, names)
    figure.suptitle(title)
    figure.savefig(path, dpi=_DPI)


def _draw_bandpass(
    figure: Figure, solutions: Solutions, freqs_hz: list[Any], names: list[str]
) -> None:
    """Amplitudes as lines, phases as an image of antenna and frequency, per polarization."""
    axes = figure.subplots(2, 2, sharex=True)
    antennas = np.unique(solutions.antenna[~solutions.flagged.all(axis=(1, 2))])
    windows = np.unique(solutions.window)
    freq_mhz = np.concatenate([freqs_hz[window] for window in windows]) / 1e6
    order = np.argsort(freq_mhz)
    gains = np.full((len(antennas), len(freq_mhz), 2), np.nan + 0j)
    width = solutions.values.shape[1]
    for antenna, window, values, flagged in zip(
        solutions.antenna, solutions.window, solutions.values, solutions.flagged, strict=True
    ):
        row, start = np.searchsorted(antennas, antenna), np.searchsorted(windows, window) * width
        if row < len(antennas) and antennas[row] == antenna:
            gains[row, start : start + width] = np.where(flagged, np.nan, values)
    gains, freq_mhz = gains[:, order], freq_mhz[order]
    for column, name in enumerate(_POLARIZATIONS):
        top, bottom = axes[:, column]
        top.plot(
            freq_mhz, np.abs(gains[:, :, column]).T, linewidth=0.3, color="tab:blue", alpha=0.4
        )
        top.set(title=name, ylabel="amplitude", ylim=(0.0, None))
        image = bottom.pcolormesh(
            freq_mhz,
            np.arange(len(antennas)),
            np.rad2deg(np.angle(gains[:, :, column])),
            cmap="twilight",
            vmin=-180.0,
            vmax=180.0,
            shading="nearest",
            rasterized=True,
        )
        bottom.set(xlabel="frequency (MHz)", ylabel="antenna")
        step = max(1, len(antennas) // _MAX_NAMES)
        bottom.set_yticks(
            range(0, len(antennas), step), [names[antenna] for antenna in antennas[::step]]
        )
    figure.colorbar(image, ax=axes[1], label="phase (deg)", shrink=0.9)


def _draw_gain(figure: Figure, solutions: Solutions) -> None:
    """Amplitude and phase against time, a line for each antenna."""
    axes = figure.subplots(2, 2, sharex=True)
    minutes = (solutions.time_mjd_s - solutions.time_mjd_s.min()) / 60.0
    for antenna in np.unique(solutions.antenna):
        rows = np.flatnonzero(solutions.antenna == antenna)
        rows = rows[np.argsort(minutes[rows])]
        values = np.where(solutions.flagged[rows, 0], np.nan, solutions.values[rows, 0])
        for column in range(values.shape[1]):
            style = {"linewidth": 0.6, "alpha": 0.6, "marker": ".", "markersize": 3}
            axes[0, column].plot(minutes[rows], np.abs(values[:, column]), **style)
            axes[1, column].plot(minutes[rows], np.rad2deg(np.angle(values[:, column])), **style)
    for column, name in enumerate(_POLARIZATIONS):
        axes[0, column].set(title=name, ylabel="amplitude")
        axes[1, column].set(xlabel="time since the first solution (min)", ylabel="phase (deg)")


def _draw_delay(figure: Figure, solutions: Solutions, names: list[str]) -> None:
    """Delay of each antenna."""
    axes: Axes = figure.subplots()
    solutions = solutions.select(~np.asarray(solutions.flagged.all(axis=(1, 2))))
    antennas, place = np.unique(solutions.antenna, return_inverse=True)
    for column, name in enumerate(_POLARIZATIONS):
        values = np.where(solutions.flagged, np.nan, solutions.values)[:, 0, column]
        axes.plot(place, values, ".", label=name)
    axes.set(xlabel="antenna", ylabel="delay (ns)")
    step = max(1, len(antennas) // _MAX_NAMES)
    axes.set_xticks(range(0, len(antennas), step), [names[antenna] for antenna in antennas[::step]])
    axes.legend()
