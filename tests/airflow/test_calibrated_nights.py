"""Nights with gain errors through a running Airflow: each is calibrated by its own calibrator.

The nights are processed against the order of their dates, as a backfill may.
"""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
from support.live_airflow import LiveAirflow, overlaps, seconds, spans_by_ms

from dsa110_contimg.catalog.sources import read_sources, write_sources
from dsa110_contimg.orchestration.embedded import EmbeddedAirflow
from dsa110_contimg.orchestration.runs import IMAGE_DAG, NIGHT_DAG
from dsa110_contimg.settings import Settings
from dsa110_contimg.simulation.night import SimulationOptions, SimulationResult, simulate
from dsa110_contimg.storage.ms_access import exclusive_ms, read_holder
from dsa110_contimg.storage.ms_change import require_whole

pytestmark = [pytest.mark.airflow, pytest.mark.casa, pytest.mark.slow]

EARLIER, LATER, LONELY = "2026-01-25", "2026-01-26", "2026-02-10"
N_GROUPS = {EARLIER: 2, LATER: 1, LONELY: 1}
STARTS = {EARLIER: "08:06:19", LATER: "14:06:19", LONELY: "08:06:19"}
"""Hours apart in sidereal time, too: a calibrator of one night is not in a field of the other."""
FLUX_TOLERANCE = 0.03
"""Eight antennas hear a source of 1.5 Jy beside one of 8.8 Jy through gains that are known to
0.5 % each: the side lobes of the one move the other by about 1 %; and 0.5 % of noise."""


@pytest.fixture(scope="module")
def nights(tmp_path_factory: pytest.TempPathFactory) -> dict[str, SimulationResult]:
    """Three nights; the calibrator transits in the last group, except in the lonely night."""
    return {
        date: simulate(
            SimulationOptions(
                output_dir=tmp_path_factory.mktemp(date) / "incoming",
                start=datetime.fromisoformat(f"{date}T{STARTS[date]}").replace(tzinfo=UTC),
                n_groups=n_groups,
                n_antennas=8,
                sefd_jy=1000.0,
                gain_errors=True,
                missing=("sb12", "sb13", "sb14", "sb15"),
                calibrator_jy=None if date == LONELY else 8.8,
                calibrator_group=n_groups - 1,
            )
        )
        for date, n_groups in N_GROUPS.items()
    }


@pytest.fixture(scope="module")
def live(
    tmp_path_factory: pytest.TempPathFactory, nights: dict[str, SimulationResult]
) -> Iterator[LiveAirflow]:
    """Airflow that calibrates, with the calibrators of both nights in one catalogue."""
    root = tmp_path_factory.mktemp("calibrated")
    calibrators = {
        source.name: source
        for night in nights.values()
        if night.calibrators_path
        for source in read_sources(Path(night.calibrators_path))
    }
    write_sources(list(calibrators.values()), root / "calibrators.ecsv")
    settings = Settings(
        work_dir=root / "work",
        calibrators_file=root / "calibrators.ecsv",
        # The nights of the tests lie beside its work directory.
        allowed_roots=[tmp_path_factory.getbasetemp()],
    )
    with EmbeddedAirflow(settings, parallelism=4, schedule=False) as airflow:
        airflow.client.set_paused(NIGHT_DAG, paused=False)
        yield LiveAirflow(airflow, settings)


def night_conf(nights: dict[str, SimulationResult], date: str) -> dict[str, Any]:
    """What a run of a night is asked for."""
    night = nights[date]
    return {"date": date, "input_dir": night.output_dir, "sources_file": night.sources_path}


@pytest.fixture(scope="module")
def reports(live: LiveAirflow, nights: dict[str, SimulationResult]) -> dict[str, dict[str, Any]]:
    """The report of each night; the later night was processed first."""
    found = {}
    for together in ((LATER,), (EARLIER, LONELY)):
        runs = [live.trigger(NIGHT_DAG, night_conf(nights, date), name=date) for date in together]
        live.finish(*runs)
        found |= {date: live.report(date) for date in together}
    return found


def calibrations(live: LiveAirflow, date: str) -> list[dict[str, Any]]:
    """What was applied in a night, in order of group."""
    folder = live.settings.nights_dir / date / "records" / "calibrations"
    return [json.loads(path.read_text()) for path in sorted(folder.glob("*.json"))]


@pytest.mark.parametrize("date", [EARLIER, LATER])
def test_a_night_uses_its_own_calibrator(
    live: LiveAirflow, reports: dict[str, dict[str, Any]], date: str
) -> None:
    assert reports[date]["failures"] == []
    applied = calibrations(live, date)
    assert len(applied) == N_GROUPS[date]
    for record in applied:
        [used] = record["applied"]
        assert used["set_id"].startswith(date)
    assert not applied[-1]["borrowed"]


