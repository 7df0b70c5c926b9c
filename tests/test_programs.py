"""A test that lacks a program is skipped and named, and fails where CI is set."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from support.programs import describe_untried, find_program, list_programs, need

pytestmark = pytest.mark.unit

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture
def bare(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A machine that has none of the programs."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("support.programs._SERVERS", tmp_path)


@pytest.mark.usefixtures("bare")
@pytest.mark.parametrize(("ci", "end"), [("true", pytest.fail), ("", pytest.skip)])
def test_what_lacks(ci: str, end: type, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CI", ci)
    with pytest.raises(end.Exception, match=r"wsclean not installed: make test-programs"):
        need("wsclean")


@pytest.mark.usefixtures("bare")
def test_one_line_says_what_was_not_tried() -> None:
    [line] = describe_untried().splitlines()
    assert all(name in line for name in list_programs())
    assert "flagging with AOFlagger" in line
    assert line.endswith("make test-programs installs them")


def test_a_program_that_is_not_listed_is_a_mistake() -> None:
    with pytest.raises(AssertionError, match="not listed"):
        find_program("wscleen")


def test_the_marker_looks_for_the_program(tmp_path: Path) -> None:
    """With pytest as `make test` calls it, on a machine without WSClean."""
    test = ["tests/imaging/test_backends.py", "-k", "wsclean", "--import-mode=importlib"]
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-x", *test],
        cwd=ROOT,
        env={"PATH": str(tmp_path), "HOME": str(tmp_path), "CI": "true", "TMPDIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1, done.stdout
    assert "wsclean not installed: make test-programs" in done.stdout


def test_the_installer_names_what_lacks(tmp_path: Path) -> None:
    """Where it may not install anything itself: a user without rights, a system without apt."""
    for name in ("dirname", "grep", "sort", "tr", "sh", "echo"):
        (tmp_path / name).symlink_to(f"/usr/bin/{name}")
    (tmp_path / "id").write_text("#!/bin/sh\necho 1000\n")
    (tmp_path / "id").chmod(0o755)
    (tmp_path / "wsclean").symlink_to("/bin/true")
    done = subprocess.run(
        ["/bin/sh", str(ROOT / ".ci" / "install-programs")],
        env={"PATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    asked = set(done.stderr.splitlines()[-1].rpartition(": ")[2].split())
    # Not PostgreSQL, which is also looked for beside the path.
    assert asked >= {"aoflagger", "chromium", "gcc", "redis-server", "redis-tools"}
    assert "wsclean" not in asked
