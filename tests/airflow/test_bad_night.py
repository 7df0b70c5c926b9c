"""Each kind of bad input gets a named reason, and the rest of the night is done."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import h5py
import numpy as np
import pytest
from support.bad_night import DATE, SOURCE, make_bad_night
from support.live_airflow import LiveAirflow, Run, seconds

from dsa110_contimg.catalog.sources import write_sources
from dsa110_contimg.errors import InputError
from dsa110_contimg.orchestration.alerts.models import AlertKind
from dsa110_contimg.orchestration.alerts.raising import list_alerts, withdraw_alert
from dsa110_contimg.orchestration.runs import IMAGE_DAG, IMAGE_TASK, NIGHT_DAG
from dsa110_contimg.storage.ms_access import exclusive_ms

pytestmark = [pytest.mark.airflow, pytest.mark.slow, pytest.mark.fault]

UNFINISHED = {None, "running", "scheduled", "queued", "up_for_retry", "up_for_reschedule"}


@pytest.fixture(scope="module")
def bad_night(live: LiveAirflow, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """The night's run, its tasks and report, and what is wrong by group."""
    root = tmp_path_factory.mktemp("bad")
    wrong = make_bad_night(root / "incoming")
    write_sources([SOURCE], root / "sources.ecsv")
    run = live.trigger(
        NIGHT_DAG,
        {
            "date": DATE,
            "input_dir": str(root / "incoming"),
            "sources_file": str(root / "sources.ecsv"),
        },
    )
    [state] = live.finish(run)
    return {"run": run, "state": state, "wrong": wrong, "report": live.report(DATE)}


def groups_by_defect(bad_night: dict[str, Any]) -> dict[str, list[dict[str, Any]]]:
    """What the report says of each kind of group."""
    found: dict[str, list[dict[str, Any]]] = {}
    for group in bad_night["report"]["groups"]:
        found.setdefault(bad_night["wrong"][group["group_id"]], []).append(group)
    return found


def test_every_group_has_its_outcome(bad_night: dict[str, Any]) -> None:
    outcomes = {
        what: [group["outcome"] for group in groups]
        for what, groups in groups_by_defect(bad_night).items()
    }
    assert outcomes == {
        "good": ["converted"],
        "spoilt": ["converted"],
        "strange": ["converted"],
        "no-flags": ["failed"],
        "incomplete": ["rejected"],
        "interleaved": ["converted", "converted"],
    }


@pytest.mark.parametrize(
    ("what", "subband", "predicate"),
    [
        ("spoilt", "sb03", "is truncated"),
        ("spoilt", "sb04", "is empty"),
        ("spoilt", "sb07", "is not an HDF5 file"),
        ("strange", "sb06", "repeats sb06"),
        ("interleaved", "sb01", "has a name +289 s from those of its group"),
    ],
)
def test_problems_are_named(
    bad_night: dict[str, Any], what: str, subband: str, predicate: str
) -> None:
    problems = groups_by_defect(bad_night)[what][0]["problems"]
    assert any(
        problem.startswith(f"{subband}: ") and predicate in problem for problem in problems
    ), problems


def test_missing_subbands_are_named(bad_night: dict[str, Any]) -> None:
    groups = groups_by_defect(bad_night)
    assert groups["spoilt"][0]["missing"] == ["sb03", "sb04", "sb05", "sb07"]
    assert "without sb03, sb04, sb05, sb07" in groups["spoilt"][0]["reason"]
    assert groups["strange"][0]["missing"] == []
    assert "incomplete: 10 of 16 subbands" in groups["incomplete"][0]["reason"]


def test_values_that_are_not_finite_are_flagged(bad_night: dict[str, Any]) -> None:
    group = groups_by_defect(bad_night)["strange"][0]
    [ms] = [
        ms for ms in bad_night["report"]["measurement_sets"] if ms["group_id"] == group["group_id"]
    ]
    assert ms["nonfinite"] == 8 * 4 * 2


def test_every_file_is_accounted_for(bad_night: dict[str, Any]) -> None:
    totals = bad_night["report"]["totals"]
    # 7 groups of 16, less 1 and 6 that were never written, and one copy more.
    assert totals["subband_files"] + totals["rejected_files"] == 7 * 16 - 7 + 1
    assert totals["rejected_files"] == 4


