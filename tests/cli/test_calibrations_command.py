"""The command ``calibrations``, as a person or a script calls it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from support.solution_sets import GOOD, MID_MJD, make_set, publish_set

from dsa110_contimg.calibration.models import CalTable
from dsa110_contimg.calibration.registry import Registry, SolvedTransit

pytestmark = pytest.mark.unit

COMMAND = Path(sys.executable).with_name("dsa110-contimg")
SET = "2026-01-25T08:06:19_0834+555"


def run(work_dir: Path, *arguments: object, columns: int = 200) -> subprocess.CompletedProcess[str]:
    """Run the console script, in a terminal wide enough for whole lines."""
    return subprocess.run(
        [COMMAND, "calibrations", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        cwd=work_dir,
        env={
            **os.environ,
            "DSA110_CONTIMG_WORK_DIR": str(work_dir),
            "COLUMNS": str(columns),
            "TERM": "dumb",
        },
    )


@pytest.fixture
def registry(tmp_path: Path) -> Registry:
    """A good set of two tables, and a refused transit a day later."""
    registry = Registry(f"sqlite:///{tmp_path / 'calibration' / 'registry.sqlite'}")
    worse = GOOD.model_copy(update={"unflagged_fraction": 0.913, "phase_scatter_deg": 1.26})
    tables = [
        CalTable(kind=kind, name=f"{kind}.cal", files={"table.dat": "ab"}, quality=quality)
        for kind, quality in (("bandpass", GOOD), ("gain", worse))
    ]
    registry.add(make_set(SET, 0.0, tables=tables))
    transit = SolvedTransit(
        set_id="next", calibrator="3C286", group_id="g", mid_mjd=MID_MJD + 1, dec_deg=30.5
    )
    registry.refuse(transit, "[SNR] 2.1 is below 5")
    return registry


def test_table_for_people(tmp_path, registry):
    result = run(tmp_path)
    assert (result.returncode, result.stderr) == (0, "")
    (good,) = [line for line in result.stdout.splitlines() if SET in line]
    assert good.split() == [
        *(SET, "0834+555", "08:09", "+54.57°", "pad3", "91.3%", "140", "1.26°"),
        "good",
    ]
    (refused,) = [line for line in result.stdout.splitlines() if "3C286" in line]
    assert refused.split() == [
        *("next", "3C286", "08:09", "+30.50°", "-", "-", "-", "-", "refused")
    ]
    assert "\nnext  [SNR] 2.1 is below 5\n" in result.stdout


def test_a_narrow_terminal_loses_nothing(tmp_path, registry):
    """What is in the name of the set, or matters least, is left out by name."""
    words = run(tmp_path, columns=80).stdout.split()
    for word in (SET, "+54.57°", "91.3%", "1.26°", "good", "refused"):
        assert word in words
    assert words[words.index("width:") :][:4] == ["width:", "Calibrator,", "Middle,", "Refant"]


def test_json_is_all_there_is_on_standard_output(tmp_path, registry):
    result = run(tmp_path, "--json")
    assert (result.returncode, result.stderr) == (0, "")
    good, refused = json.loads(result.stdout)
    assert (good["set_id"], good["state"], good["solution_set"]["refant"]) == (SET, "good", "pad3")
    assert (refused["state"], refused["solution_set"]) == ("refused", None)
    assert refused["reason"] == "[SNR] 2.1 is below 5"


def test_interval(tmp_path, registry):
    later = run(tmp_path, "--json", "--start", "2026-01-26T00:00:00")
    assert [record["set_id"] for record in json.loads(later.stdout)] == ["next"]
    first = run(tmp_path, "--json", "--end", "2026-01-26T00:00:00Z")
    assert [record["set_id"] for record in json.loads(first.stdout)] == [SET]


def test_withdraw_and_reinstate(tmp_path, registry):
    result = run(tmp_path, "--withdraw", SET, "--reason", "wind above 15 m/s")
    assert result.returncode == 0
    assert f"\n{SET}  wind above 15 m/s\n" in result.stdout
    assert registry.get(SET).state == "withdrawn"
    back = run(tmp_path, "--reinstate", SET, "--json")
    assert json.loads(back.stdout)[0]["state"] == "good"
    assert registry.get(SET).state == "good"


def test_an_unknown_set_is_a_failure(tmp_path, registry):
    result = run(tmp_path, "--reinstate", "none", "--json")
    assert (result.returncode, result.stdout) == (1, "")
    assert "unknown_set" in result.stderr


def test_a_lost_registry_is_rebuilt(tmp_path):
    """What a solve left on disk is on record again; what is damaged is passed over by name."""
    made = publish_set(tmp_path / "calibration" / SET[:10], SET)
    (Path(made.directory) / "set.json").write_text(made.model_dump_json())
    broken = tmp_path / "calibration" / SET[:10] / "broken"
    broken.mkdir()
    (broken / "set.json").write_text("{")
    result = run(tmp_path, "--rebuild", "--json")
    assert result.returncode == 0, result.stderr
    assert [record["set_id"] for record in json.loads(result.stdout)] == [SET]
    assert "1 sets registered, 0 were on record" in result.stderr
    assert f"passed over {broken}" in result.stderr
    again = run(tmp_path, "--rebuild")
    assert (again.returncode, again.stdout) == (0, "")
    assert "0 sets registered, 1 were on record" in again.stderr


def test_nothing_on_record(tmp_path):
    result = run(tmp_path, "--work-dir", tmp_path)
    assert result.returncode == 0
    assert f"no set on record in {tmp_path / 'calibration' / 'registry.sqlite'}" in result.stdout


@pytest.mark.parametrize(
    "arguments",
    [
        ("--withdraw", SET),
        ("--withdraw", SET, "--reason", " "),
        ("--reason", "wind"),
        ("--withdraw", SET, "--reason", "wind", "--reinstate", SET),
        ("--reinstate", SET, "--start", "2026-01-26"),
        ("--start", "yesterday"),
        ("--rebuild", "--reinstate", SET),
        ("--rebuild", "--end", "2026-01-26"),
    ],
)
def test_wrong_usage(tmp_path, arguments):
    result = run(tmp_path, *arguments)
    assert (result.returncode, result.stdout) == (2, "")
    assert "Usage" in result.stderr
    assert not (tmp_path / "calibration").exists()


def test_help_teaches(tmp_path):
    result = run(tmp_path, "--help")
    assert result.returncode == 0
    assert "--withdraw 2026-01-25T08:06:19_0834+555" in result.stdout
    assert "only a new solve mends that" in result.stdout
