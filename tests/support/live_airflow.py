"""A running Airflow as tests see it."""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Iterable
from datetime import datetime
from pathlib import Path
from typing import Any

from dsa110_contimg.orchestration.client import FINISHED_STATES
from dsa110_contimg.orchestration.embedded import EmbeddedAirflow
from dsa110_contimg.orchestration.runs import IMAGE_DAG, NIGHT_DAG
from dsa110_contimg.settings import Settings

Span = tuple[float, float]
Run = tuple[str, str]
"""DAG and run id."""
PARALLELISM = 4
"""Tasks that run at once, unless a test says otherwise."""
_START_LIMIT_S = 120.0


class LiveAirflow:
    """Triggers runs, waits for them, and reads what they left."""

    def __init__(self, airflow: EmbeddedAirflow, settings: Settings):
        self.airflow = airflow
        self.client = airflow.client
        self.settings = settings
        self._numbers = itertools.count()

    def trigger(self, dag_id: str, conf: dict[str, Any], name: str = "test") -> Run:
        run_id = f"{name}__{next(self._numbers)}"
        self.client.trigger(dag_id, run_id, conf)
        return dag_id, run_id

    def clear(
        self, run: Run, task_id: str, *, map_index: int = -1, downstream: bool = False
    ) -> None:
        """Clear a task of a run as the UI does."""
        body = {
            "dry_run": False,
            "dag_run_id": run[1],
            "task_ids": [task_id if map_index < 0 else [task_id, map_index]],
            "only_failed": False,
            "include_downstream": downstream,
        }
        answer = self.client._request("POST", f"/dags/{run[0]}/clearTaskInstances", body=body)
        assert answer.json()["total_entries"] >= 1

    def wait_until(self, done: Any, what: str, timeout_s: float) -> None:
        until = time.monotonic() + timeout_s
        while not done():
            assert time.monotonic() < until, f"{what} has not come within {timeout_s} s"
            self.airflow.wait(0.25)

    def finish(self, *runs: Run, timeout_s: float = 240) -> list[str]:
        """Wait for runs; return their states."""

        def states() -> list[str]:
            return [self.client.dag_run(*run)["state"] for run in runs]

        self.wait_until(lambda: set(states()) <= FINISHED_STATES, f"the end of {runs}", timeout_s)
        return states()

    def await_running(self, run_id: str, task_id: str, number: int = 1) -> list[dict[str, Any]]:
        """Wait until so many tasks of a kind work at once in a night; its tasks, by start."""
        dag_id = NIGHT_DAG if task_id.startswith("process.") else IMAGE_DAG
        running: list[dict[str, Any]] = []

        def look() -> bool:
            running[:] = sorted(
                (
                    task
                    for task in self.client.task_instances(dag_id, containing=run_id)
                    if task["task_id"] == task_id and task["state"] == "running" and task["pid"]
                ),
                key=lambda task: task["start_date"],
            )
            return len(running) >= number

        self.wait_until(look, f"{number} {task_id}", _START_LIMIT_S)
        return running

    def tasks(self, dag_id: str, run_id: str = "~") -> dict[tuple[str, int], dict[str, Any]]:
        """Task instances of a run by task and map index."""
        found = self.client.task_instances(dag_id, run_id)
        return {(task["task_id"], task["map_index"]): task for task in found}

    def log(self, dag_id: str, run_id: str, task_id: str, map_index: int = -1) -> str:
        """Everything that the tries of a task logged."""
        folder = (
            self.airflow.home.logs_dir
            / f"tasks/dag_id={dag_id}/run_id={run_id}/task_id={task_id}"
            / (f"map_index={map_index}" if map_index >= 0 else "")
        )
        return "".join(path.read_text() for path in sorted(folder.glob("*.log")))

    def report(self, date: str) -> dict[str, Any]:
        """The night report."""
        path = self.settings.nights_dir / date / "report.json"
        report: dict[str, Any] = json.loads(path.read_text())
        return report


def seconds(moment: str) -> float:
    """Read ISO 8601 as seconds since 1970."""
    return datetime.fromisoformat(moment).timestamp()


def spans_by_ms(log: Path, *, but: str | None = None) -> dict[str, list[Span]]:
    """Read the holds or the tasks of each MS, but not those of a run whose name has a word."""
    found: dict[str, list[Span]] = {}
    for line in log.read_text().splitlines():
        span = json.loads(line)
        if but is not None and but in span["purpose"]:
            continue
        found.setdefault(span["ms"], []).append((span["start_s"], span["end_s"]))
    return found


def overlaps(spans: Iterable[Span]) -> list[tuple[Span, Span]]:
    """Pairs of neighbours in time that overlap."""
    return [(a, b) for a, b in itertools.pairwise(sorted(spans)) if b[0] < a[1]]


def most_at_once(spans: Iterable[Span]) -> int:
    """Largest number of spans that share an instant."""
    steps = sorted(itertools.chain.from_iterable(((start, 1), (end, -1)) for start, end in spans))
    return max(itertools.accumulate(step for _, step in steps), default=0)
