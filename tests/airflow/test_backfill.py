"""Backfills of three nights through a running Airflow, clearing of every task, and its loss."""

from __future__ import annotations

import json
import shutil
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from support.archive import (
    DATES,
    N_SOURCES,
    Archive,
    Snapshot,
    backfill,
    measured,
    ms_data,
    ms_path,
    snapshot,
)
from support.faults import LONG_FORM
from support.live_airflow import LiveAirflow, Run, overlaps, spans_by_ms

from dsa110_contimg.orchestration.embedded import EmbeddedAirflow
from dsa110_contimg.orchestration.pools import ms_pool_name
from dsa110_contimg.orchestration.runs import IMAGE_DAG, NIGHT_DAG
from dsa110_contimg.storage.publish import read_manifest

pytestmark = [pytest.mark.airflow, pytest.mark.slow, pytest.mark.sweep]

FIRST, MIDDLE, LAST = DATES
NIGHT_TASKS = (
    *("discover", "process.convert", "process.image"),
    *("report", "announce", "verdict"),
)
"""Without a clock, no night waits for files that still arrive."""
CLEARED_RUN = "clear-running"
IMAGE_TASKS = ("prepare", "measure", "image", "summary")
ALL_TASKS = [
    *((NIGHT_DAG, task) for task in NIGHT_TASKS),
    *((IMAGE_DAG, task) for task in IMAGE_TASKS),
]
WITH_DOWNSTREAM = ALL_TASKS if LONG_FORM else [(NIGHT_DAG, "discover"), (IMAGE_DAG, "prepare")]


@pytest.fixture(scope="module")
def archive(tmp_path_factory: pytest.TempPathFactory) -> Archive:
    return Archive(tmp_path_factory.mktemp("archive"))


@pytest.fixture(scope="module")
def live(tmp_path_factory: pytest.TempPathFactory, archive: Archive) -> Iterator[LiveAirflow]:
    """Airflow with nights that begin at 07:30, of which none is started by the clock."""
    settings = archive.settings(tmp_path_factory.mktemp("backfill") / "work")
    with EmbeddedAirflow(settings, parallelism=4, clock=False) as airflow:
        airflow.client.set_paused(NIGHT_DAG, paused=False)
        yield LiveAirflow(airflow, settings)


def backfill_here(live: LiveAirflow, first: str, last: str, *options: str) -> Any:
    where = ("--from", first, "--to", last, "--url", live.airflow.url)
    return backfill(*where, *options, wait=live.airflow.wait)


@pytest.fixture(scope="module")
def nightly(live: LiveAirflow) -> dict[str, Any]:
    """What the run of the schedule made of the first night."""
    live.client.trigger(
        NIGHT_DAG,
        f"nightly__{FIRST}",
        {},
        interval=(f"{FIRST}T07:30:00Z", f"{MIDDLE}T07:30:00Z"),
    )
    assert live.finish((NIGHT_DAG, f"nightly__{FIRST}")) == ["success"]
    return {"measured": measured(live.settings, FIRST), "files": snapshot(live.settings, FIRST)}


@pytest.fixture(scope="module")
def interrupted(live: LiveAirflow, archive: Archive, nightly: dict[str, Any]) -> Any:
    """A backfill of all nights, the middle one of which has a corrupt file."""
    assert nightly["files"]
    with archive.spoilt(MIDDLE):
        status, nights, words = backfill_here(live, FIRST, LAST)
    return status, nights, words


@pytest.fixture(scope="module")
def complete(live: LiveAirflow, interrupted: Any) -> Snapshot:
    """What there is once the corrupt file has been replaced and the nights backfilled again."""
    assert interrupted[0] == 1
    status, nights, words = backfill_here(live, FIRST, LAST)
    assert status == 0, words
    assert {date: night["state"] for date, night in nights.items()} == dict.fromkeys(
        DATES, "success"
    )
    return snapshot(live.settings, *DATES)


def outcomes(live: LiveAirflow, date: str) -> dict[str, Any]:
    """What became of the groups and sources of a night in its last run."""
    report = live.report(date)
    return {
        "groups": [group["outcome"] for group in report["groups"]],
        "sources_skipped": [source["skipped"] for source in report["sources"]],
    }


DONE_BEFORE = {"groups": ["skipped"], "sources_skipped": [True] * N_SOURCES}


def test_one_night_that_fails_does_not_hold_up_the_others(
    live: LiveAirflow, archive: Archive, interrupted: Any
) -> None:
    status, nights, words = interrupted
    assert status == 1, words
    assert [(date, night["state"]) for date, night in sorted(nights.items())] == [
        (FIRST, "success"),
        (MIDDLE, "failed"),
        (LAST, "success"),
    ], "the last date is included, though its night begins at half past seven"
    assert nights[MIDDLE]["totals"]["failures"] >= 1
    for date in (FIRST, LAST):
        totals = nights[date]["totals"]
        assert (totals["groups"], totals["measurement_sets"], totals["failures"]) == (1, 1, 0)
        assert totals["detections"] >= N_SOURCES
        assert Path(nights[date]["report_html"]).exists()
    for word in (*DATES, "failed", "success"):
        assert word in words
    assert outcomes(live, LAST)["groups"] == ["converted"]


