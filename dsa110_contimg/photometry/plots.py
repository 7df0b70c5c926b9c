"""A plot of one source: flux density against frequency, with the detections."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dsa110_contimg.photometry.models import Detection, SourceResult, SpwMeasurement

if TYPE_CHECKING:
    from matplotlib.axes import Axes


def plot_spectrum(path: Path, result: SourceResult, metadata: dict[str, str]) -> None:
    """Draw the flux densities of the windows and the bins that were detected as PNG.

    Parameters
    ----------
    path : Path
        The file.
    result : SourceResult
        What was measured; may be without measurements.
    metadata : dict of str to str
        PNG text chunks.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(7.5, 4.2), layout="constrained")
    ax = figure.add_subplot()
    ax.axhline(0.0, color="0.7", linewidth=0.8)
    if result.spws:
        _draw_windows(ax, result.spws)
    widths_mhz = {spw.spw_id: spw.bandwidth_hz / 1e6 for spw in result.spws}
    freqs_mhz = {spw.spw_id: spw.freq_hz / 1e6 for spw in result.spws}
    for number, detection in enumerate(result.detections):
        _draw_detection(ax, detection, freqs_mhz, widths_mhz, in_legend=number == 0)
    ax.set_xlabel("frequency (MHz)")
    ax.set_ylabel("flux density (mJy)")
    ax.set_title(
        f"{result.name}: {len(result.spws)} of {result.n_spws} windows measured, "
        f"{len(result.detections)} detection(s)",
        fontsize=10,
    )
    if result.spws:
        ax.legend(fontsize=8)
    figure.savefig(path, dpi=110, metadata=metadata)


def _draw_windows(ax: Axes, spws: list[SpwMeasurement]) -> None:
    """Draw one point with its error per window."""
    ax.errorbar(
        [spw.freq_hz / 1e6 for spw in spws],
        [1e3 * spw.flux_jy for spw in spws],
        yerr=[1e3 * spw.rms_jy for spw in spws],
        fmt="o",
        color="0.35",
        markersize=4,
        capsize=2,
        linewidth=1,
        label="spectral windows",
    )


def _draw_detection(
    ax: Axes,
    detection: Detection,
    freqs_mhz: dict[int, float],
    widths_mhz: dict[int, float],
    *,
    in_legend: bool,
) -> None:
    """Draw one bin as a bar over its windows, with its error as a band."""
    edges = np.array(
        [
            freqs_mhz[spw_id] + sign * widths_mhz[spw_id] / 2
            for spw_id in detection.spw_ids
            for sign in (-1, 1)
        ]
    )
    span = (edges.min(), edges.max())
    flux_mjy, rms_mjy = 1e3 * detection.flux_jy, 1e3 * detection.rms_jy
    ax.fill_between(span, flux_mjy - rms_mjy, flux_mjy + rms_mjy, color="tab:orange", alpha=0.25)
    ax.hlines(
        flux_mjy,
        *span,
        color="tab:orange",
        linewidth=2.5,
        label="detections" if in_legend else "_repeated",  # the underscore hides it from the legend
    )
    ax.annotate(
        f"{detection.snr:.1f}",
        (edges.mean(), flux_mjy + rms_mjy),
        textcoords="offset points",
        xytext=(0, 3),
        ha="center",
        fontsize=7,
        color="tab:orange",
    )
