"""An MS with one source in it, made by the real simulator and the real converter."""

from __future__ import annotations

from pathlib import Path

from dsa110_contimg.catalog.sources import Source
from dsa110_contimg.conversion.direct_subband import DirectSubbandWriter
from dsa110_contimg.simulation.night import SimulationOptions, simulate

TARGET = Source(name="target", ra_deg=128.9, dec_deg=54.8, flux_jy=1.0, spectral_index=-0.7)
"""Half a degree from the phase centre."""
SEFD_JY = 650.0
"""Makes the error of a window about 0.5 mJy with natural weighting: 2.59 Jy per visibility at
6500 Jy, and 16 x 15 / 2 baselines x 24 integrations x 48 channels x 2 polarizations."""
_N_ANTENNAS = 16


def make_point_source_ms(root: Path, sources: tuple[Source, ...] = (TARGET,)) -> Path:
    """Simulate and convert a group of 16 antennas and 16 windows with a few sources."""
    night = simulate(
        SimulationOptions(
            output_dir=root / "incoming",
            n_antennas=_N_ANTENNAS,
            sefd_jy=SEFD_JY,
            sources=sources,
            jitter=False,
        )
    )
    ms = root / "group.ms"
    writer = DirectSubbandWriter(
        [Path(file) for file in night.files],
        ms,
        sandbox_roots=[root / "sandboxes"],
        log_dir=root / "logs",
    )
    writer.write()
    return ms
