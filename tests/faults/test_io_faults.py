"""What the machine withholds or takes away: each a clear named error, early where possible."""

from __future__ import annotations

import itertools
import os
import subprocess
from pathlib import Path

import pytest
from support.faults import (
    LONG_FORM,
    Site,
    at_step,
    failure_of,
    ms_content,
    report_figures,
    small_disk,
)
from support.permissions import permissions_enforced

from dsa110_contimg.conversion.hdf5_orchestrator import (
    convert_group,
    convert_subband_groups_to_ms,
)
from dsa110_contimg.errors import InputError, TransientError
from dsa110_contimg.settings import get_settings
from dsa110_contimg.storage.publish import read_manifest
from dsa110_contimg.storage.sandbox import reap_sandboxes

pytestmark = [pytest.mark.fault, pytest.mark.alone]

MB = 1 << 20
TOO_SMALL, ROOM_FOR_ONE = 16 * MB, 60 * MB
"""A tiny group asks for 37 MB: 0.7 times its 6.5 MB of input, and 32 MB for tables."""
FILLER = "filler"


def eat_space(disk: Path, leave_bytes: int) -> str:
    """Command that fills a disk but for a few bytes."""
    return (
        f"fallocate -l $(($(df --output=avail -B1 {disk} | tail -1) - {leave_bytes})) "
        f"{disk / FILLER}"
    )


def assert_refused_before_the_work(site: Site) -> None:
    assert site.logs_of_children() == []
    assert not site.ms.exists()
    site.assert_inputs_untouched()


# ---- space ----


def test_tmpfs_too_small_is_refused_before_the_work(site, tmp_path):
    with small_disk(tmp_path / "small", TOO_SMALL) as disk:
        site.overrides["sandbox_roots"] = [disk / "sandboxes"]
        error = failure_of(site.run)
        assert isinstance(error, TransientError)
        assert error.reason == "no_sandbox_space"
        assert str(disk) in error.message
        assert "GB free" in error.message
        assert_refused_before_the_work(site)


def test_tmpfs_too_small_falls_back_to_scratch_and_says_so(site, tmp_path, reference):
    with small_disk(tmp_path / "small", TOO_SMALL) as disk:
        site.overrides["sandbox_roots"] = [disk / "sandboxes", tmp_path / "scratch"]
        result = site.run()
    assert result.state == "converted"
    assert any("passed over" in w and str(disk) in w for w in result.warnings)
    site.assert_finished(reference)
    assert list((tmp_path / "scratch").iterdir()) == []


def test_stale_sandboxes_make_room(site, tmp_path, reference):
    """What killed tasks left in tmpfs does not keep the next one out until the janitor comes."""
    with small_disk(tmp_path / "small", ROOM_FOR_ONE) as disk:
        root = disk / "sandboxes"
        dead = root / "dead_01234567"
        dead.mkdir(parents=True)
        (root / "dead_01234567.lock").touch()
        (dead / "big").write_bytes(bytes(40 * MB))
        site.overrides["sandbox_roots"] = [root]
        assert site.run().state == "converted"
        assert list(root.iterdir()) == []
    site.assert_finished(reference)


@pytest.mark.parametrize(
    ("step", "leave_bytes"),
    [
        *itertools.product(["write", "headers"], [0, 200_000, MB]),
        ("skeleton", 0),  # its tables are all that still needs space
    ],
)
def test_tmpfs_filled_during_the_work(site, tmp_path, reference, step, leave_bytes):
    """Another program takes the space after the preflight: casacore aborts, or a write fails."""
    with small_disk(tmp_path / "small", ROOM_FOR_ONE) as disk:
        site.overrides["sandbox_roots"] = [disk / "sandboxes"]
        site.set_fault(step, eat_space(disk, leave_bytes))
        error = failure_of(site.run)
        assert isinstance(error, TransientError)
        assert error.reason == "no_sandbox_space"
        assert f"no space left in {disk / 'sandboxes'}" in error.message
        assert "others took" in error.message
        assert error.remedy == "free space there"
        assert read_manifest(site.ms) is None
        (disk / FILLER).unlink()
        site.sandbox_root = disk / "sandboxes"
        site.assert_nothing_lost(reference)


@pytest.mark.parametrize("step", ["fill", "self-check"])
def test_tmpfs_filled_once_the_space_is_reserved(site, tmp_path, reference, step):
    """The skeleton has reserved what the fill writes: it does not notice."""
    with small_disk(tmp_path / "small", ROOM_FOR_ONE) as disk:
        site.overrides["sandbox_roots"] = [disk / "sandboxes"]
        site.set_fault(step, eat_space(disk, 0))
        assert site.run().state == "converted"
    site.assert_finished(reference)


