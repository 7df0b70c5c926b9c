"""What a run of the benchmark of the calibration found: as a record, tables and a figure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from calibrated_field import CalibratedField
from calibration_truth import FlagScore, GainErrors
from casa_peers import IMPORT
from metering import Costs, PeakMemory
from results import Comparison, Results, draw_costs
from rich.console import Console
from rich.table import Table

if TYPE_CHECKING:
    from matplotlib.axes import Axes

OURS, BARE, AOFLAGGER = "ours", "bare casatasks", "ours, aoflagger"
_MARKERS = ("o", "s", "^", "v")
STEPS = ("flag", "solve", "apply")
SUM = "sum"
_LEAST_RATIO = round(1.0 / 1.2, 3)
"""Ours may take 1.2 times as long."""


class CalibrationResults(Results):
    """Everything that one run of the benchmark found."""

    bytes_ms: int
    """Size of a group's MS as converted."""
    memory: dict[str, PeakMemory]
    """Contestant to the largest memory of the process tree, this benchmark's own included."""
    flags: list[dict[str, FlagScore]]
    """Of each group, contestant to its score."""
    gains: dict[str, GainErrors]
    """Contestant to its errors."""
    corrected_difference: float
    """Largest relative difference of CORRECTED_DATA of the two contestants, same tables."""
    fields: list[CalibratedField]
    """The group that was solved on; the next one, which borrows, once for each flagger, and as
    it would be without interference."""


def contestant(step: str, who: str) -> str:
    """Name a contestant."""
    return f"{step}: {who}"


def compare_speed(costs: Mapping[str, Costs]) -> list[Comparison]:
    """Form the ratio of each step, and of all together."""
    return [_compare_step(step, costs) for step in (*STEPS, SUM)]


def _compare_step(step: str, costs: Mapping[str, Costs]) -> Comparison:
    """Compare one step."""
    bare, ours = costs[contestant(step, BARE)], costs[contestant(step, OURS)]
    import_s = float(np.median([run.parts_s[IMPORT] for run in bare.runs]))
    return Comparison(
        what=f"{step}: bare casatasks / ours, wall time",
        measured=bare.wall_s / ours.wall_s,
        goal=_LEAST_RATIO,
        at_least=True,
        detail=f"{bare.wall_s:.1f} s / {ours.wall_s:.1f} s; CPU {bare.cpu_s:.1f} s / "
        f"{ours.cpu_s:.1f} s; bare with its import, as ours, {bare.wall_s + import_s:.1f} s",
    )


def compare_flags(flags: Sequence[Mapping[str, FlagScore]]) -> list[Comparison]:
    """Judge the flags of each group."""
    lines = []
    for group, scores in enumerate(flags):
        for who, score in scores.items():
            of = f"group {group + 1}, {who}"
            lines += [
                Comparison(
                    what=f"interference power flagged, {of}",
                    measured=100.0 * score.recall,
                    goal=95.0,
                    at_least=True,
                    unit="%",
                    detail=f"{score.contaminated:.1%} of the visibilities hold some, weak or "
                    f"strong; {score.recall_cells:.1%} of these are flagged",
                ),
                Comparison(
                    what=f"clean visibilities flagged, {of}",
                    measured=100.0 * score.false_alarms,
                    goal=2.0,
                    at_least=False,
                    unit="%",
                    detail=f"{score.flagged:.1%} flagged in all",
                ),
            ]
    return lines


def judge_gains(gains: Mapping[str, GainErrors]) -> list[Comparison]:
    """Judge our gains; what bare casatasks make of the same data stands beside."""
    ours, bare = gains[OURS], gains[BARE]
    return [
        Comparison(
            what="error of the bandpass's amplitude, rms",
            measured=100.0 * ours.amplitude,
            goal=1.0,
            at_least=False,
            unit="%",
            detail=f"mean {ours.scale:+.2%}, {ours.missing:.1%} missing; bare casatasks, whose "
            f"model lacks beam and field: {bare.amplitude:.2%}, mean {bare.scale:+.2%}, "
            f"{bare.missing:.1%} missing",
        ),
        Comparison(
            what="error of the bandpass's phase, rms",
            measured=ours.phase_deg,
            goal=1.0,
            at_least=False,
            unit="deg",
            detail=f"of {ours.n} gains; bare casatasks {bare.phase_deg:.2f} deg",
        ),
    ]


