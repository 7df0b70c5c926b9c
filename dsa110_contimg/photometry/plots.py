"""A plot of one source: flux density against frequency, with the detections and the power law."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from dsa110_contimg.photometry.models import (
    Blend,
    Detection,
    PowerLaw,
    SourceResult,
    SpwMeasurement,
)

if TYPE_CHECKING:
    from matplotlib.axes import Axes

LIMIT_SNR = 3.0
"""Below it, a window is drawn as an upper limit of so many errors above zero."""

_POINT, _LIMIT, _FAILED, _BIN, _LAW = "#222222", "#8a8f98", "#c8371d", "#f28e2b", "#1f77b4"
_MAX_BLENDS = 2


def plot_spectrum(path: Path, result: SourceResult, metadata: dict[str, str]) -> None:
    """Draw the flux densities of the windows and the bins that were detected as PNG.

    Windows below 3 sigma are upper limits of 3 sigma, windows that failed are marked on the
    axis.

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

    figure = Figure(figsize=(7.5, 4.4))
    # A layout engine would lay everything out twice.
    ax = figure.add_axes((0.1, 0.125, 0.875, 0.735))
    ax.axhline(0.0, color="0.75", linewidth=0.8, zorder=0)
    spws = [s for s in result.spws if np.isfinite([s.flux_jy, s.rms_jy]).all()]
    _draw_bins(ax, result.detections, spws)
    if result.power_law is not None and spws:
        _draw_power_law(ax, result.power_law, spws)
    _draw_points(ax, [s for s in spws if s.snr >= LIMIT_SNR])
    _draw_limits(ax, [s for s in spws if s.snr < LIMIT_SNR])
    _set_range(ax, spws)
    _draw_failed(ax, result)
    _write_titles(ax, result)
    figure.savefig(path, dpi=110, metadata=metadata)


def _draw_points(ax: Axes, spws: Sequence[SpwMeasurement]) -> None:
    """Draw one point with its error per window."""
    if not spws:
        return
    ax.errorbar(
        [spw.freq_hz / 1e6 for spw in spws],
        [1e3 * spw.flux_jy for spw in spws],
        yerr=[1e3 * spw.rms_jy for spw in spws],
        fmt="o",
        color=_POINT,
        markersize=4.5,
        capsize=2.5,
        linewidth=1.1,
        label="spectral windows",
        zorder=4,
    )


def _draw_limits(ax: Axes, spws: Sequence[SpwMeasurement]) -> None:
    """Draw upper limits as bars with an arrow downwards."""
    if not spws:
        return
    ax.plot(
        [spw.freq_hz / 1e6 for spw in spws],
        [1e3 * upper_limit_jy(spw) for spw in spws],
        linestyle="none",
        marker=_limit_marker(),
        color=_LIMIT,
        markersize=16,
        markerfacecolor="none",
        markeredgewidth=1.3,
        label=f"upper limits, {LIMIT_SNR:.0f} sigma",
        zorder=3,
    )


def upper_limit_jy(spw: SpwMeasurement) -> float:
    """Upper limit on the flux density of a window without a detection.

    Parameters
    ----------
    spw : SpwMeasurement
        The window.

    Returns
    -------
    float
        Three errors above zero, in Jy.
    """
    return LIMIT_SNR * spw.rms_jy


def _limit_marker() -> npt.NDArray[np.float64]:
    """Outline of a bar with an arrow downwards, its bar at the origin."""
    return np.array(
        [(-0.35, 0), (0.35, 0), (0, 0), (0, -1), (-0.16, -0.72), (0, -1), (0.16, -0.72), (0, -1)]
    )


def _draw_failed(ax: Axes, result: SourceResult) -> None:
    """Mark the windows without a measurement on the axis, where their frequency is known."""
    known = {spw.spw_id: spw.freq_hz / 1e6 for spw in result.spws}
    ids = sorted(failure.spw_id for failure in result.failed_spws)
    if not ids or len(known) < 2:
        return
    # The windows of an MS are in order of frequency, and nearly equidistant.
    slope, offset = np.polyfit(list(known), list(known.values()), 1)
    freqs_mhz = [known.get(spw_id, slope * spw_id + offset) for spw_id in ids]
    low, high = ax.get_xlim()
    margin = abs(slope)
    ax.set_xlim(
        min(low, *(f - margin for f in freqs_mhz)), max(high, *(f + margin for f in freqs_mhz))
    )
    ax.plot(
        freqs_mhz,
        [0.025] * len(ids),
        "x",
        transform=ax.get_xaxis_transform(),
        color=_FAILED,
        markersize=7,
        markeredgewidth=1.8,
        label=f"failed: spw {', '.join(map(str, ids))}",
        zorder=5,
    )


