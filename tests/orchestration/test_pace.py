"""How long a night and a backfill still take: from what was measured, and not before."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from dsa110_contimg.cli.progress import NewLines
from dsa110_contimg.orchestration.backfill import BackfillProgress
from dsa110_contimg.orchestration.night import NightProgress
from dsa110_contimg.orchestration.pace import Pace, about, measure_pace
from dsa110_contimg.orchestration.waiting import clock, describe_obstacles

pytestmark = pytest.mark.unit

NOW = datetime(2026, 1, 26, 0, 10, tzinfo=UTC)


def ago(minutes: float) -> datetime:
    return NOW - timedelta(minutes=minutes)


def test_the_pace_is_that_of_groups_that_are_over() -> None:
    converts = [("success", ago(20)), ("failed", ago(10)), ("running", ago(5)), (None, ago(9000))]
    images = ["success", "upstream_failed", "deferred", None]
    pace = measure_pace(converts, images)
    assert (pace.groups, pace.finished, pace.began) == (4, 2, ago(20))
    # Two of four in 20 min.
    assert pace.remaining_s(NOW) == pytest.approx(1200.0)
    assert pace.describe(NOW) == "about 20 min left: 2 of 4 groups are done"


@pytest.mark.parametrize(
    ("pace", "words"),
    [
        (Pace(), ""),
        (Pace(groups=3), "remaining time not known yet: none of 3 groups is done"),
        (
            Pace(groups=3, began=NOW - timedelta(hours=1)),
            "remaining time not known yet: none of 3 groups is done",
        ),
        (Pace(groups=3, finished=3, began=NOW), "all 3 groups are done"),
    ],
)
def test_nothing_is_guessed(pace: Pace, words: str) -> None:
    assert pace.describe(NOW) == words


@pytest.mark.parametrize(
    ("seconds", "words"),
    [
        (0.0, "less than a minute"),
        (29.0, "less than a minute"),
        (90.0, "about 2 min"),
        (3570.0, "about 1 h 00 min"),
        (9000.0, "about 2 h 30 min"),
    ],
)
def test_a_duration_is_written_no_finer_than_it_is_known(seconds: float, words: str) -> None:
    assert about(seconds) == words


def test_a_backfill_counts_nights_that_are_done_in_part() -> None:
    half = NightProgress(pace=Pace(groups=4, finished=2, began=ago(10)))
    states = {"a": "success", "b": "running", "c": "queued"}
    progress = BackfillProgress(states=states, nights={"b": half}, began=ago(30))
    # One and a half of three nights in 30 min.
    assert progress.remaining_s(NOW) == pytest.approx(1800.0)
    idle = {"b": NightProgress(pace=Pace(groups=4))}
    unknown = BackfillProgress(states={"b": "running"}, nights=idle, began=ago(30))
    assert unknown.remaining_s(NOW) is None
    assert BackfillProgress(states={}, nights={}).remaining_s(NOW) is None


def test_what_keeps_tasks_from_being_started() -> None:
    assert describe_obstacles([], is_scheduled=True, heartbeat=NOW, now=NOW) == []
    paused, dead = describe_obstacles(["x"], is_scheduled=False, heartbeat=ago(20), now=NOW)
    assert paused == "x is paused in Airflow: its tasks wait until it is unpaused"
    assert "does not run (last heartbeat 2026-01-25 23:50:00 UTC): no task starts" in dead
    [never] = describe_obstacles([], is_scheduled=False, heartbeat=None, now=NOW)
    assert never == "Airflow's scheduler does not run: no task starts until it does"
    assert clock(ago(5), NOW) == "00:05:00"


def test_a_sentence_is_printed_once(capsys: pytest.CaptureFixture[str]) -> None:
    lines = NewLines()
    for sentences in (["waits [a]"], [], ["waits [a]", "waits for b"]):
        lines.say(sentences, "night")
    printed = capsys.readouterr().err.splitlines()
    assert [line[10:] for line in printed] == ["night  waits [a]", "night  waits for b"]
