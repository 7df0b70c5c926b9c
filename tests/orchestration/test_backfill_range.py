"""Which nights a range of dates holds, whatever cuts time into nights."""

from __future__ import annotations

from datetime import UTC, date, datetime
from typing import Any

import pytest

from dsa110_contimg.orchestration.backfill_client import date_range, make_request
from dsa110_contimg.orchestration.runs import NIGHT_DAG
from dsa110_contimg.orchestration.timetable import TransitSchedule

pytestmark = [pytest.mark.airflow]

FIRST, LAST = date(2026, 1, 25), date(2026, 1, 27)


def starts(timetable: Any) -> list[datetime]:
    """When the nights of the range begin, as Airflow's backfill finds out."""
    import pendulum
    from airflow.timetables.base import TimeRestriction

    first, last = (pendulum.instance(moment) for moment in date_range(FIRST, LAST))
    found, interval = [], None
    while True:
        info = timetable.next_dagrun_info(
            last_automated_data_interval=interval,
            restriction=TimeRestriction(first, last, catchup=True),
        )
        if info is None:
            return found
        interval = info.data_interval
        found.append(interval.start)


@pytest.mark.parametrize("schedule", ["0 0 * * *", "30 7 * * *", "59 23 * * *"])
def test_the_last_date_is_included(schedule: str) -> None:
    from airflow.timetables.interval import CronDataIntervalTimetable

    found = starts(CronDataIntervalTimetable(schedule, "UTC"))
    assert [moment.date() for moment in found] == [FIRST, date(2026, 1, 26), LAST]


def test_nights_between_transits() -> None:
    """Each begins a few minutes earlier than the one before, in the middle of a date."""
    schedule = TransitSchedule(ra_deg=128.73, dec_deg=55.57)
    first, last = date_range(FIRST, LAST)
    number, found = schedule.first_starting_at(first.timestamp()), []
    while (start := schedule.interval(number)[0]) <= last.timestamp():
        found.append(datetime.fromtimestamp(start, UTC))
        number += 1
    assert [moment.date() for moment in found] == [FIRST, date(2026, 1, 26), LAST]
    assert found[-1] > datetime(2026, 1, 27, 1, tzinfo=UTC), "a bare date would leave it out"


def test_the_request_looks_at_finished_nights_too() -> None:
    request = make_request(NIGHT_DAG, FIRST, LAST, {"reprocess": True}, max_active=3)
    assert datetime.fromisoformat(request["to_date"]) < datetime(2026, 1, 28, tzinfo=UTC)
    assert request["reprocess_behavior"] == "completed"
    assert (request["dag_run_conf"], request["max_active_runs"]) == ({"reprocess": True}, 3)