def _draw_power_law(ax: Axes, law: PowerLaw, spws: Sequence[SpwMeasurement]) -> None:
    """Draw the fit with the band of its error; flux density and index hardly correlate."""
    low, high = _band_hz(spws)
    ratio = np.linspace(low, high, 60) / law.ref_freq_hz
    flux = law.flux_jy * ratio**law.spectral_index
    error = np.abs(flux) * np.hypot(
        law.flux_rms_jy / law.flux_jy, np.log(ratio) * law.spectral_index_rms
    )
    freq_mhz = ratio * law.ref_freq_hz / 1e6
    digits = 2 if law.spectral_index_rms >= 0.01 else 3
    ax.fill_between(
        freq_mhz, 1e3 * (flux - error), 1e3 * (flux + error), color=_LAW, alpha=0.16, linewidth=0
    )
    ax.plot(
        freq_mhz,
        1e3 * flux,
        color=_LAW,
        linewidth=1.6,
        label=(
            f"{1e3 * law.flux_jy:.4g} mJy at {law.ref_freq_hz / 1e6:.0f} MHz, "
            f"\N{GREEK SMALL LETTER ALPHA} = {law.spectral_index:.{digits}f} \N{PLUS-MINUS SIGN} "
            f"{law.spectral_index_rms:.{digits}f}"
        ),
        zorder=2,
    )


def _draw_bins(ax: Axes, detections: Sequence[Detection], spws: Sequence[SpwMeasurement]) -> None:
    """Draw each bin as a bar over its windows, with its error as a band and its SNR above."""
    edges_mhz = {
        spw.spw_id: (
            (spw.freq_hz - spw.bandwidth_hz / 2) / 1e6,
            (spw.freq_hz + spw.bandwidth_hz / 2) / 1e6,
        )
        for spw in spws
    }
    named = False
    for detection in detections:
        edges = [edge for spw_id in detection.spw_ids for edge in edges_mhz.get(spw_id, ())]
        if not edges:
            continue
        span = (min(edges), max(edges))
        flux_mjy, rms_mjy = 1e3 * detection.flux_jy, 1e3 * detection.rms_jy
        ax.fill_between(
            span, flux_mjy - rms_mjy, flux_mjy + rms_mjy, color=_BIN, alpha=0.28, linewidth=0
        )
        label = "_repeated" if named else "detections, with their SNR"  # "_": not in the legend
        ax.hlines(flux_mjy, *span, color=_BIN, linewidth=2.4, label=label, zorder=2)
        named = True
        ax.annotate(
            f"{detection.snr:.1f}" if detection.snr < 100.0 else f"{detection.snr:.0f}",
            (sum(span) / 2, flux_mjy + max(rms_mjy, _window_rms_mjy(detection, spws))),
            textcoords="offset points",
            xytext=(0, 4),
            ha="center",
            fontsize=8,
            color="#b35c00",
        )


def _window_rms_mjy(detection: Detection, spws: Sequence[SpwMeasurement]) -> float:
    """Error bar of the widest window of a bin, above which its SNR is written."""
    return max((1e3 * s.rms_jy for s in spws if s.spw_id in detection.spw_ids), default=0.0)


def _band_hz(spws: Sequence[SpwMeasurement]) -> tuple[float, float]:
    """Lowest and highest frequency of the windows."""
    return (
        min(spw.freq_hz - spw.bandwidth_hz / 2 for spw in spws),
        max(spw.freq_hz + spw.bandwidth_hz / 2 for spw in spws),
    )


def _set_range(ax: Axes, spws: Sequence[SpwMeasurement]) -> None:
    """Leave room above for the legend, and below for the marks on the axis."""
    if not spws:
        return
    tops = [1e3 * (s.flux_jy + s.rms_jy if s.snr >= LIMIT_SNR else upper_limit_jy(s)) for s in spws]
    bottoms = [1e3 * (s.flux_jy - s.rms_jy) for s in spws if s.snr >= LIMIT_SNR]
    low, high = min([0.0, *bottoms]), max(tops)
    ax.set_ylim(low - 0.12 * (high - low), high + 0.42 * (high - low))
    low_hz, high_hz = _band_hz(spws)
    margin_hz = 0.02 * (high_hz - low_hz)
    ax.set_xlim((low_hz - margin_hz) / 1e6, (high_hz + margin_hz) / 1e6)


def _write_titles(ax: Axes, result: SourceResult) -> None:
    """Write title, blends, axes and legend."""
    found = len(result.detections)
    ax.set_xlabel("frequency (MHz)")
    ax.set_ylabel("flux density (mJy)")
    ax.figure.text(
        0.1,
        0.945,
        f"{result.name}: {len(result.spws)} of {result.n_spws} windows measured, "
        f"{found} detection{'' if found == 1 else 's'}",
        size=11,
        parse_math=False,
    )
    if result.blends:
        ax.figure.text(
            0.1, 0.888, _describe_blends(result.blends), size=8.5, color=_FAILED, parse_math=False
        )
    if ax.get_legend_handles_labels()[0]:
        ax.legend(fontsize=8.5, loc="upper right", ncols=2, frameon=False, borderaxespad=0.2)
    else:
        ax.text(0.5, 0.5, "nothing was measured", ha="center", color="0.4", transform=ax.transAxes)


def _describe_blends(blends: Sequence[Blend]) -> str:
    """Name the neighbours that the flux densities depend on."""
    nearest = blends[0]
    parts = [f"{b.name} ({b.separation_arcsec:.0f}\N{DOUBLE PRIME})" for b in blends[:_MAX_BLENDS]]
    more = f" and {len(blends) - _MAX_BLENDS} more" if len(blends) > _MAX_BLENDS else ""
    return (
        f"blended with {', '.join(parts)}{more}; with the nearest "
        f"{1e3 * nearest.sum_flux_jy:.2f} \N{PLUS-MINUS SIGN} {1e3 * nearest.sum_rms_jy:.2f} mJy"
    )
