"""Geometry of the report's drawings; the templates turn it into inline SVG.

Vector drawings from the numbers stay sharp, follow the colour scheme, and cost about a
hundred bytes per group or window: they are there for every source of the largest night.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from dsa110_contimg.instrument import GROUP_DURATION_S, N_SUBBANDS, subband_channel_freqs_hz
from dsa110_contimg.qa.models import FlagStage, GroupReport, MsReport, NightReport, SourceReport
from dsa110_contimg.qa.verdict import plural

WIDTH = 1200.0
_LEFT, _RIGHT, _TOP = 92.0, 8.0, 4.0
_LANE_HEIGHT, _LANE_PITCH = 22.0, 25.0
_CELL_HEIGHT = 9.0
_BARS_HEIGHT = 44.0
_GAP = 14.0
_AXIS_HEIGHT = 26.0
_MIN_BAR_WIDTH = 1.5
_MIN_SPAN_S = 900.0
_TICK_STEPS_S = (60, 120, 300, 600, 900, 1800, 3600, 7200, 10800, 21600)
_MAX_TICKS = 13
_AXIS_NAME_ROOM = 20.0
"""No mark stands nearer to the left end, where the axis has its name."""

BAND_HZ = (
    float(subband_channel_freqs_hz(N_SUBBANDS - 1)[-1]),
    float(subband_channel_freqs_hz(0)[0]),
)
"""Centres of the lowest and of the highest channel."""

FLAG_LEVELS = ((0.01, "f0", "under 1 %"), (0.1, "f1", "1-10 %"), (0.3, "f2", "10-30 %"))
"""Upper limit of the flagged fraction, class of the cell, words for the legend."""
FLAG_LEVEL_ABOVE = ("f3", "over 30 %")


@dataclass(frozen=True)
class Tick:
    """A mark on the time axis."""

    x: float
    """Position."""
    label: str
    """UTC time of day, or the date at midnight."""


@dataclass(frozen=True)
class Bar:
    """A group on the time axis."""

    x: float
    """Left edge."""
    y: float
    """Top edge."""
    width: float
    """Width."""
    position: int
    """Position of the group in the report."""
    group: GroupReport
    """The group."""
    title: str
    """What a pointer that rests on it reads."""


@dataclass(frozen=True)
class CountBar:
    """The detections in one MS."""

    x: float
    """Left edge."""
    y: float
    """Top edge."""
    width: float
    """Width."""
    height: float
    """Height."""


@dataclass(frozen=True)
class Timeline:
    """The night on a UTC axis: groups, spectral windows, detections."""

    height: float
    """Height of the drawing; the width is `WIDTH`."""
    left: float
    """Left edge of the axis."""
    right: float
    """Right edge of the axis."""
    lane_height: float
    """Height of a group's bar."""
    bars: list[Bar]
    """The groups."""
    cells_top: float
    """Top edge of the spectral windows."""
    cells_height: float
    """Height of all sixteen."""
    cells: dict[str, str]
    """Class of a cell (f0 .. f3, missing, waiting) to SVG path of all cells of that class."""
    flags: str
    """Which flags the cells show."""
    counts_base: float
    """Foot of the bars of detections."""
    counts: list[CountBar]
    """Detections per MS."""
    counts_max: int
    """Detections that the highest bar stands for."""
    axis: float
    """Position of the time axis."""
    ticks: list[Tick]
    """Its marks."""


def draw_timeline(report: NightReport) -> Timeline | None:
    """Lay out the night on a UTC axis.

    Parameters
    ----------
    report : NightReport
        The night.

    Returns
    -------
    Timeline or None
        None if no group has a name that is a time.
    """
    times = {group.group_id: _parse_time(group.group_id) for group in report.groups}
    starts = {group_id: start for group_id, start in times.items() if start is not None}
    if not starts:
        return None
    first, span_s = _time_range(list(starts.values()))
    scale = (WIDTH - _LEFT - _RIGHT) / span_s
    lanes = _assign_lanes(starts)
    sets = {ms.group_id: ms for ms in report.measurement_sets}
    width = max(GROUP_DURATION_S * scale, _MIN_BAR_WIDTH)
    left = {key: _LEFT + (start - first).total_seconds() * scale for key, start in starts.items()}
    bars = [
        Bar(
            x=round(left[group.group_id], 2),
            y=_TOP + lanes[group.group_id] * _LANE_PITCH,
            width=round(width, 2),
            position=position,
            group=group,
            title=_bar_title(group, sets.get(group.group_id)),
        )
        for position, group in enumerate(report.groups)
        if group.group_id in left
    ]
    cells_top = _TOP + (max(lanes.values()) + 1) * _LANE_PITCH + _GAP - 4
    cells_height = N_SUBBANDS * _CELL_HEIGHT
    counts_max = max((ms.detections for ms in report.measurement_sets), default=0)
    counts_base = cells_top + cells_height + (_GAP + _BARS_HEIGHT if counts_max else 0.0)
    axis = counts_base + (2.0 if counts_max else 8.0)
    return Timeline(
        height=axis + _AXIS_HEIGHT,
        left=_LEFT,
        right=WIDTH - _RIGHT,
        lane_height=_LANE_HEIGHT,
        bars=bars,
        cells_top=cells_top,
        cells_height=cells_height,
        cells=_draw_cells(bars, sets, cells_top),
        flags=describe_flags(report.measurement_sets),
        counts_base=counts_base,
        counts=_draw_counts(bars, sets, counts_base, counts_max),
        counts_max=counts_max,
        axis=axis,
        ticks=_draw_ticks(first, span_s, scale),
    )


