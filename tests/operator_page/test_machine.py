"""What the machine has left, as the kernel says."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from support.operator_desk import GivenFacts, Reader, make_pool, make_task

from dsa110_contimg.operator_page.machine import DiskUse, look_at_machine
from dsa110_contimg.settings import Settings
from dsa110_contimg.storage.sandbox import open_sandbox, sandbox_lock_path

pytestmark = pytest.mark.unit


def test_sandboxes_and_their_owners(settings: Settings) -> None:
    """Asking does not take the owner's lock, nor the one of the dead."""
    settings.sandbox_root.mkdir(parents=True)
    orphan = settings.sandbox_root / "2026-01-25T02:41:07_deadbeef"
    with open_sandbox("2026-01-25T02:46:17", settings.sandbox_roots, 1) as sandbox:
        orphan.mkdir()
        sandbox_lock_path(orphan).touch()
        (sandbox.path / "data").write_bytes(b"x" * 100_000)
        found = {Path(one.path).name: one for one in look_at_machine(settings).sandboxes}
    assert found.keys() == {orphan.name, sandbox.path.name}
    assert not found[orphan.name].is_owned
    assert found[sandbox.path.name].is_owned
    assert found[sandbox.path.name].size_bytes >= 100_000
    assert look_at_machine(settings).sandboxes[0].path == str(orphan)


def test_each_file_system_is_listed_once(settings: Settings) -> None:
    disks = look_at_machine(settings).disks
    assert len(disks) == 1  # all of the settings' directories lie in the test's own
    usage = shutil.disk_usage(settings.work_dir.parent)
    assert disks[0].label == "Sandboxes, work directory, MSs, products, raw files"
    assert disks[0].total_bytes == usage.total
    assert disks[0].used_fraction == pytest.approx(1 - usage.free / usage.total, abs=0.05)


@pytest.mark.parametrize(("free", "is_low"), [(9, True), (11, False)])
def test_a_disk_that_runs_full_is_marked(free: int, is_low: bool) -> None:
    assert DiskUse("Products", "/data", 100, free).is_low == is_low


def test_what_is_running_is_on_the_page(settings: Settings) -> None:
    facts = GivenFacts(
        tasks=[make_task("J0812+541", state="queued")],
        pools=[
            make_pool("ms-one", running=1),
            make_pool("ms-idle"),
            make_pool("default_pool", slots=None),
        ],
    )
    html = Reader(settings, facts).page("/now")
    assert "ms-one" in html
    assert "ms-idle" not in html
    assert "1 pool of Measurement Sets is idle" in html
    assert 'href="/dags/image_ms/runs/image__1/tasks/image/mapped/3?try_number=1"' in html
    assert '<meta http-equiv="refresh"' not in html
    assert '<meta http-equiv="refresh" content="15">' in Reader(settings, facts).page(
        "/now?refresh=1"
    )
