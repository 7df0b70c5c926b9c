"""A published MS can be read by all, and written only through the door."""

from __future__ import annotations

import multiprocessing
import os
import shutil
import signal
import stat
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from support import ordinary_user
from support.ordinary_user import as_ordinary_user, give_away
from support.point_source import TARGET

from dsa110_contimg.storage.files import make_read_only, make_writable, remove_for_sure
from dsa110_contimg.storage.ms_access import exclusive_ms
from dsa110_contimg.storage.publish import (
    list_data_files,
    manifest_path,
    publish_tree,
    read_manifest,
)
from dsa110_contimg.visibilities.ms_info import describe_ms

pytestmark = pytest.mark.casa
SPAWN = multiprocessing.get_context("spawn")


@pytest.fixture
def home() -> Iterator[Path]:
    """A directory that an ordinary user owns and reaches; pytest's own are root's alone."""
    folder = Path(tempfile.mkdtemp(prefix="ordinary-"))
    give_away(folder)
    yield folder
    assert remove_for_sure(folder) == []


@pytest.fixture
def published(point_source_ms, home) -> Path:
    """A published MS of an ordinary user."""
    ms = Path(shutil.copytree(point_source_ms, home / "group.ms"))
    shutil.copy(manifest_path(point_source_ms), manifest_path(ms))
    give_away(home)
    return ms


def writable_paths(tree: Path) -> list[Path]:
    return [p for p in (tree, *tree.rglob("*")) if stat.S_IMODE(p.stat().st_mode) & 0o222]


def hold_and_be_killed(ms: str) -> None:
    with exclusive_ms(ms, "a writer", timeout_s=5, writable=True):
        (Path(ms) / "table.dat").chmod(0o666)
        os.kill(os.getpid(), signal.SIGKILL)


def test_a_published_ms_is_read_only(point_source_ms):
    assert writable_paths(point_source_ms) == []
    assert manifest_path(point_source_ms).stat().st_mode & 0o200
    assert read_manifest(point_source_ms) is not None


def test_it_never_has_its_good_name_while_it_is_writable(tmp_path, monkeypatch):
    (tmp_path / "made.ms" / "ANTENNA").mkdir(parents=True)
    (tmp_path / "made.ms" / "ANTENNA" / "table.dat").touch()
    target, seen = tmp_path / "g.ms", []
    rename = Path.rename

    def look(path: Path, new: Path) -> Path:
        seen.append((path.name, writable_paths(path)))
        return rename(path, new)

    monkeypatch.setattr(Path, "rename", look)
    publish_tree(tmp_path / "made.ms", target, read_only=True)
    [(name, writable)] = seen
    assert name.startswith(".g.ms.partial-")
    assert writable == []
    assert (target / "ANTENNA" / "table.dat").exists()


def test_products_stay_writable(tmp_path):
    (tmp_path / "made").mkdir()
    publish_tree(tmp_path / "made", tmp_path / "source")
    assert writable_paths(tmp_path / "source") == [tmp_path / "source"]


def test_permissions_are_not_part_of_its_identity(own_ms):
    before = describe_ms(own_ms), list_data_files(own_ms)
    make_writable(own_ms)
    assert (describe_ms(own_ms), list_data_files(own_ms)) == before
    make_read_only(own_ms)
    assert (describe_ms(own_ms), list_data_files(own_ms)) == before


def test_links_inside_are_not_followed(tmp_path):
    (tmp_path / "tree").mkdir()
    outside = tmp_path / "outside"
    outside.touch()
    (tmp_path / "tree" / "link").symlink_to(outside)
    make_read_only(tmp_path / "tree")
    assert outside.stat().st_mode & 0o200
    assert remove_for_sure(tmp_path / "tree") == []


def test_a_hold_opens_it_and_closes_it_also_after_an_error(published):
    with exclusive_ms(published, "a reader", timeout_s=5):
        assert writable_paths(published) == []

    def fail() -> None:
        with exclusive_ms(published, "a writer", timeout_s=5, writable=True):
            assert all(p.stat().st_mode & 0o200 for p in (published, *published.rglob("*")))
            (published / "new").touch()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert (published / "new").exists()
    assert writable_paths(published) == []


def test_an_ms_that_was_not_published_stays_as_it_is(own_ms):
    make_writable(own_ms)
    modes = {p: p.stat().st_mode for p in own_ms.rglob("*")}
    for writable in (False, True):
        with exclusive_ms(own_ms, "anybody", timeout_s=5, writable=writable):
            pass
    assert {p: p.stat().st_mode for p in own_ms.rglob("*")} == modes


def test_an_ms_that_is_not_there_can_be_held(tmp_path):
    with exclusive_ms(tmp_path / "g.ms", "its maker", timeout_s=5, writable=True) as ms:
        assert not ms.exists()


@pytest.mark.fault
@pytest.mark.parametrize("next_writes", [False, True])
def test_the_next_hold_puts_right_what_a_killed_writer_left(published, next_writes):
    writer = SPAWN.Process(target=hold_and_be_killed, args=(str(published),))
    writer.start()
    writer.join(30)
    assert writer.exitcode == -signal.SIGKILL
    assert writable_paths(published)
    with exclusive_ms(published, "the next", timeout_s=5, writable=next_writes):
        assert bool(writable_paths(published)) == next_writes
    assert writable_paths(published) == []


def test_an_ordinary_user_reads_it(published, home):
    found = as_ordinary_user(ordinary_user.read, published, home=home)
    assert found["windows"] == 16
    assert found["rows"] == 16 * found["shape"][0]
    assert writable_paths(published) == []


def test_a_write_by_mistake_fails_at_once(published, home):
    before = describe_ms(published), list_data_files(published)
    found = as_ordinary_user(ordinary_user.write_by_mistake, published, home=home)
    assert len(found["errors"]) == 4, found
    assert all("ermission denied" in e or "not writable" in e for e in found["errors"]), found
    # A lock that is not to be had takes casacore tens of seconds.
    assert found["seconds"] < 2.0
    assert (describe_ms(published), list_data_files(published)) == before


def test_an_ordinary_user_writes_it_through_the_door(published, home):
    assert as_ordinary_user(ordinary_user.write_through_the_door, published, home=home) == 42
    assert writable_paths(published) == []
    assert read_manifest(published) is not None


def test_nobody_writes_what_belongs_to_somebody_else(published, home):
    if os.geteuid() != 0:
        pytest.skip("only root can give a file to somebody else")
    os.chown(published / "table.dat", 0, 0)
    error = as_ordinary_user(ordinary_user.hold_somebody_elses, published, home=home)
    assert error.startswith("InputError ms_not_writable: cannot make")


def test_an_ordinary_user_replaces_and_removes_it(published, home):
    assert as_ordinary_user(ordinary_user.replace_and_remove, published, home=home) == []
    assert not published.exists()


@pytest.mark.slow
def test_an_ordinary_user_images_it_directly_and_by_a_copy(published, home):
    direct_jy, copy_jy = as_ordinary_user(ordinary_user.image, published, home, home=home)
    truth_jy = float(TARGET.flux_at(1.4e9))
    # The window lies within 10 % of 1.4 GHz.
    assert direct_jy == pytest.approx(truth_jy, rel=0.1)
    assert copy_jy == pytest.approx(direct_jy, rel=0.01)
    assert writable_paths(published) == []