def _parse_time(group_id: str) -> datetime | None:
    """Read the time that names a group."""
    try:
        return datetime.fromisoformat(group_id).replace(tzinfo=UTC)
    except ValueError:
        return None


def _time_range(starts: Sequence[datetime]) -> tuple[datetime, float]:
    """Choose the start and the length in seconds of the axis."""
    first, last = min(starts), max(starts)
    span_s = (last - first).total_seconds() + GROUP_DURATION_S
    margin_s = max((_MIN_SPAN_S - span_s) / 2, 0.01 * span_s)
    return first - timedelta(seconds=margin_s), span_s + 2 * margin_s


def _assign_lanes(starts: dict[str, datetime]) -> dict[str, int]:
    """Put groups that overlap in time into lanes of their own."""
    ends: list[datetime] = []
    lanes = {}
    for group_id, start in sorted(starts.items(), key=lambda item: item[1]):
        lane = next((k for k, end in enumerate(ends) if end <= start), len(ends))
        ends[lane : lane + 1] = [start + timedelta(seconds=GROUP_DURATION_S - 1)]
        lanes[group_id] = lane
    return lanes


def _bar_title(group: GroupReport, ms: MsReport | None) -> str:
    """Describe a group in a line."""
    parts = [f"{group.group_id} {group.outcome}"]
    if group.missing:
        parts.append(f"without {', '.join(group.missing)}")
    if ms and ms.flagged_fraction is not None:
        parts.append(f"{100 * ms.flagged_fraction:.1f} % flagged {ms.flag_stage.description}")
    if ms and ms.sources:
        parts.append(f"{plural(ms.sources, 'source')}, {plural(ms.detections, 'detection')}")
    if group.reason:
        parts.append(group.reason.splitlines()[0])
    return " · ".join(parts)


def _draw_cells(bars: Sequence[Bar], sets: dict[str, MsReport], top: float) -> dict[str, str]:
    """Draw every subband of every group, the highest frequency on top."""
    paths: dict[str, list[str]] = {}
    for bar in bars:
        states = dict.fromkeys(bar.group.present, "waiting")
        states.update(dict.fromkeys(bar.group.missing, "missing"))
        if ms := sets.get(bar.group.group_id):
            states.update(dict.fromkeys(ms.missing, "missing"))
            states.update((w.subband, flag_class(w.flagged_fraction)) for w in ms.spectral_windows)
        for subband, state in states.items():
            row = _subband_number(subband)
            if row is None:
                continue
            y = top + row * _CELL_HEIGHT
            path = f"M{bar.x:g} {y:g}h{bar.width:g}v{_CELL_HEIGHT - 1:g}h-{bar.width:g}z"
            paths.setdefault(state, []).append(path)
    return {state: "".join(parts) for state, parts in paths.items()}


def draw_strip(ms: MsReport) -> dict[str, str]:
    """Lay out the spectral windows of an MS in a row, the lowest frequency on the left.

    Parameters
    ----------
    ms : MsReport
        The MS.

    Returns
    -------
    dict of str to str
        Class of a cell (f0 .. f3, missing) to SVG path of all cells of that class, in a
        drawing of 16 units by 1.
    """
    states = dict.fromkeys(ms.missing, "missing")
    states.update((w.subband, flag_class(w.flagged_fraction)) for w in ms.spectral_windows)
    paths: dict[str, str] = {}
    for subband, state in states.items():
        number = _subband_number(subband)
        if number is not None:
            path = f"M{N_SUBBANDS - 1 - number} 0h.82v1h-.82z"
            paths[state] = paths.get(state, "") + path
    return paths


def describe_flags(sets: Sequence[MsReport]) -> str:
    """Say after which stage the flags were counted that the drawings show.

    Parameters
    ----------
    sets : sequence of MsReport
        The MSs drawn.

    Returns
    -------
    str
        E.g. ``after calibration``, or ``3 after calibration, 1 as converted``.
    """
    stages = Counter(ms.flag_stage for ms in sets if ms.spectral_windows)
    if len(stages) == 1:
        return next(iter(stages)).description
    return ", ".join(
        f"{stages[stage]} {stage.description}" for stage in reversed(FlagStage) if stages[stage]
    )


