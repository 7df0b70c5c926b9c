"""What a run of the benchmark of the photometry found: as a record, tables and a figure."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from accuracy import COUNTED_SNR, EmptySky, Pulls
from results import Results, draw_costs
from rich.console import Console
from rich.table import Table

from dsa110_contimg.models import Model


class BlendedSource(Model):
    """What can be known of one source of the blend."""

    name: str
    """The source."""
    truth_jy: float
    """Mean of its true flux density over the windows."""
    flux_jy: float
    """Inverse-variance mean of what was measured."""
    rms_jy: float
    """Its error."""
    inflation: float
    """How many times larger the errors are for its neighbours."""
    correlations: dict[str, float]
    """With its neighbours, the strongest of all windows; those below 0.2 are left out."""
    sums_jy: dict[str, tuple[float, float]]
    """Neighbour to flux density of the two together and its error."""


class FieldGrowth(Model):
    """How the joint fit's cost grows with the field."""

    n_sources: list[int]
    """Sources measured."""
    wall_s: list[float]
    """Wall time of the measurement in seconds, products and all."""
    fit_s: list[float]
    """Of this, the child that reads and fits."""

    def per_source_s(self) -> list[float]:
        """Wall time per source."""
        return [wall_s / n for wall_s, n in zip(self.wall_s, self.n_sources, strict=True)]


class Agreement(Model):
    """One method on the isolated source."""

    name: str
    """The method."""
    flux_jy: list[float]
    """Flux density in each window."""
    rms_jy: list[float]
    """Its error."""


class PhotometryResults(Results):
    """Everything that one run of the benchmark found."""

    image_size_px: int
    """Width of the stamps; images are made twice as wide."""
    bytes_ms: int
    """Size of the scenario's MS."""
    blend: list[BlendedSource]
    """The three sources of the scenario."""
    growth: FieldGrowth
    """With the number of sources."""
    agreement_truth_jy: list[float]
    """Of the isolated source in each window."""
    agreement: list[Agreement]
    """Of all methods."""
    pulls: Pulls
    """Of injected sources."""
    empty: EmptySky
    """Positions without a source."""


def show_blend(results: PhotometryResults, console: Console) -> None:
    """Print what can be known of the blend, and what the methods gave for the isolated source."""
    blend = Table(title="the blend by uvfit, mean of the windows (mJy)")
    for heading in ("source", "truth", "measured", "error", "inflation", "blended with"):
        blend.add_column(heading)
    for source in results.blend:
        blend.add_row(
            source.name,
            f"{1e3 * source.truth_jy:.2f}",
            f"{1e3 * source.flux_jy:.2f}",
            f"{1e3 * source.rms_jy:.2f}",
            f"{source.inflation:.2f}",
            "; ".join(
                f"{name} ({correlation:+.2f}): sum {1e3 * results_sum[0]:.2f} +- "
                f"{1e3 * results_sum[1]:.2f}"
                for name, correlation in source.correlations.items()
                for results_sum in [source.sums_jy[name]]
            ),
        )
    methods = Table(title="the isolated source, mean of the windows (mJy)")
    for heading in ("method", "measured", "error of a window"):
        methods.add_column(heading)
    methods.add_row("truth", f"{1e3 * np.mean(results.agreement_truth_jy):.2f}", "")
    for method in results.agreement:
        rms_mjy = 1e3 * np.median(method.rms_jy)
        methods.add_row(method.name, f"{1e3 * np.mean(method.flux_jy):.2f}", f"{rms_mjy:.2f}")
    console.print(blend, methods)


def draw(results: PhotometryResults, path: Path) -> None:
    """Draw the contestants, the growth, the pulls and the empty sky."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(15, 8.5), layout="constrained")
    (bars, growth), (pulls, empty) = figure.subplots(2, 2, width_ratios=[1.4, 1])
    draw_costs(bars, results.costs)
    bars.set_title(
        f"3 sources x 8 windows, {results.n_antennas} antennas, {results.bytes_ms / 1e9:.2f} GB"
    )
    numbers = results.growth.n_sources
    growth.loglog(numbers, results.growth.wall_s, "o-", label="all")
    growth.loglog(numbers, results.growth.fit_s, "s-", label="reading and fitting")
    growth.loglog(numbers, results.growth.per_source_s(), "^-", label="per source")
    growth.set(xlabel="sources in the field", ylabel="wall time (s)", title="uvfit, 16 windows")
    growth.legend()
    edges = np.linspace(-5, 5, 51)
    centers = (edges[1:] + edges[:-1]) / 2
    normal = np.exp(-(centers**2) / 2) / np.sqrt(2 * np.pi)
    for values, label in ((results.pulls.windows, "windows"), (results.pulls.means, "band means")):
        pulls.hist(
            values,
            edges,
            density=True,
            histtype="step",
            label=f"{label}: {np.mean(values):+.3f} +- {np.std(values):.3f}",
        )
    pulls.plot(centers, normal, "k:", label="normal")
    pulls.set(xlabel="(measured - truth) / error", title=f"{len(results.pulls.means)} sources")
    pulls.legend()
    empty.hist(results.empty.snr, edges, histtype="step", label="measured")
    empty.plot(centers, normal * len(results.empty.snr) * np.diff(edges), "k:", label="normal")
    empty.axvline(COUNTED_SNR, color="grey", lw=0.8)
    empty.set(
        xlabel="flux density / error",
        yscale="log",
        ylim=(0.5, None),
        title=f"empty sky, {len(results.empty.snr)} trials",
    )
    empty.legend()
    figure.savefig(path, dpi=120)
