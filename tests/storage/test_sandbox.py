"""Sandboxes: private, owned by a lock, removed for sure or reported."""

from __future__ import annotations

import logging
import os
import signal
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
from support.ordinary_user import NOBODY

from dsa110_contimg.conversion.hdf5_orchestrator import convert_subband_groups_to_ms
from dsa110_contimg.errors import InputError, TransientError
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


def make_dead(root: Path, name: str = "dead_01234567", kernel: str = "") -> Path:
    """Lay out what a killed owner leaves."""
    sandbox = root / name
    sandbox.mkdir(parents=True)
    (sandbox / "file").write_text("half")
    sandbox_lock_path(sandbox).write_text(kernel)
    return sandbox


def test_whoever_opens_a_sandbox_removes_the_dead_ones_first(owner, tmp_path, caplog):
    process, live = owner
    fall_back = tmp_path / "scratch"
    with open_sandbox("group", [tmp_path, fall_back], 0) as sandbox:
        assert live.exists()
        process.send_signal(signal.SIGKILL)
        process.wait()
        also_dead = make_dead(fall_back)
        with caplog.at_level(logging.WARNING), open_sandbox("next", [tmp_path, fall_back], 0):
            assert sandbox.path.exists(), "its owner lives"
            assert not live.exists()
            assert not also_dead.exists(), "the fall-back is swept too, though not used"
    assert caplog.messages == [
        f"removed the sandbox {path}, whose owner has ended" for path in (live, also_dead)
    ]


def test_conversion_removes_dead_sandboxes_though_nothing_is_left_to_convert(
    tmp_path, private_places
):
    (tmp_path / "incoming").mkdir()
    dead = [make_dead(tmp_path / root) for root in ("sandboxes", "ms/.sandboxes")]
    assert convert_subband_groups_to_ms(tmp_path / "incoming", tmp_path / "ms") == []
    assert not any(path.exists() for path in dead)


def test_what_others_made_is_not_swept(tmp_path):
    """Locks say nothing of another machine, of another user's work, or of other programs."""
    elsewhere = make_dead(tmp_path, kernel="the boot id of another machine")
    not_ours = tmp_path / "database"
    not_ours.mkdir()
    sandbox_lock_path(not_ours).touch()
    kept = [elsewhere, not_ours]
    if os.geteuid() == 0:
        theirs = make_dead(tmp_path, "theirs_01234567")
        os.chown(sandbox_lock_path(theirs), NOBODY, NOBODY)
        kept.append(theirs)
    with open_sandbox("group", [tmp_path], 0) as sandbox:
        assert reap_sandboxes(tmp_path) == ([], [])
        assert sandbox.path.exists()
    assert all(path.exists() for path in kept)


def test_root_and_sandbox_are_their_owners_alone_and_what_is_made_inside_is_not(tmp_path):
    with open_sandbox("group", [tmp_path / "new" / "root"], 0) as sandbox:
        made = sandbox.path / "group.ms"
        made.mkdir()
        plain = tmp_path / "plain"
        plain.mkdir()
        modes = {p: stat.S_IMODE(p.stat().st_mode) for p in (sandbox.path, sandbox.path.parent)}
        assert set(modes.values()) == {0o700}
        assert made.stat().st_mode == plain.stat().st_mode


def spoil(root: Path, how: str) -> None:
    """Make a root that other users of the machine may reach."""
    root.mkdir()
    if how == "open to all":
        root.chmod(0o1777)
    elif how == "open to its group":
        root.chmod(0o775)
    elif how == "parent open to all":
        root.parent.chmod(0o777)
    elif os.geteuid() != 0:
        pytest.skip("only root can give a directory away")
    elif how == "of another user":
        os.chown(root, NOBODY, NOBODY)
    elif how == "link of another user":
        root.rename(root.with_name("target"))
        root.symlink_to("target")
        os.chown(root, NOBODY, NOBODY, follow_symlinks=False)


@pytest.mark.parametrize(
    "how",
    [
        *("open to all", "open to its group", "parent open to all"),
        *("of another user", "link of another user"),
    ],
)
def test_root_that_others_may_reach_is_passed_over(tmp_path, how):
    root = tmp_path / "shm" / "root"
    root.parent.mkdir()
    spoil(root, how)
    dead = make_dead(root)
    with open_sandbox("group", [root, tmp_path / "scratch"], 0) as sandbox:
        assert sandbox.path.parent == tmp_path / "scratch"
        assert f"tmpfs passed over: no sandbox in {root}: " in sandbox.warnings[0]
    if how == "parent open to all":  # the last resort may stand in such a place
        return
    assert dead.exists()
    with pytest.raises(InputError, match=f"no sandbox in {root}") as caught:
        open_sandbox("group", [root], 0).__enter__()
    assert caught.value.reason == "sandbox_root_not_private"


def test_fall_back_that_an_earlier_version_left_open_to_its_group_is_closed(tmp_path):
    root = tmp_path / ".sandboxes"
    root.mkdir()
    root.chmod(0o775)
    with open_sandbox("group", [root], 0):
        assert stat.S_IMODE(root.stat().st_mode) == 0o700


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
