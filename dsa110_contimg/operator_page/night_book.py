"""The nights as they stand on disk: reports where there are some, records where there are none.

What the report says is computed in one place, `qa.summary`; a night without a report, or with
records that are newer than it, is summed up by the same function.
"""

from __future__ import annotations

import os
import threading
import time
from collections import OrderedDict
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pydantic_core
from pydantic import BaseModel, ValidationError

from dsa110_contimg.dates import is_date
from dsa110_contimg.operator_page.night_view import NightView
from dsa110_contimg.provenance import make_provenance
from dsa110_contimg.qa.models import NightReport, Totals, Verdict
from dsa110_contimg.qa.records import NightLedger
from dsa110_contimg.qa.report import ReportOptions
from dsa110_contimg.qa.summary import summarize_night

_HEAD_BYTES = 16_384
"""A report begins with its verdict, headline and totals, which take a tenth of this."""
_MAX_VIEWS = 4
"""Nights in memory; one of 300 groups and 3,000 sources takes about 100 MB."""
_PATIENCE = 10.0
"""Summing up may take one part in so many of the time between two requests."""
_MIN_AGE_S = 2.0
_MAX_AGE_S = 60.0
"""Older records of a night that goes on are not shown."""

Stamp = tuple[int, int]
"""Time of the last change in ns, and size in bytes."""
Stamps = tuple[Stamp | None, Stamp | None]
"""Of a night's report and of its records."""


@dataclass(frozen=True)
class NightHead:
    """What the calendar says of a night."""

    date: str
    """UTC date."""
    verdict: Verdict | None = None
    """None without a report that can be read."""
    headline: str | None = None
    """The report's."""
    totals: Totals | None = None
    """The report's."""
    problem: str | None = None
    """Why the report cannot be read."""

    @property
    def state(self) -> str:
        """The verdict; ``unreadable`` or ``open`` where there is none."""
        if self.verdict is not None:
            return self.verdict.value
        return "unreadable" if self.problem else "open"


class _Head(BaseModel):
    """The beginning of a report."""

    verdict: Verdict
    headline: str
    totals: Totals


@dataclass(frozen=True)
class _Cached:
    """A night as it was read."""

    stamps: Stamps
    """Of what it was read from."""
    view: NightView
    made_s: float
    """When, by the monotonic clock."""
    took_s: float
    """How long it took."""

    @property
    def _age_s(self) -> float:
        """How long ago it was read."""
        return time.monotonic() - self.made_s

    def may_be_shown(self, stamps: Stamps) -> bool:
        """Whether it is true, or has become old while the night went on."""
        return self.stamps == stamps or (self.stamps[0] == stamps[0] and self._age_s < _MAX_AGE_S)

    def should_be_renewed(self, stamps: Stamps) -> bool:
        """Whether it is not true any more, and not young for what it costs either."""
        return self.stamps != stamps and self._age_s > max(_MIN_AGE_S, _PATIENCE * self.took_s)


