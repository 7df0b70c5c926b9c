"""The printer of tables and lines: nothing is cut, nothing steers the terminal."""

from __future__ import annotations

import io
import re

import pytest
from rich.text import Text

from dsa110_contimg.cli.output import Column, VisibleConsole, print_table, say, working
from dsa110_contimg.text import make_visible

pytestmark = pytest.mark.unit

HOSTILE = "a\x1b[31mb\nc\x07\x9b\u202ed\u200be\udcff[red]f[/red]:cat:"
SHOWN = r"a\x1b[31mb\nc\x07\x9b\u202ed\u200be\udcff[red]f[/red]:cat:"

COLUMNS = (
    Column("UTC"),
    Column("name"),
    Column("RA", rank=2),
    Column("flux (Jy)", rank=1, align="right"),
    Column("why", wraps=True),
)
ROWS = [
    ("2026-01-25T08:10:00", "0834+555", "08:34:54.90", "8.80", "one two three four"),
    ("2026-01-25T09:10:00", "J0918+5555-east", "09:18:00.00", "10.25", "five"),
]


def table(width: int, monkeypatch: pytest.MonkeyPatch, columns=COLUMNS, rows=ROWS) -> list[str]:
    monkeypatch.setenv("COLUMNS", str(width))
    out = io.StringIO()
    print_table(columns, rows, VisibleConsole(file=out, emoji=False))
    return out.getvalue().splitlines()


@pytest.mark.parametrize("width", [20, 40, 60, 72, 80, 100, 200])
def test_a_cell_is_whole_or_left_out_by_name(width, monkeypatch):
    text = "\n".join(table(width, monkeypatch))
    left_out = re.findall(r"left out at this width: (.*)", text)
    assert "…" not in text
    for n, column in enumerate(COLUMNS):
        is_shown = column.title not in "".join(left_out)
        assert is_shown or column.rank
        for row in ROWS:
            words = row[n].split() if column.wraps else [row[n]]
            assert all((word in text) == is_shown for word in words)


@pytest.mark.parametrize("width", [60, 72, 80, 100])
def test_lines_fit_where_they_can(width, monkeypatch):
    assert max(map(len, table(width, monkeypatch))) <= width


def test_the_least_important_goes_first(monkeypatch):
    assert table(100, monkeypatch)[-1].startswith("2026")
    assert table(60, monkeypatch)[-1] == "left out at this width: RA"
    assert table(50, monkeypatch)[-1] == "left out at this width: RA, flux (Jy)"


def test_a_file_or_a_program_gets_everything(monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    out = io.StringIO()
    print_table(COLUMNS, [("x" * 300, *ROWS[0][1:])], VisibleConsole(file=out))
    assert "one two three four" in out.getvalue()
    assert "x" * 300 in out.getvalue()


def test_nothing_steers_the_terminal(monkeypatch):
    out = io.StringIO()
    screen = VisibleConsole(file=out, force_terminal=True, color_system=None, emoji=False)
    monkeypatch.setenv("COLUMNS", "200")
    print_table([Column("a"), Column("b")], [(HOSTILE, Text(HOSTILE, style="red"))], screen)
    screen.print(HOSTILE, markup=False)
    say(HOSTILE.replace("\n", ""), screen)
    assert SHOWN in out.getvalue()
    assert SHOWN.replace(r"\n", "") in out.getvalue()
    assert not set(out.getvalue()) & set("\x1b\x07\x9b\u202e\u200b\udcff")


def test_markup_with_a_hostile_name_is_visible_too():
    out = io.StringIO()
    VisibleConsole(file=out).print("[bold]error[/]: a\x1b]0;x\x07\nb")
    assert out.getvalue().split() == [r"error:", r"a\x1b]0;x\x07", "b"]


@pytest.mark.parametrize("name", ["[/x].ms", "[red].ms", "a\x1b]0;x\x07.ms"])
def test_what_is_being_done_may_have_any_name(name):
    with working(f"flagging {name}") as status:
        assert str(status.status) == make_visible(f"flagging {name}")


@pytest.mark.parametrize("text", ["0834+555", "/data/Überraschung/ß 字.hdf5", "° ± …"])
def test_what_is_visible_stays(text):
    assert make_visible(text) == text
