"""Sandboxes: private, owned by a lock, removed for sure or reported."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dsa110_contimg.errors import TransientError
from dsa110_contimg.storage.sandbox import open_sandbox, reap_sandboxes, sandbox_lock_path

pytestmark = pytest.mark.fault

OWNER = """
import sys, time
from pathlib import Path
from dsa110_contimg.storage.sandbox import open_sandbox
with open_sandbox("group", [Path(sys.argv[1])], 0) as sandbox:
    (sandbox.path / "file").write_text("half")
    print(sandbox.path, flush=True)
    time.sleep(600)
"""


@pytest.fixture
def owner(tmp_path):
    """A process that owns a sandbox, and the sandbox."""
    process = subprocess.Popen(
        [sys.executable, "-c", OWNER, str(tmp_path)], stdout=subprocess.PIPE, text=True
    )
    with process:
        yield process, Path(process.stdout.readline().strip())
        process.kill()


def test_two_sandboxes_of_one_group_never_collide(tmp_path):
    with open_sandbox("group", [tmp_path], 0) as a, open_sandbox("group", [tmp_path], 0) as b:
        assert a.path != b.path
        assert a.path.name.startswith("group_")
    assert list(tmp_path.iterdir()) == []


def test_failure_removes_it(tmp_path):
    def work() -> None:
        with open_sandbox("group", [tmp_path], 0) as sandbox:
            (sandbox.path / "deep" / "er").mkdir(parents=True)
            raise KeyError

    with pytest.raises(KeyError):
        work()
    assert list(tmp_path.iterdir()) == []


def test_live_sandbox_survives_the_reaper_however_old(owner, tmp_path):
    _, sandbox = owner
    long_ago = time.time() - 7200
    os.utime(sandbox, (long_ago, long_ago))
    os.utime(sandbox_lock_path(sandbox), (long_ago, long_ago))
    assert reap_sandboxes(tmp_path) == ([], [])
    assert (sandbox / "file").exists()


def test_dead_sandbox_goes_however_young(owner, tmp_path):
    process, sandbox = owner
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert sandbox.exists()
    assert reap_sandboxes(tmp_path) == ([sandbox], [])
    assert list(tmp_path.iterdir()) == []


def test_no_room_is_said_before_the_work(tmp_path):
    with (
        pytest.raises(TransientError, match=r"no place for a sandbox of .* GB free") as caught,
        open_sandbox("group", [tmp_path], 1 << 60),
    ):
        pytest.fail("the sandbox was opened")
    assert caught.value.reason == "no_sandbox_space"


def test_absent_tmpfs_falls_back_and_says_so(tmp_path):
    blocked = tmp_path / "file"
    blocked.touch()
    with open_sandbox("group", [blocked / "root", tmp_path / "scratch"], 0) as sandbox:
        assert sandbox.path.parent == tmp_path / "scratch"
        assert "passed over" in sandbox.warnings[0]
        assert str(blocked) in sandbox.warnings[0]


def test_what_cannot_be_removed_is_reported(tmp_path):
    with open_sandbox("group", [tmp_path], 0) as sandbox:
        stuck = sandbox.path / "stuck"
        stuck.touch()
        done = subprocess.run(["chattr", "+i", str(stuck)], capture_output=True, check=False)
        if done.returncode:
            pytest.skip(f"cannot make a file immutable here: {done.stderr.decode().strip()}")
    try:
        assert any("stuck" in warning for warning in sandbox.warnings)
        assert sandbox_lock_path(sandbox.path).exists(), "the reaper must be able to try again"
    finally:
        subprocess.run(["chattr", "-i", str(stuck)], check=True)
    assert reap_sandboxes(tmp_path)[0] == [sandbox.path]