def test_a_night_that_was_processed_is_left_as_it_is(
    live: LiveAirflow, nightly: dict[str, Any], interrupted: Any
) -> None:
    assert interrupted[1][FIRST]["run_id"] == f"nightly__{FIRST}", "it is the same run"
    assert outcomes(live, FIRST) == DONE_BEFORE
    assert snapshot(live.settings, FIRST) == nightly["files"]
    assert measured(live.settings, FIRST) == nightly["measured"]


def test_a_second_backfill_makes_up_for_what_failed(live: LiveAirflow, complete: Snapshot) -> None:
    assert complete
    assert outcomes(live, MIDDLE) == {"groups": ["converted"], "sources_skipped": [False] * 2}
    assert outcomes(live, FIRST) == outcomes(live, LAST) == DONE_BEFORE
    assert measured(live.settings, MIDDLE)["failures"] == []


def test_a_backfill_of_finished_nights_does_no_work(live: LiveAirflow, complete: Snapshot) -> None:
    status, nights, words = backfill_here(live, FIRST, LAST, "--max-active", "3")
    assert status == 0, words
    assert [outcomes(live, date) for date in sorted(nights)] == [DONE_BEFORE] * 3
    assert snapshot(live.settings, *DATES) == complete


class Reader:
    """Reads an MS's directory and a result all the time, as those do who hold no lock."""

    def __init__(self, ms: Path, result: Path):
        self._ms, self._result = ms, result
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._read)
        self.faults: set[str] = set()
        self.seen: set[str] = set()

    def __enter__(self) -> Reader:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _read(self) -> None:
        while not self._stop.wait(0.0005):
            if not self._ms.is_dir():
                self.faults.add("the MS was not there")
            try:
                result = json.loads(self._result.read_bytes())
            except (OSError, ValueError) as error:
                self.faults.add(f"the result could not be read: {error}")
            else:
                self.seen.add(result["provenance"]["created"])


def test_reprocessing_makes_the_same_again(
    live: LiveAirflow, archive: Archive, nightly: dict[str, Any], complete: Snapshot
) -> None:
    """The night made anew by a backfill equals the one that its nightly run had made."""
    assert complete
    settings, group = live.settings, archive.groups[FIRST]
    ms = ms_path(settings, group)
    data, manifest = ms_data(ms), read_manifest(ms)
    others = snapshot(settings, MIDDLE, LAST)
    with Reader(ms, settings.products_dir / FIRST / group / "target0" / "result.json") as reader:
        status, _, words = backfill_here(live, FIRST, FIRST, "--reprocess")
    assert status == 0, words
    assert reader.faults == set()
    assert len(reader.seen) == 2, "the earlier result, then the new one"
    assert outcomes(live, FIRST) == {"groups": ["converted"], "sources_skipped": [False] * 2}
    again = read_manifest(ms)
    assert manifest is not None
    assert again is not None
    assert again.provenance.created > manifest.provenance.created
    assert again.provenance.inputs == manifest.provenance.inputs
    assert again.files == manifest.files
    assert ms_data(ms) == data
    # To the last bit: the same arithmetic on the same bytes.
    assert measured(settings, FIRST) == nightly["measured"]
    assert set(snapshot(settings, FIRST)) == set(nightly["files"])
    assert snapshot(settings, MIDDLE, LAST) == others


def test_a_paused_dag_is_refused(live: LiveAirflow, complete: Snapshot) -> None:
    live.client.set_paused(NIGHT_DAG, paused=True)
    try:
        status, nights, words = backfill_here(live, FIRST, LAST)
    finally:
        live.client.set_paused(NIGHT_DAG, paused=False)
    assert (status, nights) == (1, {})
    assert "is paused" in words
    assert "unpause it" in words
    assert complete


def test_a_night_without_data_before_the_dag_begins(live: LiveAirflow) -> None:
    """Airflow makes runs without a single task where a logical date lies before the DAG's start;
    not so in a backfill."""
    status, nights, words = backfill_here(live, "2025-12-31", "2025-12-31")
    assert status == 0, words
    [night] = nights.values()
    assert (night["state"], night["verdict"], night["totals"]["groups"]) == ("success", "empty", 0)


def test_nights_to_come_are_refused(live: LiveAirflow) -> None:
    status, nights, words = backfill_here(live, "2100-01-01", "2100-01-02")
    assert (status, nights) == (1, {})
    assert "no_nights" in words


@pytest.fixture(scope="module")
def finished_runs(live: LiveAirflow, archive: Archive, complete: Snapshot) -> dict[str, Run]:
    """The runs of the last night, by DAG."""
    assert complete
    [night] = [
        run["dag_run_id"]
        for run in live.client.dag_runs(NIGHT_DAG)
        if run["logical_date"].startswith(LAST)
    ]
    [image] = [run["dag_run_id"] for run in live.client.dag_runs(IMAGE_DAG, containing=night)]
    return {NIGHT_DAG: (NIGHT_DAG, night), IMAGE_DAG: (IMAGE_DAG, image)}


