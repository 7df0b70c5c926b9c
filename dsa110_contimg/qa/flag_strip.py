"""Flagged fractions of the spectral windows in a row, as SVG paths."""

from __future__ import annotations

from collections.abc import Sequence

from dsa110_contimg.qa.figures import flag_class


def draw_flag_strip(fractions: Sequence[float]) -> dict[str, str]:
    """Lay out flagged fractions in a row.

    Parameters
    ----------
    fractions : sequence of float
        Of each spectral window, in order of id.

    Returns
    -------
    dict of str to str
        Class of a cell (f0 .. f3) to SVG path of all cells of that class, in a drawing of one
        unit by 1 for each.
    """
    paths: dict[str, str] = {}
    for number, fraction in enumerate(fractions):
        name = flag_class(fraction)
        paths[name] = f"{paths.get(name, '')}M{number} 0h.82v1h-.82z"
    return paths
