"""From what was seen of a day to its figures."""

from __future__ import annotations

import itertools
import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
from day_airflow import Idle, Observed
from day_bare import SOLVE
from day_models import DayRun, SchedulerLoad, ServiceLoad, Spread, TaskKind
from metering import Costs
from service_meter import API_SERVER, SCHEDULER, SUPERVISORS

from dsa110_contimg.instrument import GROUP_DURATION_S
from dsa110_contimg.orchestration.runs import CONVERT_TASK, IMAGE_DAG, NIGHT_DAG
from dsa110_contimg.qa.records import NightLedger
from dsa110_contimg.settings import Settings

_CONVERT = f"{NIGHT_DAG}: {CONVERT_TASK}"
_WAITS = {f"{NIGHT_DAG}: process.image", f"{IMAGE_DAG}: calibrators"}
"""Tasks whose duration is that of others."""
_BINS = 60
_Records = list[dict[str, Any]]


def summarize(observed: Observed, bare: Sequence[Costs], settings: Settings, **what: Any) -> DayRun:
    """Form the figures of a day.

    Parameters
    ----------
    observed : Observed
        What was seen.
    bare : sequence of Costs
        What the steps take without Airflow.
    settings : Settings
        Where the records are.
    **what
        ``date``, and the fields of `DayRun` that say what was processed and how.

    Returns
    -------
    DayRun
        The figures.
    """
    wall_s = observed.end_s - observed.start_s
    ledger = NightLedger(settings.nights_dir, what.pop("date"))
    n_sources = [len(plan.source_names) for plan in ledger.load().plans]
    during = SchedulerLoad(
        pools=observed.after.pools,
        loop_ms=_spread(value for _, value in observed.loops),
        cores=observed.cpu_s[SCHEDULER] / wall_s,
    )
    return DayRun(
        **what,
        calibration=settings.calibration,
        n_sources=float(np.mean(n_sources)) if n_sources else 0.0,
        state=observed.state,
        n_failed=sum(task["state"] == "failed" for task in observed.task_instances),
        wall_s=wall_s,
        observed_s=what["n_groups"] * GROUP_DURATION_S,
        cpu_s=sum(observed.cpu_s.values()),
        work_cpu_s=_work_cpu_s(bare, what["n_groups"]),
        services=_service_loads(observed, wall_s),
        tasks=_summarize_tasks(observed, _work_by_kind(ledger, settings)),
        scheduler=[_idle_load(observed.before), during, _idle_load(observed.after)],
        idle_cores=sum(observed.after.cpu_share.values()),
        waiting_cores=sum(
            observed.waiting.cpu_share[name] - observed.after.cpu_share[name]
            for name in (SUPERVISORS, API_SERVER)
        ),
        memory_pss_gb=observed.memory.pss_bytes / 1e9,
        series=_series(observed),
    )


def _work_cpu_s(bare: Sequence[Costs], n_groups: int) -> float:
    """CPU time that the day's work takes without Airflow; one group is solved on."""
    return sum(
        float(np.mean([run.cpu_s for run in costs.runs])) * (1 if costs.name == SOLVE else n_groups)
        for costs in bare
    )


def _service_loads(observed: Observed, wall_s: float) -> list[ServiceLoad]:
    """Say who spent the CPU time, the greatest first."""
    return [
        ServiceLoad(
            name=name,
            cpu_s=cpu_s,
            cores=cpu_s / wall_s,
            idle_cores=observed.after.cpu_share.get(name, 0.0),
        )
        for name, cpu_s in sorted(observed.cpu_s.items(), key=lambda item: -item[1])
    ]


def _idle_load(idle: Idle) -> SchedulerLoad:
    """Look at the scheduler alone."""
    return SchedulerLoad(
        pools=idle.pools,
        loop_ms=_spread(value for _, value in idle.loops),
        cores=idle.cpu_share[SCHEDULER],
    )


