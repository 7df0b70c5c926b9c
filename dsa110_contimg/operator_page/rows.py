"""Lines of the tables of groups and of sources: joined, filtered, cut into pages."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Generic, Protocol, TypeVar

from dsa110_contimg.qa.calibration_models import MsCalibrationReport
from dsa110_contimg.qa.models import (
    FailureKind,
    GroupOutcome,
    GroupReport,
    MsReport,
    NightReport,
    SourceReport,
)
from dsa110_contimg.qa.verdict import LOST_TASK

PAGE_ROWS = 50
PROBLEMS = "problems"
"""The filter for everything that something went wrong with."""
WAITING = "waiting"
"""State of what has no outcome yet in an open night."""
LOST = "lost"
"""State of what has no outcome in a night with a report."""
UNLISTED = "unlisted"
"""State of a group whose MS is on record, but neither its files nor its conversion."""

_ABOUT_MS = {FailureKind.GROUP, FailureKind.CALIBRATOR, FailureKind.MS}


class Row(Protocol):
    """What can be filtered."""

    @property
    def state(self) -> str:
        """In a word."""

    @property
    def has_problem(self) -> bool:
        """Whether something went wrong."""

    @property
    def text(self) -> str:
        """All its words in lower case."""


RowT = TypeVar("RowT", bound=Row)


@dataclass(frozen=True)
class GroupRow:
    """A group, its MS, and how its sources fared."""

    group_id: str
    """Start of the observation, UTC."""
    state: str
    """What became of it."""
    group: GroupReport | None
    """None if it is neither listed nor converted."""
    ms: MsReport | None
    """None if there is none."""
    calibration: MsCalibrationReport | None
    """None if its MS was neither flagged nor calibrated."""
    sources: Counter[str] = field(default_factory=Counter)
    """Sources by state."""
    detections: int = 0
    """Of all its sources."""
    reasons: tuple[str, ...] = ()
    """What went wrong, or differs from the rule, a sentence each."""
    has_problem: bool = False
    """Whether it, its calibration, its MS or a source of it failed."""
    text: str = ""
    """All its words in lower case."""

    @property
    def flagged(self) -> float | None:
        """Fraction that is flagged by the flags in force."""
        if self.calibration and self.calibration.flagged is not None:
            return self.calibration.flagged
        return self.ms.flagged_fraction if self.ms else None

    @property
    def ms_path(self) -> str | None:
        """Absolute path of its MS."""
        if self.ms:
            return self.ms.ms_path
        return self.calibration.ms_path if self.calibration else None


@dataclass(frozen=True)
class SourceRow:
    """A source in the MS of one group."""

    group_id: str
    """The group."""
    name: str
    """The source."""
    state: str
    """What became of it."""
    source: SourceReport | None
    """None if it was planned and has no outcome."""
    reason: str | None
    """Why it failed."""
    text: str
    """All its words in lower case."""

    @property
    def has_problem(self) -> bool:
        """Whether it failed or was lost, or lacks windows."""
        if self.source and self.source.failed_spws:
            return True
        return self.state in {"failed", LOST}


@dataclass(frozen=True)
class Page(Generic[RowT]):
    """A part of a table."""

    rows: Sequence[RowT]
    """Its lines."""
    number: int
    """From 1."""
    pages: int
    """How many there are."""
    found: int
    """Lines that pass the filter."""
    total: int
    """Lines in all."""
    states: dict[str, int]
    """Lines of each state, in all."""
    first: int
    """Number of the first line shown, from 1."""


def select_page(rows: Sequence[RowT], state: str, text: str, number: int) -> Page[RowT]:
    """Filter lines and cut out a page.

    Parameters
    ----------
    rows : sequence
        All lines.
    state : str
        Only lines of this state, or `PROBLEMS`; empty: all.
    text : str
        Only lines with all of these words.
    number : int
        The page, from 1; one beyond the end gives the last.

    Returns
    -------
    Page
        The page.
    """
    words = text.lower().split()
    kept = [
        row
        for row in rows
        if (not state or row.state == state or (state == PROBLEMS and row.has_problem))
        and all(word in row.text for word in words)
    ]
    pages = max(1, -(-len(kept) // PAGE_ROWS))
    number = min(max(1, number), pages)
    start = (number - 1) * PAGE_ROWS
    states = dict(sorted(Counter(row.state for row in rows).items()))
    if problems := sum(row.has_problem for row in rows):
        states[PROBLEMS] = problems
    return Page(
        rows=kept[start : start + PAGE_ROWS],
        number=number,
        pages=pages,
        found=len(kept),
        total=len(rows),
        states=states,
        first=start + 1 if kept else 0,
    )


def list_groups(
    report: NightReport, source_rows: Iterable[SourceRow], *, is_open: bool
) -> list[GroupRow]:
    """Join groups, MSs, calibration and sources.

    Parameters
    ----------
    report : NightReport
        The night.
    source_rows : iterable of SourceRow
        Its sources.
    is_open : bool
        Whether it goes on.

    Returns
    -------
    list of GroupRow
        Every group that the report speaks of, in order of time.
    """
    groups = {group.group_id: group for group in report.groups}
    sets = {ms.group_id: ms for ms in report.measurement_sets}
    found = report.calibration
    calibrations = {ms.group_id: ms for ms in found.measurement_sets} if found else {}
    sources: dict[str, Counter[str]] = defaultdict(Counter)
    detections: Counter[str] = Counter()
    for row in source_rows:
        sources[row.group_id][row.state] += 1
        detections[row.group_id] += len(row.source.detections) if row.source else 0
    reasons: dict[str, list[str]] = defaultdict(list)
    failed = set()
    for failure in report.failures:
        if failure.group_id is None or (is_open and failure.reason == LOST_TASK):
            continue
        failed.add(failure.group_id)
        if failure.kind in _ABOUT_MS:
            reasons[failure.group_id].append(_first_line(failure.reason))
    rows = []
    for group_id in sorted(groups.keys() | sets.keys() | sources.keys() | calibrations.keys()):
        group = groups.get(group_id)
        state = _group_state(group, is_open=is_open)
        told = tuple(dict.fromkeys([*reasons[group_id], *_remarks(group)]))
        rows.append(
            GroupRow(
                group_id=group_id,
                state=state,
                group=group,
                ms=sets.get(group_id),
                calibration=calibrations.get(group_id),
                sources=sources[group_id],
                detections=detections[group_id],
                reasons=told,
                has_problem=group_id in failed,
                text=_join_words([group_id, state, *told, *(group.missing if group else [])]),
            )
        )
    return rows


def _remarks(group: GroupReport | None) -> list[str]:
    """List what is on record of a group besides its failure."""
    if group is None:
        return []
    reason = [_first_line(group.reason)] if group.reason else []
    # A failure stands in the list of failures too, there without the slug before it.
    reason = [] if group.outcome is GroupOutcome.FAILED else reason
    warnings = [f"Warning: {_first_line(warning)}" for warning in group.warnings]
    return [*reason, *map(_first_line, group.problems), *warnings]


def _group_state(group: GroupReport | None, *, is_open: bool) -> str:
    """Name what became of a group."""
    if group is None:
        return UNLISTED
    if group.outcome is GroupOutcome.UNFINISHED:
        return WAITING if is_open else LOST
    return group.outcome.value


def list_sources(report: NightReport, *, is_open: bool) -> list[SourceRow]:
    """List the sources, also those that were planned and have no outcome.

    Parameters
    ----------
    report : NightReport
        The night.
    is_open : bool
        Whether it goes on.

    Returns
    -------
    list of SourceRow
        In order of group, then name.
    """
    rows = [
        _make_source(source.group_id, source.name, _source_state(source), source, _why(source))
        for source in report.sources
    ]
    known = {(source.group_id, source.name) for source in report.sources}
    for failure in report.failures:
        if failure.kind is not FailureKind.SOURCE or failure.group_id is None:
            continue
        if (failure.group_id, failure.subject) in known:
            continue
        is_waiting = is_open and failure.reason == LOST_TASK
        rows.append(
            _make_source(
                failure.group_id,
                failure.subject,
                WAITING if is_waiting else LOST,
                None,
                None if is_waiting else _first_line(failure.reason),
            )
        )
    return sorted(rows, key=lambda row: (row.group_id, row.name))


def _make_source(
    group_id: str, name: str, state: str, source: SourceReport | None, reason: str | None
) -> SourceRow:
    """Make the line of a source."""
    text = _join_words([name, group_id, state, reason or "", *(source.notes if source else [])])
    return SourceRow(
        group_id=group_id, name=name, state=state, source=source, reason=reason, text=text
    )


def _source_state(source: SourceReport) -> str:
    """Name what became of a source."""
    if not source.success:
        return "failed"
    return "skipped" if source.skipped else "done"


def _why(source: SourceReport) -> str | None:
    """Say why a source failed, or which of its windows did."""
    if source.error:
        return _first_line(source.error)
    windows = [f"SPW {bad.spw_id}: {_first_line(bad.reason)}" for bad in source.failed_spws]
    return "; ".join(windows) or None


def _first_line(text: str) -> str:
    """Cut off the end of a log."""
    return text.partition("\n")[0]


def _join_words(texts: Iterable[str]) -> str:
    """Make what a filter looks for."""
    return " ".join(texts).lower()