def ms_pools(live: LiveAirflow) -> dict[str, tuple[int, int]]:
    """Pool of an MS to its slots and how many of them are taken."""
    return {
        pool["name"]: (pool["slots"], pool["occupied_slots"])
        for pool in live.client.pools()
        if pool["name"].startswith("ms-")
    }


def test_every_task_is_cleared_below(live: LiveAirflow, finished_runs: dict[str, Run]) -> None:
    for dag_id, names in ((NIGHT_DAG, NIGHT_TASKS), (IMAGE_DAG, IMAGE_TASKS)):
        there = {task_id for task_id, _ in live.tasks(*finished_runs[dag_id])}
        assert there == set(names)


@pytest.mark.parametrize(
    ("dag_id", "task_id", "downstream"),
    [
        *((dag_id, task, False) for dag_id, task in ALL_TASKS),
        *((dag_id, task, True) for dag_id, task in WITH_DOWNSTREAM),
    ],
)
def test_clearing_a_task_is_safe(
    live: LiveAirflow,
    archive: Archive,
    finished_runs: dict[str, Run],
    dag_id: str,
    task_id: str,
    downstream: bool,
) -> None:
    settings, run = live.settings, finished_runs[dag_id]
    before, found = snapshot(settings, LAST), measured(settings, LAST)
    data = ms_data(ms_path(settings, archive.groups[LAST]))
    live.clear(run, task_id, downstream=downstream)
    assert live.finish(*finished_runs.values()) == ["success", "success"]
    assert snapshot(settings, LAST) == before, "nothing was made again"
    assert measured(settings, LAST) == found
    assert ms_data(ms_path(settings, archive.groups[LAST])) == data
    names = [ms_pool_name(str(ms_path(settings, group))) for group in archive.groups.values()]
    assert ms_pools(live) == dict.fromkeys(names, (1, 0))


def test_clearing_a_run_whose_pool_was_reaped(
    live: LiveAirflow, archive: Archive, finished_runs: dict[str, Run]
) -> None:
    name = ms_pool_name(str(ms_path(live.settings, archive.groups[LAST])))
    live.client._request("DELETE", f"/pools/{name}")
    assert name not in ms_pools(live)
    live.clear(finished_runs[IMAGE_DAG], "prepare", downstream=True)
    assert live.finish(finished_runs[IMAGE_DAG]) == ["success"]
    assert ms_pools(live)[name] == (1, 0)


def test_clearing_tasks_that_are_running(
    live: LiveAirflow, archive: Archive, finished_runs: dict[str, Run]
) -> None:
    """In a night that is done anew, a conversion and a measurement are killed and begun again."""
    assert finished_runs
    settings = live.settings
    found, data = measured(settings, LAST), ms_data(ms_path(settings, archive.groups[LAST]))
    run = live.trigger(NIGHT_DAG, {"date": LAST, "reprocess": True}, name=CLEARED_RUN)
    for dag_id, task_id in ((NIGHT_DAG, "process.convert"), (IMAGE_DAG, "image")):
        [task, *_] = live.await_running(run[1], task_id)
        live.clear((dag_id, task["dag_run_id"]), task_id)
    assert live.finish(run) == ["success"]
    assert measured(settings, LAST) == found
    assert ms_data(ms_path(settings, archive.groups[LAST])) == data


def test_an_ms_had_one_task_at_a_time(live: LiveAirflow, finished_runs: dict[str, Run]) -> None:
    """A task that is cleared while it runs frees its slot before it ends; its lock it keeps."""
    assert finished_runs
    for name, but in (("ms_access.jsonl", None), ("ms_tasks.jsonl", CLEARED_RUN)):
        holds = spans_by_ms(live.settings.logs_dir / name, but=but)
        assert len(holds) == len(DATES)
        assert {ms: overlaps(spans) for ms, spans in holds.items()} == {ms: [] for ms in holds}


def test_the_loss_of_airflows_database_loses_nothing(
    live: LiveAirflow, finished_runs: dict[str, Run]
) -> None:
    """Airflow's home goes; a new Airflow is asked for the same nights, and finds all of it done,
    also what was reprocessed.

    The last test of the module: it ends the Airflow of the others.
    """
    assert finished_runs
    settings = live.settings
    before = {date: measured(settings, date) for date in DATES}
    files = snapshot(settings, *DATES)
    live.airflow.__exit__(None, None, None)
    shutil.rmtree(live.airflow.home.path)
    status, nights, words = backfill("--from", FIRST, "--to", LAST, settings=settings)
    assert status == 0, words
    assert {night["state"] for night in nights.values()} == {"success"}
    assert all(night["run_id"].startswith("backfill__") for night in nights.values())
    assert [outcomes(live, date) for date in DATES] == [DONE_BEFORE] * 3
    assert {date: measured(settings, date) for date in DATES} == before
    assert snapshot(settings, *DATES) == files