def _summarize_tasks(observed: Observed, work: Mapping[str, list[float]]) -> list[TaskKind]:
    """Collect the processes and Airflow's records of each task."""
    records, processes = defaultdict(list), defaultdict(list)
    for record in observed.task_instances:
        records[f"{record['dag_id']}: {record['task_id']}"].append(record)
    for process in observed.processes:
        processes[process["kind"]].append(process)
    return [
        _summarize_task(kind, records[kind], forked, work.get(kind, []))
        for kind, forked in processes.items()
        if kind in records
    ]


def _summarize_task(
    kind: str, records: _Records, processes: _Records, work_s: Sequence[float]
) -> TaskKind:
    """Form the figures of one task."""
    durations = [] if kind in _WAITS else _between(records, "start_date", "end_date")
    queued = [] if kind in _WAITS else _between(records, "queued_when", "start_date")
    means = {
        name: float(np.mean([process[name] for process in processes]))
        for name in ("start_cpu_s", "cpu_s", "children_cpu_s", "start_modules", "modules")
    }
    return TaskKind(
        kind=kind,
        n_instances=len(records),
        n_processes=len(processes),
        queued_s=_spread(queued) if queued else None,
        duration_s=_spread(durations) if durations else None,
        work_s=_spread(work_s) if work_s else None,
        start_s=_spread(process["called_s"] - process["forked_s"] for process in processes),
        start_cpu_s=means["start_cpu_s"],
        cpu_s=means["cpu_s"] + means["children_cpu_s"],
        new_modules=means["modules"] - means["start_modules"],
    )


def _work_by_kind(ledger: NightLedger, settings: Settings) -> dict[str, list[float]]:
    """Read from the pipeline's own records how long the work inside the tasks took."""
    work: dict[str, list[float]] = defaultdict(list)
    work[_CONVERT] = [result.seconds for result in ledger.load().conversions]
    log = settings.logs_dir / "ms_tasks.jsonl"
    for line in log.read_text("utf-8").splitlines():
        span = json.loads(line)
        what = span["purpose"].rpartition(": ")[2]
        task = "measure" if what.endswith("sources") else what
        work[f"{IMAGE_DAG}: {task}"].append(span["end_s"] - span["start_s"])
    return work


def _series(observed: Observed) -> dict[str, list[float]]:
    """Follow the scheduler's loops, the pools and the unfinished runs over time."""
    edges = np.linspace(observed.start_s, observed.end_s, _BINS + 1)
    times = np.array([time for time, _ in observed.loops])
    loops_ms = np.array([value for _, value in observed.loops])
    made = np.array([_seconds(run["queued_at"]) for run in observed.image_runs])
    over = np.array([_seconds(run["end_date"]) for run in observed.image_runs])
    series: dict[str, list[float]] = {"time_s": [], "loop_ms": [], "pools": [], "runs": []}
    for start_s, end_s in itertools.pairwise(edges):
        inside = (times >= start_s) & (times < end_s)
        if inside.any():
            series["time_s"].append((start_s + end_s) / 2 - observed.start_s)
            series["loop_ms"].append(float(np.median(loops_ms[inside])))
            series["pools"].append(float(np.sum(made < end_s)))
            series["runs"].append(float(np.sum((made < end_s) & (over >= end_s))))
    return series


def _spread(values: Iterable[float]) -> Spread:
    """Describe a distribution."""
    found = np.array(list(values), dtype=float)
    median, p95, most = np.percentile(found, [50, 95, 100]) if found.size else [np.nan] * 3
    return Spread(median=float(median), p95=float(p95), most=float(most), n=found.size)


def _between(records: _Records, start: str, end: str) -> list[float]:
    """Seconds between two moments of each record that has both."""
    return [
        _seconds(record[end]) - _seconds(record[start])
        for record in records
        if record.get(start) and record.get(end)
    ]


def _seconds(moment: str) -> float:
    """Read ISO 8601 as seconds since 1970."""
    return datetime.fromisoformat(moment).timestamp()
