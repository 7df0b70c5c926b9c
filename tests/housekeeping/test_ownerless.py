"""What has no owner goes, however young; what has one stays, however old. Owners are real."""

from __future__ import annotations

import os
import shutil
import subprocess
import threading
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.house import HOLD, House, fates, kill, running
from support.permissions import permissions_enforced

from dsa110_contimg.housekeeping.models import Fate, Kind
from dsa110_contimg.storage.files import write_text_atomic
from dsa110_contimg.storage.ms_access import lock_path

pytestmark = pytest.mark.fault

SANDBOX_OWNER = """
import sys, time
from pathlib import Path
from dsa110_contimg.storage.sandbox import open_sandbox
with open_sandbox("group", [Path(sys.argv[1])], 0) as sandbox:
    (sandbox.path / "file").write_text("half")
    print(sandbox.path, flush=True)
    time.sleep(600)
"""
RECORD_WRITER = """
import os, sys, time
from pathlib import Path
from dsa110_contimg.storage.files import write_text_atomic
def stop(_):
    print("written", flush=True)
    time.sleep(600)
os.fsync = stop
write_text_atomic(Path(sys.argv[1]), "half")
"""
FORK_SERVER = """
import sys, time
from pathlib import Path
from dsa110_contimg.forkserver import fork_server
with fork_server(Path(sys.argv[1])) as path:
    print(path, flush=True)
    time.sleep(600)
"""


def make_tree(path: Path) -> Path:
    (path / "deep").mkdir(parents=True)
    (path / "deep" / "file").write_bytes(b"x" * 5000)
    return path


@pytest.mark.parametrize(
    "root",
    ["tmpfs", "ms/.sandboxes", "ms/2026-01-25/.sandboxes", "products/2026-01-25/g/.sandboxes"],
)
def test_sandboxes_wherever_they_stand(house: House, root: str) -> None:
    folder = house.root / root
    folder.mkdir(parents=True)
    with running(SANDBOX_OWNER, folder) as owner:
        sandbox = Path(owner.first_line)
        house.age(30)
        kept = house.tidy()
        assert fates(kept) == {sandbox.name: Fate.KEPT}
        assert kept.findings[0].because == "it is in use: its lock is held"
        assert (sandbox / "file").read_text() == "half"
        kill(owner)
    before = house.inventory()
    assert fates(house.look()) == {sandbox.name: Fate.WOULD_GO}
    assert house.inventory() == before, "a dry run changes nothing"
    assert fates(house.tidy()) == {sandbox.name: Fate.REMOVED}
    assert list(folder.iterdir()) == []
    assert house.tidy().findings == []


def test_sandbox_whose_lock_somebody_removed_is_left_to_a_person(house: House) -> None:
    sandbox = make_tree(house.root / "tmpfs" / "group_12345678")
    (found,) = house.tidy().findings
    assert found.fate is Fate.KEPT
    assert "lsof" in found.because
    assert (sandbox / "deep" / "file").exists()


def test_what_other_programs_lock_in_a_root_is_left_alone(house: House) -> None:
    database = make_tree(house.root / "tmpfs" / "database")
    database.with_suffix(".lock").touch()
    assert house.tidy().findings == []
    assert (database / "deep" / "file").exists()
    assert database.with_suffix(".lock").exists()


@pytest.mark.parametrize(
    ("target", "leftover"),
    [
        ("ms/2026-01-25/g.ms", "ms/2026-01-25/.g.ms.partial-0123abcd"),
        ("ms/2026-01-25/g.ms", "ms/2026-01-25/.g.ms.removed-0123abcd"),
        ("products/2026-01-25/g/star", "products/2026-01-25/g/.star.replaced-0123abcd"),
        ("calibration/2026-01-25/g_cal", "calibration/2026-01-25/.g_cal.partial-0123abcd"),
        ("calibration/2026-01-25/g_cal", "calibration/2026-01-25/.refused-g_cal.partial-0123abcd"),
    ],
)
def test_unpublished_tree_belongs_to_who_holds_its_good_name(
    house: House, target: str, leftover: str
) -> None:
    """Refused solutions are published under the lock of the name that good ones would have."""
    tree = make_tree(house.root / leftover)
    with running(HOLD, house.root / target) as holder:
        assert fates(house.look()) == {tree.name: Fate.KEPT}
        assert fates(house.tidy()) == {tree.name: Fate.KEPT}
        assert (tree / "deep" / "file").exists()
        kill(holder)
    lock = lock_path(house.root / target)
    inode = lock.stat().st_ino
    (found,) = house.tidy().findings
    assert (found.fate, found.kind) == (Fate.REMOVED, Kind.UNPUBLISHED)
    assert found.size_bytes >= 5000
    assert not tree.exists()
    assert lock.stat().st_ino == inode, "the lock file stays what it was"


