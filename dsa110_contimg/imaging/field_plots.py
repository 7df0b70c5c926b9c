"""The picture of a field: as observed, and without the sources of its model."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from dsa110_contimg.catalog.sources import Source
from dsa110_contimg.imaging.field_fits import FieldMaps
from dsa110_contimg.imaging.field_products import FieldImage, ResidualPeak
from dsa110_contimg.imaging.plot_scale import (
    LINEAR_SIGMA,
    OTHER_COLOR,
    TARGET_COLOR,
    draw_scale,
    grey_scale,
    halo,
)
from dsa110_contimg.instrument import drift_separation_deg, primary_beam_attenuation
from dsa110_contimg.visibilities.models import MsInfo

if TYPE_CHECKING:
    from astropy.wcs import WCS
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

MAX_LABELS = 30
"""With more targets than these, all are marked and none is named."""
_PEAK_COLOR, _BEAM_COLOR = "#e377c2", "#ff7f0e"
_CONTOUR_NODES = 41
"""The response is smooth: so many places a side tell its contour to a pixel."""
_CONTOUR_TIMES = 7
_LABEL_PX = (6.2, 13.0)
"""Width of a letter and height of a line on the figure, in its pixels."""


def plot_field(
    path: Path,
    maps: FieldMaps,
    info: MsInfo,
    *,
    targets: Sequence[Source],
    others: Sequence[Source],
    metadata: dict[str, str],
) -> None:
    """Draw a field as PNG: as observed on the left, without the model's sources on the right.

    Parameters
    ----------
    path : Path
        The file.
    maps : FieldMaps
        The image.
    info : MsInfo
        The MS.
    targets : sequence of Source
        Sources to mark by name.
    others : sequence of Source
        The model's other sources.
    metadata : dict of str to str
        PNG text chunks.
    """
    from astropy.wcs import WCS
    from matplotlib.figure import Figure

    wcs = WCS(maps.header, fix=False).celestial
    figure = Figure(figsize=(14.0, 7.4))
    left: Any = figure.add_axes((0.055, 0.165, 0.41, 0.79), projection=wcs)
    right: Any = figure.add_axes((0.505, 0.165, 0.41, 0.79), projection=wcs)
    response = _drift_response(wcs, maps.residual.shape, info, maps.about.freq_hz)
    norm = grey_scale(maps.about)
    for ax, image in ((left, maps.observed), (right, maps.residual)):
        drawn = ax.imshow(
            1e3 * image, origin="lower", cmap="gray_r", norm=norm, interpolation="nearest"
        )
        _draw_contour(ax, response)
        _mark_sources(ax, wcs, targets, others)
        _draw_beam(ax, maps.about)
        for coordinate in ax.coords:
            coordinate.set_ticklabel(size=9)
        ax.coords[0].set_axislabel("right ascension (ICRS)", size=10)
    left.coords[1].set_axislabel("declination (ICRS)", size=10, minpad=0.4)
    right.coords[1].set_ticklabel_visible(False)
    right.coords[1].set_axislabel(" ")
    draw_scale(figure, drawn, (0.922, 0.165, 0.012, 0.77), maps.about)
    _mark_peaks(right, wcs, maps.about)
    left.set_title(f"as observed: mean of {maps.about.n_windows} window(s), not CLEANed", size=11)
    right.set_title(
        f"without the model's {len(targets) + len(others)} source(s): noise "
        f"{1e3 * maps.about.noise_jy:.3f} mJy/beam",
        size=11,
    )
    if len(targets) <= MAX_LABELS:
        _label_sources(left, wcs, targets)
    _write_caption(figure, maps.about, targets, others)
    figure.savefig(path, dpi=100, metadata=metadata)


def _drift_response(
    wcs: WCS, shape: tuple[int, ...], info: MsInfo, freq_hz: float
) -> tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Mean response of the primary beam on a grid of pixels: columns, rows, response."""
    y, x = (np.linspace(0.0, size - 1.0, _CONTOUR_NODES) for size in shape)
    ra_deg, dec_deg = wcs.wcs_pix2world(*(axis.ravel() for axis in np.meshgrid(x, y)), 0)
    steps = (np.arange(_CONTOUR_TIMES) + 0.5) / _CONTOUR_TIMES - 0.5
    separation_deg = drift_separation_deg(
        ra_deg,
        dec_deg,
        center_ra_deg=info.center_ra_deg,
        center_dec_deg=info.center_dec_deg,
        offset_s=steps * info.duration_s,
    )
    response = primary_beam_attenuation(separation_deg, freq_hz).mean(axis=0)
    return x, y, response.reshape(len(y), len(x))


