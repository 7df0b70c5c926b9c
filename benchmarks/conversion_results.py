"""What a run of the benchmark of the conversion found: as a record and a figure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from metering import PeakMemory
from results import Results, draw_costs

from dsa110_contimg.models import Model


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


class ConversionResults(Results):
    """Everything that one run of the benchmark found."""

    bytes_in: int
    """Size of the subband files."""
    bytes_out: int
    """Size of the MS."""
    memory: PeakMemory
    """Of the whole process tree of `dsa110-contimg convert`."""
    growth: Growth
    """With groups and with antennas."""


def draw(results: ConversionResults, path: Path) -> None:
    """Draw the contestants, and how cost grows."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(14, 4.5), layout="constrained")
    bars, groups, baselines = figure.subplots(1, 3, width_ratios=[2, 1, 1])
    draw_costs(bars, results.costs)
    bars.set_title(f"one group of {results.n_antennas} antennas, {results.bytes_in / 1e9:.2f} GB")
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
