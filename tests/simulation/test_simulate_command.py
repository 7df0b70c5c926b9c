"""The command ``simulate``."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from dsa110_contimg.cli.main import app
from dsa110_contimg.simulation.night import SimulationOptions, SimulationResult

pytestmark = pytest.mark.unit

FEW = ["--antennas", "3", "--missing", ",".join(f"sb{n:02d}" for n in range(2, 16))]


def run(*arguments: object) -> subprocess.CompletedProcess[str]:
    """Run the real command line."""
    code = "from dsa110_contimg.cli.main import main; main()"
    return subprocess.run(
        [sys.executable, "-P", "-c", code, "simulate", *map(str, arguments)],
        capture_output=True,
        text=True,
        check=False,
        env={**os.environ, "COLUMNS": "200"},
    )


def test_json_alone_is_on_standard_output(tmp_path: Path) -> None:
    done = run(tmp_path / "night", *FEW, "--groups", 2, "--json")
    assert done.returncode == 0, done.stderr
    result = SimulationResult.model_validate(json.loads(done.stdout))
    assert result.written == 4
    assert all(Path(path).is_file() for path in result.files)


def test_every_option_arrives(tmp_path: Path) -> None:
    sources = tmp_path / "sky.csv"
    sources.write_text("name,ra_deg,dec_deg,flux_jy\nJ1,128.0,37.0,2.5\n")
    out = tmp_path / "night"
    arguments = [out, "--start", "2026-02-01T10:00:00", "--sources", sources, "--dec-deg", 37.1]
    arguments += ["--sefd-jy", 12.5, "--no-jitter", "--gain-errors", "--seed", 4, "--json", *FEW]
    arguments += ["--rfi", "--dead-antennas", 0, "--calibrator-jy", 2.5]
    arguments += ["--groups", 2, "--calibrator-group", 1]
    done = run(*arguments)
    assert done.returncode == 0, done.stderr
    from dsa110_contimg.simulation.truth import read_truth_meta

    options = SimulationOptions.model_validate(
        {**read_truth_meta(out / "truth.ecsv")["options"], "output_dir": out}
    )
    assert options.start.isoformat() == "2026-02-01T10:00:00+00:00"
    assert [source.name for source in options.sources or ()] == ["J1"]
    assert (options.dec_deg, options.sefd_jy, options.seed) == (37.1, 12.5, 4)
    assert (options.jitter, options.gain_errors, options.n_antennas) == (False, True, 3)
    assert (options.rfi, options.dead_antennas) == (True, 0)
    assert (options.calibrator_jy, options.calibrator_group) == (2.5, 1)
    assert {name[:19] for name in json.loads(done.stdout)["groups"][0]["file_names"].values()} == {
        "2026-02-01T10:00:00"
    }


def test_defaults_of_the_command_are_those_of_the_options(tmp_path: Path) -> None:
    done = run(tmp_path / "night", "--missing", FEW[-1], "--antennas", 2)
    assert done.returncode == 0, done.stderr
    from dsa110_contimg.simulation.truth import read_truth_meta

    options = SimulationOptions.model_validate(
        {**read_truth_meta(tmp_path / "night/truth.ecsv")["options"], "output_dir": "x"}
    )
    expected = SimulationOptions(output_dir=Path("x"), n_antennas=2, missing=options.missing)
    assert options == expected


def test_a_second_run_says_that_there_is_nothing_to_do(tmp_path: Path) -> None:
    assert "2 files written" in run(tmp_path / "night", *FEW).stdout
    again = run(tmp_path / "night", *FEW)
    assert again.returncode == 0
    assert "nothing to do: all 2 files" in again.stdout


def test_the_summary_names_everything_that_was_written(tmp_path: Path) -> None:
    done = run(tmp_path / "night", *FEW, "--gain-errors", "--rfi", "--calibrator-jy", 1)
    assert done.returncode == 0, done.stderr
    beside = {path.name for path in (tmp_path / "night").glob("*.ecsv")}
    assert len(beside) == 5
    assert all(str(tmp_path / "night" / name) in done.stdout for name in beside)


def test_another_night_in_the_directory_fails_with_a_reason(tmp_path: Path) -> None:
    run(tmp_path / "night", *FEW)
    done = run(tmp_path / "night", *FEW, "--seed", 1)
    assert done.returncode == 1
    assert "other_night" in done.stderr
    assert not done.stdout


@pytest.mark.parametrize(
    "wrong",
    [
        ["--antennas", "97"],
        ["--missing", "sb16"],
        ["--start", "yesterday"],
        ["--start", "9999-12-31T23:59:59"],
        ["--start", "0001-01-01T00:00:00+12:00"],
        ["--groups", "none"],
        ["--dead-antennas", "95"],
        ["--sefd-jy", "nan"],
        ["--dec-deg", "nan"],
        ["--calibrator-jy", "8800"],
        ["--calibrator-jy", "1", "--calibrator-group", "1"],
        ["--no-such-option"],
    ],
)
def test_wrong_usage_exits_2_and_writes_nothing(tmp_path: Path, wrong: list[str]) -> None:
    outcome = CliRunner().invoke(app, ["simulate", str(tmp_path / "night"), *wrong])
    assert outcome.exit_code == 2
    assert not (tmp_path / "night").exists()


def test_help_teaches_with_an_example() -> None:
    outcome = CliRunner().invoke(app, ["simulate", "--help"])
    assert outcome.exit_code == 0
    assert "Example: dsa110-contimg simulate" in outcome.stdout
