"""The command ``backfill``, before it has an Airflow to talk to."""

from __future__ import annotations

import os
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from dsa110_contimg.cli.backfill import _LinePerChange
from dsa110_contimg.orchestration.backfill import BackfillProgress
from dsa110_contimg.orchestration.night import NightProgress
from dsa110_contimg.orchestration.pace import Pace

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


def test_lines_say_what_is_awaited_and_how_long_the_rest_takes(
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Without a terminal; each thing once."""
    begun = datetime.now(UTC) - timedelta(minutes=10)
    waits = ("waits for files: last change 20:43:10 UTC, closes at 20:53:10",)
    nights = [
        NightProgress(waits=waits),
        NightProgress(),  # it looks again
        NightProgress(waits=waits),
        NightProgress(groups=4, groups_done=2, pace=Pace(groups=4, finished=2, began=begun)),
    ]
    lines = _LinePerChange()
    for night in nights:
        lines.show(BackfillProgress(states={"N": "running"}, nights={"N": night}, began=begun))
    unknown = "(remaining time not known yet: no group is done)"
    assert [line[10:] for line in capsys.readouterr().err.splitlines()] == [
        f"night of N  {waits[0]}",
        f"night of N  running  groups 0/0, measured 0  {unknown}",
        "night of N  running  groups 2/4, measured 0  (about 10 min left)",
    ]


def test_help_teaches(tmp_path: Path) -> None:
    words = " ".join(run(tmp_path, "--help").stdout.split())
    assert "dsa110-contimg backfill --from 2026-01-25 --to 2026-01-31" in words
    assert "A night that fails does not hold up the others" in words
