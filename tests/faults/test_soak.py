"""Many groups, one after the other and eight at a time, some killed: it ends as it began."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from support.faults import LONG_FORM, report_figures
from support.soak import WARM_UP_GROUPS, SoakOptions, make_groups, soak

from dsa110_contimg.processes import run_in_child

pytestmark = [pytest.mark.fault, pytest.mark.alone, pytest.mark.slow]

N_GROUPS = int(os.environ.get("SOAK_GROUPS", "120" if LONG_FORM else "24"))
AT_ONCE = 8 if LONG_FORM else 4
MAX_GROWTH_MB = 8.0
"""The allocator keeps a little of what it once had; a leaked group would be more."""


@pytest.fixture(scope="module")
def groups(tmp_path_factory):
    """Groups for both soaks; not to be modified."""
    return make_groups(tmp_path_factory.mktemp("soak") / "incoming", N_GROUPS + WARM_UP_GROUPS)


@pytest.mark.parametrize("at_once", [1, AT_ONCE])
def test_soak(groups, tmp_path, tmpfs, monkeypatch, at_once):
    monkeypatch.delenv("DSA110_CONTIMG_FORKSERVER")  # it starts its own
    report = run_in_child(
        soak,
        SoakOptions(
            groups=groups,
            place=tmp_path,
            sandbox_root=tmpfs / "sandboxes",
            at_once=at_once,
            killed_fraction=0.05 if N_GROUPS >= 100 else 0.2,
        ),
        timeout_s=30.0 * N_GROUPS,
        log_path=tmp_path / "soak.log",
    )
    sizes = {
        name: f"{before.memory_mb} -> {report.after[name].memory_mb} MB"
        for name, before in report.before.items()
    }
    report_figures(
        f"soak of {N_GROUPS} groups, {at_once} at once: {report.converted} converted in "
        f"{report.seconds} s, {report.kills} killed, {report.reaped} sandboxes reaped, {sizes}"
    )
    assert report.converted == N_GROUPS
    assert set(report.errors) == {"child_killed"}, "only kills may fail an attempt, no lock"
    assert 0 < sum(report.errors.values()) <= report.kills, "some may have ended just before"
    assert report.stale_sandboxes == 0
    assert report.tmpfs_bytes == 0
    for name, before in report.before.items():
        assert report.after[name].open_files == before.open_files, name
        assert report.after[name].memory_mb < before.memory_mb + MAX_GROWTH_MB, name
    assert not list(Path(tmp_path / "ms").rglob(".*.partial-*"))
