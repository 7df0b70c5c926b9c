"""The surroundings of a source, cut from the image of its field."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from dsa110_contimg.catalog.sources import Source
from dsa110_contimg.imaging.field_fits import FieldMaps, FloatImage
from dsa110_contimg.imaging.field_products import FieldImage
from dsa110_contimg.imaging.plot_scale import (
    OTHER_COLOR,
    TARGET_COLOR,
    draw_scale,
    grey_scale,
    halo,
)

if TYPE_CHECKING:
    from astropy.wcs import WCS
    from matplotlib.axes import Axes
    from matplotlib.colors import AsinhNorm
    from matplotlib.image import AxesImage

_STAMP_BEAMS = 16.0
"""Width of a stamp in units of the beam's major axis."""
_MAX_NAMES = 10
"""With more neighbours than these, all are marked and none is named."""


def plot_field_stamp(
    path: Path,
    maps: FieldMaps,
    wcs: WCS,
    source: Source,
    neighbours: Sequence[Source],
    *,
    mean_jy: tuple[float, float] | None,
    metadata: dict[str, str],
) -> None:
    """Draw the surroundings of a source as PNG: as observed, and without the model's sources.

    Parameters
    ----------
    path : Path
        The file.
    maps : FieldMaps
        The image of the field.
    wcs : astropy.wcs.WCS
        Its celestial coordinates.
    source : Source
        The source at the centre.
    neighbours : sequence of Source
        The model's other sources.
    mean_jy : tuple of float or None
        Its mean flux density and the error of that, for the title.
    metadata : dict of str to str
        PNG text chunks.
    """
    from matplotlib.figure import Figure

    arcmin_per_px = maps.about.cell_arcsec / 60.0
    half_arcmin = _STAMP_BEAMS / 2.0 * maps.about.beam_arcsec[0] / 60.0
    x, y = (float(k) for k in wcs.wcs_world2pix(source.ra_deg, source.dec_deg, 0))
    pixels = wcs.wcs_world2pix([(s.ra_deg, s.dec_deg) for s in neighbours] or [(0.0, 90.0)], 0)
    offsets = (pixels - (x, y)) * (-arcmin_per_px, arcmin_per_px)
    near = [
        (name.name, *offset)
        for name, offset in zip(neighbours, offsets, strict=False)
        if np.abs(offset).max() < half_arcmin
    ]
    figure = Figure(figsize=(9.6, 4.9))
    norm = grey_scale(maps.about)
    places = ((0.065, 0.115, 0.4, 0.79), (0.48, 0.115, 0.4, 0.79))
    titles = ("as observed", "without the model's sources")
    for place, image, title in zip(places, (maps.observed, maps.residual), titles, strict=True):
        ax = figure.add_axes(place)
        drawn = _show_cut(ax, image, (x, y), half_arcmin, maps.about.cell_arcsec / 60.0, norm)
        _mark_center(ax, half_arcmin)
        for name, east, north in near:
            ax.plot(east, north, "+", color=OTHER_COLOR, markersize=9, markeredgewidth=1.3)
            if len(near) <= _MAX_NAMES:
                _write_name(ax, (east, north), name)
        _set_offsets(ax, half_arcmin, title)
    ax.tick_params(labelleft=False)
    figure.axes[0].set_ylabel("offset to the north (arcmin)", size=9)
    _draw_stamp_beam(figure.axes[0], half_arcmin, maps.about)
    draw_scale(figure, drawn, (0.89, 0.115, 0.013, 0.75), maps.about)
    title = source.name
    if mean_jy is not None:
        title += f": {1e3 * mean_jy[0]:.2f} \N{PLUS-MINUS SIGN} {1e3 * mean_jy[1]:.2f} mJy"
    figure.text(0.47, 0.955, title, ha="center", size=11, parse_math=False)
    figure.savefig(path, dpi=90, metadata=metadata, pil_kwargs={"compress_level": 3})


def _show_cut(
    ax: Axes,
    image: FloatImage,
    center: tuple[float, float],
    half_arcmin: float,
    arcmin_per_px: float,
    norm: AsinhNorm,
) -> AxesImage:
    """Draw a part of an image, with offsets in arcmin as coordinates."""
    half_px = int(np.ceil(half_arcmin / arcmin_per_px)) + 1
    columns, rows = (
        slice(max(0, round(k) - half_px), max(0, round(k) + half_px + 1)) for k in center
    )
    cut = image[rows, columns]
    x, y = (
        ((side.start - k - 0.5) * arcmin_per_px, (side.start + n - k - 0.5) * arcmin_per_px)
        for side, n, k in zip((columns, rows), cut.shape[::-1], center, strict=True)
    )
    return ax.imshow(
        1e3 * cut,
        origin="lower",
        cmap="gray_r",
        norm=norm,
        extent=(-x[0], -x[1], *y),
        interpolation="bicubic",
    )


def _mark_center(ax: Axes, half_arcmin: float) -> None:
    """Point at the source without covering it."""
    near, far = 0.09 * half_arcmin, 0.24 * half_arcmin
    ax.plot([-near, -far], [0.0, 0.0], color=TARGET_COLOR, linewidth=1.6)
    ax.plot([0.0, 0.0], [near, far], color=TARGET_COLOR, linewidth=1.6)


def _write_name(ax: Axes, offset: tuple[float, float], name: str) -> None:
    """Name a neighbour."""
    ax.annotate(
        name,
        offset,
        xytext=(0, -13),
        textcoords="offset points",
        ha="center",
        size=7.5,
        color=OTHER_COLOR,
        parse_math=False,
        path_effects=halo(),
        annotation_clip=True,
        clip_on=True,
    )


def _set_offsets(ax: Axes, half_arcmin: float, title: str) -> None:
    """Set the axes of a stamp; east is left."""
    ax.set_xlim(half_arcmin, -half_arcmin)
    ax.set_ylim(-half_arcmin, half_arcmin)
    ax.set_aspect("equal")
    ax.tick_params(labelsize=8)
    ax.locator_params(nbins=5)
    ax.set_xlabel("offset to the east (arcmin)", size=9)
    ax.set_title(title, size=9, pad=3)


def _draw_stamp_beam(ax: Axes, half_arcmin: float, about: FieldImage) -> None:
    """Draw the synthesized beam in the lower left corner of a stamp."""
    from matplotlib.patches import Ellipse

    major, minor = (axis / 60.0 for axis in about.beam_arcsec)
    edge = half_arcmin - 0.9 * major
    # The abscissa grows to the east here: the angle turns the other way.
    ax.add_patch(
        Ellipse(
            (edge, -edge), minor, major, angle=-about.beam_angle_deg, color="tab:blue", alpha=0.9
        )
    )
