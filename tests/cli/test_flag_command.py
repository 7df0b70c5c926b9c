"""The command ``flag``, as a person or a script calls it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from support.rfi_night import read_column
from typer.testing import CliRunner

from dsa110_contimg.cli.main import app
from dsa110_contimg.flagging.flag_ms import plot_path
from dsa110_contimg.storage.ms_change import Change, record_path

pytestmark = [pytest.mark.casa, pytest.mark.usefixtures("private_places")]

COMMAND = Path(sys.executable).with_name("dsa110-contimg")
TERMINAL = {"COLUMNS": "300", "TERM": "dumb"}


def run(*arguments: object) -> Result:
    """Run the command in this process, which saves a second."""
    return CliRunner(env=TERMINAL).invoke(
        app, ["flag", *map(str, arguments)], prog_name="dsa110-contimg"
    )


def test_flag_skip_and_undo(own_ms: Path, tmp_path: Path) -> None:
    """Of two MSs one is not there: the other is flagged, and the exit status says so."""
    converted, absent = read_column(own_ms, "FLAG"), tmp_path / "absent.ms"
    done = run(absent, own_ms, "--flagger", "casa")
    assert done.exit_code == 1
    assert "[1/2] absent.ms: failed" in done.stderr
    assert f"missing_ms: {absent} does not exist" in done.stderr
    assert "[2/2] own.ms: flagged" in done.stderr
    assert "dead antennas 0." in done.stderr, "the steps and their seconds"
    for step in ("flag versions", "clip", "summary"):
        assert f"own: {step}\n" in done.stderr, "what is done, while it is done"
    title, row, picture = done.stdout.splitlines()
    assert title.split("  ")[0] == "MS"
    before, after = (
        100 * flags[read_column(own_ms, "ANTENNA1") != read_column(own_ms, "ANTENNA2")].mean()
        for flags in (converted, read_column(own_ms, "FLAG"))
    )
    assert row.split()[:5] == ["own.ms", "casa", f"{before:.2f}%", f"{after:.2f}%", "-"]
    assert picture == f"own.ms: {plot_path(own_ms)}"

    again = run(own_ms, "--json")
    assert again.exit_code == 0
    (told,) = json.loads(again.stdout)
    assert told["state"] == "skipped"
    assert told["error"] is None
    on_disk = json.loads(record_path(own_ms, Change.FLAGGING).read_bytes())
    assert told["flagging"]["after"] == on_disk["after"]
    assert "has been flagged so before" in again.stderr

    undone = run(own_ms, "--undo", "--json")
    assert undone.exit_code == 0
    assert [one["state"] for one in json.loads(undone.stdout)] == ["undone"]
    np.testing.assert_array_equal(read_column(own_ms, "FLAG"), converted)
    assert not record_path(own_ms, Change.FLAGGING).exists()
    assert not plot_path(own_ms).exists()


def test_what_was_not_flagged_cannot_be_undone(own_ms: Path) -> None:
    done = run(own_ms, "--undo", "--json")
    assert done.exit_code == 1
    (told,) = json.loads(done.stdout)
    assert told["state"] == "failed"
    assert told["error"]["reason"] == "not_flagged"


def test_without_aoflagger_the_error_says_what_to_do(
    own_ms: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")
    done = run(own_ms, "--flagger", "aoflagger")
    assert done.exit_code == 1
    assert "no_aoflagger: the program aoflagger is not installed" in done.stderr
    assert "apt-get install aoflagger" in done.stderr
    assert done.stdout == ""


@pytest.mark.parametrize(
    "arguments",
    [[], ["x.ms", "--flagger", "hand"], ["x.ms", "--undo", "--again"]],
)
def test_wrong_usage(arguments: list[str]) -> None:
    done = run(*arguments)
    assert done.exit_code == 2
    assert "Usage: dsa110-contimg flag" in done.stderr


def test_help_teaches() -> None:
    done = subprocess.run(
        [COMMAND, "flag", "--help"],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ, **TERMINAL},
    )
    for words in ("Example: dsa110-contimg flag", "--flagger", "--undo", "Exit status 0"):
        assert words in done.stdout
