"""What a run of the benchmark found: as a record, a table and a figure."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import numpy as np
import psutil
from metering import Costs, PeakMemory
from pydantic import computed_field
from rich.console import Console
from rich.table import Table

from dsa110_contimg.models import Model
from dsa110_contimg.provenance import package_versions


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


class Growth(Model):
    """How cost grows with work."""

    groups: list[int]
    """Groups converted in sequence."""
    wall_s_per_group: list[float]
    """Mean wall time per group of each sequence, in seconds."""
    cpu_s_per_group: list[float]
    """Mean CPU time per group of each sequence, in seconds."""
    baselines: list[int]
    """Baselines of one group, autocorrelations included."""
    cpu_s_by_baselines: list[float]
    """Median CPU time of one group of so many baselines, in seconds."""
    wall_s_by_baselines: list[float]
    """Median wall time of one group of so many baselines, in seconds."""

    def line(self) -> tuple[float, float]:
        """Intercept in seconds and slope in seconds per baseline of the CPU time."""
        slope, intercept = np.polyfit(self.baselines, self.cpu_s_by_baselines, 1)
        return float(intercept), float(slope)

    def departure(self) -> float:
        """Largest departure from the straight line, as a fraction of the time."""
        intercept, slope = self.line()
        cpu_s = np.array(self.cpu_s_by_baselines)
        return float(np.max(np.abs(intercept + slope * np.array(self.baselines) - cpu_s) / cpu_s))


class Results(Model):
    """Everything that one run of the benchmark found."""

    machine: Machine
    """Where it ran."""
    n_antennas: int
    """Antennas of the group."""
    bytes_in: int
    """Size of the subband files."""
    bytes_out: int
    """Size of the MS."""
    costs: list[Costs]
    """Of every contestant."""
    memory: PeakMemory
    """Of the whole process tree of `dsa110-contimg convert`."""
    growth: Growth
    """With groups and with antennas."""
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


def draw(results: Results, path: Path) -> None:
    """Draw the contestants, and how cost grows."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 4.5), layout="constrained")
    bars, groups, baselines = figure.subplots(1, 3, width_ratios=[2, 1, 1])
    places = np.arange(len(results.costs))[::-1]
    for shift, kind, seconds in (
        (0.2, "wall", [costs.wall_s for costs in results.costs]),
        (-0.2, "CPU", [costs.cpu_s for costs in results.costs]),
    ):
        drawn = bars.barh(places + shift, seconds, 0.38, label=kind)
        bars.bar_label(drawn, fmt="%.2f", padding=2, fontsize=8)
    bars.set(
        xscale="log",
        xlabel="time (s)",
        title=f"one group of {results.n_antennas} antennas, {results.bytes_in / 1e9:.2f} GB",
    )
    bars.set_yticks(places, [costs.name for costs in results.costs])
    bars.margins(x=0.15)
    bars.legend(loc="lower right")
    growth = results.growth
    groups.plot(growth.groups, growth.wall_s_per_group, "o-", label="wall")
    groups.plot(growth.groups, growth.cpu_s_per_group, "s-", label="CPU")
    groups.set(xlabel="groups in sequence", ylabel="time per group (s)", title="warm, in sequence")
    groups.set_xticks(growth.groups)
    groups.set_ylim(bottom=0)
    groups.legend()
    intercept, slope = growth.line()
    ends = np.array([0, max(growth.baselines)])
    baselines.plot(growth.baselines, growth.wall_s_by_baselines, "o", label="wall")
    baselines.plot(growth.baselines, growth.cpu_s_by_baselines, "s", label="CPU")
    baselines.plot(
        ends, intercept + slope * ends, "k:", label=f"{intercept:.2f} s + {slope * 1e3:.2f} ms each"
    )
    baselines.set(xlabel="baselines", ylabel="time per group (s)", title="growth of the array")
    baselines.set_ylim(bottom=0)
    baselines.legend()
    figure.savefig(path, dpi=120)


def _spread(values: list[float]) -> str:
    """Write median, least and most."""
    if len(values) == 1:
        return f"{values[0]:.2f}"
    return f"{np.median(values):.2f} ({min(values):.2f} to {max(values):.2f})"
