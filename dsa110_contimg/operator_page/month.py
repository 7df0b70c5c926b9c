"""A month of nights as a calendar."""

from __future__ import annotations

import calendar
import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from dsa110_contimg.operator_page.night_book import NightBook, NightHead


@dataclass(frozen=True)
class Day:
    """A day of the calendar."""

    number: int
    """Day of the month; 0 outside of it."""
    night: NightHead | None = None
    """None if nothing is on record."""
    is_running: bool = False
    """Whether Airflow works on it."""

    @property
    def state(self) -> str:
        """In a word, for its colour and its symbol."""
        if self.is_running or self.night is None:
            return "running" if self.is_running else ""
        return self.night.state


@dataclass(frozen=True)
class Month:
    """A month of nights."""

    name: str
    """``YYYY-MM``."""
    title: str
    """As one says it."""
    weeks: list[list[Day]]
    """From Monday to Sunday."""
    earlier: str | None
    """The month before, among those with nights."""
    later: str | None
    """The month after."""

    @property
    def nights(self) -> list[Day]:
        """Its nights, newest first."""
        days = [day for week in self.weeks for day in week if day.night]
        return days[::-1]


def make_month(
    book: NightBook, dates: Sequence[str], running: Collection[str], wanted: str
) -> Month:
    """Make the calendar of a month.

    Parameters
    ----------
    book : NightBook
        Reads the nights.
    dates : sequence of str
        All nights, ascending.
    running : collection of str
        Those that Airflow works on.
    wanted : str
        ``YYYY-MM``; anything else gives the month of the newest night.

    Returns
    -------
    Month
        The month.
    """
    # A night that has only just begun has no record yet.
    known = sorted({*dates, *running})
    newest = known[-1] if known else datetime.now(UTC).date().isoformat()
    name = wanted if re.fullmatch(r"(?!0000)\d{4}-(0[1-9]|1[0-2])", wanted) else newest[:7]
    months = sorted({date[:7] for date in known})
    year, month = int(name[:4]), int(name[5:])
    weeks = [
        [_make_day(book, f"{name}-{number:02d}", number, known, running) for number in week]
        for week in calendar.Calendar().monthdayscalendar(year, month)
    ]
    return Month(
        name=name,
        title=f"{calendar.month_name[month]} {year}",
        weeks=weeks,
        earlier=max((one for one in months if one < name), default=None),
        later=min((one for one in months if one > name), default=None),
    )


def _make_day(
    book: NightBook, date: str, number: int, known: Sequence[str], running: Collection[str]
) -> Day:
    """Say of a day what its night came to."""
    if not number or date not in known:
        return Day(number)
    return Day(number, book.read_head(date), date in running)
