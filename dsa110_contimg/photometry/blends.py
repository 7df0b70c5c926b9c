"""What is said of sources that depend on their neighbours, by both photometries."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from dsa110_contimg.catalog.sources import Source
from dsa110_contimg.photometry.models import Blend

MAX_INFLATION = 10.0
"""Neighbours that make an error larger than so many times leave nothing worth calling a flux
density; only their sum is known."""


def describe_blends(blends: Sequence[Blend]) -> list[str]:
    """Describe the neighbours that a source depends on.

    Parameters
    ----------
    blends : sequence of Blend
        The neighbours.

    Returns
    -------
    list of str
        A sentence for each.
    """
    return [
        f"Blended with {b.name}, {b.separation_arcsec:.1f} arcsec away (correlation "
        f"{b.correlation:.2f}); the {_number(b)} together: {1e3 * b.sum_flux_jy:.2f} +- "
        f"{1e3 * b.sum_rms_jy:.2f} mJy."
        for b in blends
    ]


def only_the_sum(blends: Sequence[Blend]) -> str:
    """Say what is known of a source that cannot be told from its neighbours.

    Parameters
    ----------
    blends : sequence of Blend
        The neighbours, the nearest first.

    Returns
    -------
    str
        A clause.
    """
    if not blends:
        return "cannot be told apart from the rest of the field"
    group = [blend for blend in blends if blend.n_summed > 2] or blends[:1]
    nearest = group[0]
    names = ", ".join(f"{b.name}, {b.separation_arcsec:.2f} arcsec away" for b in group)
    what = "the sum" if nearest.n_summed == 2 else f"the sum of the {nearest.n_summed}"
    return (
        f"cannot be told apart from {names}: only {what} is known, "
        f"{1e3 * nearest.sum_flux_jy:.2f} +- {1e3 * nearest.sum_rms_jy:.2f} mJy"
    )


def separation_arcsec(one: Source, other: Source) -> float:
    """Measure the angle between two sources.

    Parameters
    ----------
    one, other : Source
        The sources.

    Returns
    -------
    float
        In arcsec.
    """
    from astropy.coordinates import angular_separation

    positions_rad = np.deg2rad([one.ra_deg, one.dec_deg, other.ra_deg, other.dec_deg])
    return float(3600.0 * np.rad2deg(angular_separation(*positions_rad)))


def _number(blend: Blend) -> str:
    """Say how many flux densities a sum holds."""
    return "two" if blend.n_summed == 2 else str(blend.n_summed)
