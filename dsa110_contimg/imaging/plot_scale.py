"""What the pictures of a field and of its sources share: the grey scale and the colours."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from dsa110_contimg.imaging.field_products import FieldImage

if TYPE_CHECKING:
    from matplotlib.colors import AsinhNorm
    from matplotlib.figure import Figure
    from matplotlib.image import AxesImage

TARGET_COLOR, OTHER_COLOR = "#d62728", "#1f77b4"
LINEAR_SIGMA = 3.0
RANGE_SIGMA = (-15.0, 100.0)
"""Grey scale in units of the residual's noise, the same in all panels: linear up to the first
number, logarithmic to the ends of the range."""
_TICKS_SIGMA = (-10.0, -3.0, 0.0, 3.0, 10.0, 30.0, 100.0)


def grey_scale(about: FieldImage) -> AsinhNorm:
    """Choose a scale that shows the noise and does not saturate faint sources.

    Parameters
    ----------
    about : FieldImage
        The noise.

    Returns
    -------
    matplotlib.colors.AsinhNorm
        In mJy/beam.
    """
    from matplotlib.colors import AsinhNorm

    noise_mjy = 1e3 * about.noise_jy
    low, high = (sigma * noise_mjy for sigma in RANGE_SIGMA)
    return AsinhNorm(LINEAR_SIGMA * noise_mjy, vmin=low, vmax=high)


def draw_scale(
    figure: Figure, drawn: AxesImage, place: tuple[float, float, float, float], about: FieldImage
) -> None:
    """Draw the grey scale, with round multiples of the noise marked in mJy/beam.

    Parameters
    ----------
    figure : matplotlib.figure.Figure
        Where.
    drawn : matplotlib.image.AxesImage
        What is scaled so.
    place : tuple of float
        Left, bottom, width and height, as parts of the figure.
    about : FieldImage
        The noise.
    """
    ticks = [1e3 * sigma * about.noise_jy for sigma in _TICKS_SIGMA]
    bar = figure.colorbar(
        drawn, cax=figure.add_axes(place), extend="both", extendfrac=0.03, ticks=ticks
    )
    labels = [
        f"{tick:.3g} ({sigma:g}\N{GREEK SMALL LETTER SIGMA})"
        for tick, sigma in zip(ticks, _TICKS_SIGMA, strict=True)
    ]
    bar.ax.set_yticklabels(labels, size=8)
    bar.ax.set_title("mJy/beam", size=8, loc="left")
    bar.ax.minorticks_off()


def halo() -> list[Any]:
    """Make a text legible on any grey.

    Returns
    -------
    list
        Effects for matplotlib's ``path_effects``.
    """
    from matplotlib.patheffects import withStroke

    return [withStroke(linewidth=2.2, foreground="white")]
