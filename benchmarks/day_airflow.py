"""A day through a real Airflow, with every service and every task under a meter."""

from __future__ import annotations

import json
import os
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import psutil
from metering import PeakMemory, sampled_memory
from metric_listener import MetricListener, Samples, listening
from running import ROOT, say
from service_meter import ServiceMeter

from dsa110_contimg.errors import TransientError
from dsa110_contimg.orchestration.client import FINISHED_STATES
from dsa110_contimg.orchestration.embedded import EmbeddedAirflow
from dsa110_contimg.orchestration.home import AirflowHome, find_project_folder
from dsa110_contimg.orchestration.runs import IMAGE_DAG, NIGHT_DAG
from dsa110_contimg.settings import Settings
from dsa110_contimg.storage.ms_access import exclusive_ms

LOOP = "scheduler.scheduler_loop_duration"
_POLL_S = 5.0
_MEMORY_INTERVAL_S = 10.0
_RUN_ID, _WAITING_ID = "day", "waiting"
_TASK_COSTS = "task_costs.jsonl"
"""Written by the plugin of this name in the home of Airflow."""


@dataclass(frozen=True)
class Idle:
    """Airflow with nothing to do.

    Attributes
    ----------
    pools : int
        Pools of MSs at that time.
    loops : list
        Duration of the scheduler's loops: time, and milliseconds.
    cpu_share : dict
        Service to the processors that it kept busy.
    """

    pools: int
    loops: Samples
    cpu_share: dict[str, float]


@dataclass(frozen=True)
class Observed:
    """What was seen of a day.

    Attributes
    ----------
    start_s, end_s : float
        When the run was triggered, and when it was over; seconds since 1970.
    state : str
        How it ended.
    cpu_s : dict
        Service to its CPU time, in seconds.
    loops : list
        Duration of the scheduler's loops: time, and milliseconds.
    before, after : Idle
        Airflow before the day, and with the pools of all its MSs.
    waiting : Idle
        The same as `after`, while one task waits for an MS.
    task_instances, image_runs : list of dict
        Airflow's records.
    processes : list of dict
        Lines of `airflow_plugins.task_costs`.
    memory : PeakMemory
        Of everything together.
    """

    start_s: float
    end_s: float
    state: str
    cpu_s: dict[str, float]
    loops: Samples
    before: Idle
    after: Idle
    waiting: Idle
    task_instances: list[dict[str, Any]]
    image_runs: list[dict[str, Any]]
    processes: list[dict[str, Any]]
    memory: PeakMemory


class _MeasuredHome(AirflowHome):
    """A home whose plugins are the project's and the one that measures."""

    def environment(self, **options: Any) -> dict[str, str]:
        """Make the environment of the services."""
        folder = self.path / "plugins"
        folder.mkdir()
        measuring = ROOT / "benchmarks" / "airflow_plugins"
        for source in (find_project_folder("plugins"), measuring):
            for file in (*source.glob("*.py"), *source.glob("*/__init__.py")):
                entry = file.parent if file.name == "__init__.py" else file
                (folder / entry.name).symlink_to(entry)
        return super().environment(**options) | {"AIRFLOW__CORE__PLUGINS_FOLDER": str(folder)}


def observe_day(settings: Settings, date: str, parallelism: int, idle_s: float) -> Observed:
    """Run `nightly_transit` for a date and look on.

    Parameters
    ----------
    settings : Settings
        Where to work.
    date : str
        The night.
    parallelism : int
        Number of tasks that run at once.
    idle_s : float
        How long to look at Airflow while it has nothing to do, in seconds.

    Returns
    -------
    Observed
        What was seen.
    """
    with listening([LOOP]) as metrics:
        settings = settings.model_copy(update={"statsd_address": metrics.address})
        airflow = EmbeddedAirflow(settings, parallelism=parallelism, schedule=False)
        airflow.home = _MeasuredHome(settings)
        with airflow, sampled_memory(os.getpid(), _MEMORY_INTERVAL_S) as peak:
            return _Observer(airflow, metrics, idle_s).observe(date, peak)


class _Observer:
    """Looks at one Airflow."""

    def __init__(self, airflow: EmbeddedAirflow, metrics: MetricListener, idle_s: float):
        self._airflow, self._client, self._metrics = airflow, airflow.client, metrics
        self._idle_s = idle_s
        self._meter = ServiceMeter(psutil.Process())

    def observe(self, date: str, peak: Callable[[], PeakMemory]) -> Observed:
        """Look at Airflow before, during and after the day."""
        before = self._idle()
        self._client.set_paused(NIGHT_DAG, paused=False)
        cpu_s, start_s = self._meter.cpu_s(), time.time()
        self._client.trigger(NIGHT_DAG, _RUN_ID, {"date": date})
        state = self._wait(NIGHT_DAG, _RUN_ID)
        end_s = time.time()
        spent = _difference(self._meter.cpu_s(), cpu_s)
        after = self._idle()
        records = [
            *self._client.task_instances(NIGHT_DAG, _RUN_ID),
            *self._client.task_instances(IMAGE_DAG, containing=_RUN_ID),
        ]
        image_runs = self._client.dag_runs(IMAGE_DAG, containing=_RUN_ID)
        lines = (self._airflow.home.path / _TASK_COSTS).read_text("utf-8").splitlines()
        waiting = self._waiting(image_runs[0]["conf"]["ms"])
        return Observed(
            start_s=start_s,
            end_s=end_s,
            state=state,
            cpu_s=spent,
            loops=self._metrics.between(LOOP, start_s, end_s),
            before=before,
            after=after,
            waiting=waiting,
            task_instances=records,
            image_runs=image_runs,
            processes=[json.loads(line) for line in lines],
            memory=peak(),
        )

    def _idle(self) -> Idle:
        """Look at Airflow while it has nothing to do."""
        pools = [pool for pool in self._client.pools() if pool["name"].startswith("ms-")]
        cpu_s, start_s = self._meter.cpu_s(), time.time()
        self._airflow.wait(self._idle_s)
        end_s = time.time()
        spent = _difference(self._meter.cpu_s(), cpu_s)
        return Idle(
            pools=len(pools),
            loops=self._metrics.between(LOOP, start_s, end_s),
            cpu_share={name: value / (end_s - start_s) for name, value in spent.items()},
        )

    def _waiting(self, ms: str) -> Idle:
        """Look at Airflow while a task does nothing but wait for its MS, which is held here."""
        with exclusive_ms(ms, "the benchmark", timeout_s=60.0):
            self._client.trigger(IMAGE_DAG, _WAITING_ID, {"ms": ms, "reprocess": True})
            while not any(
                task["state"] == "running" and task["task_id"] in {"flag", "measure"}
                for task in self._client.task_instances(IMAGE_DAG, _WAITING_ID)
            ):
                self._airflow.wait(1.0)
            self._airflow.wait(_POLL_S)
            waiting = self._idle()
        self._wait(IMAGE_DAG, _WAITING_ID)
        return waiting

    def _wait(self, dag_id: str, run_id: str) -> str:
        """Wait for the end of a run."""
        while True:
            self._airflow.wait(_POLL_S)
            try:
                run = self._client.dag_run(dag_id, run_id)
            except TransientError as error:
                say(f"the api-server did not answer: {error}")
                continue
            if run["state"] in FINISHED_STATES:
                return str(run["state"])


def _difference(after: Counter[str], before: Counter[str]) -> dict[str, float]:
    """CPU time between two looks."""
    return {name: after[name] - before[name] for name in after}