def test_the_rest_of_the_night_is_done(live: LiveAirflow, bad_night: dict[str, Any]) -> None:
    sources = bad_night["report"]["sources"]
    assert [(source["name"], source["success"]) for source in sources] == [("survivor", True)]
    assert bad_night["wrong"][sources[0]["group_id"]] == "good"
    tasks = live.tasks(*bad_night["run"])
    states = [task["state"] for (name, _), task in tasks.items() if name == "process.convert"]
    assert sorted(states) == ["failed", "skipped"] + ["success"] * 5
    images = [task["state"] for (name, _), task in tasks.items() if name == "process.image"]
    assert sorted(images) == ["skipped"] + ["success"] * 5 + ["upstream_failed"]
    settled = [t["state"] for (name, _), t in tasks.items() if name == "process.settle_failed"]
    assert sorted(settled) == ["skipped"] * 6 + ["success"]


def test_the_run_fails_and_says_why(live: LiveAirflow, bad_night: dict[str, Any]) -> None:
    assert bad_night["state"] == "failed"
    tasks = live.tasks(*bad_night["run"])
    assert tasks["report", -1]["state"] == "success"
    assert tasks["verdict", -1]["state"] == "failed"
    [failure] = bad_night["report"]["failures"]
    assert bad_night["wrong"][failure["subject"]] == "no-flags"
    assert failure["code"] == "missing_item"
    assert "has no Data/flags" in failure["reason"]
    log = live.log(*bad_night["run"], "verdict")
    assert "1 of 7 groups failed" in log
    assert failure["reason"].splitlines()[0] in log


def test_bad_input_is_not_tried_again(live: LiveAirflow, bad_night: dict[str, Any]) -> None:
    tasks = live.tasks(*bad_night["run"]).values()
    assert {task["try_number"] for task in tasks if task["state"] in {"failed", "success"}} == {1}


def test_a_second_run_does_no_work_twice(live: LiveAirflow, bad_night: dict[str, Any]) -> None:
    """The bad file replaced, its group is caught up, and nothing else is done."""
    [failure] = bad_night["report"]["failures"]
    conf = live.client.dag_run(*bad_night["run"])["conf"]
    [bad] = Path(conf["input_dir"]).glob(f"{failure['subject'][:13]}*_sb09.hdf5")
    with h5py.File(bad, "a") as file:
        file["Data/flags"] = np.zeros(file["Data/visdata"].shape, bool)
    assert live.finish(live.trigger(NIGHT_DAG, conf)) == ["success"]
    report = live.report(DATE)
    assert report["failures"] == []
    outcomes = {group["group_id"]: group["outcome"] for group in report["groups"]}
    assert outcomes.pop(failure["subject"]) == "converted"
    assert set(outcomes.values()) == {"skipped", "rejected"}
    assert [source["skipped"] for source in report["sources"]] == [True]


def again(live: LiveAirflow, bad_night: dict[str, Any]) -> Run:
    """Trigger the night once more, and its work to be done anew."""
    conf = live.client.dag_run(*bad_night["run"])["conf"]
    return live.trigger(NIGHT_DAG, {**conf, "reprocess": True})


@pytest.fixture(scope="module")
def marked(live: LiveAirflow, bad_night: dict[str, Any]) -> Run:
    """A run that an operator marks as failed while an MS that it has handed over is waited for."""
    good = groups_by_defect(bad_night)["good"][0]
    withdraw_alert(AlertKind.NIGHT_FAILED, DATE, live.settings)

    def is_imaged() -> bool:
        """Whether the group is waited for, and a task of its run works."""
        tasks = live.client.task_instances(IMAGE_DAG, containing=run[1])
        waits = [
            task["state"] for (name, _), task in live.tasks(*run).items() if name == IMAGE_TASK
        ]
        working = [task for task in tasks if task["state"] == "running"]
        return "deferred" in waits and any(good["group_id"] in t["dag_run_id"] for t in working)

    with contextlib.ExitStack() as stack:
        run = again(live, bad_night)
        live.wait_until(lambda: live.client.dag_runs(IMAGE_DAG, containing=run[1]), "a run", 120)
        stack.enter_context(exclusive_ms(good["ms_path"], "somebody else's work", timeout_s=60))
        live.wait_until(is_imaged, "a task that works on an MS", 120)
        live.client.fail_run(*run)
    return run


def test_a_night_marked_as_failed_ends_with_the_runs_it_has_started(
    live: LiveAirflow, marked: Run
) -> None:
    started = [
        (IMAGE_DAG, run["dag_run_id"])
        for run in live.client.dag_runs(IMAGE_DAG, containing=marked[1])
    ]
    states = live.finish(marked, *started, timeout_s=10)
    assert states[0] == "failed"
    assert "failed" in states[1:]
    for run in started:
        assert not {task["state"] for task in live.tasks(*run).values()} & UNFINISHED
    live.airflow.wait(3)
    assert live.finish(marked, *started, timeout_s=1) == states