def compare_fields(fields: Sequence[CalibratedField]) -> list[Comparison]:
    """Judge flux densities, positions and noise of each group."""
    return [line for field in fields for line in _compare_field(field)]


def _compare_field(field: CalibratedField) -> list[Comparison]:
    """Judge one group."""
    others = [source for source in field.sources if source.name != field.calibrator]
    worst_window = max(field.scale_by_window, key=lambda scale: abs(scale - 1.0))
    lines = [
        Comparison(
            what=f"scale of flux densities off, {field.name}",
            measured=100.0 * abs(field.scale - 1.0),
            goal=2.0,
            at_least=False,
            unit="%",
            detail=f"{len(others)} sources but the calibrator: {field.scale - 1.0:+.2%} +- "
            f"{field.scale_rms:.2%}, worst window {worst_window - 1.0:+.2%}",
        )
    ]
    lines += [
        Comparison(
            what=f"flux density of the calibrator off, {field.name}",
            measured=100.0 * abs(source.ratio - 1.0),
            goal=2.0,
            at_least=False,
            unit="%",
            detail=f"{source.flux_jy:.3f} Jy for {source.truth_jy:.3f} Jy",
        )
        for source in field.sources
        if source.name == field.calibrator
    ]
    offsets = [s.offset_beams for s in field.sources if s.offset_beams is not None]
    return [
        *lines,
        Comparison(
            what=f"position off, worst source, {field.name}",
            measured=max(offsets),
            goal=0.2,
            at_least=False,
            unit="beams",
            detail=f"median {np.median(offsets):.3f} of {len(offsets)} sources above 20 sigma",
        ),
        Comparison(
            what=f"noise of the residual against natural thermal noise, {field.name}",
            measured=field.noise_jy / field.thermal_noise_jy,
            goal=1.3,
            at_least=False,
            detail=f"{1e3 * field.noise_jy:.3f} mJy / {1e3 * field.thermal_noise_jy:.3f} mJy, of "
            f"{field.unflagged:.1%} of the data; Briggs weights take up to 1.17 of it",
        ),
    ]


def show_details(results: CalibrationResults, console: Console) -> None:
    """Print parts, memory and sources."""
    parts = Table(title="where the time goes: wall time (s)")
    for heading in ("contestant", "parts, of the last run"):
        parts.add_column(heading)
    for costs in results.costs:
        if spent := costs.runs[-1].parts_s:
            parts.add_row(costs.name, ", ".join(f"{k} {v:.2f}" for k, v in spent.items()))
    memory = Table(title="largest memory of the process tree (GB)")
    for heading in ("contestant", "each page once (PSS)", "RSS"):
        memory.add_column(heading, justify="left" if heading == "contestant" else "right")
    for name, peak in results.memory.items():
        memory.add_row(name, f"{peak.pss_bytes / 1e9:.2f}", f"{peak.rss_bytes / 1e9:.2f}")
    sources = Table(title="calibrated sources, mean of the windows")
    for heading in ("group", "source", "truth (Jy)", "measured", "error", "ratio", "off (beams)"):
        sources.add_column(heading)
    for field in results.fields:
        for source in field.sources:
            sources.add_row(
                field.name,
                source.name,
                f"{source.truth_jy:.4f}",
                f"{source.flux_jy:.4f}",
                f"{source.rms_jy:.4f}",
                f"{source.ratio:.4f}",
                "" if source.offset_beams is None else f"{source.offset_beams:.3f}",
            )
    console.print(parts, memory, sources)
    for field in results.fields:
        console.print(f"{field.name}: {field.choice}", highlight=False, soft_wrap=True)


def draw(results: CalibrationResults, path: Path) -> None:
    """Draw the steps, flags, gains, flux densities, positions and noise."""
    from matplotlib.figure import Figure

    figure = Figure(figsize=(19, 9), layout="constrained")
    (bars, flags, gains), (fluxes, positions, noise) = figure.subplots(2, 3)
    draw_costs(bars, results.costs)
    bars.set_title(
        f"one group of {results.n_antennas} antennas, {results.bytes_ms / 1e9:.2f} GB as converted"
    )
    _draw_flags(flags, results.flags)
    _draw_gains(gains, results.gains)
    _draw_fluxes(fluxes, results.fields)
    _draw_positions(positions, results.fields)
    _draw_noise(noise, results.fields)
    figure.savefig(path, dpi=120)