def _draw_contour(
    ax: Axes,
    response: tuple[npt.NDArray[np.float64], npt.NDArray[np.float64], npt.NDArray[np.float64]],
) -> None:
    """Draw where the primary beam, as the sky drifted through it, falls to one half."""
    ax.contour(*response, levels=[0.5], colors=_BEAM_COLOR, linewidths=1.3, linestyles="--")


def _pixels(wcs: WCS, sources: Sequence[Source]) -> npt.NDArray[np.float64]:
    """Pixel coordinates of sources, shape (nsource, 2)."""
    if not sources:
        return np.empty((0, 2))
    return np.asarray(wcs.wcs_world2pix([(s.ra_deg, s.dec_deg) for s in sources], 0))


def _mark_sources(ax: Axes, wcs: WCS, targets: Sequence[Source], others: Sequence[Source]) -> None:
    """Mark targets by circles and the model's other sources by crosses."""
    few = len(targets) <= MAX_LABELS
    ax.plot(
        *_pixels(wcs, targets).T,
        "o",
        markerfacecolor="none",
        markeredgecolor=TARGET_COLOR,
        markersize=11 if few else 7,
        markeredgewidth=1.3 if few else 0.8,
    )
    ax.plot(*_pixels(wcs, others).T, "+", color=OTHER_COLOR, markersize=7, markeredgewidth=1.1)


def _mark_peaks(ax: Axes, wcs: WCS, about: FieldImage) -> None:
    """Point out where the residual is brightest."""
    for peak in (about.peak, about.peak_at_source):
        if peak is None or (peak.source is not None and not about.has_odd_source):
            continue
        x, y = wcs.wcs_world2pix(peak.ra_deg, peak.dec_deg, 0)
        ax.plot(
            x,
            y,
            "s",
            markerfacecolor="none",
            markeredgecolor=_PEAK_COLOR,
            markersize=17,
            linewidth=2,
        )
        right = x > about.size_px / 2
        ax.annotate(
            f"{peak.snr:.1f}\N{GREEK SMALL LETTER SIGMA}",
            (x, y),
            xytext=(-12 if right else 12, 0),
            textcoords="offset points",
            ha="right" if right else "left",
            va="center",
            color=_PEAK_COLOR,
            size=10,
            weight="bold",
            path_effects=halo(),
        )


def _draw_beam(ax: Axes, about: FieldImage) -> None:
    """Draw the synthesized beam in the lower left corner."""
    from matplotlib.patches import Ellipse, Rectangle

    major, minor = (axis / about.cell_arcsec for axis in about.beam_arcsec)
    side = max(1.8 * major, 0.03 * about.size_px)
    ax.add_patch(Rectangle((0, 0), side, side, facecolor="white", edgecolor="0.5", linewidth=0.6))
    # The position angle runs from north (up) through east (left).
    ax.add_patch(
        Ellipse((side / 2, side / 2), minor, major, angle=about.beam_angle_deg, color="tab:blue")
    )


