"""A night goes on, whatever is killed, filled up or deleted in the middle of it.

Each fault comes when a task of a named kind is known to work. The services are started again as
a supervisor does it, by the embedded Airflow itself; the database by the test. `make test` kills
everything once in one night, with an Airflow that notices the dead within seconds, and
`make test-airflow` more of it; the long form (``make faults-airflow``) kills each part alone, at
several instants, with the times that the pipeline is shipped with.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import h5py
import psutil
import pytest
from support.faults import small_disk
from support.mortal_airflow import LiveMortal, Task
from support.night_stage import N_SOURCES, Night, Stage, set_stage
from support.postgres import running_postgres
from support.programs import find_program

from dsa110_contimg.orchestration.pools import ms_pool_name
from dsa110_contimg.orchestration.runs import IMAGE_DAG
from dsa110_contimg.photometry.field import FIELD_DIR
from dsa110_contimg.storage.files import remove_for_sure
from dsa110_contimg.storage.ms_access import exclusive_ms, read_holder
from dsa110_contimg.storage.publish import read_manifest

pytestmark = [pytest.mark.airflow, pytest.mark.fault, pytest.mark.slow]

LONG = os.environ.get("AIRFLOW_FAULT_SWEEP") == "long"
OUTAGE_S = 3.0
"""How long the database is away."""
LIMIT_S = 400.0
TARGET_BYTES = 128 << 20
"""A group asks for 37 MB at its target, where it then takes 10 MB."""
FILLER = "filler"
CONVERT, MEASURE = "process.convert", "measure"
OF_A_TASK = ("task", "supervisor")
SERVICES = ("scheduler", "api-server", "dag-processor", "triggerer")


@dataclass(frozen=True)
class Fault:
    """What is killed at once, and during what."""

    victims: tuple[str, ...]
    during: str

    def __str__(self) -> str:
        return f"{'+'.join(self.victims)} during {self.during}"


FAULTS = (
    [Fault((victim,), kind) for victim in OF_A_TASK + SERVICES for kind in (CONVERT, MEASURE)]
    if LONG
    else [
        Fault(OF_A_TASK, CONVERT),
        Fault(("scheduler",), CONVERT),
        Fault(("api-server", "dag-processor", "triggerer"), MEASURE),
    ]
)
FAULTS_ON_SERVER = [Fault(("database",), CONVERT)] + [
    Fault((victim,), MEASURE) for victim in ("database", *SERVICES) if LONG
]
EVERYTHING = [
    Fault(OF_A_TASK, CONVERT),
    Fault(("scheduler", "dag-processor"), CONVERT),
    Fault(("api-server", "triggerer"), MEASURE),
]


@pytest.fixture(scope="module")
def stage(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Stage]:
    """An Airflow on the database that the test names."""
    with contextlib.ExitStack() as running:
        has_server = all(map(find_program, ("initdb", "postgres")))
        is_on_server = request.param == "postgresql" or (request.param == "either" and has_server)
        database = running.enter_context(running_postgres()) if is_on_server else None
        root = tmp_path_factory.mktemp(request.param)
        yield running.enter_context(set_stage(root, haste=not LONG, database=database))


def on(*databases: str) -> pytest.MarkDecorator:
    """Which databases Airflow is on; ``either`` is PostgreSQL where there is one."""
    return pytest.mark.parametrize("stage", databases, indirect=True)


def strike(live: LiveMortal, night: Night, fault: Fault) -> tuple[float, dict[str, Task]]:
    """Kill what the fault says; when that was, and the tasks that were hit by themselves."""
    of_a_task = [victim for victim in fault.victims if victim in OF_A_TASK]
    while True:
        running = live.await_running(night.run[1], fault.during, max(1, len(of_a_task)))
        hit = dict(zip(of_a_task, running, strict=False))
        killed_s = time.time()
        try:
            for victim in fault.victims:
                live.airflow.kill(victim, hit.get(victim))
        except psutil.NoSuchProcess:
            continue  # it has ended since
        return killed_s, hit


def survive(stage: Stage, *faults: Fault, n_groups: int = 2) -> None:
    """Have a night, strike in the middle of it, and look at what became of it."""
    live = stage.live
    night = stage.start(stage.simulate(n_groups=n_groups), faults[0].victims[0])
    before: dict[str, object] = {}
    struck = []
    for fault in faults:
        killed_s, hit = strike(live, night, fault)
        before = night.published() | before
        away = [victim for victim in fault.victims if victim not in hit]
        if "database" in away:
            restart_database(live, killed_s + OUTAGE_S)
            away.append("scheduler")  # gives up, or goes on
        back_s = {name: live.await_back(name, killed_s) for name in away}
        struck.append((fault, killed_s, hit, back_s))
    assert live.finish(night.run, timeout_s=LIMIT_S) == ["success"]
    for fault, killed_s, hit, back_s in struck:
        figures = {
            "fault": str(fault),
            "back after": back_s,
            "tried again after": {
                victim: live.next_start(night.run[1], killed_s, task)
                for victim, task in hit.items()
            },
            "next task after": live.next_start(night.run[1], killed_s),
            "night": time.time() - night.started_s,
        }
        print("\nseconds:", json.dumps(figures))  # noqa: T201 - for -s
    stage.done.append(night)
    night.assert_whole(before)
    stage.assert_tidy()


def restart_database(live: LiveMortal, then_s: float) -> None:
    """Start the database again at some time; services may give up before."""
    assert live.airflow.database is not None
    while (left_s := then_s - time.time()) > 0:
        live.airflow.wait(left_s)
    live.airflow.database.start()


@on("either")
def test_a_night_outlives_everything(stage: Stage) -> None:
    on_server = [Fault(("database",), MEASURE)] if stage.live.airflow.database else []
    survive(stage, *EVERYTHING, *on_server, n_groups=3)
    assert_nothing_left_to_do(stage, stage.done)


@pytest.mark.sweep
@on("sqlite")
@pytest.mark.parametrize("fault", FAULTS, ids=str)
def test_a_night_outlives(stage: Stage, fault: Fault) -> None:
    survive(stage, fault)


@pytest.mark.sweep
@on("postgresql")
@pytest.mark.parametrize("fault", FAULTS_ON_SERVER, ids=str)
def test_a_night_on_a_server_outlives(stage: Stage, fault: Fault) -> None:
    survive(stage, fault)


@pytest.mark.sweep
@on("sqlite")
def test_what_befalls_single_groups(stage: Stage) -> None:
    """One finds no space, one is corrupt, one loses its MS: all is on record, the rest is done."""
    live = stage.live
    made = stage.simulate(n_groups=4)
    good, stuck, deleted, corrupt = stage.ms_paths(made)
    tmpfs = live.settings.sandbox_root.parent
    disks = [tmpfs, good.parent] if tmpfs.is_mount() else []
    bad_file = Path(max(file for file in made.files if "_sb09" in file))
    whole_file = bad_file.read_bytes()
    with h5py.File(bad_file, "a") as file:
        del file["Data/flags"]  # where discovery does not look
    with contextlib.ExitStack() as mounted:
        if disks:
            mounted.enter_context(small_disk(good.parent, TARGET_BYTES))
            fill_up(tmpfs)
        with exclusive_ms(stuck, "a test", timeout_s=1):
            night = stage.start(made, "befallen")
            both = (good, deleted)
            live.wait_until(lambda: all(map(read_manifest, both)), "two MSs", LIMIT_S)
            if disks:
                fill_up(good.parent)
        delete_under_its_task(night, deleted)
        if disks:
            assert_waits_for_space(night, stuck, good)
            for disk in disks:
                (disk / FILLER).unlink()
        assert live.finish(night.run, timeout_s=LIMIT_S) == ["failed"]
        assert_on_record(night, deleted, corrupt)

        bad_file.write_bytes(whole_file)
        before = night.published(but=deleted.stem)
        assert len(before) == 2 * (1 + N_SOURCES)
        again = stage.start(made, "again")
        assert live.finish(again.run, timeout_s=LIMIT_S) == ["success"]
        report = live.report(night.date)
        outcomes = {group["group_id"]: group["outcome"] for group in report["groups"]}
        assert outcomes == {
            **dict.fromkeys((good.stem, stuck.stem), "skipped"),
            **dict.fromkeys((deleted.stem, corrupt.stem), "converted"),
        }
        again.assert_whole(before)
        stage.assert_tidy()


def fill_up(disk: Path) -> None:
    """Take all the space that there is."""
    fill = f"fallocate -l $(df --output=avail -B1 {disk} | tail -1) {disk / FILLER}"
    subprocess.run(["sh", "-c", fill], check=True)


def delete_under_its_task(night: Night, ms: Path) -> None:
    """Delete an MS when the task that measures its sources has looked at it, and waits for it."""
    with exclusive_ms(ms, "a test", timeout_s=30):
        field = night.live.settings.products_dir / night.date / ms.stem / FIELD_DIR
        night.live.wait_until(lambda: read_holder(field), "a task that waits for the MS", LIMIT_S)
        assert remove_for_sure(ms) == []


def assert_waits_for_space(night: Night, stuck: Path, good: Path) -> None:
    """Check that a group says what it waits for, while another, without a tmpfs, is imaged."""
    live = night.live

    def is_stuck() -> bool:
        tasks = live.tasks(*night.run)
        states = [task["state"] for (task_id, _), task in tasks.items() if task_id == CONVERT]
        [imaging] = live.client.dag_runs(IMAGE_DAG, containing=f"image__{good.stem}")
        return "up_for_retry" in states and imaging["state"] == "success"

    live.wait_until(is_stuck, "a group that waits for space", LIMIT_S)
    records = {record["group_id"]: record for record in night.records("conversions")}
    assert records[stuck.stem]["state"] == "failed"
    assert records[stuck.stem]["reason"].startswith("disk_full: ")
    tmpfs = str(live.settings.sandbox_root)
    assert any(tmpfs in warning for warning in records[good.stem]["warnings"])


def assert_on_record(night: Night, deleted: Path, corrupt: Path) -> None:
    """Check that what failed has its name, and that lock and pool of the lost MS are free."""
    live = night.live
    report = live.report(night.date)
    codes = {(failure["group_id"], failure["code"]) for failure in report["failures"]}
    assert {(corrupt.stem, "missing_item"), (deleted.stem, "ms_vanished")} <= codes
    assert {group_id for group_id, _ in codes} == {corrupt.stem, deleted.stem}
    assert sum(source["success"] for source in report["sources"]) == 2 * N_SOURCES
    assert "deleted or damaged while a task worked on it" in live.log(*night.run, "verdict")
    [imaging] = live.client.dag_runs(IMAGE_DAG, containing=f"image__{deleted.stem}")
    measure = live.tasks(IMAGE_DAG, imaging["dag_run_id"])[MEASURE, -1]
    assert (measure["state"], measure["try_number"]) == ("failed", 1)
    assert read_holder(deleted) is None
    [pool] = [pool for pool in live.client.pools() if pool["name"] == ms_pool_name(str(deleted))]
    assert (pool["slots"], pool["occupied_slots"]) == (1, 0)


@pytest.mark.sweep
@on("sqlite", *(["postgresql"] if LONG else []))
def test_second_runs_do_no_work(stage: Stage) -> None:
    """Of all nights that were struck; in the short form, of the last."""
    if not stage.done:
        pytest.skip("no night was struck")
    assert_nothing_left_to_do(stage, stage.done if LONG else stage.done[-1:])


def assert_nothing_left_to_do(stage: Stage, nights: list[Night]) -> None:
    """Check that nights that are started again touch nothing."""
    before = [night.published() for night in nights]
    again = [stage.start(night.made, "second") for night in nights]
    states = stage.live.finish(*(night.run for night in again), timeout_s=2 * LIMIT_S)
    assert set(states) == {"success"}
    assert [night.published() for night in again] == before
    for night in again:
        report = stage.live.report(night.date)
        assert {group["outcome"] for group in report["groups"]} == {"skipped"}
        assert all(source["skipped"] for source in report["sources"])
