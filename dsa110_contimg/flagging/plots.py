"""Draw what was flagged in an MS, for the eye that judges it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from dsa110_contimg.storage.files import atomic_path

if TYPE_CHECKING:
    from matplotlib.axes import Axes

    from dsa110_contimg.flagging.models import FlagRecord, FlagSummary

_SIZE_IN: Final = (11.0, 8.0)
_DPI: Final = 90
_BEFORE: Final[dict[str, Any]] = {"color": "0.65", "label": "as converted"}
_AFTER: Final[dict[str, Any]] = {"color": "tab:blue", "label": "as flagged"}
_DEAD: Final[dict[str, Any]] = {"color": "tab:red", "label": "dead antenna"}
_MOST_LABELS: Final = 32
"""Antennas whose names fit below the axis."""
_LAYOUT: Final = "aa;bw;cc"
"""Antennas above; baseline lengths and windows; channels below."""


def plot_flags(path: Path, record: FlagRecord) -> None:
    """Draw the flagged fractions by antenna, baseline length, window and channel.

    Parameters
    ----------
    path : Path
        The PNG; it appears whole or not at all.
    record : FlagRecord
        What was flagged.

    Raises
    ------
    OSError
        If it cannot be written.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=_SIZE_IN, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.subplot_mosaic(_LAYOUT)
    _draw_antennas(axes["a"], record)
    for summary, style in ((record.before, _BEFORE), (record.after, _AFTER)):
        _draw_baselines(axes["b"], summary, style)
        _draw_channels(axes["c"], record, summary, style)
    _draw_windows(axes["w"], record)
    for ax in axes.values():
        ax.set(ylabel="flagged fraction", ylim=(0.0, 1.05))
    figure.suptitle(
        f"{record.group_id}: {record.after.fraction:.1%} flagged with {record.strategy.flagger}, "
        f"{record.before.fraction:.1%} as converted"
    )
    version = record.provenance.versions.get("dsa110-contimg", "")
    with atomic_path(path) as temporary:
        figure.savefig(
            temporary,
            dpi=_DPI,
            metadata={
                "Title": f"Flags of {record.group_id}",
                "Software": f"dsa110-contimg {version}",
                "Creation Time": record.provenance.created,
            },
        )


def _draw_antennas(ax: Axes, record: FlagRecord) -> None:
    """Draw a pair of bars for each antenna; those of dead ones stand out."""
    from matplotlib.patches import Patch

    names = list(record.after.by_antenna)
    dead = {antenna.name for antenna in record.dead}
    place = np.arange(len(names))
    colors = [_DEAD["color"] if name in dead else _AFTER["color"] for name in names]
    ax.bar(place, list(record.after.by_antenna.values()), color=colors, width=0.8)
    before = [record.before.by_antenna.get(name, 0.0) for name in names]
    ax.bar(place, before, color=_BEFORE["color"], width=0.4)
    step = max(1, -(-len(names) // _MOST_LABELS))
    shown = sorted({*place[::step], *(k for k, name in enumerate(names) if name in dead)})
    ax.set_xticks(shown, [names[k] for k in shown], fontsize=7, rotation=90)
    for label, k in zip(ax.get_xticklabels(), shown, strict=True):
        if names[k] in dead:
            label.set_color(_DEAD["color"])
    styles = [_BEFORE, _AFTER, *([_DEAD] if dead else [])]
    ax.set(xlabel="antenna, in order of id", xlim=(-1, len(names)))
    ax.legend(handles=[Patch(**style) for style in styles], fontsize=8, ncols=3, loc="upper right")


def _draw_baselines(ax: Axes, summary: FlagSummary, style: dict[str, Any]) -> None:
    """Draw a step for each range of baseline lengths."""
    bins = summary.by_baseline
    edges_m = [*(bin_.min_m for bin_ in bins), *(bin_.max_m for bin_ in bins[-1:])]
    ax.stairs([bin_.flagged_fraction for bin_ in bins], edges_m, linewidth=1.5, **style)
    ax.set(xlabel="baseline length (m)", xscale="log")


def _draw_windows(ax: Axes, record: FlagRecord) -> None:
    """Draw a pair of bars for each spectral window."""
    for summary, style, width in ((record.after, _AFTER, 0.8), (record.before, _BEFORE, 0.4)):
        fractions = summary.by_window
        ax.bar(range(len(fractions)), fractions, width=width, **style)
    ax.set(xlabel="spectral window", xticks=range(0, len(record.after.by_window), 2))


def _draw_channels(
    ax: Axes, record: FlagRecord, summary: FlagSummary, style: dict[str, Any]
) -> None:
    """Draw a line against frequency for each spectral window."""
    for spw, fractions in zip(record.spws, summary.by_channel, strict=False):
        offset = (np.arange(spw.n_channels) + 0.5) / spw.n_channels - 0.5
        freq_mhz = (spw.freq_hz + offset * spw.bandwidth_hz) / 1e6
        ax.step(freq_mhz, fractions, where="mid", linewidth=0.8, color=style["color"])
    ax.set(xlabel="frequency (MHz)")
