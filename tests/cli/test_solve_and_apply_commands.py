"""The commands ``solve`` and ``apply``, as a person or a script calls them."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from support.calibrator_transits import copy_ms, run_command

from dsa110_contimg.calibration.models import CALIBRATOR_ALONE, CalibrationRecord, SolutionSet

pytestmark = pytest.mark.casa


def test_solve_finds_the_calibrator_and_what_is_there_already(transits, tmp_path):
    done = run_command(
        transits, tmp_path, "solve", transits.before, "--calibrators", transits.catalogue
    )
    found = transits.sets[transits.before]
    assert done.returncode == 0
    # What the model lacks is told to people and to programs: it is a flux scale that is wrong.
    assert done.stderr.splitlines() == [f"note: {note}" for note in found.notes]
    assert [note.split(":")[0] for note in found.notes] == [CALIBRATOR_ALONE]
    first, *lines = done.stdout.splitlines()
    assert first.startswith(f"{found.set_id}: {found.calibrator}, 8.78 Jy at mid-band, 12 antennas")
    assert first.endswith(f"reference antenna {found.refant}")
    rows = {line.split()[0]: line.split()[1:] for line in lines if line.split()}
    for one in found.tables:
        quality = one.quality
        assert rows[one.kind] == [
            f"{quality.unflagged_fraction:.1%}",
            f"{quality.median_snr:.0f}",
            f"{quality.phase_scatter_deg:.3f}°",
            f"{quality.amplitude_scatter:.3%}",
            "-",
        ]
        assert f"{found.directory}/{one.plot}" in lines
    assert list(tmp_path.iterdir()) == []


def test_solve_as_json(transits, tmp_path):
    done = run_command(
        transits,
        tmp_path,
        *("solve", transits.before, "--calibrators", transits.catalogue),
        *("--calibrator", transits.calibrators[transits.before].name, "--json"),
    )
    assert done.returncode == 0
    assert CALIBRATOR_ALONE in done.stderr
    found = SolutionSet.model_validate(json.loads(done.stdout))
    assert found == transits.sets[transits.before]


def test_solve_with_the_options_of_the_command_line(transits, solved_by_command, delayed):
    work_dir, done = solved_by_command
    assert done.returncode == 0
    assert "1 known source(s) have no flux density" in done.stderr
    assert delayed.refant == "33"
    assert [table.kind for table in delayed.tables] == ["delay", "bandpass", "gain"]
    assert Path(delayed.directory).is_relative_to(work_dir / "calibration")
    assert [one["name"] for one in delayed.provenance.options["others"]] == ["near"]
    assert not any(CALIBRATOR_ALONE in note for note in delayed.notes)
    listed = run_command(transits, work_dir, "calibrations", "--work-dir", work_dir)
    assert delayed.set_id in listed.stdout
    assert "nan" not in listed.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("field",), "no calibrator of 2 Jy or more through the beam transits during"),
        (("before", "--calibrator", "3C286"), "has no calibrator 3C286"),
        (("before", "--refant", "2"), "no data of an antenna 2"),
    ],
)
def test_solve_that_fails_says_why(transits, tmp_path, arguments, words):
    name, *others = arguments
    ms = getattr(transits, name)
    done = run_command(
        transits, tmp_path, "solve", ms, "--calibrators", transits.catalogue, "--json", *others
    )
    assert (done.returncode, done.stdout) == (1, "")
    assert words in " ".join(done.stderr.split())


def test_apply_says_what_it_chose(transits, tmp_path):
    ms = copy_ms(transits.field, tmp_path)
    missing = tmp_path / "missing.ms"
    before, after = (transits.sets[one].set_id for one in (transits.before, transits.after))
    done = run_command(transits, tmp_path, "apply", missing, ms)
    assert done.returncode == 1  # of one of them
    assert "missing.ms: failed (missing_ms)" in done.stderr
    sentence = f"borrowed, interpolated between {before} (0.5 h earlier) and {after} (0.5 h later)"
    assert done.stdout.splitlines()[0] == f"{ms.name}: {sentence}"
    again = run_command(transits, tmp_path, "apply", ms, "--json")
    assert (again.returncode, again.stderr) == (0, "")
    [told] = json.loads(again.stdout)
    assert (told["ms"], told["error"]) == (str(ms), None)
    record = CalibrationRecord.model_validate(told["calibration"])
    assert (record.skipped, record.sentence) == (True, sentence)
    alone = run_command(transits, tmp_path, "apply", ms, "--no-interpolate", "--set", before)
    assert alone.stdout.splitlines()[0] == f"{ms.name}: borrowed from {before} (0.5 h earlier)"
    shutil.rmtree(ms)


@pytest.mark.parametrize(
    ("options", "reason", "words"),
    [
        (("--max-hours", "0.2"), "no_valid_calibration", "at most 0.2 h are allowed"),
        (("--set", "nosuch"), "unknown_set", "has no set nosuch"),
    ],
)
def test_apply_that_fails_says_why(transits, tmp_path, options, reason, words):
    done = run_command(transits, tmp_path, "apply", transits.field, *options, "--json")
    assert done.returncode == 1
    [told] = json.loads(done.stdout)
    assert (told["calibration"], told["error"]["reason"]) == (None, reason)
    assert words in told["error"]["message"]
    assert words in " ".join(done.stderr.split())


@pytest.mark.parametrize(
    "arguments",
    [
        ("apply", "x.ms", "--max-hours", "0"),
        ("solve", "x.ms", "--work-dir", "nosuch"),
    ],
)
def test_wrong_usage(transits, tmp_path, arguments):
    done = run_command(transits, tmp_path, *arguments)
    assert done.returncode == 2
    assert done.stdout == ""


@pytest.mark.parametrize("command", ["solve", "apply"])
def test_help_teaches(transits, tmp_path, command):
    done = run_command(transits, tmp_path, command, "--help")
    assert done.returncode == 0
    words = " ".join(done.stdout.split())
    assert f"Example: dsa110-contimg {command} 2026-01-25T" in words
    assert "Exit status 0" in words
    assert "--work-dir" in words
