"""The transit timetable as Airflow's scheduler sees it; see also `test_schedule_and_forms`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dsa110_contimg.orchestration.home import AirflowHome, find_project_folder
from dsa110_contimg.orchestration.timetable import TransitSchedule
from dsa110_contimg.settings import Settings

pytestmark = pytest.mark.airflow

SUPPORT = Path(__file__).resolve().parents[1] / "support"
SCHEDULE = TransitSchedule(ra_deg=128.7287, dec_deg=55.5725, hours=2.0)
FIRST_S = datetime(2026, 1, 25, tzinfo=UTC).timestamp()


@pytest.fixture(scope="module")
def answer(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Any]:
    """What `timetable_child` says, with the settings in its environment."""
    root = tmp_path_factory.mktemp("timetable")
    home = AirflowHome(
        Settings(
            work_dir=root / "work",
            schedule="transit",
            schedule_ra_deg=SCHEDULE.ra_deg,
            schedule_dec_deg=SCHEDULE.dec_deg,
            schedule_transit_hours=SCHEDULE.hours,
            catchup_from=date(2026, 1, 25),
        )
    )
    home.prepare()
    done = subprocess.run(
        [sys.executable, "-P", SUPPORT / "timetable_child.py", root / "answer.json"],
        env={
            **os.environ,
            **home.environment(port=1, parallelism=1, schedule=True),
            "AIRFLOW__CORE__PLUGINS_FOLDER": str(find_project_folder("plugins")),
        },
        capture_output=True,
        text=True,
        timeout=240,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
    read: dict[str, Any] = json.loads((root / "answer.json").read_text())
    return read


def interval(number: int) -> list[str]:
    return [datetime.fromtimestamp(time_s, UTC).isoformat() for time_s in SCHEDULE.interval(number)]


@pytest.fixture(scope="module")
def number() -> int:
    """The first transit since the first date."""
    return SCHEDULE.first_starting_at(FIRST_S)


def test_it_survives_being_written_down(answer: dict[str, Any]) -> None:
    assert answer["errors"] == {}
    assert answer["written"]["__type"] == "transit_timetable.TransitTimetable"
    assert TransitSchedule.model_validate(answer["again"]) == SCHEDULE
    assert answer["description"] == "Transits of RA 128.7287, Dec +55.5725: 2 h"
    assert answer["summary"] == "transit of RA 128.73"


def test_catching_up_begins_with_the_first_date(answer: dict[str, Any], number: int) -> None:
    """A run starts when its interval is over."""
    assert answer["catchup"]
    assert answer["first"] == [*interval(number), interval(number)[1]]
    assert answer["second"] == [*interval(number + 1), interval(number + 1)[1]]
    assert answer["after the end"] is None
    assert answer["nothing to begin with"] is None


def test_without_catching_up_only_the_newest_runs(answer: dict[str, Any]) -> None:
    newest = SCHEDULE.last_ended(answer["now"])
    assert answer["newest after another"][:2] == interval(newest)
    today = datetime.fromtimestamp(answer["now"], UTC).date()
    assert answer["cron, after another"] == days(today - timedelta(days=1))


def test_the_first_run_is_not_of_the_night_before(answer: dict[str, Any]) -> None:
    """Else it would start with any run by hand that switches the DAG on."""
    newest = SCHEDULE.last_ended(answer["now"])
    assert answer["newest"][:2] == interval(newest + 1)
    today = datetime.fromtimestamp(answer["now"], UTC).date()
    assert answer["cron, first"] == days(today)
    assert answer["cron, later"] == days(today + timedelta(days=6))
    assert answer["cron, caught up"] == days(date(2026, 1, 25))


def days(day: date) -> list[str]:
    """A date as an interval, and when its run starts."""
    start, end = (f"{day + timedelta(days=k)}T00:00:00+00:00" for k in (0, 1))
    return [start, end, end]


def test_a_run_bears_the_date_of_its_night(answer: dict[str, Any], number: int) -> None:
    """Where the parameters may name another one, it does not."""
    start = interval(number)[0]
    by_hand = f"manual__{interval(number)[1]}"
    assert answer["names"] == 2 * [
        *(f"{kind}__night_{start[:19]}Z" for kind in ("scheduled", "backfill")),
        by_hand,
    ]


def test_a_run_by_hand_takes_the_newest_that_is_over(answer: dict[str, Any], number: int) -> None:
    assert answer["manual"] == interval(number)


def test_a_backfill_of_three_days_has_three_runs(answer: dict[str, Any], number: int) -> None:
    assert answer["backfill"] == [interval(number + k)[0] for k in range(3)]