def _label_sources(ax: Axes, wcs: WCS, sources: Sequence[Source]) -> None:
    """Name sources where no name covers another name or another mark."""
    transform = ax.transData
    points = transform.transform(_pixels(wcs, sources)) if sources else np.empty((0, 2))
    frame = ax.get_window_extent()
    taken = [(x - 7.0, y - 7.0, x + 7.0, y + 7.0) for x, y in points]
    for source, (x, y) in zip(sources, points, strict=True):
        width, height = _LABEL_PX[0] * len(source.name), _LABEL_PX[1]
        box = _free_box(x, y, (width, height), taken, tuple(frame.extents))
        taken.append(box)
        far = np.hypot((box[0] + box[2]) / 2 - x, (box[1] + box[3]) / 2 - y) > width / 2 + 22
        ax.annotate(
            source.name,
            (x, y),
            xytext=((box[0] + box[2]) / 2, (box[1] + box[3]) / 2),
            xycoords="figure pixels",
            textcoords="figure pixels",
            ha="center",
            va="center",
            size=8,
            color=TARGET_COLOR,
            parse_math=False,
            path_effects=halo(),
            arrowprops={"arrowstyle": "-", "color": TARGET_COLOR, "linewidth": 0.6}
            if far
            else None,
        )


def _free_box(
    x: float,
    y: float,
    size: tuple[float, float],
    taken: Sequence[tuple[float, ...]],
    frame: tuple[float, ...],
) -> tuple[float, float, float, float]:
    """Find room for a label around a point, the nearest first; beside it if there is none."""
    width, height = size
    for distance in (10.0, 26.0, 44.0, 64.0, 88.0):
        for east, north in ((1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (-1, 1), (1, -1), (-1, -1)):
            left = x + east * (distance + width / 2) - width / 2
            low = y + north * (distance + height / 2) - height / 2
            box = (left, low, left + width, low + height)
            inside = box[0] > frame[0] and box[1] > frame[1]
            inside = inside and box[2] < frame[2] and box[3] < frame[3]
            if inside and not any(_overlap(box, other) for other in taken):
                return box
    return (x + 10.0, y - height / 2, x + 10.0 + width, y + height / 2)


def _overlap(one: Sequence[float], other: Sequence[float]) -> bool:
    """Whether two boxes share room."""
    return one[0] < other[2] and other[0] < one[2] and one[1] < other[3] and other[1] < one[3]


def _write_caption(
    figure: Figure, about: FieldImage, targets: Sequence[Source], others: Sequence[Source]
) -> None:
    """Explain the marks, and say what is left."""
    marks = [f"circles: {len(targets)} target(s)"]
    if others:
        marks.append(f"crosses: the model's {len(others)} other source(s)")
    marks += [
        "dashed: half power of the primary beam",
        f"grey scale linear to {LINEAR_SIGMA:.0f} sigma, then logarithmic",
    ]
    lines = [
        "; ".join(marks),
        f"brightest residual away from them: {_describe(about.peak, about.lacks_source)}",
    ]
    left = about.peak_at_source
    if left is not None:
        part = abs(left.peak_jy / left.source_jy) if left.source_jy else float("inf")
        lines.append(
            f"strongest within a beam of one, {left.source}: {_describe(left, False)}, "
            f"{part:.1%} of its brightness"
        )
    alarm = about.lacks_source
    for number, line in enumerate(lines):
        color = TARGET_COLOR if alarm and number == 1 else "0.15"
        figure.text(0.065, 0.07 - 0.027 * number, line, size=10, parse_math=False, color=color)


def _describe(peak: ResidualPeak, missing: bool) -> str:
    """Put a peak into words."""
    text = (
        f"{peak.snr:.1f} sigma ({1e3 * peak.peak_jy:.2f} mJy/beam) at RA {peak.ra_deg:.4f}, "
        f"Dec {peak.dec_deg:.4f} deg"
    )
    if missing:
        text += f", a source of about {1e3 * peak.flux_jy:.1f} mJy that the model lacks"
    return text
