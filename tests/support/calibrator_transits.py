"""Two transits of calibrators, and a field between them, through a whole array's gain errors."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
from casacore.tables import table

from dsa110_contimg.calibration.apply import ApplyOptions
from dsa110_contimg.calibration.models import SolutionSet
from dsa110_contimg.calibration.solve import SolveOptions, solve_ms
from dsa110_contimg.catalog.sources import Source, read_sources
from dsa110_contimg.conversion.direct_subband import DirectSubbandWriter
from dsa110_contimg.flagging.flag_ms import flag_ms
from dsa110_contimg.flagging.models import FlagOptions
from dsa110_contimg.flagging.versions import AS_FLAGGED, flag_version
from dsa110_contimg.simulation.gains import AntennaGain
from dsa110_contimg.simulation.night import SimulationOptions, simulate
from dsa110_contimg.simulation.truth import read_gains
from dsa110_contimg.storage.files import make_read_only, make_writable

COMMAND = Path(sys.executable).with_name("dsa110-contimg")
START = datetime(2026, 1, 25, 8, 6, 19, tzinfo=UTC)
"""Of the field; the transits are half an hour before and after."""
APART = timedelta(minutes=30)
CALIBRATOR_JY = 8.8
SEFD_JY = 650.0
N_ANTENNAS = 12
N_TIMES = 24
VISIBILITY_NOISE_JY = 0.259
"""Of a real part: 2.59 Jy at 6500 Jy."""
TARGET = Source(name="target", ra_deg=128.9, dec_deg=54.8, flux_jy=1.0, spectral_index=-0.7)
"""Half a degree from the middle of the field."""
MISSING = ("sb03", "sb11")
"""Subbands that the field lacks, so that its windows have other ids than the transits'."""


@dataclass(frozen=True)
class Transits:
    """What was made and flagged, and what was solved; not to be modified.

    Attributes
    ----------
    root : Path
        Directory of it all; ``root/work`` is the work directory of the solutions.
    before, field, after : Path
        The MSs.
    calibrators : dict of Path to Source
        The calibrator of each of the transits.
    catalogue : Path
        Catalogue of the calibrator of `before`.
    gains : list of AntennaGain
        What the data were multiplied with, in the convention of UVH5.
    sets : dict of Path to SolutionSet
        Solutions of the transits.
    """

    root: Path
    before: Path
    field: Path
    after: Path
    calibrators: dict[Path, Source]
    catalogue: Path
    gains: list[AntennaGain]
    sets: dict[Path, SolutionSet]

    def solve_options(self, ms: Path, **changes: Any) -> SolveOptions:
        """Make the options that the solutions were made with, or others."""
        values = places(self.root) | {
            "ms_path": ms,
            "calibrator": self.calibrators.get(ms),
            "solutions_dir": self.root / "work" / "calibration",
        }
        return SolveOptions.model_validate(values | changes)

    def apply_options(self, ms: Path, **changes: Any) -> ApplyOptions:
        """Make options that apply the solutions to an MS."""
        return ApplyOptions.model_validate(places(self.root) | {"ms_path": ms} | changes)

    def gain(self, name: str, freqs_hz: Any, time_mjd_s: Any) -> np.ndarray:
        """Gain of an antenna in the convention of an MS, which is conjugate to that of UVH5.

        Shape (ntime, nchan, npol).
        """
        jd = np.atleast_1d(time_mjd_s) / 86400.0 + 2400000.5
        of_station = [gain for gain in self.gains if gain.station == int(name)]
        return np.stack([gain.at(freqs_hz, jd).conj() for gain in of_station], axis=-1)


def places(root: Path) -> dict[str, Any]:
    """Where work on an MS may leave traces, and the registry."""
    return {
        "registry_url": registry_url(root / "work"),
        "sandbox_roots": [root / "sandboxes"],
        "log_dir": root / "logs",
    }


def registry_url(work_dir: Path) -> str:
    """Name the registry of a work directory, as the settings do."""
    return f"sqlite:///{work_dir / 'calibration' / 'registry.sqlite'}"


