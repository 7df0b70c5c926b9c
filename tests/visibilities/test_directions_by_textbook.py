"""Directions of sources against the textbook's, which know nothing of the moving Earth."""

from __future__ import annotations

import numpy as np
import pytest
from support.small_field import DEC_DEG, RA_DEG, Array, make_info, position

from dsa110_contimg.catalog.sources import Source
from dsa110_contimg.visibilities.directions import source_directions

pytestmark = pytest.mark.unit

INFO = make_info(Array())
ARCSEC = np.deg2rad(1 / 3600)
ABERRATION = 20.5 * ARCSEC
TWIST = 15.0 * ARCSEC
"""By which the frame of the baselines may be turned; see `directions`."""


def textbook(source: Source) -> np.ndarray:
    """l, m and n - 1 (Thompson, Moran & Swenson, equation 3.7)."""
    ra, dec, ra0, dec0 = np.deg2rad([source.ra_deg, source.dec_deg, RA_DEG, DEC_DEG])
    return np.array(
        [
            np.cos(dec) * np.sin(ra - ra0),
            np.sin(dec) * np.cos(dec0) - np.cos(dec) * np.sin(dec0) * np.cos(ra - ra0),
            np.sin(dec) * np.sin(dec0) + np.cos(dec) * np.cos(dec0) * np.cos(ra - ra0) - 1.0,
        ]
    )


@pytest.mark.parametrize(
    ("east_deg", "north_deg"), [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (-1.2, 0.7), (0.3, -1.5)]
)
def test_differs_from_the_textbook_by_no_more_than_aberration(east_deg, north_deg):
    source = position("any", east_deg, north_deg)
    [found] = source_directions([source], INFO)
    distance_rad = np.deg2rad(np.hypot(east_deg, north_deg))
    off = found - textbook(source)
    # Of the aberration a source shares all with the phase centre but its distance times it.
    assert np.hypot(*off[:2]) <= distance_rad * (ABERRATION + TWIST) + 1e-9
    assert abs(off[2]) <= distance_rad**2 * (ABERRATION + TWIST) + 1e-9


def test_a_source_behind_us_is_behind_us():
    behind = Source(name="behind", ra_deg=RA_DEG - 120.0, dec_deg=-DEC_DEG)
    [found] = source_directions([behind], INFO)
    assert found[2] < -1.0
