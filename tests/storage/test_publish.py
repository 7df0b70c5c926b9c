"""Publication: whole, durable, or not at all."""

from __future__ import annotations

import subprocess
import threading
from pathlib import Path

import pytest

from dsa110_contimg.conversion.models import GroupState, Manifest
from dsa110_contimg.errors import InputError, TransientError
from dsa110_contimg.models import Model
from dsa110_contimg.provenance import make_provenance
from dsa110_contimg.stages import StageClock
from dsa110_contimg.storage import publish as publish_module
from dsa110_contimg.storage.files import exchange_paths
from dsa110_contimg.storage.publish import (
    check_target,
    list_data_files,
    manifest_path,
    publish_tree,
    read_manifest,
    write_manifest,
)

pytestmark = pytest.mark.fault


@pytest.fixture
def tree(tmp_path) -> Path:
    source = tmp_path / "sandbox" / "g.ms"
    (source / "ANTENNA").mkdir(parents=True)
    (source / "table.dat").write_bytes(b"a" * 100)
    (source / "ANTENNA" / "table.dat").write_bytes(b"b" * 50)
    (source / "table.lock").write_bytes(b"c")
    return source


def manifest_of(tree: Path) -> Manifest:
    return Manifest(
        group_id="g",
        state=GroupState.COMPLETE,
        missing=[],
        spectral_windows=[],
        phase_center_ra_deg=0.0,
        phase_center_dec_deg=0.0,
        start_utc="",
        duration_s=0.0,
        files=list_data_files(tree),
        stage_seconds={},
        provenance=make_provenance(Model(), []),
    )


def publish(tree: Path, target: Path) -> None:
    manifest = manifest_of(tree)
    publish_tree(tree, target, StageClock("g"))
    write_manifest(target, manifest)


def test_published_tree_equals_its_source(tree, tmp_path):
    target = tmp_path / "ms" / "2026-01-25" / "g.ms"
    check_target(target, 1000)
    publish(tree, target)
    assert (
        list_data_files(target)
        == list_data_files(tree)
        == {"table.dat": 100, "ANTENNA/table.dat": 50}
    )
    assert (target / "ANTENNA" / "table.dat").read_bytes() == b"b" * 50
    assert read_manifest(target).group_id == "g"
    assert sorted(p.name for p in target.parent.iterdir()) == ["g.ms", "g.ms.manifest.json"]


@pytest.mark.parametrize("damage", ["missing file", "short file", "no manifest", "half manifest"])
def test_damaged_ms_does_not_check_out(tree, tmp_path, damage):
    target = tmp_path / "g.ms"
    publish(tree, target)
    if damage == "missing file":
        (target / "ANTENNA" / "table.dat").unlink()
    elif damage == "short file":
        (target / "table.dat").write_bytes(b"a" * 99)
    elif damage == "no manifest":
        manifest_path(target).unlink()
    else:
        manifest_path(target).write_text(manifest_path(target).read_text()[:-40])
    assert read_manifest(target) is None


def test_unfinished_ms_is_replaced_with_all_leftovers(tree, tmp_path):
    target = tmp_path / "ms" / "g.ms"
    target.mkdir(parents=True)
    (target / "half").touch()
    leftover = target.with_name(".g.ms.partial-12345678")
    leftover.mkdir()
    (leftover / "half").touch()
    publish(tree, target)
    assert not (target / "half").exists()
    assert sorted(p.name for p in target.parent.iterdir()) == ["g.ms", "g.ms.manifest.json"]


def test_readers_find_the_earlier_tree_or_the_new_one(tree, tmp_path):
    """A thread that does nothing but look never sees the name without a tree."""
    target = tmp_path / "ms" / "g.ms"
    target.parent.mkdir()
    publish(tree, target)
    stop, missed, looks = threading.Event(), [], [0]

    def look() -> None:
        while not stop.is_set():
            looks[0] += 1
            if not (target / "table.dat").exists():
                missed.append(looks[0])

    reader = threading.Thread(target=look)
    reader.start()
    for _ in range(50):
        publish(tree, target)
    stop.set()
    reader.join()
    assert looks[0] > 50
    assert missed == []
    assert sorted(p.name for p in target.parent.iterdir()) == ["g.ms", "g.ms.manifest.json"]


def test_a_file_system_that_cannot_exchange_names(tree, tmp_path, monkeypatch):
    """NFS, for one: the tree is replaced in two steps."""
    monkeypatch.setattr(publish_module, "exchange_paths", lambda *_: False)
    target = tmp_path / "ms" / "g.ms"
    target.parent.mkdir()
    publish(tree, target)
    (tree / "table.dat").write_bytes(b"new" * 50)
    publish(tree, target)
    assert (target / "table.dat").read_bytes() == b"new" * 50
    assert sorted(p.name for p in target.parent.iterdir()) == ["g.ms", "g.ms.manifest.json"]


def test_names_are_exchanged(tmp_path):
    one, other = tmp_path / "one", tmp_path / "other"
    one.write_text("1")
    other.mkdir()
    assert exchange_paths(one, other)
    assert one.is_dir()
    assert other.read_text() == "1"
    with pytest.raises(FileNotFoundError, match="absent"):
        exchange_paths(tmp_path / "absent", other)
    assert other.read_text() == "1"


def test_blocked_target_is_named_before_the_work(tmp_path):
    (tmp_path / "ms").write_text("a file where the directory should be")
    with pytest.raises(InputError, match="cannot write") as caught:
        check_target(tmp_path / "ms" / "date" / "g.ms", 0)
    assert caught.value.reason == "target_not_writable"


def test_lack_of_space_is_named_before_the_work(tmp_path):
    with pytest.raises(TransientError, match="GB are needed") as caught:
        check_target(tmp_path / "g.ms", 1 << 60)
    assert caught.value.reason == "disk_full"


def test_full_disk_leaves_nothing(tree, tmp_path):
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", str(disk)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a small disk here: {mounted.stderr.decode().strip()}")
    try:
        (tree / "table.f0_TSM0").write_bytes(bytes(2 << 20))
        with pytest.raises(TransientError, match="No space left") as caught:
            publish_tree(tree, disk / "g.ms", StageClock("g"))
        assert caught.value.reason == "disk_full"
        assert list(disk.iterdir()) == []
    finally:
        subprocess.run(["umount", str(disk)], check=True)
