"""The day that the benchmark of a day simulates: small groups, all around the clock."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import numpy as np

from dsa110_contimg.astrometry import meridian_icrs_deg
from dsa110_contimg.catalog.sources import Source
from dsa110_contimg.simulation.night import (
    DEFAULT_DEC_DEG,
    SimulationOptions,
    SimulationResult,
    simulate,
)
from dsa110_contimg.simulation.schedule import plan_groups

MOST_GROUPS = 280
"""That start within a UTC date."""
_START = datetime(2026, 1, 25, tzinfo=UTC)
_SEFD_JY = 10.0
_CALIBRATOR_JY = 8.8
_FLUX_JY = 1.0
_SPREAD_DEG = 0.5


def make_day(
    folder: Path, n_groups: int, n_antennas: int, n_sources: int, *, with_gains: bool
) -> SimulationResult:
    """Simulate consecutive groups from midnight on.

    Parameters
    ----------
    folder : Path
        Directory of the files.
    n_groups : int
        Number of groups.
    n_antennas : int
        Antennas of the array; few make it cheap.
    n_sources : int
        Sources that transit in each group; the beam also sees those of its neighbours.
    with_gains : bool
        Whether there are gain errors, and a calibrator that transits in the first group.

    Returns
    -------
    SimulationResult
        The files.
    """
    rng = np.random.default_rng(0)
    sources = []
    for group in plan_groups(_START, n_groups, jitter=True, missing=(), seed=0):
        ra_deg, dec_deg = meridian_icrs_deg(DEFAULT_DEC_DEG, group.mid_jd)
        east_deg, north_deg = rng.uniform(-_SPREAD_DEG, _SPREAD_DEG, (2, n_sources))
        sources += [
            Source(
                name=f"g{group.index:03d}s{number:03d}",
                ra_deg=(ra_deg + east / np.cos(np.deg2rad(dec_deg))) % 360.0,
                dec_deg=dec_deg + north,
                flux_jy=_FLUX_JY,
            )
            for number, (east, north) in enumerate(zip(east_deg, north_deg, strict=True))
        ]
    return simulate(
        SimulationOptions(
            output_dir=folder,
            start=_START,
            n_groups=n_groups,
            n_antennas=n_antennas,
            sources=tuple(sources),
            sefd_jy=_SEFD_JY,
            gain_errors=with_gains,
            calibrator_jy=_CALIBRATOR_JY if with_gains else None,
        )
    )
