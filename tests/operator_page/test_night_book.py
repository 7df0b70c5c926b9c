"""Nights are read once, and again when they have changed."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest
from support.night_records import DATE, NightMaker

from dsa110_contimg.operator_page import night_book
from dsa110_contimg.operator_page.night_book import NightBook
from dsa110_contimg.qa.models import Verdict
from dsa110_contimg.qa.report import write_report

pytestmark = pytest.mark.unit


@pytest.fixture
def book(night: NightMaker) -> NightBook:
    return NightBook(night.root / "nights")


def make_report(night: NightMaker, groups: int) -> None:
    for number in range(len(night.groups), groups):
        night.convert(night.add_group(number))
    night.save_listing()
    write_report(night.ledger)


def test_a_report_is_parsed_once_and_again_when_it_changed(
    night: NightMaker, book: NightBook
) -> None:
    make_report(night, 1)
    first = book.read_night(DATE)
    assert first is not None
    assert first.is_reported
    assert book.read_night(DATE) is first
    make_report(night, 2)
    second = book.read_night(DATE)
    assert second is not None
    assert [len(view.groups) for view in (first, second)] == [1, 2]
    assert book.read_head(DATE).totals == second.report.totals


def test_records_newer_than_the_report_are_shown(night: NightMaker, book: NightBook) -> None:
    make_report(night, 1)
    assert book.read_night(DATE) is not None
    written = night.ledger.report_json.stat().st_mtime
    night.convert(night.add_group(1))
    os.utime(night.ledger.records_dir / "conversions", (written + 1, written + 1))
    view = book.read_night(DATE)
    # What was read a moment ago may be shown for some seconds more.
    until = time.monotonic() + 20
    while view is not None and not view.notices and time.monotonic() < until:
        time.sleep(0.1)
        view = book.read_night(DATE)
    assert view is not None
    assert view.is_reported
    assert "is older than the records: this page is drawn from the records" in view.notices[0]
    assert len(view.groups) == 2


def test_an_open_night_is_summed_up_again_while_nobody_waits(
    night: NightMaker, book: NightBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    night.convert(night.add_group(0))
    first = book.read_night(DATE)
    night.convert(night.add_group(1))
    assert book.read_night(DATE) is first  # young for what it costs
    monkeypatch.setattr(night_book, "_MIN_AGE_S", 0.0)
    monkeypatch.setattr(night_book, "_PATIENCE", 0.0)
    assert book.read_night(DATE) is first  # and sets off another look
    until = time.monotonic() + 10
    while (second := book.read_night(DATE)) is first and time.monotonic() < until:
        time.sleep(0.01)
    assert second is not None
    assert len(second.groups) == 2


def test_an_open_night_of_long_ago_is_summed_up_at_once(
    night: NightMaker, book: NightBook, monkeypatch: pytest.MonkeyPatch
) -> None:
    night.convert(night.add_group(0))
    assert book.read_night(DATE)
    night.convert(night.add_group(1))
    monkeypatch.setattr(night_book, "_MAX_AGE_S", 0.0)
    view = book.read_night(DATE)
    assert view is not None
    assert len(view.groups) == 2


def test_the_head_needs_only_the_beginning(night: NightMaker, book: NightBook) -> None:
    """So a year of nights costs a year of kilobytes."""
    make_report(night, 40)
    path = night.ledger.report_json
    assert path.stat().st_size > 16_384
    report = book.read_night(DATE)
    assert report is not None
    path.write_bytes(path.read_bytes()[:16_384])
    head = book.read_head(DATE)
    assert head.verdict is Verdict.COMPLETE
    assert head.totals == report.report.totals


@pytest.mark.parametrize("content", [b"", b"{", b"[1]", b"\xff\xfe", b'{"verdict": "splendid"}'])
def test_a_damaged_head_says_so(night: NightMaker, book: NightBook, content: bytes) -> None:
    night.ledger.night_dir.mkdir(parents=True)
    night.ledger.report_json.write_bytes(content)
    head = book.read_head(DATE)
    assert head.state == "unreadable"
    assert head.problem


def test_nights_are_directories_named_by_dates(night: NightMaker, book: NightBook) -> None:
    assert book.list_dates() == ([], [])
    night.ledger.records_dir.mkdir(parents=True)
    for name in ("2026-1-5", "2026-02-30", "tmp"):
        (book.nights_dir / name).mkdir()
    (book.nights_dir / "notes.txt").write_text("")
    dates, problems = book.list_dates()
    assert dates == [DATE]
    assert len(problems) == 3


def test_a_root_that_is_no_directory_says_so(tmp_path: Path) -> None:
    (tmp_path / "nights").write_text("")
    dates, problems = NightBook(tmp_path / "nights").list_dates()
    assert dates == []
    assert "Not a directory" in problems[0]


def test_few_nights_stay_in_memory(night: NightMaker, book: NightBook) -> None:
    make_report(night, 1)
    first = book.read_night(DATE)
    for day in range(1, 6):
        other = book.nights_dir / f"2026-02-{day:02d}"
        (other / "records").mkdir(parents=True)
        assert book.read_night(other.name) is not None
    assert book.read_night(DATE) is not first
