"""What a run of the benchmark of a day says: tables and a figure."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from day_models import Capacity, DayResults, DayRun, Spread
from results import Comparison
from rich.console import Console
from rich.table import Table
from service_meter import FORK_SERVER, TASKS

from dsa110_contimg.instrument import GROUP_DURATION_S

if TYPE_CHECKING:
    from matplotlib.axes import Axes

_GOAL_PERCENT = 10.0


def compare(runs: Sequence[DayRun], capacity: Sequence[Capacity]) -> list[Comparison]:
    """Hold the figures against their goals."""
    return [
        *(
            Comparison(
                what=f"real-time factor, {_name(run)}",
                measured=run.real_time_factor,
                goal=1.0,
                at_least=True,
                detail=f"{run.observed_s / 3600.0:.1f} h of observation in {run.wall_s:.0f} s, "
                f"{run.n_antennas} antennas, {run.parallelism} tasks at once",
            )
            for run in runs
        ),
        *(
            Comparison(
                what=f"Airflow's share of the CPU time of a full-size group: {plan.pipeline}"
                + (f", {plan.n_sources} sources" if plan.n_sources else ""),
                measured=plan.airflow_percent,
                goal=_GOAL_PERCENT,
                at_least=False,
                unit="%",
                detail=f"{plan.work.cpu_s:.1f} s of work; Airflow {plan.group_cpu_s:.1f} s for its "
                f"tasks, {plan.watch_cpu_s:.1f} s to watch over them, and {plan.idle_cores:.2f} "
                f"of {plan.cores} cores in any case",
            )
            for plan in capacity
        ),
    ]


def show_days(results: DayResults, console: Console) -> None:
    """Print the tables of each day, and the capacity on paper."""
    for run in results.runs:
        console.print(_task_table(run), _service_table(run), _scheduler_table(run))
        console.print(
            f"{_name(run)}: {run.wall_s:.0f} s, {run.state}, {run.n_failed} tasks failed; "
            f"{run.n_sources:.1f} sources in a field; largest memory {run.memory_pss_gb:.2f} GB; "
            f"CPU time of a group {run.cpu_s / run.n_groups:.2f} s, without Airflow "
            f"{run.work_cpu_s / run.n_groups:.2f} s: Airflow {run.overhead_cpu_s:.2f} s "
            f"({run.overhead_percent:.0f} %); without what it takes when idle "
            f"({run.idle_cores:.2f} cores) {run.group_cpu_s:.2f} s, or {run.process_cpu_s:.2f} s "
            f"for each of {run.n_processes} processes; to watch over a task that runs "
            f"{run.waiting_cores:.3f} cores",
            highlight=False,
            soft_wrap=True,
        )
    console.print(_capacity_table(results.capacity))


def _task_table(run: DayRun) -> Table:
    """List the tasks."""
    table = Table(title=f"tasks, {_name(run)}: median wall time, mean CPU time (s)")
    for heading in (
        *("task", "processes", "queued", "start", "start to end", "work inside"),
        *("CPU to start", "CPU", "modules imported"),
    ):
        table.add_column(heading, justify="left" if heading == "task" else "right")
    for task in run.tasks:
        table.add_row(
            task.kind,
            str(task.n_processes),
            *(_median(value) for value in (task.queued_s, task.start_s)),
            *(_median(value) for value in (task.duration_s, task.work_s)),
            f"{task.start_cpu_s:.2f}",
            f"{task.cpu_s:.2f}",
            f"{task.new_modules:.0f}",
        )
    return table


def _service_table(run: DayRun) -> Table:
    """List who spent the CPU time."""
    table = Table(title=f"CPU time by service, {_name(run)}")
    for heading in ("service", "CPU of a group (s)", "cores", "cores, idle"):
        table.add_column(heading, justify="left" if heading == "service" else "right")
    for load in run.services:
        table.add_row(
            load.name,
            f"{load.cpu_s / run.n_groups:.2f}",
            f"{load.cores:.2f}",
            f"{load.idle_cores:.2f}",
        )
    return table


def _scheduler_table(run: DayRun) -> Table:
    """List the states of the scheduler."""
    table = Table(title=f"the scheduler's loop, {_name(run)}")
    for heading in ("", "pools of MSs", "median (ms)", "95 % (ms)", "most (ms)", "loops", "cores"):
        table.add_column(heading, justify="right" if heading else "left")
    for when, load in zip(("idle before", "the day", "idle after"), run.scheduler, strict=True):
        loop = load.loop_ms
        table.add_row(
            when,
            str(load.pools),
            *(f"{value:.0f}" for value in (loop.median, loop.p95, loop.most)),
            str(loop.n),
            f"{load.cores:.2f}",
        )
    return table


def _capacity_table(capacity: Sequence[Capacity]) -> Table:
    """List what keeps up with the telescope."""
    table = Table(title=f"full-size groups on paper, one each {GROUP_DURATION_S:.0f} s")
    cores = capacity[0].cores if capacity else 0
    for heading in (
        *("pipeline", "sources", "work, CPU (s)", "Airflow, CPU (s)"),
        *(f"Airflow, {cores} cores full (%)", f"real time, {cores} cores"),
        *("cores busy, live", "cores needed"),
    ):
        table.add_column(heading, justify="left" if heading == "pipeline" else "right")
    for plan in capacity:
        table.add_row(
            plan.pipeline,
            str(plan.n_sources or ""),
            f"{plan.work.cpu_s:.1f}",
            f"{plan.cores * plan.group_s - plan.work.cpu_s:.1f}",
            f"{plan.airflow_percent:.1f}",
            f"{plan.real_time_factor:.2f}",
            f"{plan.busy_cores:.2f}",
            str(plan.needed_cores),
        )
    return table


def draw(results: DayResults, path: Path) -> None:
    """Draw where the CPU time goes, the scheduler over the day, the tasks, and the capacity."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 10), layout="constrained")
    (services, loops), (tasks, cores) = figure.subplots(2, 2)
    _draw_services(services, results.runs)
    _draw_loops(loops, results.runs[0])
    _draw_tasks(tasks, results.runs[-1])
    _draw_capacity(cores, results.capacity)
    figure.savefig(path, dpi=120)