def _subband_number(subband: str) -> int | None:
    """Read the number of ``sbNN``."""
    number = subband.removeprefix("sb")
    return int(number) if number.isdecimal() and int(number) < N_SUBBANDS else None


def flag_class(flagged_fraction: float) -> str:
    """Class of a cell by its flagged fraction.

    Parameters
    ----------
    flagged_fraction : float
        Between 0 and 1.

    Returns
    -------
    str
        ``f0`` (hardly any) to ``f3``.
    """
    return next(
        (name for limit, name, _ in FLAG_LEVELS if flagged_fraction < limit), FLAG_LEVEL_ABOVE[0]
    )


def _draw_counts(
    bars: Sequence[Bar], sets: dict[str, MsReport], base: float, highest: int
) -> list[CountBar]:
    """Draw the detections of every MS that has some."""
    counts = []
    for bar in bars:
        ms = sets.get(bar.group.group_id)
        if ms and ms.detections:
            height = round(_BARS_HEIGHT * ms.detections / highest, 2)
            counts.append(CountBar(x=bar.x, y=base - height, width=bar.width, height=height))
    return counts


def _draw_ticks(first: datetime, span_s: float, scale: float) -> list[Tick]:
    """Mark round times of day."""
    step_s = next((step for step in _TICK_STEPS_S if span_s / step <= _MAX_TICKS), 86400)
    second = math.ceil(first.timestamp() / step_s) * step_s
    ticks = []
    while second <= first.timestamp() + span_s:
        moment = datetime.fromtimestamp(second, UTC)
        label = f"{moment:%H:%M}" if second % 86400 else f"{moment:%Y-%m-%d}"
        distance = (second - first.timestamp()) * scale
        if distance >= _AXIS_NAME_ROOM:
            ticks.append(Tick(x=round(_LEFT + distance, 2), label=label))
        second += step_s
    return ticks


SPARK_WIDTH, SPARK_HEIGHT = 168.0, 44.0
_SPARK_MARGIN = 3.0


@dataclass(frozen=True)
class Sparkline:
    """Flux density against frequency, small; the abscissa is the whole band."""

    errors: str
    """SVG path of the error bars."""
    points: str
    """SVG path of zero-length strokes, drawn as dots."""
    bins: str
    """SVG path of the detections: their frequency range at their flux density."""
    zero: float
    """Position of zero flux density."""
    title: str
    """The same in words."""


def draw_sparkline(source: SourceReport) -> Sparkline | None:
    """Lay out the spectrum of a source.

    Parameters
    ----------
    source : SourceReport
        The source.

    Returns
    -------
    Sparkline or None
        None if nothing was measured.
    """
    finite = [s for s in source.spws if math.isfinite(s.flux_jy) and math.isfinite(s.rms_jy)]
    if not finite:
        return None
    low = min(0.0, *(s.flux_jy - s.rms_jy for s in finite))
    high = max(0.0, *(s.flux_jy + s.rms_jy for s in finite)) or 1.0
    x = {s.spw_id: round(_frequency_x(s.freq_hz), 1) for s in finite}

    def y(flux_jy: float) -> float:  # numpydoc ignore=PR01
        """Position of a flux density."""
        usable = SPARK_HEIGHT - 2 * _SPARK_MARGIN
        return round(SPARK_HEIGHT - _SPARK_MARGIN - usable * (flux_jy - low) / (high - low), 1)

    bins = []
    for found in source.detections:
        ends = [x[spw] for spw in found.spw_ids if spw in x]
        if ends and math.isfinite(found.flux_jy):
            bins.append(f"M{min(ends) - 2:g} {y(found.flux_jy):g}H{max(ends) + 2:g}")
    fluxes_mjy = [1e3 * s.flux_jy for s in finite]
    return Sparkline(
        errors="".join(
            f"M{x[s.spw_id]:g} {y(s.flux_jy + s.rms_jy):g}V{y(s.flux_jy - s.rms_jy):g}"
            for s in finite
        ),
        points="".join(f"M{x[s.spw_id]:g} {y(s.flux_jy):g}h0" for s in finite),
        bins="".join(bins),
        zero=y(0.0),
        title=(
            f"{plural(len(finite), 'window')} measured,"
            f" {min(fluxes_mjy):.1f} to {max(fluxes_mjy):.1f} mJy"
        ),
    )


def _frequency_x(freq_hz: float) -> float:
    """Position of a frequency in the band."""
    usable = SPARK_WIDTH - 2 * _SPARK_MARGIN
    return _SPARK_MARGIN + usable * (freq_hz - BAND_HZ[0]) / (BAND_HZ[1] - BAND_HZ[0])
