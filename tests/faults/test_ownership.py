"""Who owns what: one conversion per MS, one owner per sandbox, told by locks and never by age."""

from __future__ import annotations

import itertools
import os
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from support.faults import Site, assert_no_process_left, failure_of, ms_content
from support.soak import MsToVerify, make_groups, verify

from dsa110_contimg.errors import TransientError
from dsa110_contimg.storage.ms_access import AccessSpan
from dsa110_contimg.storage.sandbox import open_sandbox, reap_sandboxes, sandbox_lock_path

pytestmark = [pytest.mark.fault, pytest.mark.alone]

HOLD_S = 1.5


def wait_for(condition, within_s: float = 20.0):
    """Poll until something is true, and give it."""
    deadline = time.monotonic() + within_s
    while not (found := condition()):
        assert time.monotonic() < deadline
        time.sleep(0.005)
    return found


def sandboxes(site: Site) -> list[Path]:
    return [entry for entry in site.sandbox_root.iterdir() if entry.is_dir()]


def test_two_conversions_of_one_group_at_once(site, reference):
    """One does it, the other waits, sees that it is done, and skips."""
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(lambda _: site.run(), range(2)))
    assert sorted(result.state for result in results) == ["converted", "skipped"]
    site.assert_finished(reference)
    log = site.options.log_dir.parent / "ms_access.jsonl"
    spans = [AccessSpan.model_validate_json(line) for line in log.read_text().splitlines()]
    assert len({span.pid for span in spans}) == 2
    first, second = sorted(spans, key=lambda span: span.start_s)
    assert first.end_s <= second.start_s


def test_who_does_not_wait_learns_who_holds_it(site, reference):
    site.set_fault("fill", f"sleep {HOLD_S}")
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(site.run)
        wait_for(lambda: sandboxes(site))
        holder = int(site.pid_file.read_text())
        hasty = Site(site.root, site.sandbox_root, site.group, {"lock_timeout_s": 0.1})
        error = failure_of(hasty.run)
        assert isinstance(error, TransientError)
        assert error.reason == "ms_held"
        assert f"is held by convert {site.group.group_id} (pid {holder} on " in error.message
        assert running.result().state == "converted"
    site.assert_finished(reference)


def test_groups_at_once_never_meet(tmp_path, tmpfs):
    """Four groups with data of their own, one sandbox root, one target directory."""
    groups = make_groups(tmp_path / "incoming", 4)
    sites = [Site(tmp_path, tmpfs / "sandboxes", group) for group in groups]
    for site in sites:
        site.overrides["workers"] = 1
    with ThreadPoolExecutor(len(sites)) as pool:
        assert {result.state for result in pool.map(Site.run, sites)} == {"converted"}
    for site in sites:
        assert verify(MsToVerify(ms=site.ms, group=site.group)).problem == ""
    assert list((tmpfs / "sandboxes").iterdir()) == []


def test_live_sandbox_of_yesterday_survives_and_dead_one_of_a_moment_ago_goes(site, reference):
    site.set_fault("fill", f"sleep {HOLD_S}")
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(site.run)
        (live,) = wait_for(lambda: sandboxes(site))
        yesterday = time.time() - 86400
        for path in (live, sandbox_lock_path(live), *live.rglob("*")):
            os.utime(path, (yesterday, yesterday), follow_symlinks=False)
        assert reap_sandboxes(site.sandbox_root) == ([], [])
        assert running.result().state == "converted"
    assert ms_content(site.ms) == reference

    site.overrides["skip_existing"] = False
    site.set_fault("fill", "kill -KILL $(cat " + str(site.pid_file) + ")")
    failure_of(site.run)
    assert_no_process_left()
    (dead,) = sandboxes(site)
    assert reap_sandboxes(site.sandbox_root) == ([dead], [])
    assert list(site.sandbox_root.iterdir()) == []


def test_busy_janitor_harms_no_conversion(make_site, reference):
    """The janitor comes without pause while sandboxes are made, used and removed."""
    over = threading.Event()
    sites = [make_site(f"busy{n}") for n in range(4)]
    common = sites[0].sandbox_root
    for site in sites:
        site.overrides["sandbox_roots"] = [common]
    visits = itertools.count()

    def clean() -> None:
        while not over.is_set():
            assert reap_sandboxes(common) == ([], [])
            next(visits)

    with ThreadPoolExecutor(5) as pool:
        janitor = pool.submit(clean)
        try:
            states = {result.state for result in pool.map(Site.run, sites)}
        finally:
            over.set()
        janitor.result()
    assert states == {"converted"}
    assert next(visits) > 20
    for site in sites:
        site.assert_finished(reference)


def test_sandbox_and_janitor_race_for_the_lock_file(tmp_path):
    """The janitor may take the lock of a sandbox just before its maker does; nothing breaks."""
    over = threading.Event()

    def clean() -> int:
        count = 0
        while not over.wait(0.001):  # without a breath for the maker, two would starve it
            removed, problems = reap_sandboxes(tmp_path)
            assert (removed, problems) == ([], [])
            count += 1
        return count

    with ThreadPoolExecutor(2) as pool:
        janitors = [pool.submit(clean) for _ in range(2)]
        try:
            for _ in range(200):
                with open_sandbox("race", [tmp_path], 0) as sandbox:
                    assert sandbox.path.is_dir()
                    assert sandbox_lock_path(sandbox.path).exists(), "the janitor could not see it"
                assert sandbox.warnings == []
        finally:
            over.set()
        assert all(janitor.result() > 0 for janitor in janitors)
    assert list(tmp_path.iterdir()) == []


def test_killed_holder_of_the_ms_does_not_block_the_next(site, reference):
    site.set_fault("copy", "kill -KILL $SELF")
    failure_of(site.run)
    site.overrides["lock_timeout_s"] = 0.5
    site.assert_nothing_lost(reference)