def test_a_night_marked_as_failed_is_told_of(live: LiveAirflow, marked: Run) -> None:
    def told() -> list[str]:
        return [
            record.alert.message
            for record in list_alerts(live.settings)
            if (record.alert.kind, record.alert.subject) == (AlertKind.NIGHT_FAILED, DATE)
        ]

    live.wait_until(told, "the message", 60)
    [message] = told()
    assert f"The run {marked[1]} failed: it was marked as failed by hand" in message


def test_a_report_comes_after_the_work_that_was_cleared(
    live: LiveAirflow, bad_night: dict[str, Any], marked: Run
) -> None:
    """Of a night without failures: no task looks after those of its groups."""
    run = again(live, bad_night)
    assert live.finish(run) == ["success"]
    [index] = [
        index
        for (name, index), task in live.tasks(*run).items()
        if name == IMAGE_TASK
        and groups_by_defect(bad_night)["good"][0]["ms_path"] in (task["rendered_map_index"] or "")
    ]
    live.clear(run, IMAGE_TASK, map_index=index, downstream=True)
    assert live.finish(run) == ["success"]
    tasks = live.tasks(*run)
    assert {tasks[name]["try_number"] for name in ((IMAGE_TASK, index), ("report", -1))} == {2}
    assert seconds(tasks["report", -1]["start_date"]) >= seconds(
        tasks[IMAGE_TASK, index]["end_date"]
    )


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda path: path.symlink_to(path.name), "cannot be listed"),
        (lambda path: path.write_text(""), "is not a directory"),
        (lambda _: None, "does not exist"),
    ],
    ids=["loop", "file", "absent"],
)
def test_unreadable_directory(live: LiveAirflow, tmp_path: Path, make: Any, words: str) -> None:
    make(tmp_path / "incoming")
    run = live.trigger(NIGHT_DAG, {"date": "2026-01-01", "input_dir": str(tmp_path / "incoming")})
    assert live.finish(run) == ["failed"]
    assert not (live.settings.nights_dir / "2026-01-01").exists()
    tasks = live.tasks(*run)
    assert tasks["discover", -1]["try_number"] == 1
    assert tasks["verdict", -1]["state"] == "failed"
    for task in ("discover", "verdict"):
        assert f"{tmp_path / 'incoming'} {words}" in live.log(*run, task)


def test_night_without_data(live: LiveAirflow, tmp_path: Path) -> None:
    run = live.trigger(NIGHT_DAG, {"date": "2026-01-02", "input_dir": str(tmp_path)})
    assert live.finish(run) == ["success"]
    assert live.report("2026-01-02")["verdict"] == "empty"
    tasks = live.tasks(*run)
    assert tasks["process.convert", -1]["state"] == "skipped"


def test_a_held_ms_is_tried_again(live: LiveAirflow, bad_night: dict[str, Any]) -> None:
    """What the surroundings broke is retried, and the log says who held the MS."""
    group = groups_by_defect(bad_night)["good"][0]
    with exclusive_ms(group["ms_path"], "somebody else's work", timeout_s=30):
        run = live.trigger(
            IMAGE_DAG,
            {
                "ms": group["ms_path"],
                "sources": [SOURCE.model_dump()],
                "max_spws": 1,
                "max_width": 1,
                "reprocess": True,
            },
        )
        live.wait_until(
            lambda: (
                live.tasks(*run).get(("prepare", -1), {}).get("state") in {"up_for_retry", "failed"}
            ),
            "the first try",
            90,
        )
    assert live.finish(run) == ["success"]
    assert live.tasks(*run)["prepare", -1]["try_number"] == 2
    assert "is held by somebody else's work" in live.log(*run, "prepare")


@pytest.mark.parametrize(
    ("conf", "word"),
    [({}, "ms"), ({"ms": ""}, "ms"), ({"ms": "/x.ms", "sources": [{"name": "a b"}]}, "sources")],
)
def test_a_run_without_ms_is_refused(live: LiveAirflow, conf: dict[str, Any], word: str) -> None:
    with pytest.raises(InputError, match=word):
        live.trigger(IMAGE_DAG, conf, name="refused")
    assert live.client.dag_runs(IMAGE_DAG, containing="refused") == []


def test_an_ms_that_is_not_there_is_named(live: LiveAirflow) -> None:
    ms = live.settings.ms_dir / "2026-01-03" / "2026-01-03T00:00:00.ms"
    run = live.trigger(IMAGE_DAG, {"ms": str(ms)})
    assert live.finish(run) == ["failed"]
    assert "is not a published Measurement Set" in live.log(*run, "prepare")
    tasks = live.tasks(*run)
    assert tasks["image", -1]["state"] == "upstream_failed"
    assert tasks["prepare", -1]["try_number"] == 1