def test_target_disk_too_small_is_refused_before_the_work(site, tmp_path):
    with small_disk(tmp_path / "small", TOO_SMALL) as disk:
        site.overrides["output_dir"] = disk / "ms"
        error = failure_of(site.run)
        assert isinstance(error, TransientError)
        assert error.reason == "disk_full"
        assert "GB are needed" in error.message
        assert_refused_before_the_work(site)


def test_sandbox_and_target_on_one_disk_need_room_for_both(site, tmp_path):
    with small_disk(tmp_path / "small", ROOM_FOR_ONE) as disk:
        site.overrides |= {"output_dir": disk / "ms", "sandbox_roots": [disk / "sandboxes"]}
        error = failure_of(site.run)
        assert error.reason == "disk_full"
        assert_refused_before_the_work(site)
        assert list((disk / "sandboxes").iterdir()) == []


@pytest.mark.parametrize("step", ["copy", "manifest"])
def test_target_disk_filled_during_the_work(site, tmp_path, reference, step):
    with small_disk(tmp_path / "small", ROOM_FOR_ONE) as disk:
        site.overrides["output_dir"] = disk / "ms"
        site.set_fault(step, eat_space(disk, 0))
        error = failure_of(site.run)
        assert isinstance(error, TransientError)
        assert error.reason == "disk_full"
        assert "No space left" in error.message
        assert site.ms.name in error.message
        assert read_manifest(site.ms) is None
        (disk / FILLER).unlink()
        site.assert_nothing_lost(reference)


def test_full_log_disk_does_not_matter(site, tmp_path, reference):
    with small_disk(tmp_path / "small", MB) as disk:
        site.overrides["log_dir"] = disk / "logs"
        subprocess.run(["sh", "-c", eat_space(disk, 0)], check=True)
        assert site.run().state == "converted"
    site.assert_finished(reference)


# ---- permissions ----


def test_sandbox_root_that_may_not_be_written(site, tmp_path, reference):
    site.sandbox_root.chmod(0o555)
    with permissions_enforced():
        error = failure_of(lambda: convert_group(site.options))
        assert isinstance(error, InputError)
        assert error.reason == "sandbox_not_writable"
        assert f"cannot write {site.sandbox_root}: Permission denied" in error.message
        assert_refused_before_the_work(site)
        site.overrides["sandbox_roots"] = [site.sandbox_root, tmp_path / "scratch"]
        result = convert_group(site.options)
    assert any("passed over" in w and "Permission denied" in w for w in result.warnings)
    site.assert_finished(reference)


@pytest.mark.parametrize("existing", ["output_dir", "date"])
def test_target_that_may_not_be_written(site, existing):
    closed = site.options.output_dir if existing == "output_dir" else site.ms.parent
    closed.mkdir(parents=True)
    closed.chmod(0o555)
    with permissions_enforced():
        error = failure_of(lambda: convert_group(site.options))
    assert isinstance(error, InputError)
    assert error.reason == "target_not_writable"
    assert site.ms.name in error.message
    assert "Permission denied" in error.message
    assert_refused_before_the_work(site)


def test_log_directory_that_may_not_be_written(site):
    site.options.log_dir.mkdir(parents=True)
    site.options.log_dir.chmod(0o555)
    with permissions_enforced():
        error = failure_of(lambda: convert_group(site.options))
    assert isinstance(error, InputError)
    assert error.reason == "not_writable"
    assert str(site.options.log_dir) in error.message


def test_read_only_target(site, tmp_path):
    with small_disk(tmp_path / "disk", ROOM_FOR_ONE) as disk:
        site.overrides["output_dir"] = disk / "ms"
        subprocess.run(["mount", "-o", "remount,ro", str(disk)], check=True)
        error = failure_of(site.run)
        assert isinstance(error, InputError)
        assert error.reason == "target_not_writable"
        assert "Read-only file system" in error.message
        assert_refused_before_the_work(site)


@pytest.mark.parametrize("step", ["copy", "rename", "manifest"])
def test_target_that_is_closed_during_the_work(site, reference, step):
    with permissions_enforced(), at_step(step, lambda: site.ms.parent.chmod(0o555)):
        error = failure_of(lambda: convert_group(site.options))
    assert isinstance(error, InputError)
    assert error.reason == "target_not_writable"
    assert "Permission denied" in error.message
    site.ms.parent.chmod(0o755)
    site.assert_nothing_lost(reference)