def test_half_written_record(house: House) -> None:
    record = house.root / "nights/2026-01-25/records/sources/g/star.json"
    with running(RECORD_WRITER, record) as writer:
        (temporary,) = record.parent.iterdir()
        house.age(30)
        assert fates(house.tidy()) == {temporary.name: Fate.KEPT}
        assert temporary.exists()
        kill(writer)
    assert fates(house.tidy()) == {temporary.name: Fate.REMOVED}
    assert list(record.parent.iterdir()) == []


@pytest.mark.parametrize(
    "name", [".g.ms.manifest.json.0123abcd.json", "..g.ms.changing.0123abcd.changing"]
)
def test_half_written_file_beside_an_ms_belongs_to_its_holder_too(house: House, name: str) -> None:
    ms = house.root / "ms/2026-01-25/g.ms"
    with running(HOLD, ms) as holder:
        (ms.parent / name).touch()
        assert fates(house.tidy()) == {name: Fate.KEPT}
        kill(holder)
    assert fates(house.tidy()) == {name: Fate.REMOVED}


def test_no_record_is_lost_to_a_busy_janitor(house: House) -> None:
    """Writers and janitors race for temporary files that are there for a millisecond."""
    over = threading.Event()
    folder = house.root / "nights/2026-01-25/records/conversions"

    def clean() -> int:
        visits = 0
        while not over.is_set():
            result = house.tidy()
            assert result.problems == []
            visits += 1
        return visits

    def write(writer: int) -> None:
        for number in range(100):
            write_text_atomic(folder / f"{writer}.json", str(number))

    with ThreadPoolExecutor(5) as pool:
        janitors = [pool.submit(clean) for _ in range(2)]
        try:
            list(pool.map(write, range(3)))
        finally:
            over.set()
        assert all(janitor.result() > 5 for janitor in janitors)
    assert {path.name: path.read_text() for path in folder.iterdir()} == {
        f"{writer}.json": "99" for writer in range(3)
    }


def test_socket_of_a_fork_server(
    house: House, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(house.temporary_dir))
    monkeypatch.delenv("DSA110_CONTIMG_FORKSERVER", raising=False)
    with running(FORK_SERVER, tmp_path / "server.log") as server:
        folder = Path(server.first_line).parent
        house.age(30)
        assert fates(house.tidy()) == {folder.name: Fate.KEPT}
        assert Path(server.first_line).is_socket()
        kill(server)
    # What it forked notices a moment later, and may answer until then.
    for _ in range(400):
        if fates(house.tidy()) == {folder.name: Fate.REMOVED}:
            break
        threading.Event().wait(0.05)
    assert list(house.temporary_dir.iterdir()) == []


def test_socket_without_a_lock_stays_while_somebody_listens(house: House) -> None:
    import socket

    folder = house.temporary_dir / "contimg-old"
    folder.mkdir()
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(folder / "fork"))
        listener.listen()
        (found,) = house.tidy().findings
        assert (found.fate, found.because) == (Fate.KEPT, "a server listens")
    assert fates(house.tidy()) == {"contimg-old": Fate.REMOVED}


def test_directory_whose_socket_is_still_to_come_is_not_looked_at(house: House) -> None:
    (house.temporary_dir / "contimg-new").mkdir()
    assert house.tidy().findings == []
    assert (house.temporary_dir / "contimg-new").is_dir()


