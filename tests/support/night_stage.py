"""Nights for an Airflow that can be killed, and what must hold of each when it is over."""

from __future__ import annotations

import contextlib
import itertools
import json
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from functools import cached_property
from pathlib import Path
from typing import Any

from support.live_airflow import Run, overlaps, spans_by_ms
from support.mortal_airflow import LiveMortal, MortalAirflow
from support.postgres import PostgresServer

from dsa110_contimg.astrometry import meridian_icrs_deg
from dsa110_contimg.catalog.sources import Source
from dsa110_contimg.conversion.groups import find_groups
from dsa110_contimg.orchestration.runs import NIGHT_DAG
from dsa110_contimg.settings import Settings
from dsa110_contimg.simulation.night import SimulationOptions, SimulationResult, simulate
from dsa110_contimg.simulation.schedule import plan_groups
from dsa110_contimg.storage.ms_access import AccessSpan, HoldEnd, read_holder
from dsa110_contimg.storage.publish import manifest_path, read_manifest

N_SOURCES = 2
DEC_DEG = 54.573
FIRST_NIGHT = datetime(2026, 3, 1, 8, 6, 19, tzinfo=UTC)
_TMPFS_BYTES = 256 << 20


@dataclass
class Night:
    """A night in the making."""

    made: SimulationResult
    run: Run
    live: LiveMortal
    started_s: float = field(default_factory=time.time)

    @property
    def date(self) -> str:
        return self.made.groups[0].start_utc[:10]

    @property
    def ms_dir(self) -> Path:
        return self.live.settings.ms_dir / self.date

    @cached_property
    def ms_paths(self) -> list[Path]:
        groups = find_groups(Path(self.made.output_dir)).groups
        return [self.ms_dir / f"{group.group_id}.ms" for group in groups]

    def published(self, *, but: str | None = None) -> dict[str, object]:
        """What is there of MSs and products of all groups but one, by its time of making."""
        products = self.live.settings.products_dir / self.date
        sets = {str(ms): read_manifest(ms) for ms in self.ms_paths}
        found = {name: m.provenance.created for name, m in sets.items() if m} | {
            str(path): path.stat().st_mtime_ns for path in products.glob("*/[!.]*/result.json")
        }
        return {name: made for name, made in found.items() if but is None or but not in name}

    def records(self, kind: str) -> list[dict[str, Any]]:
        """What is on record of the groups of a night."""
        folder = self.live.settings.nights_dir / self.date / "records" / kind
        return [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]

    def assert_whole(self, before: dict[str, object]) -> None:
        """Check that nothing was lost or done twice, and no MS had two tasks at once."""
        report = self.live.report(self.date)
        assert report["failures"] == []
        assert {group["outcome"] for group in report["groups"]} <= {"converted", "skipped"}
        assert len(report["groups"]) == len(report["measurement_sets"]) == len(self.ms_paths)
        sources = [(source["group_id"], source["name"]) for source in report["sources"]]
        assert len(set(sources)) == len(sources) == N_SOURCES * len(self.ms_paths)
        assert all(source["success"] for source in report["sources"])
        after = self.published()
        assert len(after) == len(self.ms_paths) * (1 + N_SOURCES)
        assert {name: after[name] for name in before} == before
        for log in ("ms_access.jsonl", "ms_tasks.jsonl"):
            spans = spans_by_ms(self.live.settings.logs_dir / log)
            for ms in self.ms_paths:
                assert overlaps(spans[str(ms)]) == [], log
        assert [read_holder(ms) for ms in self.ms_paths] == [None] * len(self.ms_paths)
        expected = {
            name
            for ms in self.ms_paths
            for name in (ms.name, manifest_path(ms).name, f".{ms.name}.lock")
        }
        assert {path.name for path in self.ms_dir.iterdir()} == expected


@dataclass
class Stage:
    """An Airflow, and the nights that it has got through."""

    live: LiveMortal
    root: Path
    done: list[Night] = field(default_factory=list)
    _numbers: Iterator[int] = field(default_factory=itertools.count)

    def simulate(self, *, n_groups: int = 2) -> SimulationResult:
        """Make a night of a date that no other has, with sources that all its groups see."""
        start = FIRST_NIGHT + timedelta(days=next(self._numbers))
        groups = plan_groups(start, n_groups, jitter=True, missing=(), seed=0)
        middle_jd = (groups[0].mid_jd + groups[-1].mid_jd) / 2
        ra_deg, dec_deg = meridian_icrs_deg(DEC_DEG, middle_jd)
        sources = tuple(
            Source(name=f"target{k}", ra_deg=ra_deg, dec_deg=dec_deg + 0.4 * k, flux_jy=2.0)
            for k in range(N_SOURCES)
        )
        return simulate(
            SimulationOptions(
                output_dir=self.root / "incoming" / f"{start:%Y-%m-%d}",
                start=start,
                n_groups=n_groups,
                n_antennas=4,
                sources=sources,
                dec_deg=DEC_DEG,
                sefd_jy=10.0,
            )
        )

    def ms_paths(self, made: SimulationResult) -> list[Path]:
        """Where the MSs of a night will be."""
        return Night(made, ("", ""), self.live).ms_paths

    def start(self, made: SimulationResult, name: str) -> Night:
        """Start a night."""
        conf = {
            "date": made.groups[0].start_utc[:10],
            "input_dir": made.output_dir,
            "sources_file": made.sources_path,
        }
        return Night(made, self.live.trigger(NIGHT_DAG, conf, name=name), self.live)

    def assert_tidy(self) -> None:
        """Check that no process is left, and no sandbox once housekeeping has come by."""
        self.live.assert_no_strays()
        assert self.live.finish(self.live.trigger("housekeeping", {})) == ["success"]
        settings = self.live.settings
        assert [path for root in settings.sandbox_roots for path in root.glob("*")] == []
        log = settings.logs_dir / "ms_access.jsonl"
        holds = [AccessSpan.model_validate_json(line) for line in log.read_text().splitlines()]
        assert [hold for hold in holds if hold.end is HoldEnd.LOST] == []


@contextlib.contextmanager
def set_stage(
    root: Path, *, haste: bool, database: PostgresServer | None = None
) -> Iterator[Stage]:
    """Start an Airflow whose sandboxes are in a tmpfs of its own, where one can be mounted."""
    tmpfs = Path(tempfile.mkdtemp(prefix="night-faults-", dir=_find_tmpfs(root)))
    mount = ["mount", "-t", "tmpfs", "-o", f"size={_TMPFS_BYTES}", "tmpfs", str(tmpfs)]
    mounted = subprocess.run(mount, capture_output=True, check=False).returncode == 0
    settings = Settings(
        work_dir=root / "work",
        sandbox_root=tmpfs / "sandboxes",
        calibration="off",
        allowed_roots=[root],
    )
    airflow = MortalAirflow(settings, haste=haste, database=database, parallelism=4, schedule=False)
    try:
        with airflow:
            airflow.client.set_paused(NIGHT_DAG, paused=False)
            yield Stage(LiveMortal(airflow, settings), root)
    finally:
        airflow.end_orphans()
        if mounted:
            subprocess.run(["umount", str(tmpfs)], check=True)
        shutil.rmtree(tmpfs)


def _find_tmpfs(otherwise: Path) -> Path:
    """A directory in memory, where there is one."""
    shm = Path("/dev/shm")  # noqa: S108
    return shm if shm.is_dir() else otherwise
