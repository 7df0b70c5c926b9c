"""The command ``backfill``, before it has an Airflow to talk to."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

COMMAND = Path(sys.executable).with_name("dsa110-contimg")
RANGE = ("--from", "2026-01-25", "--to", "2026-01-26")


def run(directory: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the console script in an empty directory."""
    return subprocess.run(
        [COMMAND, "backfill", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=directory,
        env={**os.environ, "COLUMNS": "200", "TERM": "dumb"},
    )


@pytest.mark.parametrize(
    ("arguments", "word"),
    [
        (("--from", "2026-01-25"), "--to"),
        (("--from", "2026-01-26", "--to", "2026-01-25"), "2026-01-25 is before 2026-01-26"),
        (("--from", "2026-01-26", "--to", "tomorrow"), "'tomorrow' is not a date"),
        ((*RANGE, "--max-active", "0"), "--max-active"),
    ],
)
def test_wrong_usage(tmp_path: Path, arguments: tuple[str, ...], word: str) -> None:
    result = run(tmp_path, *arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert word in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_an_airflow_that_is_not_there(tmp_path: Path) -> None:
    result = run(tmp_path, *RANGE, "--json", "--url", "http://127.0.0.1:1/")
    assert (result.returncode, result.stdout) == (1, "")
    assert "http://127.0.0.1:1 does not answer" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_help_teaches(tmp_path: Path) -> None:
    words = " ".join(run(tmp_path, "--help").stdout.split())
    assert "dsa110-contimg backfill --from 2026-01-25 --to 2026-01-31" in words
    assert "A night that fails does not hold up the others" in words
