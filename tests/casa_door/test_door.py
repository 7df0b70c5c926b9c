"""CASA behind its door: quiet, offline, contained, bounded."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import psutil
import pytest
from support.casa_functions import (
    Question,
    abort_in_casa,
    fail_in_casa,
    hang_in_casa,
    look_around,
)

from dsa110_contimg.casa.door import open_casatasks, run_in_casa
from dsa110_contimg.errors import ScienceQualityError, TransientError

pytestmark = pytest.mark.casa

PACKAGE = Path(__file__).resolve().parents[2] / "dsa110_contimg"


@pytest.fixture
def places(tmp_path, monkeypatch) -> Path:
    """A home and a current directory that must stay empty."""
    for name in ("home", "here", "scratch"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PYTHONPATH", str(PACKAGE.parent / "tests"))  # for `support`
    monkeypatch.chdir(tmp_path / "here")
    return tmp_path


def ask(function, text: str, places: Path, timeout_s: float = 120.0):
    return run_in_casa(
        function,
        Question(text=text),
        timeout_s=timeout_s,
        log_path=places / "logs" / "casa.log",
        scratch_dir=places / "scratch",
    )


def test_child_stands_in_its_scratch_directory_and_is_offline(places):
    found = ask(look_around, "a word", places)
    scratch = places / "scratch"
    assert found.cwd == str(scratch / "casa")
    assert found.home == str(scratch / "home")
    assert found.tmp == str(scratch / "tmp")
    assert found.argv == ["-c"]
    assert found.updates == [False, False]
    assert all("casadata" in path for path in found.data)
    assert found.knows_telescope
    assert found.listens == []


def test_nothing_appears_in_the_home_or_the_current_directory(places):
    ask(look_around, "", places)
    assert not list((places / "home").iterdir())
    assert not list((places / "here").iterdir())
    assert {path.name for path in places.iterdir()} == {"home", "here", "scratch", "logs"}


def test_one_log_holds_what_was_printed_and_what_casa_says(places):
    ask(look_around, "the first", places)
    ask(look_around, "the second", places)
    log = (places / "logs" / "casa.log").read_text()
    assert log.count("printed") == 2
    assert "posted the first" in log
    assert "posted the second" in log
    assert "CASA Version" in log


def test_errors_come_back_by_name(places):
    with pytest.raises(ScienceQualityError, match="no solutions") as caught:
        ask(fail_in_casa, "no solutions", places)
    assert caught.value.reason == "bad_solution"


def test_an_abort_is_transient_and_shows_the_end_of_the_log(places):
    with pytest.raises(TransientError, match="famous last words") as caught:
        ask(abort_in_casa, "famous last words", places)
    assert caught.value.reason == "child_killed"


@pytest.mark.fault
def test_a_hang_ends_with_the_time_limit(places):
    with pytest.raises(TransientError) as caught:
        ask(hang_in_casa, str(places / "pid"), places, timeout_s=5.0)
    assert caught.value.reason == "timeout"
    assert not psutil.pid_exists(int((places / "pid").read_text()))


def test_casa_is_refused_outside_the_door():
    with pytest.raises(RuntimeError, match="outside its door"):
        open_casatasks()
    assert "casatools" not in sys.modules


def test_modules_that_airflow_imports_bring_no_heavy_library():
    """Importing the stage, its models and its command must not import CASA or matplotlib."""
    modules = (
        "dsa110_contimg.casa.door, dsa110_contimg.imaging.image_source, "
        "dsa110_contimg.photometry.binning, dsa110_contimg.cli.adaptive"
    )
    heavy = "{'casatools', 'casatasks', 'casacore', 'matplotlib', 'pyuvdata', 'airflow'}"
    code = f"import sys, {modules}; print({heavy} & set(sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "set()"


def test_casatasks_is_imported_only_behind_the_door():
    """By the door, and by the one module that the child runs after it was opened."""
    importers = {
        str(file.relative_to(PACKAGE))
        for file in PACKAGE.rglob("*.py")
        for line in file.read_text().splitlines()
        if line.strip().startswith(
            ("import casatasks", "from casatasks", "import casatools", "from casatools")
        )
    }
    assert importers == {"casa/door.py", "imaging/tclean.py"}
