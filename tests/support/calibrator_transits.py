"""Two transits of calibrators, and a field between them, through a whole array's gain errors."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path

from dsa110_contimg.catalog.sources import Source, read_sources
from dsa110_contimg.conversion.direct_subband import DirectSubbandWriter
from dsa110_contimg.flagging.flag_ms import flag_ms
from dsa110_contimg.flagging.models import FlagOptions
from dsa110_contimg.simulation.gains import AntennaGain
from dsa110_contimg.simulation.night import SimulationOptions, simulate
from dsa110_contimg.simulation.truth import read_gains

START = datetime(2026, 1, 25, 8, 6, 19, tzinfo=UTC)
"""Of the field; the transits are half an hour before and after."""
APART = timedelta(minutes=30)
CALIBRATOR_JY = 8.8
SEFD_JY = 650.0
"""A visibility's noise is 0.26 Jy (2.59 Jy at 6500 Jy)."""
N_ANTENNAS = 12
TARGET = Source(name="target", ra_deg=128.9, dec_deg=54.8, flux_jy=1.0, spectral_index=-0.7)
"""In the field."""
MISSING = ("sb03", "sb11")
"""Subbands that the field lacks, so that its windows have other ids than the transits'."""


@dataclass(frozen=True)
class Night:
    """What was made, flagged; not to be modified.

    Attributes
    ----------
    before, field, after : Path
        The MSs.
    calibrators : dict of Path to Source
        The calibrator of each of the transits.
    catalogue : Path
        Catalogue of the calibrator of `before`.
    gains : list of AntennaGain
        What the data were multiplied with, in the convention of UVH5.
    """

    before: Path
    field: Path
    after: Path
    calibrators: dict[Path, Source]
    catalogue: Path
    gains: list[AntennaGain]


def make_night(root: Path) -> Night:
    """Simulate, convert and flag it."""
    before, catalogue, gains = _make(root, START - APART, calibrator_jy=CALIBRATOR_JY)
    after, other, _ = _make(root, START + APART, calibrator_jy=CALIBRATOR_JY)
    field, _, _ = _make(root, START, missing=MISSING)
    calibrators = {ms: read_sources(path)[0] for ms, path in ((before, catalogue), (after, other))}
    return Night(before, field, after, calibrators, catalogue, gains)


def _make(root: Path, start: datetime, **options: object) -> tuple[Path, Path, list[AntennaGain]]:
    """Make the MS of one group, and say where its calibrators and gains stand."""
    name = f"{start:%Y-%m-%dT%H:%M:%S}"
    values = {
        "output_dir": root / f"incoming-{name}",
        "start": start,
        "n_antennas": N_ANTENNAS,
        "sources": (TARGET,),
        "sefd_jy": SEFD_JY,
        "gain_errors": True,
        "jitter": False,
    }
    night = simulate(SimulationOptions.model_validate(values | options))
    ms = root / f"{name}.ms"
    DirectSubbandWriter(
        [Path(file) for file in night.files],
        ms,
        sandbox_roots=[root / "sandboxes"],
        log_dir=root / "logs",
    ).write()
    flag_ms(FlagOptions(ms_path=ms, sandbox_roots=[root / "sandboxes"], log_dir=root / "logs"))
    return ms, Path(night.calibrators_path or ""), read_gains(Path(night.gains_path or ""))