class NightBook:
    """Reads nights, and remembers what has not changed.

    Parameters
    ----------
    nights_dir : Path
        Root of the nights, `Settings.nights_dir`.
    """

    def __init__(self, nights_dir: Path):
        self.nights_dir = nights_dir
        self._views: OrderedDict[str, _Cached] = OrderedDict()
        self._lock = threading.Lock()
        self._renewing: set[str] = set()
        self._renewer = ThreadPoolExecutor(max_workers=1, thread_name_prefix="nights")
        self._heads: dict[str, tuple[Stamp, NightHead]] = {}

    def list_dates(self) -> tuple[list[str], list[str]]:
        """List the nights.

        Returns
        -------
        dates : list of str
            UTC dates, ascending.
        problems : list of str
            What is there and is no night, or why nothing can be read.
        """
        try:
            names = sorted(entry.name for entry in os.scandir(self.nights_dir) if entry.is_dir())
        except FileNotFoundError:
            return [], []
        except OSError as error:
            return [], [f"{self.nights_dir} cannot be read: {error.strerror or error}"]
        dates: list[str] = []
        strange: list[str] = []
        for name in names:
            (dates if is_date(name) else strange).append(name)
        problems = [
            f"{self.nights_dir / name} is no night: its name is no date" for name in strange
        ]
        return dates, problems

    def read_head(self, date: str) -> NightHead:
        """Read what the calendar says of a night, from the beginning of its report.

        Parameters
        ----------
        date : str
            UTC date.

        Returns
        -------
        NightHead
            Without a verdict where there is no report.
        """
        path = NightLedger(self.nights_dir, date).report_json
        stamp = _stamp(path)
        if stamp is None:
            return NightHead(date)
        known = self._heads.get(date)
        if known is None or known[0] != stamp:
            known = stamp, _read_head(path, date)
            self._heads[date] = known
        return known[1]

    def read_night(self, date: str) -> NightView | None:
        """Read a night: its report, or what is on record so far.

        Parameters
        ----------
        date : str
            UTC date.

        Returns
        -------
        NightView or None
            None if there is neither report nor record.

        Raises
        ------
        InputError
            If `date` is no date.
        """
        ledger = NightLedger(self.nights_dir, date)
        stamps = _stamp(ledger.report_json), _stamp_records(ledger.records_dir)
        if stamps == (None, None):
            return None
        with self._lock:
            known = self._views.get(date)
            if known is None or not known.may_be_shown(stamps):
                known = _read_and_time(ledger, stamps)
                self._keep(date, known)
            elif known.should_be_renewed(stamps) and date not in self._renewing:
                # Nobody waits for it: the next request will see it.
                self._renewing.add(date)
                self._renewer.submit(self._renew, ledger, stamps)
            self._views.move_to_end(date)
            return known.view

    def begin_night(self, date: str) -> NightView:
        """Describe a night that nothing is recorded of so far.

        Parameters
        ----------
        date : str
            UTC date.

        Returns
        -------
        NightView
            Open, and empty.
        """
        return _read_view(NightLedger(self.nights_dir, date), (None, None))

    def _keep(self, date: str, known: _Cached) -> None:
        """Remember a night, and forget the one that was asked for least recently."""
        self._views[date] = known
        self._views.move_to_end(date)
        while len(self._views) > _MAX_VIEWS:
            self._views.popitem(last=False)

    def _renew(self, ledger: NightLedger, stamps: Stamps) -> None:
        """Read a night again, in a thread of its own."""
        try:
            known = _read_and_time(ledger, stamps)
            with self._lock:
                self._keep(ledger.date, known)
        finally:
            self._renewing.discard(ledger.date)


def _stamp(path: Path) -> Stamp | None:
    """When a file was changed, and its size."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size


def _stamp_records(records_dir: Path) -> Stamp | None:
    """When a record was last written: each is renamed into place, which changes its folder."""
    newest, count = 0, 0
    for folder, _, _ in os.walk(records_dir):
        stamp = _stamp(Path(folder))
        if stamp:
            newest, count = max(newest, stamp[0]), count + 1
    return (newest, count) if count else None


def _read_head(path: Path, date: str) -> NightHead:
    """Read the beginning of a report."""
    try:
        with path.open("rb") as file:
            beginning = file.read(_HEAD_BYTES)
        head = _Head.model_validate(pydantic_core.from_json(beginning, allow_partial=True))
    except (OSError, ValueError) as error:
        return NightHead(date, problem=_say(error))
    return NightHead(date, verdict=head.verdict, headline=head.headline, totals=head.totals)


def _read_and_time(ledger: NightLedger, stamps: Stamps) -> _Cached:
    """Read a night, and note what that cost."""
    start = time.monotonic()
    view = _read_view(ledger, stamps)
    end = time.monotonic()
    return _Cached(stamps=stamps, view=view, made_s=end, took_s=end - start)


def _read_view(ledger: NightLedger, stamps: Stamps) -> NightView:
    """Read the report if it is whole and up to date, and the records if not."""
    report_stamp, records_stamp = stamps
    notices = []
    if report_stamp is not None and (records_stamp is None or records_stamp[0] <= report_stamp[0]):
        try:
            report = NightReport.model_validate_json(ledger.report_json.read_bytes())
        except (OSError, ValidationError) as error:
            notices.append(f"{ledger.report_json} cannot be read: {_say(error)}")
        else:
            return NightView(report=report, night_dir=ledger.night_dir, is_reported=True)
    elif report_stamp is not None:
        written = datetime.fromtimestamp(report_stamp[0] / 1e9, UTC)
        notices.append(f"The report of {written:%Y-%m-%d %H:%M:%S} is older than the records")
    if notices:
        notices[-1] += ": this page is drawn from the records."
    options = ReportOptions(date=ledger.date, night_dir=str(ledger.night_dir))
    report = summarize_night(ledger.load(), ledger.night_dir, make_provenance(options, []))
    return NightView(
        report=report,
        night_dir=ledger.night_dir,
        is_reported=report_stamp is not None,
        notices=tuple(notices),
    )


def _say(error: Exception) -> str:
    """Say in a line what is wrong with a file."""
    if isinstance(error, OSError):
        return error.strerror or str(error)
    if isinstance(error, ValidationError):
        first = error.errors(include_url=False)[0]
        where = ".".join(str(part) for part in first["loc"])
        return f"{where}: {first['msg']}" if where else first["msg"]
    return str(error)