def test_a_group_before_the_transit_waits(
    live: LiveAirflow, reports: dict[str, dict[str, Any]]
) -> None:
    assert reports[EARLIER]["failures"] == []
    first, last = calibrations(live, EARLIER)
    assert first["borrowed"]
    assert "later" in first["sentence"]
    tasks = [
        task
        for task in live.client.task_instances(IMAGE_DAG, containing=EARLIER)
        if task["state"] == "success"
    ]
    run_of = {group["group_id"]: f"image__{group['group_id']}" for group in (first, last)}

    def moment(task_id: str, record: dict[str, Any], edge: str) -> float:
        [found] = [
            task[edge]
            for task in tasks
            if task["task_id"] == task_id
            and task["dag_run_id"].startswith(run_of[record["group_id"]])
        ]
        return seconds(found)

    assert moment("solve", last, "end_date") <= moment("apply", first, "start_date")
    # Meanwhile it said for what, and until when.
    [waited] = [
        task["dag_run_id"]
        for task in tasks
        if task["task_id"] == "calibrators"
        and task["dag_run_id"].startswith(run_of[first["group_id"]])
    ]
    told = f"{first['group_id']} awaits the solutions of {last['group_id']}, until "
    assert told in live.log(IMAGE_DAG, waited, "calibrators")


@pytest.mark.parametrize("date", [EARLIER, LATER])
def test_fluxes_are_right(
    reports: dict[str, dict[str, Any]], nights: dict[str, SimulationResult], date: str
) -> None:
    truth = {source.name: source for source in read_sources(Path(nights[date].sources_path))}
    brightest = max(truth.values(), key=lambda source: source.flux_jy or 0.0)
    measured = [one for one in reports[date]["sources"] if one["name"] == brightest.name]
    assert len(measured) == N_GROUPS[date]
    for source in measured:
        ratio = [
            window["flux_jy"] / float(brightest.flux_at(window["freq_hz"]))
            for window in source["spws"]
        ]
        assert sum(ratio) / len(ratio) == pytest.approx(1.0, abs=FLUX_TOLERANCE)


def test_no_set_is_applied_for_want_of_a_valid_one(
    live: LiveAirflow, reports: dict[str, dict[str, Any]]
) -> None:
    [failure] = [one for one in reports[LONELY]["failures"] if one["kind"] == "MS"]
    assert "no_valid_calibration" in (failure["code"] or failure["reason"])
    assert LATER in failure["reason"], "the nearest set is named, and why it was refused"
    assert calibrations(live, LONELY) == []
    assert reports[LONELY]["sources"] == []


def test_a_second_run_does_no_work_twice(
    live: LiveAirflow,
    nights: dict[str, SimulationResult],
    reports: dict[str, dict[str, Any]],
) -> None:
    assert reports[LATER]["failures"] == []
    [ms] = [Path(record["ms_path"]) for record in calibrations(live, LATER)]
    before = {path: path.stat().st_mtime_ns for path in ms.glob("table.f*")}
    run = live.trigger(NIGHT_DAG, night_conf(nights, LATER), name="again")
    assert live.finish(run) == ["success"]
    assert {path: path.stat().st_mtime_ns for path in ms.glob("table.f*")} == before
    assert [record["skipped"] for record in calibrations(live, LATER)] == [True]


@pytest.mark.parametrize("task_id", ["flag", "solve", "calibrators", "apply"])
def test_clearing_a_task_of_a_calibrated_ms_is_safe(
    live: LiveAirflow, reports: dict[str, dict[str, Any]], task_id: str
) -> None:
    """Alone, without what depends on it: the MS stays flagged, calibrated and as it was."""
    assert reports[LATER]["failures"] == []
    before = [record | {"skipped": None, "seconds": None} for record in calibrations(live, LATER)]
    ms = Path(before[0]["ms_path"])
    files = {path: path.stat().st_mtime_ns for path in ms.glob("table.f*")}
    [run] = [
        run["dag_run_id"]
        for run in live.client.dag_runs(IMAGE_DAG, containing=f"{LATER}__")
        if run["dag_run_id"].startswith(f"image__{ms.stem}")
    ]
    live.clear((IMAGE_DAG, run), task_id)
    assert live.finish((IMAGE_DAG, run)) == ["success"]
    assert {path: path.stat().st_mtime_ns for path in ms.glob("table.f*")} == files
    after = [record | {"skipped": None, "seconds": None} for record in calibrations(live, LATER)]
    assert after == before


