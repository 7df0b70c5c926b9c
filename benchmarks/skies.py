"""The skies that the benchmark of the photometry looks at, and the MSs made of them."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dsa110_contimg.astrometry import meridian_icrs_deg
from dsa110_contimg.catalog.sources import Source
from dsa110_contimg.conversion.direct_subband import DirectSubbandWriter
from dsa110_contimg.instrument import (
    GROUP_DURATION_S,
    PRIMARY_BEAM_FWHM_DEG,
    SEFD_JY,
    SIDEREAL_RATE_DEG_S,
)
from dsa110_contimg.simulation.night import (
    DEFAULT_DEC_DEG,
    DEFAULT_START,
    SimulationOptions,
    simulate,
)

TRIPLE = (
    Source(name="first", ra_deg=124.526792, dec_deg=54.620694, flux_jy=0.080, spectral_index=-0.7),
    Source(name="second", ra_deg=124.530, dec_deg=54.625, flux_jy=0.050),
    Source(name="third", ra_deg=124.523, dec_deg=54.616, flux_jy=0.030, spectral_index=-1.0),
)
"""Positions of the original's test; three sources about one beam apart from each other."""
CENTER_DEG = (124.53, 54.62)
ISOLATED = Source(name="isolated", ra_deg=124.0, dec_deg=54.8, flux_jy=1.0, spectral_index=-0.7)
"""So bright that 1 per cent of it exceeds what different weights make of the noise."""

_NEIGHBOUR_JY = 0.15
_N_NEIGHBOURS = 6
_FLUX_RANGE_JY = (0.002, 0.2)
_MIN_SEPARATION_DEG = 90.0 / 3600.0
"""Three beams: what blends is another test's."""


@dataclass(frozen=True)
class CrowdedSky:
    """A field to prove errors on.

    Attributes
    ----------
    injected, neighbours : list of Source
        What is simulated.
    empty : list of Source
        Positions at which there is nothing.
    """

    injected: list[Source]
    neighbours: list[Source]
    empty: list[Source]


def crowded_sky(n_injected: int, n_empty: int, seed: int = 4) -> CrowdedSky:
    """Scatter sources and empty positions evenly out to the half-power point of the beam."""
    rng = np.random.default_rng(seed)
    n_all = n_injected + _N_NEIGHBOURS + n_empty
    positions = _scatter(n_all, PRIMARY_BEAM_FWHM_DEG / 2, rng)
    low, high = np.log(_FLUX_RANGE_JY)
    fluxes = np.r_[
        np.exp(rng.uniform(low, high, n_injected)), np.full(_N_NEIGHBOURS, _NEIGHBOUR_JY)
    ]
    sources = [
        Source(
            name=f"s{number:04d}",
            ra_deg=float(ra_deg),
            dec_deg=float(dec_deg),
            flux_jy=float(fluxes[number]) if number < len(fluxes) else None,
            spectral_index=float(rng.uniform(-1.0, 0.2)),
        )
        for number, (ra_deg, dec_deg) in enumerate(positions)
    ]
    end = n_injected + _N_NEIGHBOURS
    return CrowdedSky(sources[:n_injected], sources[n_injected:end], sources[end:])


def scattered(count: int, seed: int = 7) -> list[Source]:
    """Positions out to the half-power point of the beam, to count on and not to look at."""
    rng = np.random.default_rng(seed)
    return [
        Source(name=f"p{number:04d}", ra_deg=float(ra_deg), dec_deg=float(dec_deg))
        for number, (ra_deg, dec_deg) in enumerate(_scatter(count, PRIMARY_BEAM_FWHM_DEG / 2, rng))
    ]


def make_ms(
    ram: Path, name: str, sources: Sequence[Source], n_antennas: int, sefd_jy: float = SEFD_JY
) -> Path:
    """Simulate a group that points at `CENTER_DEG`, and convert it; the group is removed."""
    folder, ms = ram / f"{name}.incoming", ram / f"{name}.ms"
    simulation = simulate(
        SimulationOptions(
            output_dir=folder,
            start=DEFAULT_START + timedelta(seconds=_delay_s()),
            dec_deg=DEFAULT_DEC_DEG + CENTER_DEG[1] - _meridian_deg(0.0)[1],
            n_antennas=n_antennas,
            sources=tuple(sources),
            sefd_jy=sefd_jy,
            jitter=False,
        )
    )
    files = [Path(file) for file in simulation.files]
    writer = DirectSubbandWriter(files, ms, sandbox_roots=[ram / "sandboxes"], log_dir=ram)
    writer.write()
    shutil.rmtree(folder)
    return ms


def _scatter(count: int, radius_deg: float, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    """Positions evenly within a circle around `CENTER_DEG`, none close to another."""
    chosen = np.empty((0, 2))
    ra_deg, dec_deg = CENTER_DEG
    while len(chosen) < count:
        east, north = rng.uniform(-radius_deg, radius_deg, 2)
        here = np.array([ra_deg + east / np.cos(np.deg2rad(dec_deg + north)), dec_deg + north])
        apart = (chosen - here) * [np.cos(np.deg2rad(dec_deg)), 1.0]
        if np.hypot(east, north) < radius_deg and np.all(np.hypot(*apart.T) > _MIN_SEPARATION_DEG):
            chosen = np.vstack([chosen, here])
    return chosen


def _meridian_deg(delay_s: float) -> tuple[float, float]:
    """Where the dishes point in the middle of a group that begins so much later."""
    begin_jd = DEFAULT_START.timestamp() / 86400.0 + 2440587.5
    return meridian_icrs_deg(DEFAULT_DEC_DEG, begin_jd + (GROUP_DURATION_S / 2 + delay_s) / 86400.0)


def _delay_s() -> float:
    """How much later than the default a group has to begin to point at `CENTER_DEG`."""
    return (CENTER_DEG[0] - _meridian_deg(0.0)[0]) / SIDEREAL_RATE_DEG_S
