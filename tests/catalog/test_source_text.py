"""Sources as people type or paste them."""

from __future__ import annotations

import pytest

from dsa110_contimg.catalog.source_text import parse_sources
from dsa110_contimg.errors import InputError

pytestmark = pytest.mark.unit

RA_DEG, DEC_DEG = 128.72875, 55.5725
"""08:34:54.9, +55:34:21."""
ROUNDING_DEG = 1e-9


@pytest.mark.parametrize(
    "line",
    [
        "J0834+5534 128.72875 55.5725",
        "J0834+5534 08:34:54.9 +55:34:21",
        "J0834+5534 08h34m54.9s +55d34m21s",
        "J0834+5534 08 34 54.9 +55 34 21",
        "  J0834+5534,08:34:54.9,55:34:21  # the classic calibrator",
        "J0834+5534;\t128.72875d | 55.5725d",
    ],
)
def test_ways_of_writing(line: str) -> None:
    [source] = parse_sources(line)
    assert source.name == "J0834+5534"
    assert source.ra_deg == pytest.approx(RA_DEG, abs=ROUNDING_DEG)
    assert source.dec_deg == pytest.approx(DEC_DEG, abs=ROUNDING_DEG)


@pytest.mark.parametrize("minus", ["-", "\N{MINUS SIGN}", "\N{EN DASH}"])
def test_just_south_of_the_equator(minus: str) -> None:
    """The sign of -00 is the classic victim of a parser."""
    sources = parse_sources(f"a 0 {minus}0.5\nb 0:0:0 {minus}00:30:00\nc 0 0 0 {minus}00 30 00")
    assert [source.dec_deg for source in sources] == pytest.approx([-0.5] * 3)


def test_lines() -> None:
    text = "# name ra dec\n\nb 2 3\r\n   \na 1 2 # the other\n128.72875 55.5725\n"
    assert [source.name for source in parse_sources(text)] == ["b", "a", "J083454.90+553421.0"]


@pytest.mark.parametrize(
    ("text", "number", "words"),
    [
        ("a 1 2\nb 1", 2, "'b' is not a right ascension"),
        ("a 1", 1, "'a' is not a right ascension"),
        ("a", 1, "it has 1 words"),
        ("my source 1 2", 1, "it has 4 words"),
        ("\n\na 400 2", 3, "ra_deg"),
        ("a 1 -91", 1, "dec_deg"),
        ("a nan 2", 1, "ra_deg"),
        ("a 1 inf", 1, "dec_deg"),
        ("a 08:61:00 2", 1, "'08:61:00' is not a right ascension"),
        ("a 08:34:60 2", 1, "'08:34:60' is not a right ascension"),
        ("a 25:00:00 2", 1, "'25:00:00' is not a right ascension"),
        ("a 1 north", 1, "'north' is not a declination"),
        ("a/b 1 2", 1, "name"),
        ("../x 1 2", 1, "name"),
        ("a 1 2\nb 3 4\na 5 6", 3, "the name a is that of line 1"),
    ],
)
def test_garbled_lines_are_named(text: str, number: int, words: str) -> None:
    with pytest.raises(InputError) as refusal:
        parse_sources(text)
    assert f"line {number}" in refusal.value.message
    assert words in refusal.value.message
    assert "NAME RA DEC" in str(refusal.value.remedy)
    assert refusal.value.reason == "bad_sources"


def test_many_garbled_lines_make_a_short_error() -> None:
    with pytest.raises(InputError, match=r"line 3 .*; and 97 more") as refusal:
        parse_sources("x\n" * 100)
    assert len(str(refusal.value)) < 500


@pytest.mark.parametrize("text", ["", "\n \n", "# a 1 2\n"])
def test_nothing(text: str) -> None:
    with pytest.raises(InputError, match="no source"):
        parse_sources(text)
