"""``dsa110-contimg night`` from a shell: everything real, nothing left behind."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sqlite3
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import psutil
import pytest
from support.descendants import Eavesdropper

from dsa110_contimg.catalog.sources import read_sources, write_sources

pytestmark = [pytest.mark.airflow, pytest.mark.slow, pytest.mark.alone]

COMMAND = (sys.executable, "-P", "-c", "from dsa110_contimg.cli.main import main; main()", "night")


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory with an empty home, an empty current directory, and the work directory."""
    root = tmp_path_factory.mktemp("shell")
    for name in ("home", "cwd", "tmp"):
        (root / name).mkdir()
    return root


def start(shell: Path, *options: str) -> subprocess.Popen[str]:
    caches = {"MPLCONFIGDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"}
    return subprocess.Popen(
        [*COMMAND, "--work-dir", str(shell / "work"), "--groups", "1", "--antennas", "8", *options],
        cwd=shell / "cwd",
        env={
            **{name: value for name, value in os.environ.items() if name not in caches},
            "HOME": str(shell / "home"),
            "TMPDIR": str(shell / "tmp"),
        },
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def run(shell: Path, *options: str) -> tuple[int, dict[str, Any], str]:
    """Exit status, the JSON on standard output, and what was said on standard error."""
    process = start(shell, "--json", *options)
    out, err = process.communicate(timeout=280)
    assert out, err
    return process.returncode, json.loads(out), err


def left_over(shell: Path) -> list[psutil.Process]:
    """Processes that work below this directory."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.AccessDenied, psutil.NoSuchProcess):
            home = process.environ().get("AIRFLOW_HOME", "")
            if home.startswith(str(shell)) and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
    return found


@pytest.fixture(scope="module")
def first(shell: Path) -> Iterator[tuple[int, dict[str, Any], str]]:
    """The first run, with one source of the three."""
    from dsa110_contimg.simulation.night import SimulationOptions, simulate

    # As the command simulates it.
    made = simulate(
        SimulationOptions(
            output_dir=shell / "work" / "incoming",
            n_groups=1,
            n_antennas=8,
            gain_errors=True,
            rfi=True,
            calibrator_jy=8.8,
        )
    )
    write_sources(read_sources(Path(made.sources_path))[:1], shell / "one.ecsv")
    with Eavesdropper() as heard:
        done = run(shell, "--sources", str(shell / "one.ecsv"))
    assert heard.addresses == {"127.0.0.1"}  # not CASA, nor any service
    return done


def test_a_night_from_end_to_end(first: tuple[int, dict[str, Any], str], shell: Path) -> None:
    status, result, words = first
    assert (status, result["state"]) == (0, "success"), words
    totals = result["report"]["totals"]
    assert totals["groups_by_outcome"]["converted"] == 1
    assert (totals["measurement_sets"], totals["source_measurements"]) == (1, 1)
    for name in ("report_html", "report_json", "ms_dir", "products_dir", "logs_dir"):
        assert Path(result[name]).exists(), name
        assert result[name] in words or name == "report_json"
    assert "groups 1/1" in words
    assert left_over(shell) == []


def test_nothing_is_written_elsewhere(first: tuple[int, dict[str, Any], str], shell: Path) -> None:
    assert first[0] == 0
    for name in ("home", "cwd", "tmp"):
        assert [str(path) for path in (shell / name).rglob("*")] == []


def ask_database(shell: Path, query: str) -> list[Any]:
    """Ask, or change, Airflow's database while no service uses it."""
    with closing(sqlite3.connect(shell / "work" / "airflow" / "airflow.db")) as database, database:
        return [row[0] for row in database.execute(query)]


def test_a_second_night_does_no_work_twice(
    first: tuple[int, dict[str, Any], str], shell: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor if Airflow has forgotten the first, as the settings say."""
    assert first[0] == 0
    ask_database(shell, "UPDATE dag_run SET start_date = '2026-01-01 00:00:00'")
    monkeypatch.setenv("DSA110_CONTIMG_RETAIN_AIRFLOW_DAYS", "2")
    before = {path: path.stat().st_mtime_ns for path in shell.glob("work/products/**/*")}
    status, result, words = run(shell, "--sources", str(shell / "one.ecsv"))
    assert status == 0, words
    assert "is in" in words
    assert "already" in words
    assert result["report"]["totals"]["groups_by_outcome"]["skipped"] == 1
    assert [source["skipped"] for source in result["report"]["sources"]] == [True]
    after = {path: path.stat().st_mtime_ns for path in shell.glob("work/products/**/*")}
    assert after == before
    runs = ask_database(shell, "SELECT run_id FROM dag_run WHERE dag_id = 'nightly_transit'")
    assert runs == [result["run_id"]]


def test_an_interrupted_night_leaves_nothing_running(
    first: tuple[int, dict[str, Any], str], shell: Path
) -> None:
    process = start(shell)
    assert process.stderr
    for line in process.stderr:
        if "triggering" in line:
            break
    time.sleep(1)
    process.send_signal(signal.SIGINT)
    process.communicate(timeout=30)
    assert process.returncode != 0
    assert left_over(shell) == []


@pytest.mark.parametrize(
    ("options", "word"),
    [
        (("--no-simulate",), "--date"),
        (("--date", "yesterday"), "yesterday"),
        (("--date", "2026-01-25", "--start", "2026-01-26T00:00:00"), "not on"),
        (("--groups", "0"), "groups"),
    ],
)
def test_wrong_usage(shell: Path, options: tuple[str, ...], word: str) -> None:
    process = start(shell, *options)
    _, words = process.communicate(timeout=60)
    assert process.returncode == 2
    assert word in words