@pytest.mark.sweep
def test_a_night_that_is_done_anew_waits_for_its_new_solutions(
    live: LiveAirflow,
    nights: dict[str, SimulationResult],
    reports: dict[str, dict[str, Any]],
) -> None:
    """The first group takes what the last one is solved to now, not what was there before."""
    assert reports[EARLIER]["failures"] == []
    conf = night_conf(nights, EARLIER)
    [old, _] = [record["applied"] for record in calibrations(live, EARLIER)]
    assert live.finish(live.trigger(NIGHT_DAG, {**conf, "reprocess": True})) == ["success"]
    first, last = calibrations(live, EARLIER)
    assert first["applied"][0]["tables"] == last["applied"][0]["tables"] != old[0]["tables"]
    [then], [now] = (
        [s["spws"] for s in report["sources"] if s["group_id"] == first["group_id"]][:1]
        for report in (reports[EARLIER], live.report(EARLIER))
    )
    assert [w["flux_jy"] for w in now] == pytest.approx([w["flux_jy"] for w in then], rel=1e-6)
    assert live.finish(live.trigger(NIGHT_DAG, conf)) == ["success"]
    assert [record["skipped"] for record in calibrations(live, EARLIER)] == [True, True]


@pytest.mark.sweep
@pytest.mark.fault
def test_a_night_outlives_the_death_of_each_task_that_changes_its_ms(
    live: LiveAirflow,
    nights: dict[str, SimulationResult],
    reports: dict[str, dict[str, Any]],
) -> None:
    """Killed while it flags, solves or applies, each is done again, and from whole data."""
    conf = {**night_conf(nights, LATER), "reprocess": True}
    changing = ("flag", "solve", "apply")
    run = live.trigger(NIGHT_DAG, conf, name="killed")
    [ms] = [Path(record["ms_path"]) for record in calibrations(live, LATER)]
    for task_id in changing:

        def is_at_work(purpose: str = f": {task_id}") -> bool:
            """Whether the task holds the MS."""
            holder = read_holder(ms)
            return holder is not None and holder.purpose.endswith(purpose)

        live.wait_until(is_at_work, f"a hold of {task_id}", 120)
        [task] = live.await_running(run[1], task_id)
        os.kill(task["pid"], signal.SIGKILL)
    assert live.finish(run) == ["success"]
    tasks = live.client.task_instances(IMAGE_DAG, containing=run[1])
    again = {task["task_id"]: task["try_number"] for task in tasks if task["try_number"] > 1}
    assert again == dict.fromkeys(changing, 2)
    report = live.report(LATER)
    assert report["failures"] == []
    then, now = ([s["spws"] for s in made["sources"]] for made in (reports[LATER], report))
    assert len(then) == len(now) > 0
    for before, after in zip(then, now, strict=True):
        fluxes = [window["flux_jy"] for window in before]
        assert [window["flux_jy"] for window in after] == pytest.approx(fluxes, rel=1e-6)
    require_whole(ms)


@pytest.mark.sweep
@pytest.mark.fault
def test_nobody_waits_for_a_conversion_that_dies_on_every_try(
    live: LiveAirflow,
    nights: dict[str, SimulationResult],
    reports: dict[str, dict[str, Any]],
) -> None:
    """The calibrator's group is lost; the other one takes what an earlier run has solved."""
    assert reports[EARLIER]["failures"] == []
    lost = calibrations(live, EARLIER)[-1]
    conf = {**night_conf(nights, EARLIER), "reprocess": True}
    run = live.trigger(NIGHT_DAG, conf, name="lost")
    convert = ("process.convert", 0)  # groups with calibrators come first
    with exclusive_ms(lost["ms_path"], "nobody converts it", timeout_s=30):
        for number in (1, 2, 3):

            def is_tried(number: int = number) -> bool:
                """Whether the conversion runs for this time."""
                task = live.tasks(*run).get(convert, {})
                return task.get("state") == "running" and task["try_number"] == number

            live.wait_until(is_tried, f"try {number} of the conversion", 120)
            os.kill(live.tasks(*run)[convert]["pid"], signal.SIGKILL)
    assert live.finish(run) == ["failed"]
    tasks = live.tasks(*run)
    assert [tasks["process.settle_failed", index]["state"] for index in (0, 1)] == [
        "success",
        "skipped",
    ]
    [failure] = live.report(EARLIER)["failures"]
    assert (failure["group_id"], failure["code"]) == (lost["group_id"], "no_word")
    assert live.finish(live.trigger(NIGHT_DAG, conf, name="found")) == ["success"]
    assert live.report(EARLIER)["failures"] == []


def test_an_ms_has_one_task_at_a_time(
    live: LiveAirflow, reports: dict[str, dict[str, Any]]
) -> None:
    assert reports[EARLIER]["failures"] == []
    holds = spans_by_ms(live.settings.logs_dir / "ms_access.jsonl")
    assert len(holds) == sum(N_GROUPS.values())
    assert {ms: overlaps(spans) for ms, spans in holds.items()} == {ms: [] for ms in holds}
