"""What a run of a benchmark found: as a record, a table and bars."""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import psutil
from metering import Costs
from pydantic import computed_field
from rich.console import Console
from rich.table import Table

from dsa110_contimg.models import Model
from dsa110_contimg.provenance import package_versions

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Machine(Model):
    """Where it ran, in general terms."""

    cores: int
    """Processors that this process may use."""
    memory_gb: float
    """Main memory in units of 1e9 bytes."""
    processor: str
    """As the kernel names it."""
    kernel: str
    """Operating system."""
    load: tuple[float, float]
    """Processes that wanted to run, over a minute: before and after."""
    versions: dict[str, str]
    """Of Python and of the libraries."""


class Comparison(Model):
    """One line of the table."""

    what: str
    """What is compared."""
    measured: float
    """The figure."""
    goal: float
    """What it is to reach."""
    at_least: bool
    """Whether more is better."""
    unit: str = "x"
    """Unit of the figure."""
    detail: str = ""
    """What it was formed from."""

    @computed_field
    @property
    def met(self) -> bool:
        """Whether the goal is reached."""
        return self.measured >= self.goal if self.at_least else self.measured <= self.goal


class Results(Model):
    """What one run of any benchmark found."""

    machine: Machine
    """Where it ran."""
    n_antennas: int
    """Antennas of the group."""
    costs: list[Costs]
    """Of every contestant."""
    comparisons: list[Comparison]
    """The table."""


def describe_machine(load_before: float) -> Machine:
    """Describe this machine without naming it."""
    names = [
        line.split(":", 1)[1].strip()
        for line in Path("/proc/cpuinfo").read_text("utf-8").splitlines()
        if line.startswith("model name")
    ]
    return Machine(
        cores=len(os.sched_getaffinity(0)),
        memory_gb=round(psutil.virtual_memory().total / 1e9, 1),
        processor=names[0] if names else platform.machine(),
        kernel=f"{platform.system()} {platform.release().split('-')[0]}",
        load=(load_before, os.getloadavg()[0]),
        versions=package_versions(),
    )


def show(results: Results, console: Console) -> None:
    """Print the contestants and the goals."""
    runs = Table(title="seconds: median (least to most)")
    for heading in ("contestant", "wall", "CPU", "runs"):
        runs.add_column(heading, justify="left" if heading == "contestant" else "right")
    for costs in results.costs:
        runs.add_row(
            costs.name,
            _spread([run.wall_s for run in costs.runs]),
            _spread([run.cpu_s for run in costs.runs]),
            str(len(costs.runs)),
        )
    goals = Table(title="goals")
    for heading in ("what", "measured", "goal", "", "from"):
        goals.add_column(heading)
    for line in results.comparisons:
        sign = "≥" if line.at_least else "≤"
        goals.add_row(
            line.what,
            f"{line.measured:.2f} {line.unit}",
            f"{sign} {line.goal:g} {line.unit}",
            "[green]met[/]" if line.met else "[red]missed[/]",
            line.detail,
        )
    console.print(runs, goals)


def draw_costs(axes: Axes, all_costs: Sequence[Costs]) -> None:
    """Draw the contestants' times as bars."""
    places = np.arange(len(all_costs))[::-1]
    for shift, kind, seconds in (
        (0.2, "wall", [costs.wall_s for costs in all_costs]),
        (-0.2, "CPU", [costs.cpu_s for costs in all_costs]),
    ):
        drawn = axes.barh(places + shift, seconds, 0.38, label=kind)
        axes.bar_label(drawn, fmt="%.2f", padding=2, fontsize=8)
    axes.set(xscale="log", xlabel="time (s)")
    axes.xaxis.set_minor_formatter("")
    axes.set_yticks(places, [costs.name for costs in all_costs])
    axes.margins(x=0.15)
    axes.legend(loc="best")


def _spread(values: list[float]) -> str:
    """Write median, least and most."""
    if len(values) == 1:
        return f"{values[0]:.2f}"
    return f"{np.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"