def test_flag_versions_go_only_without_their_ms(house: House) -> None:
    (group,) = house.process()
    ms = house.night.ms_path(group)
    versions = ms.with_name(f"{ms.name}.flagversions")
    assert house.tidy().findings == []
    shutil.rmtree(ms)
    assert fates(house.tidy()) == {versions.name: Fate.REMOVED}
    assert not versions.exists()


def test_links_are_not_followed_nor_removed(house: House, tmp_path: Path) -> None:
    """Neither as the thing itself, nor on the way to it, nor inside of it."""
    outside = make_tree(tmp_path / "outside" / ".x.ms.partial-0123abcd").parent
    (house.root / "ms" / "2026-01-25").mkdir(parents=True)
    (house.root / "ms" / "2026-01-26").symlink_to(outside)
    (house.root / "ms" / "2026-01-25" / ".g.ms.partial-0123abcd").symlink_to(outside)
    (house.root / "ms" / "2026-01-25" / ".sandboxes").symlink_to(outside)
    sandbox = make_tree(house.root / "tmpfs" / "group_12345678")
    (sandbox / "way out").symlink_to(outside)
    (house.root / "tmpfs" / "group_12345678.lock").touch()
    assert fates(house.tidy()) == {"group_12345678": Fate.REMOVED}
    assert (outside / ".x.ms.partial-0123abcd" / "deep" / "file").exists()
    assert (house.root / "ms" / "2026-01-25" / ".g.ms.partial-0123abcd").is_symlink()


def test_files_of_people_are_not_rubbish(house: House) -> None:
    folder = house.root / "ms" / "2026-01-25"
    folder.mkdir(parents=True)
    names = {".notes.20260125", ".g.ms.partial-old", ".g.partial-20260125.tar", ".bashrc", "a.lock"}
    for name in names:
        (folder / name).touch()
    (house.root / "tmpfs" / "somebodys").mkdir(parents=True)
    before = house.inventory()
    assert house.tidy().findings == []
    assert house.inventory() == before


def test_what_may_not_be_looked_into_is_told(house: House) -> None:
    dead = make_tree(house.root / "tmpfs" / "group_12345678")
    (house.root / "tmpfs" / "group_12345678.lock").touch()
    closed = house.root / "products" / "2026-01-25"
    closed.mkdir(parents=True)
    closed.chmod(0)
    with permissions_enforced():
        result = house.tidy()
    closed.chmod(0o700)
    assert not dead.exists()
    (problem,) = result.problems
    assert problem.startswith(f"cannot look into {closed}: ")


def test_what_cannot_be_removed_is_told_and_tried_again(house: House) -> None:
    stuck = make_tree(house.root / "tmpfs" / "a_12345678") / "deep" / "file"
    make_tree(house.root / "tmpfs" / "b_12345678")
    for name in "ab":
        (house.root / "tmpfs" / f"{name}_12345678.lock").touch()
    done = subprocess.run(["chattr", "+i", str(stuck)], capture_output=True, check=False)
    if done.returncode:
        pytest.skip(f"cannot make a file immutable here: {done.stderr.decode().strip()}")
    try:
        result = house.tidy()
        assert fates(result) == {"a_12345678": Fate.FAILED, "b_12345678": Fate.REMOVED}
        assert str(stuck) in result.problems[0]
    finally:
        subprocess.run(["chattr", "-i", str(stuck)], check=True)
    assert fates(house.tidy()) == {"a_12345678": Fate.REMOVED}


def test_lock_of_another_user_is_no_reason_to_stop(house: House) -> None:
    """A lock file that may only be read can be asked all the same; one that may not is told."""
    for name, mode in (("a", 0o444), ("b", 0o000)):
        make_tree(house.root / "tmpfs" / f"{name}_12345678")
        lock = house.root / "tmpfs" / f"{name}_12345678.lock"
        lock.touch()
        lock.chmod(mode)
    with permissions_enforced():
        result = house.look()
    assert fates(result) == {"a_12345678": Fate.WOULD_GO, "b_12345678": Fate.FAILED}
    assert os.strerror(13) in result.problems[0]