def _draw_services(axes: Axes, runs: Sequence[DayRun]) -> None:
    """Draw who spends the CPU time of a group."""
    names = sorted({load.name for run in runs for load in run.services})
    height = 0.8 / len(runs)
    places = np.arange(len(names))
    for index, run in enumerate(runs):
        spent = {load.name: load.cpu_s / run.n_groups for load in run.services}
        bars = axes.barh(
            places + index * height,
            [spent.get(name, 0.0) for name in names],
            height,
            label=f"{_name(run)}: {run.cpu_s / run.n_groups:.1f} s, of it work "
            f"{run.work_cpu_s / run.n_groups:.1f} s",
        )
        axes.bar_label(bars, fmt="%.2f", padding=2, fontsize=8)
    axes.set_yticks(places + 0.4 - height / 2, names)
    axes.set(
        xlabel="CPU time of a group (s)",
        title=f"who spends it (work is in '{TASKS}' and '{FORK_SERVER}')",
    )
    axes.margins(x=0.12)
    axes.legend(fontsize=8)


def _draw_loops(axes: Axes, run: DayRun) -> None:
    """Draw the scheduler's loop beside what it has to look after."""
    axes.plot(run.series["time_s"], run.series["loop_ms"], "o-", ms=3, label="loop (ms), median")
    axes.plot(run.series["time_s"], run.series["pools"], label="pools of MSs")
    axes.plot(run.series["time_s"], run.series["runs"], label="unfinished runs of image_ms")
    axes.set(xlabel="time (s)", ylim=(0, None), title=f"the scheduler, {_name(run)}")
    axes.legend(fontsize=8)


def _draw_tasks(axes: Axes, run: DayRun) -> None:
    """Draw the CPU time of a process of each task."""
    places = np.arange(len(run.tasks))[::-1]
    start = [task.start_cpu_s for task in run.tasks]
    rest = [task.cpu_s - task.start_cpu_s for task in run.tasks]
    axes.barh(places, start, label="until the task's function is called")
    axes.barh(places, rest, left=start, label="from there on: imports, and work")
    axes.set_yticks(places, [f"{task.kind} ({task.n_processes})" for task in run.tasks])
    axes.set(xlabel="CPU time of a process (s)", title=f"task processes, {_name(run)}")
    axes.legend(fontsize=8)


def _draw_capacity(axes: Axes, capacity: Sequence[Capacity]) -> None:
    """Draw the processors that a full-size group each 309 s keeps busy."""
    places = np.arange(len(capacity))[::-1]
    work = [plan.work.cpu_s / GROUP_DURATION_S for plan in capacity]
    airflow = [plan.busy_cores - busy for plan, busy in zip(capacity, work, strict=True)]
    axes.barh(places, work, label="work")
    bars = axes.barh(places, airflow, left=work, label="Airflow")
    labels = [f"{plan.busy_cores:.2f}: {plan.needed_cores} needed" for plan in capacity]
    axes.bar_label(bars, labels, padding=2, fontsize=8)
    axes.set_yticks(
        places, [f"{plan.pipeline} {plan.n_sources or ''}".strip() for plan in capacity]
    )
    axes.set(
        xlabel="processors busy",
        title="full-size groups as the telescope makes them",
    )
    axes.margins(x=0.2)
    axes.legend(fontsize=8)


def _name(run: DayRun) -> str:
    """Name a day."""
    return f"{run.n_groups} groups, calibration {run.calibration}"


def _median(spread: Spread | None) -> str:
    """Write a median, if there is one."""
    return "" if spread is None else f"{spread.median:.2f}"
