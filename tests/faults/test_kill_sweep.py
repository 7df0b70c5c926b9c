"""SIGKILL at every step and at any instant: nothing is lost, nothing is half, all is mended.

The fill workers are threads of the converting child: killing one is killing the child.
"""

from __future__ import annotations

import itertools
import json
import os
import random
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import psutil
import pytest
from support.faults import (
    LONG_FORM,
    Site,
    assert_no_process_left,
    killed_after,
    report_figures,
    server_pid,
)

from dsa110_contimg.errors import TransientError
from dsa110_contimg.storage.publish import read_manifest
from dsa110_contimg.storage.sandbox import reap_sandboxes

pytestmark = [pytest.mark.fault, pytest.mark.alone, pytest.mark.slow]

STEPS_OF_CHILD = ("headers", "skeleton", "fill", "self-check")
STEPS_OF_TASK = ("write", "copy", "rename", "manifest")
"""``write`` begins when the sandbox is made."""
FRESH_IN_SHORT_FORM = ("fill", "copy")
"""A fresh interpreter takes seconds to import what a fork has."""
N_INSTANTS = 100 if LONG_FORM else 3
EVERY_NTH_CHANGE = 1 if LONG_FORM else 31


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
            outcome, message = again.attempt()
        if outcome != "converted":
            assert outcome == "child_killed"
            assert killed, message
            instants_s.append(instant_s)
        outcomes[f"{outcome}, then {again.assert_nothing_lost(reference)}"] += 1
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
    outcomes: Counter[str] = Counter()
    for n in itertools.count(0, EVERY_NTH_CHANGE):
        site = make_site(f"change{n}")
        outcome, _ = site.attempt(kill_at_change=n)
        if outcome == "converted":
            break  # it made fewer changes
        assert outcome == "child_killed"
        outcomes[f"then {site.assert_nothing_lost(reference)}"] += 1
    report_figures(
        f"killed before 1 in {EVERY_NTH_CHANGE} of {n} changes of a file system: {dict(outcomes)}"
    )
    assert outcomes["then converted"] > 2


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
    with fork_server(tmp_path / "server.log"):
        (inner,) = (p.pid for p in psutil.Process().children() if p.pid != outer)
        site.set_fault("fill", f"kill -KILL {inner}")
        with pytest.raises(TransientError) as caught:
            site.run()
        assert caught.value.reason == "child_killed"
        assert_no_process_left()
        Path(site.root / "logs" / "task.log").unlink()
        assert site.assert_nothing_lost(reference) == "converted"
        assert "no fork server" in (site.root / "logs" / "task.log").read_text()


def test_killed_command_of_a_night(make_site, reference, tmp_path):
    """The command with its own server, killed in the middle, then run again."""
    site = make_site()
    environment = {
        **os.environ,
        "DSA110_CONTIMG_WORK_DIR": str(tmp_path / "work"),
        "DSA110_CONTIMG_SANDBOX_ROOT": str(site.sandbox_root),
    }
    del environment["DSA110_CONTIMG_FORKSERVER"]
    program = "from dsa110_contimg.cli.main import main; main()"
    incoming = Path(site.group.files[0]).parent
    command = [
        sys.executable,
        "-c",
        program,
        "convert",
        incoming,
        site.options.output_dir,
        "--json",
    ]
    night = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 60
        while not any(site.sandbox_root.glob("*/*")) and time.monotonic() < deadline:
            time.sleep(0.002)
    finally:
        night.kill()
        night.wait()
    assert_no_process_left()
    site.assert_inputs_untouched()
    done = subprocess.run(command, env=environment, capture_output=True, check=True)
    (result,) = json.loads(done.stdout)
    assert result["state"] in {"converted", "skipped"}
    site.assert_finished(reference)
    reap_sandboxes(site.sandbox_root)
    assert list(site.sandbox_root.iterdir()) == []
