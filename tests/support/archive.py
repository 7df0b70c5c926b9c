"""A few small nights of raw files, and what a work directory holds of them."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import h5py
from casacore.tables import table

from dsa110_contimg.astrometry import meridian_icrs_deg
from dsa110_contimg.catalog.sources import Source, write_sources
from dsa110_contimg.settings import Settings
from dsa110_contimg.simulation.night import SimulationOptions, simulate
from dsa110_contimg.simulation.schedule import plan_groups
from dsa110_contimg.storage.publish import manifest_path, read_manifest

DATES = ("2026-01-25", "2026-01-26", "2026-01-27")
DEC_DEG = 54.573
N_SOURCES = 2
_START = datetime(2026, 1, 25, 8, 6, 19, tzinfo=UTC)
_LIMIT_S = 400.0
_SIDEREAL_DAY = timedelta(seconds=86164.09)
_VOLATILE = (".lock", "table.lock")
"""Rewritten by everyone who opens an MS."""

Snapshot = dict[str, tuple[int, int]]
"""File to its size and time of modification."""


class Archive:
    """Three nights of one group each, always of the same piece of sky.

    Parameters
    ----------
    root : Path
        Where the files go.
    """

    def __init__(self, root: Path):
        self.input_dir = root / "incoming"
        self.sources_file = root / "targets.ecsv"
        [first] = plan_groups(_START, 1, jitter=True, missing=(), seed=0)
        ra_deg, dec_deg = meridian_icrs_deg(DEC_DEG, first.mid_jd)
        sources = tuple(
            Source(name=f"target{k}", ra_deg=ra_deg + 0.4 * k, dec_deg=dec_deg, flux_jy=2.0)
            for k in range(N_SOURCES)
        )
        write_sources(list(sources), self.sources_file)
        self.input_dir.mkdir(parents=True)
        self.files: dict[str, list[Path]] = {}
        self.groups: dict[str, str] = {}
        for number, date in enumerate(DATES):
            made = simulate(
                SimulationOptions(
                    output_dir=root / date,
                    start=_START + number * _SIDEREAL_DAY,
                    n_antennas=5,
                    sources=sources,
                    dec_deg=DEC_DEG,
                    sefd_jy=10.0,
                )
            )
            files = [Path(file) for file in made.files]
            self.files[date] = [file.rename(self.input_dir / file.name) for file in files]
            self.groups[date] = made.groups[0].start_utc[:19]

    @contextmanager
    def spoilt(self, date: str) -> Iterator[None]:
        """Let a night fail: discovery takes its files for whole, and their conversion does not."""
        victim = self.files[date][3]
        intact = victim.read_bytes()
        with h5py.File(victim, "a") as file:
            del file["Data/flags"]
        try:
            yield
        finally:
            victim.write_bytes(intact)

    def settings(self, work_dir: Path) -> Settings:
        """Measure on images, so that every task has work; nights do not begin at midnight."""
        return Settings(
            work_dir=work_dir,
            input_dir=self.input_dir,
            sources_file=self.sources_file,
            photometry="image",
            backend="ducc0",
            calibration="off",
            schedule="30 7 * * *",
            settle_s=1,
        )


def backfill(
    *options: str, settings: Settings | None = None, wait: Callable[[float], None] = time.sleep
) -> tuple[int, dict[str, dict[str, Any]], str]:
    """Run the command; give its exit status, its nights by date, and what it said.

    ``wait`` waits for so many seconds; whoever runs the services looks after them meanwhile.
    """
    variables = {
        f"DSA110_CONTIMG_{name.upper()}": str(value)
        for name, value in (settings or ())
        if value not in (None, [])
    }
    command = [
        *(sys.executable, "-P", "-c", "from dsa110_contimg.cli.main import main; main()"),
        *("backfill", "--json", *options),
    ]
    until = time.monotonic() + _LIMIT_S
    with tempfile.TemporaryFile("w+") as answer, tempfile.TemporaryFile("w+") as words:
        with subprocess.Popen(
            command, env={**os.environ, **variables}, stdout=answer, stderr=words
        ) as process:
            try:
                while process.poll() is None:
                    assert time.monotonic() < until, f"the backfill takes over {_LIMIT_S:.0f} s"
                    wait(0.25)
            finally:
                process.kill()
        answer.seek(0)
        words.seek(0)
        said = answer.read()
        nights = json.loads(said)["nights"] if said else []
        return process.returncode, {night["date"]: night for night in nights}, words.read()


def snapshot(settings: Settings, *dates: str) -> Snapshot:
    """List the MSs and products of nights, as they are on disk."""
    return {
        str(path): (path.stat().st_size, path.stat().st_mtime_ns)
        for root in (settings.ms_dir, settings.products_dir)
        for date in dates
        for path in (root / date).rglob("*")
        if path.is_file() and not path.name.endswith(_VOLATILE)
    }


def measured(settings: Settings, date: str) -> dict[str, Any]:
    """Read from the report of a night what was found: all but times and the word skipped."""
    report = json.loads((settings.nights_dir / date / "report.json").read_text())
    sources = ("success", "error", "spws", "failed_spws", "detections", "power_law", "blends")
    sets = ("condition", "spectral_windows", "phase_center_ra_deg", "phase_center_dec_deg")
    return {
        "verdict": report["verdict"],
        "failures": report["failures"],
        "sources": {
            (source["group_id"], source["name"]): {name: source[name] for name in sources}
            for source in report["sources"]
        },
        "sets": {
            one["group_id"]: {name: one[name] for name in sets}
            for one in report["measurement_sets"]
        },
    }


def ms_path(settings: Settings, group_id: str) -> Path:
    """Name the MS of a group."""
    return settings.ms_dir / group_id[:10] / f"{group_id}.ms"


def ms_data(ms: Path) -> dict[str, str]:
    """Hash what was observed: the bulk columns and the coordinates of an MS that is whole."""
    assert read_manifest(ms) is not None, f"{manifest_path(ms)} does not check out"
    with table(str(ms), ack=False) as opened:
        return {
            column: hashlib.sha256(opened.getcol(column).tobytes()).hexdigest()
            for column in ("DATA", "FLAG", "UVW", "TIME", "ANTENNA1", "ANTENNA2", "WEIGHT")
        }
