"""The command ``report``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.night_records import DATE, NightMaker

from dsa110_contimg.conversion.models import ConversionState

pytestmark = pytest.mark.unit


MAIN = "from dsa110_contimg.cli.main import main; main()"


@pytest.fixture
def night(tmp_path: Path) -> NightMaker:
    """A night with a failed group and a good one."""
    made = NightMaker(tmp_path / "work")
    made.convert(made.add_group(0))
    made.convert(made.add_group(1), ConversionState.FAILED, reason="truncated_file: [sb09] short")
    made.save_listing()
    return made


def run(night: NightMaker, *arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", MAIN, "report", *arguments, "--work-dir", str(night.root)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=night.root,
        env={**os.environ, "COLUMNS": "200"},
    )


def test_the_report_is_written_and_shown_in_short(night: NightMaker) -> None:
    done = run(night, DATE)
    assert (done.returncode, done.stderr) == (0, "")
    assert "partial: 1 of 2 groups failed." in done.stdout
    assert f"group {night.group_id(1)}: [sb09] short" in done.stdout
    assert str(night.ledger.report_html) in done.stdout
    assert night.ledger.report_html.is_file()
    assert night.ledger.report_json.is_file()


def test_json_is_pure(night: NightMaker) -> None:
    done = run(night, DATE, "--json")
    summary = json.loads(done.stdout)
    assert done.returncode == 0
    assert summary["verdict"] == "partial"
    assert summary["totals"]["groups_by_outcome"]["failed"] == 1
    assert summary["failures"][0]["code"] == "truncated_file"
    assert json.loads(Path(summary["json_path"]).read_text())["date"] == DATE
    assert Path(summary["html_path"]) == night.ledger.report_html


def test_an_unknown_night_lists_those_that_exist(night: NightMaker) -> None:
    done = run(night, "2026-01-26")
    assert (done.returncode, done.stdout) == (1, "")
    assert "unknown_night" in done.stderr
    assert DATE in done.stderr
    assert not (night.root / "nights" / "2026-01-26").exists()


@pytest.mark.parametrize("date", ["yesterday", "2026-13-01", "../2026-01-25"])
def test_what_is_no_date_is_wrong_usage(night: NightMaker, date: str) -> None:
    done = run(night, date)
    assert (done.returncode, done.stdout) == (2, "")
