"""Take known sources out of the visibilities of a window."""

from __future__ import annotations

from collections.abc import Sequence

from dsa110_contimg.catalog.sources import Source
from dsa110_contimg.visibilities.models import MsInfo
from dsa110_contimg.visibilities.window import Window


def subtract_sources(
    window: Window, info: MsInfo, sources: Sequence[Source], flux_jy: Sequence[float]
) -> Window:
    """Subtract point sources, as the primary beam saw them, from a window.

    Parameters
    ----------
    window : Window
        As read.
    info : MsInfo
        The MS.
    sources : sequence of Source
        Positions; at least one.
    flux_jy : sequence of float
        Flux density of each in this window in Jy, before the primary beam.

    Returns
    -------
    Window
        The same window with other data.
    """
    raise NotImplementedError
