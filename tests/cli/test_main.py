"""What all commands share: version, help, and where they may be called."""

from __future__ import annotations

import os
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import pytest
from support.ordinary_user import as_ordinary_user, find_caches, give_away

pytestmark = pytest.mark.unit

COMMAND = str(Path(sys.executable).with_name("dsa110-contimg"))


def run(*arguments: str, **how) -> subprocess.CompletedProcess[str]:
    return subprocess.run([COMMAND, *arguments], capture_output=True, text=True, check=False, **how)


def test_version() -> None:
    done = run("--version")
    assert (done.returncode, done.stdout) == (0, f"dsa110-contimg {version('dsa110-contimg')}\n")


def test_help_says_where_settings_are_looked_for() -> None:
    words = " ".join(run("--help").stdout.replace("│", " ").split())
    assert "DSA110_CONTIMG_CONFIG names, else dsa110-contimg.toml in the current directory" in words


def test_a_current_directory_that_was_deleted(tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    gone.mkdir()
    script = f"cd {gone} && rmdir {gone} && exec {COMMAND} groups ."
    done = subprocess.run(["sh", "-c", script], capture_output=True, text=True, check=False)
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert line.startswith("error (no_current_directory): the current directory was deleted")


def test_a_reader_that_goes_away_gets_no_traceback() -> None:
    """And the command ends as one that was ended by SIGPIPE, not as one that failed."""
    script = f"{COMMAND} --help | true; exit ${{PIPESTATUS[0]}}"
    done = subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (141, "")


@pytest.mark.parametrize("name", ["[red]", "[/x]", "a\\[b]", "[link=x]y"])
def test_a_path_in_an_error_is_no_markup(name: str) -> None:
    done = run("groups", f"/nowhere/{name}")
    assert done.returncode == 1
    assert done.stderr == f"error (missing_directory): /nowhere/{name} does not exist\n"


@pytest.mark.parametrize("where", ["argument", "link", "current directory", "setting"])
def test_a_name_that_is_not_utf8_is_refused_in_one_line(tmp_path: Path, where: str) -> None:
    name = os.fsdecode(b"caf\xe9")
    (tmp_path / name).mkdir()
    (tmp_path / "link").symlink_to(name)
    argument = {"argument": str(tmp_path / name), "link": "link"}.get(where, ".")
    environment = {"DSA110_CONTIMG_WORK_DIR": str(tmp_path / name)} if where == "setting" else {}
    done = run(
        *("groups", argument),
        cwd=tmp_path / name if where == "current directory" else tmp_path,
        env={**os.environ, "HOME": "/nonexistent", **environment},
    )
    assert done.returncode == 2
    [line] = done.stderr.splitlines()
    assert "UTF-8" in line
    assert where in line


@pytest.mark.parametrize(
    "arguments", [["groups", "~/x"], ["report", "2026-01-25", "--work-dir=~/x"]]
)
def test_the_home_stands_for_a_tilde_that_no_shell_saw(
    tmp_path: Path, arguments: list[str]
) -> None:
    done = run(*arguments, env={**os.environ, "HOME": str(tmp_path), "COLUMNS": "400"})
    assert f"{tmp_path}/x" in done.stderr


def test_a_home_that_cannot_be_written(tmp_path: Path) -> None:
    """Nor the code: what is compiled and looked up is kept in the work directory."""
    give_away(tmp_path)
    found = as_ordinary_user(find_caches, home=tmp_path)
    assert found["numba"] == str(tmp_path / "work" / "cache" / "numba")
    assert found["sum"] == 3


@pytest.mark.parametrize("name", ["HOME", "NUMBA_CACHE_DIR"])
def test_caches_stay_where_the_environment_says(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dsa110_contimg.caches import settle_caches

    for variable in ("NUMBA_CACHE_DIR", "MPLCONFIGDIR", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("HOME", "/nonexistent")
    monkeypatch.setenv("DSA110_CONTIMG_WORK_DIR", str(tmp_path))
    monkeypatch.setenv(name, str(tmp_path))
    settle_caches()
    expected = None if name == "HOME" else str(tmp_path)
    assert os.environ.get("NUMBA_CACHE_DIR") == expected