# ---- cleanup ----


def test_sandbox_that_cannot_be_removed_is_reported(site, reference):
    """The group counts as converted; the reaper tries again."""
    with permissions_enforced(), at_step("copy", lambda: site.sandbox_root.chmod(0o555)):
        result = convert_group(site.options)
    assert result.state == "converted"
    (stale,) = (entry for entry in site.sandbox_root.iterdir() if entry.is_dir())
    assert any(f"could not remove {stale}" in w for w in result.warnings)
    assert any("Permission denied" in w for w in result.warnings)
    site.assert_finished(reference)
    with permissions_enforced():
        removed, problems = reap_sandboxes(site.sandbox_root)
    assert removed == []
    assert any(str(stale) in problem for problem in problems)
    site.sandbox_root.chmod(0o755)
    assert reap_sandboxes(site.sandbox_root) == ([stale], [])


def test_older_ms_that_cannot_be_removed_is_reported(site, reference):
    if os.geteuid() != 0:
        pytest.skip("only root can give a directory to somebody else")
    stuck = site.ms / "ANTENNA"
    stuck.mkdir(parents=True)
    (stuck / "table.dat").touch()
    os.chown(stuck, 65534, 65534)
    with permissions_enforced():
        result = convert_group(site.options)
    assert result.state == "converted"
    assert any("could not remove" in w and ".partial-" in w for w in result.warnings)
    assert ms_content(site.ms) == reference
    (leftover,) = site.ms.parent.glob(".*.partial-*")
    os.chown(leftover / "ANTENNA", 0, 0)
    site.overrides["skip_existing"] = False
    assert convert_group(site.options).warnings == []
    site.assert_finished(reference)


# ---- open files ----

LIMITS = range(4, 80, 2) if LONG_FORM else (4, 8, 64, 80)


@pytest.mark.parametrize("fresh", [False, True] if LONG_FORM else [False])
def test_few_open_files(make_site, reference, fresh):
    """With any limit: converted, or a word about the limit; never half, never a crash."""
    outcomes = {}
    for limit in LIMITS:
        site = make_site(f"limit{limit}")
        outcomes[limit], message = site.attempt(max_open_files=limit, fresh_children=fresh)
        assert outcomes[limit] == "converted" or "open files" in message.lower()
        site.assert_nothing_lost(reference)
    assert set(outcomes.values()) == {"too_many_open_files", "converted"}
    enough = min(limit for limit in outcomes if outcomes[limit] == "converted")
    report_figures(f"{'fresh' if fresh else 'forked'} child: {enough} open files are enough")


# ---- tmpfs ----


def test_absent_tmpfs_falls_back_to_scratch_and_says_so(site, tmp_path, reference):
    site.overrides["sandbox_roots"] = [
        tmp_path / "not mounted" / "dsa110-contimg",
        tmp_path / "scratch",
    ]
    result = site.run()
    assert result.state == "converted"
    assert any("passed over" in w and "not mounted" in w for w in result.warnings)
    assert not (tmp_path / "not mounted").exists(), "it would hide that the mount is missing"
    site.assert_finished(reference)


def test_absent_tmpfs_of_a_whole_night(site, reference, monkeypatch, tmp_path):
    monkeypatch.setenv("DSA110_CONTIMG_WORK_DIR", str(tmp_path / "work"))
    get_settings.cache_clear()
    try:
        (result,) = convert_subband_groups_to_ms(
            Path(site.group.files[0]).parent,
            site.options.output_dir,
            tmpfs_path=tmp_path / "not mounted",
        )
    finally:
        get_settings.cache_clear()
    assert result.state == "converted"
    assert any("passed over" in w and "not mounted" in w for w in result.warnings)
    assert ms_content(site.ms) == reference


def test_tmpfs_that_is_a_plain_directory_is_used_and_said(site, tmp_path, reference):
    (tmp_path / "unmounted").mkdir()
    site.overrides["sandbox_roots"] = [tmp_path / "unmounted" / "sandboxes", tmp_path / "scratch"]
    if os.stat(tmp_path).st_dev == os.stat("/dev/shm").st_dev:  # noqa: PTH116, S108
        pytest.skip("the temporary directory is in tmpfs")
    result = site.run()
    assert [w for w in result.warnings if "is not in tmpfs" in w]
    assert not (tmp_path / "scratch").exists()
    site.assert_finished(reference)
