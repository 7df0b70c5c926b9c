"""The command ``groups``, as a person or a script calls it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from support.subband_files import file_name, write_group

pytestmark = pytest.mark.unit

NIGHT = datetime(2026, 1, 25, tzinfo=UTC)
COMMAND = Path(sys.executable).with_name("dsa110-contimg")


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the console script, in a terminal wide enough for whole lines."""
    return subprocess.run(
        [COMMAND, "groups", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "200", "TERM": "dumb"},
    )


@pytest.fixture
def night(tmp_path: Path) -> Path:
    """A complete group, a group of 12, and a truncated file."""
    write_group(tmp_path, NIGHT)
    later = write_group(tmp_path, NIGHT + timedelta(seconds=309), range(13))
    os.truncate(later[12], 3000)
    return tmp_path


def test_json_is_all_there_is_on_standard_output(night):
    result = run(night, "--json")
    assert (result.returncode, result.stderr) == (0, "")
    listing = json.loads(result.stdout)
    assert list(listing) == ["groups", "rejects"]
    first, second = listing["groups"]
    assert first == {
        "group_id": "2026-01-25T00:00:00",
        "state": "complete",
        "present": [f"sb{k:02d}" for k in range(16)],
        "missing": [],
        "files": [str(night / file_name(NIGHT, k)) for k in range(16)],
        "problems": [],
    }
    assert (second["state"], second["missing"]) == (
        "semi-complete",
        ["sb12", "sb13", "sb14", "sb15"],
    )
    assert [list(reject) for reject in listing["rejects"]] == [["file", "reason"]]


def test_table_for_people(night):
    result = run(night)
    assert result.returncode == 0
    for text in ("2026-01-25T00:05:09", "semi-complete", "sb12 sb13 sb14 sb15", "is truncated"):
        assert text in result.stdout


def test_interval(night):
    result = run(
        night, "--json", "--start", "2026-01-25T01:05:09+01:00", "--end", "2026-01-25T00:05:10Z"
    )
    groups = json.loads(result.stdout)["groups"]
    assert [group["group_id"] for group in groups] == ["2026-01-25T00:05:09"]


def test_missing_directory_is_a_failure(tmp_path):
    result = run(tmp_path / "nowhere", "--json")
    assert (result.returncode, result.stdout) == (1, "")
    assert "missing_directory" in result.stderr
    assert "nowhere does not exist" in result.stderr


@pytest.mark.parametrize("arguments", [(), (".", "--start", "yesterday"), (".", "--no-such")])
def test_wrong_usage(arguments):
    result = run(*arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert "Usage" in result.stderr


def test_help_shows_an_example():
    result = run("--help")
    assert result.returncode == 0
    assert "--start 2026-01-25T00:00:00" in result.stdout


@pytest.mark.parametrize("option", [(), ("--json",)])
def test_names_of_files_do_not_steer_the_terminal(tmp_path, option):
    """A title of the window, a colour, a direction of writing, markup, bytes without meaning."""
    for name in (b"a\x1b]0;x\x07_sb00", b"b\x1b[31m_sb01", "c\u202e_sb02".encode(), b"d[red]_sb03",
                 b"e\xff_sb04", b"f\r\n_sb05"):  # fmt: skip
        Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name + b".hdf5")).touch()
    result = run(tmp_path, *option)
    assert result.returncode == 0
    said = result.stdout + result.stderr
    assert said.replace("\n", "").isprintable()
    assert said.isascii()
    assert r"f\r\n_sb05" in said
    assert "d[red]_sb03" in said
