"""A group with interference and a dead antenna, and the same group without interference."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from casacore.tables import table

from dsa110_contimg.conversion.hdf5_orchestrator import convert_subband_groups_to_ms
from dsa110_contimg.flagging.models import FlagOptions, FlagRecord
from dsa110_contimg.simulation.night import SimulationOptions, SimulationResult, simulate
from dsa110_contimg.simulation.truth import read_rfi

MISSING = ("sb03", "sb07", "sb11", "sb15")
"""Twelve windows are enough, and the fewest that are converted."""
N_ANTENNAS = 12


@dataclass(frozen=True)
class RfiGroup:
    """A group at the real noise, published as an MS; not to be modified.

    Attributes
    ----------
    root : Path
        Directory of it all.
    night : SimulationResult
        The group as simulated.
    ms : Path
        Its MS.
    clean_ms : Path
        The same, to the last bit of the noise, but for the interference.
    """

    root: Path
    night: SimulationResult
    ms: Path
    clean_ms: Path

    @property
    def dead_names(self) -> list[str]:
        """Names of the antennas that receive nothing."""
        return [str(number) for number in read_rfi(Path(str(self.night.rfi_path))).dead_stations]

    def copy(self, root: Path) -> Path:
        """Copy the MS with all that stands beside it; the copy may be changed."""
        shutil.copytree(self.ms.parent, root / "ms")
        return root / "ms" / self.ms.name


@dataclass(frozen=True)
class Score:
    """How well the flags meet the truth.

    Attributes
    ----------
    recall : float
        Flagged part of the power of the interference: its squared amplitude, added up over the
        cross-correlations of living antennas.
    reach : float
        Flagged fraction of their visibilities that have interference, however faint: what is left
        is correlated over the array and biases sources.
    false_alarms : float
        Flagged fraction of their visibilities that have no interference.
    """

    recall: float
    reach: float
    false_alarms: float


def make_rfi_group(root: Path, **options: Any) -> RfiGroup:
    """Simulate and convert a group with and without interference."""
    nights = {}
    for rfi in (True, False):
        values = {
            "output_dir": root / f"incoming-{rfi}",
            "n_antennas": N_ANTENNAS,
            "missing": MISSING,
            "rfi": rfi,
            "dead_antennas": 1,
            "jitter": False,
        }
        nights[rfi] = simulate(SimulationOptions.model_validate(values | options))
    return RfiGroup(root, nights[True], convert(root, rfi=True), convert(root, rfi=False))


def convert(root: Path, *, rfi: bool, again: bool = False, place: Path | None = None) -> Path:
    """Convert and publish one of the two."""
    (result,) = convert_subband_groups_to_ms(
        root / f"incoming-{rfi}",
        place or root / f"ms-{rfi}",
        scratch_dir=root / "scratch",
        stage_to_tmpfs=False,
        skip_existing=not again,
    )
    assert result.ms_path is not None, result.reason
    return Path(result.ms_path)


def flag_options(ms: Path, **changes: Any) -> FlagOptions:
    """Make options that leave no trace outside the MS's directory."""
    places = {"sandbox_roots": [ms.parent / "sandboxes"], "log_dir": ms.parent / "logs"}
    return FlagOptions.model_validate({"ms_path": ms, **places, **changes})


def read_column(ms: Path, name: str) -> np.ndarray:
    """Read a column of an MS."""
    with table(str(ms), ack=False) as opened:
        return opened.getcol(name)


def living_cross(group: RfiGroup) -> np.ndarray:
    """Whether a row is a cross-correlation of antennas that are not dead."""
    with table(str(group.ms / "ANTENNA"), ack=False) as antennas:
        dead = np.isin(antennas.getcol("NAME"), group.dead_names)
    first, second = (read_column(group.ms, name) for name in ("ANTENNA1", "ANTENNA2"))
    return (first != second) & ~dead[first] & ~dead[second]


def judge(group: RfiGroup, flags: np.ndarray) -> Score:
    """Compare flags with what was injected, which is the difference of the twins."""
    rows = living_cross(group)
    injected = read_column(group.ms, "DATA")[rows].astype(complex)
    injected -= read_column(group.clean_ms, "DATA")[rows]
    power, flagged = np.abs(injected) ** 2, flags[rows]
    return Score(
        recall=float(power[flagged].sum() / power.sum()),
        reach=float(flagged[power > 0.0].mean()),
        false_alarms=float(flagged[power == 0.0].mean()),
    )


@dataclass(frozen=True)
class FlaggedGroup:
    """A group that was flagged; not to be modified.

    Attributes
    ----------
    group : RfiGroup
        The group as converted.
    ms : Path
        A copy, flagged.
    record : FlagRecord
        What came of it.
    """

    group: RfiGroup
    ms: Path
    record: FlagRecord

    def copy(self, root: Path) -> Path:
        """Copy the MS with all that stands beside it; the copy may be changed."""
        shutil.copytree(self.ms.parent, root / "ms")
        return root / "ms" / self.ms.name
