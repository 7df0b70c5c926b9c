"""SIGKILL at every step and at any instant: nothing is lost, nothing is half, all is mended.

The fill workers are threads of the converting child: killing one is killing the child.
"""

from __future__ import annotations

import random
from collections import Counter
from pathlib import Path

import psutil
import pytest
from support.fault_tasks import TaskOptions, count_mutations
from support.faults import (
    LONG_FORM,
    Site,
    assert_no_process_left,
    killed_after,
    report_figures,
    server_pid,
)

from dsa110_contimg.errors import TransientError
from dsa110_contimg.processes import run_in_child
from dsa110_contimg.storage.publish import read_manifest

pytestmark = [pytest.mark.fault, pytest.mark.slow]

STEPS_OF_CHILD = ("headers", "skeleton", "fill", "self-check")
STEPS_OF_TASK = ("write", "copy", "rename", "manifest")
"""``write`` begins when the sandbox is made."""
FRESH_IN_SHORT_FORM = ("fill", "copy")
"""A fresh interpreter takes seconds to import what a fork has."""
N_INSTANTS = 100 if LONG_FORM else 3
MUTATIONS_IN_SHORT_FORM = 6


def kinds_of(step: str) -> list[bool]:
    """Whether the child is a fresh interpreter: both for every step in the long form."""
    return [False, True] if LONG_FORM or step in FRESH_IN_SHORT_FORM else [False]


CASES = [
    (victim, step, fresh)
    for victim, steps in {
        "child": STEPS_OF_CHILD,
        "task": (*STEPS_OF_CHILD, *STEPS_OF_TASK),
    }.items()
    for step in steps
    for fresh in kinds_of(step)
]


def living_task(site: Site) -> int | None:
    """Process id of the task, once it has said it."""
    return int(site.pid_file.read_text() or 0) or None if site.pid_file.exists() else None


def living_child(site: Site) -> int | None:
    """Process id of the converting child: what the server forked beside the task."""
    task = living_task(site)
    others = [p.pid for p in psutil.Process(server_pid()).children() if p.pid != task]
    return others[0] if task is not None and others else None


def life_s(victim: str, site: Site) -> float:
    """How long the victim lived in the conversion that was finished."""
    seconds = read_manifest(site.ms).stage_seconds
    return sum(seconds[step] for step in (STEPS_OF_CHILD if victim == "child" else seconds))


@pytest.mark.parametrize(("victim", "step", "fresh"), CASES)
def test_killed_at_a_step(site, reference, victim, step, fresh):
    target = "$SELF" if victim == "child" else f"$(cat {site.pid_file})"
    site.set_fault(step, f"kill -KILL {target}")
    with pytest.raises(TransientError, match="SIGKILL") as caught:
        site.run(fresh_children=fresh)
    assert caught.value.reason == "child_killed"
    assert read_manifest(site.ms) is None, "declared finished before it was"
    assert site.assert_nothing_lost(reference) == "converted"


@pytest.mark.parametrize("victim", ["child", "task"])
def test_killed_at_any_instant(make_site, reference, victim):
    """Instants spread evenly over the life of the victim, each moved by lot.

    How long that is follows the load of the machine; who lived too short is not counted.
    """
    site = make_site()
    site.run()
    duration_s = life_s(victim, site)
    lot = random.Random(20260125)  # noqa: S311
    find = living_child if victim == "child" else living_task
    outcomes: Counter[str] = Counter()
    instants_s = []
    for n in range(4 * N_INSTANTS):
        again = make_site(f"instant{n}")
        instant_s = (len(instants_s) + lot.random()) / N_INSTANTS * duration_s
        with killed_after(instant_s, lambda again=again: find(again)) as killed:
            try:
                attempt = again.run().state
            except TransientError as error:
                assert killed, error
                attempt = error.reason
                instants_s.append(instant_s)
        outcomes[f"{attempt}, then {again.assert_nothing_lost(reference)}"] += 1
        duration_s = life_s(victim, again)
        if len(instants_s) == N_INSTANTS:
            break
    report_figures(
        f"{len(instants_s)} SIGKILLs of the {victim}, {min(instants_s):.2f} to "
        f"{max(instants_s):.2f} s after it began: {dict(outcomes)}"
    )
    assert len(instants_s) == N_INSTANTS


def test_killed_before_every_change_of_a_file_system(make_site, reference):
    """The task dies just before it makes, writes, renames or removes its n-th file."""
    counted = make_site("counted")
    options = TaskOptions(conversion=counted.options, pid_file=counted.pid_file)
    total = run_in_child(
        count_mutations, options, timeout_s=60, log_path=counted.root / "log", warm=True
    ).count
    step = 1 if LONG_FORM else total // MUTATIONS_IN_SHORT_FORM
    outcomes: Counter[str] = Counter()
    for n in range(0, total, step):
        site = make_site(f"mutation{n}")
        with pytest.raises(TransientError, match="SIGKILL"):
            site.run(kill_at_mutation=n)
        outcomes[f"then {site.assert_nothing_lost(reference)}"] += 1
    report_figures(f"{total} changes of a file system, killed before 1 in {step}: {dict(outcomes)}")


def test_killed_while_it_replaces_an_older_ms(site, reference):
    """Between the two renames there is no MS under the good name; the next attempt makes it."""
    site.run()
    manifest = read_manifest(site.ms)
    assert manifest is not None
    site.overrides["skip_existing"] = False
    for step in ("copy", "rename", "manifest"):
        site.set_fault(step, "kill -KILL $SELF")
        with pytest.raises(TransientError, match="SIGKILL"):
            site.run()
        is_old = step != "manifest"
        assert (read_manifest(site.ms) == manifest) is is_old
        site.assert_nothing_lost(reference)
        manifest = read_manifest(site.ms)


def test_killed_server_loses_nothing(site, reference, tmp_path, monkeypatch):
    """The server of a night dies under its task: the attempt fails, the next one is cold."""
    from dsa110_contimg.forkserver import fork_server

    outer = server_pid()
    monkeypatch.delenv("DSA110_CONTIMG_FORKSERVER")
    with fork_server(tmp_path / "server.log") as socket:
        inner = next(p for p in psutil.Process().children() if p.pid != outer and _listens(p, socket))
        site.set_fault("fill", f"kill -KILL {inner.pid}")
        with pytest.raises(TransientError) as caught:
            site.run()
        assert caught.value.reason == "child_killed"
        assert_no_process_left()
        Path(site.root / "logs" / "task.log").unlink()
        assert site.assert_nothing_lost(reference) == "converted"
        assert "no fork server" in (site.root / "logs" / "task.log").read_text()


def _listens(process: psutil.Process, socket: Path) -> bool:
    """Whether a process is the server behind a socket."""
    return any(c.laddr == str(socket) for c in process.net_connections(kind="unix"))