def _draw_gains(axes: Axes, gains: Mapping[str, GainErrors]) -> None:
    """Draw the errors of each channel."""
    for who, errors in gains.items():
        freq_mhz = np.array(errors.freq_hz) / 1e6
        order = np.argsort(freq_mhz)
        for style, label, values in (
            ("-", "amplitude (%)", 100.0 * np.array(errors.amplitude_by_channel)),
            (":", "phase (deg)", np.array(errors.phase_deg_by_channel)),
        ):
            axes.plot(freq_mhz[order], values[order], style, lw=1, label=f"{who}: {label}")
    axes.axhline(1.0, color="grey", lw=0.8)
    axes.set(
        xlabel="frequency (MHz)",
        ylabel="rms error",
        ylim=(0, None),
        title="bandpass x gain against the truth, 8.8 Jy",
    )
    axes.legend(fontsize=8)


def _draw_fluxes(axes: Axes, fields: Sequence[CalibratedField]) -> None:
    """Draw measured over true flux densities."""
    for marker, field in zip(_MARKERS, fields, strict=False):
        axes.errorbar(
            [source.truth_jy for source in field.sources],
            [source.ratio for source in field.sources],
            [source.rms_jy / source.truth_jy for source in field.sources],
            fmt=marker,
            label=f"{field.name}: scale {field.scale:.4f} +- {field.scale_rms:.4f}",
        )
    for bound in (0.98, 1.02):
        axes.axhline(bound, color="grey", lw=0.8)
    axes.set(
        xscale="log",
        xlabel="true flux density (Jy)",
        ylabel="measured / true",
        title="sources after calibration",
    )
    axes.legend(fontsize=8)


def _draw_positions(axes: Axes, fields: Sequence[CalibratedField]) -> None:
    """Draw how far peaks are from the truth."""
    for marker, field in zip(_MARKERS, fields, strict=False):
        shown = {
            source.truth_jy: source.offset_beams
            for source in field.sources
            if source.offset_beams is not None
        }
        axes.plot(list(shown.keys()), list(shown.values()), marker, label=field.name)
    axes.axhline(0.2, color="grey", lw=0.8)
    axes.set(
        xscale="log",
        yscale="log",
        xlabel="true flux density (Jy)",
        ylabel="distance of the peak from the truth (beams)",
        title="positions in stamps",
    )
    axes.legend(fontsize=8)


def _draw_noise(axes: Axes, fields: Sequence[CalibratedField]) -> None:
    """Draw the noise of the residuals, and the scale of flux densities in each window."""
    for marker, field in zip(_MARKERS, fields, strict=False):
        axes.plot(
            field.scale_by_window,
            f"{marker}-",
            label=f"{field.name}: noise {1e3 * field.noise_jy:.3f} mJy, "
            f"{field.noise_jy / field.thermal_noise_jy:.2f} x thermal",
        )
    for bound in (0.98, 1.02):
        axes.axhline(bound, color="grey", lw=0.8)
    axes.set(
        xlabel="spectral window",
        ylabel="scale of flux densities",
        title="windows, and noise of the field without its sources",
    )
    axes.legend(fontsize=8)


def _draw_flags(axes: Axes, flags: Sequence[Mapping[str, FlagScore]]) -> None:
    """Draw what flags missed and what they cost."""
    for group, scores in enumerate(flags):
        for who, score in scores.items():
            axes.plot(
                100.0 * score.false_alarms,
                100.0 * (1.0 - score.recall),
                _MARKERS[group],
                label=f"{who}, group {group + 1}",
            )
    axes.axvline(2.0, color="grey", lw=0.8)
    axes.axhline(5.0, color="grey", lw=0.8)
    axes.set(
        xlabel="clean visibilities flagged (%)",
        ylabel="interference power left (%)",
        yscale="log",
        xlim=(0, None),
        title="flags (goal: below left)",
    )
    axes.legend(fontsize=8)
