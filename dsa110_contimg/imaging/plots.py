"""A picture of one source: the mean of its windows, and each window by itself."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from dsa110_contimg.catalog.sources import Source
from dsa110_contimg.photometry.models import SpwMeasurement
from dsa110_contimg.provenance import Provenance

if TYPE_CHECKING:
    from astropy.io.fits import Header
    from astropy.wcs import WCS
    from matplotlib.axes import Axes
    from matplotlib.colors import AsinhNorm
    from matplotlib.figure import SubFigure

_THUMBNAIL_FRACTION = 0.25
"""Part of a stamp's width that its thumbnail shows."""
_COLUMNS = 4
_RANGE_SIGMA = (-4.0, 12.0)
"""Grey scale in units of the noise, unless the source is brighter."""
_LINEAR_SIGMA = 4.0
"""Up to here the grey scale is linear, beyond it logarithmic."""


@dataclass(frozen=True)
class Thumbnail:
    """One window of the mosaic.

    Attributes
    ----------
    measurement : SpwMeasurement
        What was measured.
    image : ndarray, shape (ny, nx)
        Its stamp, corrected for the primary beam, in Jy/beam.
    """

    measurement: SpwMeasurement
    image: npt.NDArray[np.floating]


def plot_stamp(
    path: Path,
    mean: npt.NDArray[np.floating],
    header: Header,
    thumbnails: list[Thumbnail],
    *,
    source: Source,
    provenance: Provenance,
) -> None:
    """Draw the postage stamp of a source as PNG.

    Parameters
    ----------
    path : Path
        The file.
    mean : ndarray, shape (ny, nx)
        Inverse-variance mean of the windows in Jy/beam.
    header : astropy.io.fits.Header
        Coordinates and beam of the mean.
    thumbnails : list of Thumbnail
        The windows, in order of id; at least one.
    source : Source
        The source at the centre.
    provenance : Provenance
        Goes into the file's metadata.
    """
    from astropy.wcs import WCS
    from matplotlib.figure import Figure

    rows = -(-len(thumbnails) // _COLUMNS)
    figure = Figure(figsize=(11.0, 5.2), layout="constrained")
    left, right = figure.subfigures(1, 2, squeeze=False)[0]
    _draw_mean(left, mean, header, WCS(header).celestial, source, thumbnails)
    axes = right.subplots(rows, _COLUMNS, squeeze=False).ravel()
    for ax in axes:
        ax.set_axis_off()
    for ax, thumbnail in zip(axes, thumbnails, strict=False):
        _draw_thumbnail(ax, thumbnail)
    figure.savefig(path, dpi=110, metadata=png_metadata(source, provenance))


def png_metadata(source: Source, provenance: Provenance) -> dict[str, str]:
    """Say in a PNG what it shows and what made it.

    Parameters
    ----------
    source : Source
        The source.
    provenance : Provenance
        Versions, options and inputs.

    Returns
    -------
    dict of str to str
        PNG text chunks.
    """
    return {
        "Title": source.name,
        "Software": f"dsa110-contimg {provenance.versions.get('dsa110-contimg', '')}",
        "Creation Time": provenance.created,
        "Comment": provenance.model_dump_json(),
    }


def _draw_mean(
    figure: SubFigure,
    mean: npt.NDArray[np.floating],
    header: Header,
    wcs: WCS,
    source: Source,
    thumbnails: list[Thumbnail],
) -> None:
    """Draw the mean image with its coordinates, beam and a mark at the source."""
    n_y, n_x = mean.shape
    ax = figure.add_subplot(projection=wcs)
    error_jy = sum(t.measurement.rms_jy**-2 for t in thumbnails) ** -0.5
    norm = _grey_scale(1e3 * mean, 1e3 * error_jy)
    drawn = ax.imshow(1e3 * mean, origin="lower", cmap="gray_r", norm=norm)
    figure.colorbar(drawn, ax=ax, shrink=0.85, label="mJy/beam")
    _mark(ax, n_x // 2, n_y // 2, inner_px=8.0, outer_px=20.0)
    _draw_beam(ax, header)
    ax.set_xlabel("right ascension (ICRS)")
    ax.set_ylabel("declination (ICRS)")
    ax.set_title(f"{source.name}: mean of {len(thumbnails)} windows", fontsize=10)


def _draw_beam(ax: Axes, header: Header) -> None:
    """Draw the restoring beam in the lower left corner."""
    from matplotlib.patches import Ellipse

    cell_deg = abs(header["CDELT2"])
    major, minor = header["BMAJ"] / cell_deg, header["BMIN"] / cell_deg
    # The position angle runs from north (up) through east (left).
    ellipse = Ellipse(
        (1.2 * major, 1.2 * major),
        width=minor,
        height=major,
        angle=header["BPA"],
        facecolor="tab:blue",
        edgecolor="white",
    )
    ax.add_patch(ellipse)


def _draw_thumbnail(ax: Axes, thumbnail: Thumbnail) -> None:
    """Draw the centre of one window's stamp."""
    n_y, n_x = thumbnail.image.shape
    half = int(_THUMBNAIL_FRACTION * min(n_y, n_x)) // 2
    cut = thumbnail.image[n_y // 2 - half : n_y // 2 + half, n_x // 2 - half : n_x // 2 + half]
    norm = _grey_scale(cut, thumbnail.measurement.rms_jy)
    ax.imshow(cut, origin="lower", cmap="gray_r", norm=norm)
    _mark(ax, half, half, inner_px=4.0, outer_px=10.0)
    measurement = thumbnail.measurement
    ax.set_title(
        f"spw {measurement.spw_id}  {measurement.freq_hz / 1e6:.0f} MHz\nSNR {measurement.snr:.1f}",
        fontsize=7,
    )


def _mark(ax: Axes, x: int, y: int, *, inner_px: float, outer_px: float) -> None:
    """Point at a position without covering it."""
    ax.plot([x + inner_px, x + outer_px], [y, y], color="tab:red", linewidth=1.2)
    ax.plot([x, x], [y + inner_px, y + outer_px], color="tab:red", linewidth=1.2)


def _grey_scale(image: npt.NDArray[np.floating], rms: float) -> AsinhNorm:
    """Choose a grey scale that shows the noise and does not saturate the source."""
    from matplotlib.colors import AsinhNorm

    low, high = (sigma * rms for sigma in _RANGE_SIGMA)
    return AsinhNorm(_LINEAR_SIGMA * rms, vmin=low, vmax=max(high, float(image.max())))
