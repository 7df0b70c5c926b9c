"""Where commands print: words for people on standard error, JSON on standard output."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Literal

from rich.cells import cell_len
from rich.console import Console
from rich.table import Table
from rich.text import Text

from dsa110_contimg.text import make_visible

if TYPE_CHECKING:
    from rich.status import Status

    from dsa110_contimg.qa.models import Totals

_GAP: Final = 2
"""Blanks between columns."""
_UNBOUNDED: Final = 100_000
"""Width of what is no terminal: a program or a file takes lines of any length."""


class VisibleConsole(Console):
    """A console that shows what would steer the terminal, and never sends it."""

    def render_str(self, text: str, **how: Any) -> Text:
        """Turn a string into what is printed.

        Parameters
        ----------
        text : str
            The string, of one line or several.
        **how : Any
            As `Console.render_str` takes it.

        Returns
        -------
        Text
            The text, with control characters and the like written as escapes.
        """
        return super().render_str("\n".join(map(make_visible, text.split("\n"))), **how)


console = VisibleConsole(stderr=True, emoji=False)
"""Progress, tables of a run, warnings and errors."""


def open_screen() -> VisibleConsole:
    """Open standard output for what a command answers.

    Returns
    -------
    VisibleConsole
        Standard output as it is now.
    """
    return VisibleConsole(emoji=False)


def say(line: str, to: Console = console, style: str = "") -> None:
    """Print a line as it is, and in full, so that it can be copied.

    Parameters
    ----------
    line : str
        Words that may hold names and paths: nothing in them is taken for markup or for the end
        of a line.
    to : Console, optional
        Where to; by default standard error.
    style : str, optional
        Its colour and weight on a terminal.
    """
    to.print(make_visible(line), style=style, markup=False, highlight=False, soft_wrap=True)


@dataclass(frozen=True)
class Column:
    """A column of a table.

    Parameters
    ----------
    title : str
        Its title.
    rank : int, optional
        0: always shown; else left out where there is no room, the highest first.
    align : {"left", "right"}, optional
        Where the cells stand.
    wraps : bool, optional
        Whether a cell may go on in the next line, between words; one column of a table at most.
    """

    title: str
    rank: int = 0
    align: Literal["left", "right"] = "left"
    wraps: bool = False


def print_table(
    columns: Sequence[Column],
    rows: Sequence[Sequence[str | Text]],
    to: Console,
    *,
    title: str | None = None,
) -> None:
    """Print a table in which no number and no name is cut or broken.

    Parameters
    ----------
    columns : sequence of Column
        The columns; if none has a title, there is no head.
    rows : sequence of sequence of str or Text
        The cells; a string is taken as it is, without markup.
    to : Console
        Where to. On a terminal, or if COLUMNS is set, columns are left out until it fits, and
        named below; columns of rank 0 are shown even if the lines become longer than that.
    title : str, optional
        Stands above the table.
    """
    cells = [[_to_text(cell) for cell in row] for row in rows]
    widths = [_width(column, [row[n] for row in cells]) for n, column in enumerate(columns)]
    is_bounded = to.is_terminal or "COLUMNS" in os.environ
    room = to.width if is_bounded else _UNBOUNDED
    shown = _choose(columns, widths, room)
    table = Table(
        box=None,
        pad_edge=False,
        padding=(0, _GAP, 0, 0),
        title=title,
        title_justify="left",
        show_header=any(column.title for column in columns),
    )
    needed = _total(widths, shown)
    for n in shown:
        column = columns[n]
        width = widths[n] + max(room - needed, 0) if column.wraps else widths[n]
        table.add_column(
            Text(column.title),
            justify=column.align,
            no_wrap=not column.wraps,
            min_width=widths[n],
            max_width=width,
        )
    for row in cells:
        table.add_row(*(row[n] for n in shown))
    before, to.width = to.width, max(room, needed)
    try:
        to.print(table)
    finally:
        to.width = before
    left_out = [column.title for n, column in enumerate(columns) if n not in shown]
    if left_out:
        say(f"left out at this width: {', '.join(left_out)}", to, style="dim")


def _to_text(cell: str | Text) -> Text:
    """Make a cell's text visible; its style stays."""
    plain, style = (cell, "") if isinstance(cell, str) else (cell.plain, cell.style)
    return Text(make_visible(plain), style=style)


def _width(column: Column, cells: list[Text]) -> int:
    """Width that a column needs: its longest cell, or the longest word of one that wraps."""
    texts = [column.title, *(cell.plain for cell in cells)]
    words = [word for text in texts for word in text.split()] if column.wraps else texts
    return max(map(cell_len, words), default=0)


def _total(widths: list[int], shown: list[int]) -> int:
    """Width of a table."""
    return sum(widths[n] for n in shown) + _GAP * (len(shown) - 1)


def _choose(columns: Sequence[Column], widths: list[int], room: int) -> list[int]:
    """Choose the columns that there is room for."""
    shown = list(range(len(columns)))
    while _total(widths, shown) > room:
        last = max(shown, key=lambda n: columns[n].rank)
        if columns[last].rank == 0:
            break
        shown.remove(last)
    return shown


@contextmanager
def working(words: str, of: str = "dsa110_contimg") -> Iterator[Status]:
    """Say what is done, and how far it is or what it waits for, as the stages say it.

    Parameters
    ----------
    words : str
        What the body does, with names as they are.
    of : str, optional
        The modules whose news are shown.

    Yields
    ------
    Status
        In a terminal one line changes while the body works; else each news has a line.
    """
    log = logging.getLogger(of)
    level = log.level
    with console.status(Text(make_visible(words))) as status:
        teller = _Teller(status, words)
        log.addHandler(teller)
        log.setLevel(logging.INFO)
        try:
            yield status
        finally:
            log.setLevel(level)
            log.removeHandler(teller)


class _Teller(logging.Handler):
    """Shows what the stages log beside what is done."""

    def __init__(self, status: Status, doing: str):
        super().__init__()
        self._status, self._doing = status, doing

    def emit(self, record: logging.LogRecord) -> None:
        """Show one message; a warning stays."""
        if console.is_terminal:
            self._status.update(Text(make_visible(f"{self._doing}: {record.getMessage()}")))
        if not console.is_terminal or record.levelno >= logging.WARNING:
            say(record.getMessage())


def print_json(value: Any) -> None:
    """Print a value as JSON on standard output, and nothing else.

    Parameters
    ----------
    value : object
        Plain lists, dicts, strings and numbers.
    """
    sys.stdout.write(json.dumps(value, indent=2, allow_nan=False) + "\n")


def describe_sets(totals: Totals) -> str:
    """Say in words how many Measurement Sets a night has, and what was done to them.

    Parameters
    ----------
    totals : Totals
        The night in numbers.

    Returns
    -------
    str
        For a row of a table.
    """
    words = str(totals.measurement_sets)
    if totals.mean_flagged_fraction is None:
        return words
    flagged = f"{totals.mean_flagged_fraction:.1%} flagged"
    solutions = f"sets of solutions: {totals.solution_sets}"
    return f"{words} ({totals.calibrated_sets} calibrated, {flagged}; {solutions})"
