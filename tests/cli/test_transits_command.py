"""The command ``transits``, as a person or a script calls it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from click.testing import Result
from support.subband_files import write_group
from typer.testing import CliRunner

from dsa110_contimg.astrometry import meridian_icrs_deg
from dsa110_contimg.cli.main import app

pytestmark = pytest.mark.unit

COMMAND = Path(sys.executable).with_name("dsa110-contimg")
TRANSIT_GROUP = datetime(2026, 1, 25, 8, 9, tzinfo=UTC)
"""0834+555 transits at 08:11:28."""
CALIBRATORS = {
    "name": ["0834+555", "weak", "resolved", "elsewhere"],
    "ra_deg": [128.72877, 150.0, 200.0, 100.0],
    "dec_deg": [55.57252, 54.6, 54.6, 10.0],
    "flux_jy": [8.8, 2.5, 9.0, 50.0],
    "quality": ["P", "", "X", "P"],
}


def environment(work_dir: Path) -> dict[str, str]:
    """A terminal wide enough for whole lines, and a work directory."""
    return {"COLUMNS": "200", "TERM": "dumb", "DSA110_CONTIMG_WORK_DIR": str(work_dir)}


def run_script(*arguments: object, work_dir: Path) -> subprocess.CompletedProcess[str]:
    """Run the console script."""
    return subprocess.run(
        [COMMAND, "transits", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, **environment(work_dir)},
    )


def run(*arguments: object, work_dir: Path) -> Result:
    """Run the command in this process, which saves a second."""
    runner = CliRunner(env=environment(work_dir))
    return runner.invoke(app, ["transits", *map(str, arguments)], prog_name="dsa110-contimg")


@pytest.fixture
def work_dir(tmp_path: Path) -> Path:
    """A work directory with its catalogue."""
    Table(CALIBRATORS).write(tmp_path / "calibrators.ecsv")
    return tmp_path


def test_table_for_people(work_dir):
    result = run("--date", "2026-01-25", "--dec-deg", 54.573, work_dir=work_dir)
    assert (result.exit_code, result.stderr) == (0, "")
    [row] = [line.split() for line in result.stdout.splitlines() if "0834+555" in line]
    assert row == [
        "2026-01-25T08:11:28",
        "0834+555",
        "08:34:54.90",
        "+55:34:21.1",
        "+0.91",
        "0.799",
        "8.80",
        "7.03",
        "P",
    ]
    assert "weak" in result.stdout
    assert not {"resolved", "elsewhere"} & set(result.stdout.split())


def test_json_is_all_there_is_on_standard_output(work_dir):
    result = run_script(
        *("--date", "2026-01-25", "--dec-deg", 54.573, "--min-jy", 3, "--any-quality", "--json"),
        work_dir=work_dir,
    )
    assert (result.returncode, result.stderr) == (0, "")
    answer = json.loads(result.stdout)
    assert answer["date"] == "2026-01-25"
    assert [one["calibrator"]["name"] for one in answer["transits"]] == ["0834+555", "resolved"]
    assert answer["transits"][0]["transit_utc"].startswith("2026-01-25T08:11:28.")
    assert (answer["groups"], answer["solve_on"], answer["problems"]) == (None, {}, [])


def test_a_simulated_group_holds_its_transit(work_dir, simulate_night):
    night = simulate_night(n_antennas=4, start=TRANSIT_GROUP, dec_deg=54.573, missing=("sb03",))
    result = run(
        "--date", "2026-01-25", "--input-dir", night.output_dir, "--json", work_dir=work_dir
    )
    assert (result.exit_code, result.stderr) == (0, "")
    answer = json.loads(result.stdout)
    groups = {one["calibrator"]["name"]: one["group_id"] for one in answer["transits"]}
    assert groups == {"0834+555": "2026-01-25T08:09:00", "weak": None}
    assert answer["transits"][0]["pointing_dec_deg"] == pytest.approx(54.573)
    assert answer["solve_on"] == {"2026-01-25T08:09:00": "0834+555"}
    table = run("--date", "2026-01-25", "--input-dir", night.output_dir, work_dir=work_dir).stdout
    last = {line.split()[1]: line.split()[-1] for line in table.splitlines()[1:]}
    assert last == {"0834+555": "2026-01-25T08:09:00", "weak": "-"}


def test_a_group_that_began_before_midnight(tmp_path):
    """A transit 90 s after midnight is of the date; its group is of the day before."""
    date = datetime(2026, 6, 1, tzinfo=UTC)
    transit_jd = (date.timestamp() + 90) / 86400 + 2440587.5
    ra_deg, dec_deg = meridian_icrs_deg(54.7, transit_jd)
    catalogue = tmp_path / "one.ecsv"
    rows = {"name": ["one"], "ra_deg": [ra_deg], "dec_deg": [dec_deg], "flux_jy": [8.8]}
    Table(rows).write(catalogue)
    night = tmp_path / "night"
    write_group(night, date - timedelta(seconds=120), dec_rad=np.deg2rad(54.573))
    result = run(
        *("--date", "2026-06-01", "--input-dir", night, "--calibrators", catalogue, "--json"),
        work_dir=tmp_path,
    )
    answer = json.loads(result.stdout)
    # Just after midnight, and again a sidereal day later.
    times = [one["transit_utc"] for one in answer["transits"]]
    assert [time[:16] for time in times] == ["2026-06-01T00:01", "2026-06-01T23:57"]
    assert answer["solve_on"] == {"2026-05-31T23:58:00": "one"}


def test_none_is_an_answer(work_dir):
    result = run("--date", "2026-01-25", "--dec-deg", -20, work_dir=work_dir)
    assert result.exit_code == 0
    assert "No calibrator of 2 Jy or more" in result.stdout


def test_a_date_without_groups(work_dir, tmp_path):
    (tmp_path / "nothing").mkdir()
    result = run("--date", "2026-01-25", "--input-dir", tmp_path / "nothing", work_dir=work_dir)
    assert result.exit_code == 0
    assert "No group was recorded on 2026-01-25" in result.stdout


def test_garbled_entries_are_told_apart_from_the_answer(tmp_path):
    manual = tmp_path / "vla.txt"
    manual.write_text(
        "IAU NAME EQUINOX  PC RA(hh,mm,ss)    DEC(ddd,mm,ss)\n"
        "0834+555 J2000 A 08h34m54.9s 55d34'21.07\"\n20cm L S P P P 8.80\n \n"
        "0001+001 J2000 A 00h01m 00d01'00\"\n20cm L S P P P 8.80\n"
    )
    result = run(
        *("--date", "2026-01-25", "--dec-deg", 54.6, "--calibrators", manual, "--json"),
        work_dir=tmp_path,
    )
    assert result.exit_code == 0
    assert "line 5, 0001+001: no position can be read" in result.stderr
    assert len(json.loads(result.stdout)["transits"]) == 1


def test_no_catalogue(tmp_path):
    result = run_script("--date", "2026-01-25", "--dec-deg", 54.6, "--json", work_dir=tmp_path)
    assert (result.returncode, result.stdout) == (1, "")
    assert "missing_catalogue" in result.stderr
    assert "DSA110_CONTIMG_CALIBRATORS_FILE" in result.stderr


@pytest.mark.parametrize(
    "arguments",
    [
        ("--dec-deg", 54.6),
        ("--date", "2026-01-25"),
        ("--date", "2026-01-25", "--dec-deg", 54.6, "--input-dir", "."),
        ("--date", "yesterday", "--dec-deg", 54.6),
        ("--date", "2026-01-25", "--dec-deg", 95),
        ("--date", "2026-01-25", "--dec-deg", "nan"),
        ("--date", "2026-01-25", "--dec-deg", 54.6, "--min-jy", "inf"),
    ],
)
def test_wrong_usage(tmp_path, arguments):
    result = run(*arguments, work_dir=tmp_path)
    assert (result.exit_code, result.stdout) == (2, "")
    assert "Usage" in result.stderr


def test_help_shows_an_example(tmp_path):
    result = run("--help", work_dir=tmp_path)
    assert result.exit_code == 0
    assert "--date 2026-01-25 --dec-deg 54.57" in result.stdout


@pytest.mark.parametrize("columns", [60, 80, 100])
@pytest.mark.parametrize("with_groups", [False, True])
def test_time_and_name_are_whole_at_any_width(
    work_dir, tmp_path, monkeypatch, columns, with_groups
):
    pointing = ("--dec-deg", 54.573)
    if with_groups:
        write_group(tmp_path / "in", TRANSIT_GROUP, dec_rad=np.deg2rad(54.573))
        pointing = ("--input-dir", tmp_path / "in")
    monkeypatch.setenv("COLUMNS", str(columns))
    runner = CliRunner(env={**environment(work_dir), "COLUMNS": str(columns)})
    result = runner.invoke(app, ["transits", "--date", "2026-01-25", *map(str, pointing)])
    assert result.exit_code == 0, result.stderr
    [line] = [line for line in result.stdout.splitlines() if "0834+555" in line]
    assert re.match(r"2026-01-25T08:1\d:\d\d +0834\+555", line)
    assert "7.03" in line.split() or columns == 60
    assert "…" not in result.stdout
    *table, last = result.stdout.splitlines()
    assert max(map(len, table)) <= columns
    assert last.startswith("left out at this width: ") or len(last) <= columns


def test_in_a_pipe_every_column_is_there(work_dir, monkeypatch):
    monkeypatch.delenv("COLUMNS", raising=False)
    runner = CliRunner(env={"DSA110_CONTIMG_WORK_DIR": str(work_dir), "COLUMNS": None})
    result = runner.invoke(app, ["transits", "--date", "2026-01-25", "--dec-deg", "54.57"])
    head, first, *_ = result.stdout.splitlines()
    assert head.split()[:2] == ["UTC", "calibrator"]
    assert "left out" not in result.stdout
    assert {"0834+555", "P", "8.80"} <= set(first.split())


def test_the_settings_say_where_everything_is(work_dir, tmp_path, monkeypatch):
    """Catalogue, least flux density and raw files, from the settings file or the command line."""
    write_group(tmp_path / "raw", TRANSIT_GROUP, dec_rad=np.deg2rad(54.573))
    catalogue = (work_dir / "calibrators.ecsv").rename(tmp_path / "elsewhere.ecsv")
    settings = tmp_path / "settings.toml"
    settings.write_text(
        f'calibrators_file = "{catalogue}"\ninput_dir = "{tmp_path / "raw"}"\n'
        "calibrator_min_jy = 2.4\n"
    )
    monkeypatch.setenv("DSA110_CONTIMG_CONFIG", str(settings))
    arguments = ["transits", "--date", "2026-01-25", "--json", "--work-dir", str(work_dir)]
    result = CliRunner().invoke(app, arguments)
    assert result.exit_code == 0, result.stderr
    told = json.loads(result.stdout)
    assert (told["catalogue"], told["groups"]) == (str(catalogue), 1)
    assert told["min_apparent_jy"] == 2.4
    assert "0834+555" in [one["calibrator"]["name"] for one in told["transits"]]