def make_transits(root: Path) -> Transits:
    """Simulate, convert and flag the three groups, and solve both transits."""
    calibrated = {"calibrator_jy": CALIBRATOR_JY}
    groups = [
        (START - APART, calibrated),
        (START + APART, calibrated),
        (START, {"missing": MISSING}),
    ]
    (root / "work" / "calibration").mkdir(parents=True)
    # Most of it is done by children, so that threads can share two processors.
    with ThreadPoolExecutor(2) as pool:
        made = list(pool.map(lambda group: _make(root, group[0], **group[1]), groups))
        (before, catalogue, gains), (after, other, _), (field, _, _) = made
        calibrators = {
            ms: read_sources(path)[0] for ms, path in ((before, catalogue), (after, other))
        }
        night = Transits(root, before, field, after, calibrators, catalogue, gains, {})
        solved = pool.map(lambda ms: solve_ms(night.solve_options(ms)), calibrators)
        night.sets.update(zip(calibrators, solved, strict=True))
    return night


def _make(root: Path, start: datetime, **options: Any) -> tuple[Path, Path, list[AntennaGain]]:
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
    night = simulate(SimulationOptions.model_validate(values | options), workers=1)
    ms = root / f"{name}.ms"
    shared = {"sandbox_roots": [root / "sandboxes"], "log_dir": root / "logs"}
    DirectSubbandWriter([Path(file) for file in night.files], ms, **shared).write()
    flag_ms(FlagOptions.model_validate({"ms_path": ms} | shared))
    return ms, Path(night.calibrators_path or ""), read_gains(Path(night.gains_path or ""))


def run_command(
    transits: Transits, directory: Path, *arguments: object
) -> subprocess.CompletedProcess[str]:
    """Run the console script from a directory, where the transits have been solved."""
    return subprocess.run(
        [COMMAND, *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=directory,
        env={
            **os.environ,
            "DSA110_CONTIMG_WORK_DIR": str(transits.root / "work"),
            "DSA110_CONTIMG_SANDBOX_ROOT": str(transits.root / "sandboxes"),
            "COLUMNS": "200",
            "TERM": "dumb",
        },
    )


def copy_ms(ms: Path, directory: Path) -> Path:
    """Copy an MS with its manifest, flag versions and records."""
    directory.mkdir(parents=True, exist_ok=True)
    for path in ms.parent.glob(f"{ms.name}*"):
        copy = shutil.copytree if path.is_dir() else shutil.copy2
        copy(path, directory / path.name)
    return directory / ms.name


def flag_rows(ms: Path, is_flagged: Any) -> None:
    """Flag more of a copied MS, as if its flagging had.

    ``is_flagged(antenna1, antenna2, window)`` gives flags that broadcast to
    (nrow, nchan, npol).
    """
    make_writable(ms)
    make_writable(flag_version(ms, AS_FLAGGED))
    with (
        table(str(ms), readonly=False, ack=False) as main,
        table(str(flag_version(ms, AS_FLAGGED)), readonly=False, ack=False) as version,
    ):
        columns = (main.getcol(name) for name in ("ANTENNA1", "ANTENNA2", "DATA_DESC_ID"))
        flags = main.getcol("FLAG") | is_flagged(*columns)
        for one in (main, version):
            one.putcol("FLAG", flags)
    make_read_only(ms)


def read_column(ms: Path, name: str) -> np.ndarray:
    """Read a column."""
    with table(str(ms), ack=False) as opened:
        return opened.getcol(name)


def rename_antennas(ms: Path, names: dict[int, str]) -> None:
    """Give antennas other names, by id."""
    make_writable(ms)
    with table(str(ms / "ANTENNA"), readonly=False, ack=False) as antennas:
        for row, name in names.items():
            antennas.putcell("NAME", row, name)
    make_read_only(ms)


def station_ids(ms: Path, *names: str) -> list[int]:
    """Look antennas up by name."""
    with table(str(ms / "ANTENNA"), ack=False) as antennas:
        known = list(antennas.getcol("NAME"))
    return [known.index(name) for name in names]
