"""Which night a run is about, and what its runs are called."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pendulum
import pytest

from dsa110_contimg.errors import InputError
from dsa110_contimg.orchestration.runs import (
    image_conf,
    image_run_id,
    parent_of_image_run,
    plan_night,
    wait_in_turn,
)
from dsa110_contimg.settings import Settings

pytestmark = pytest.mark.unit

SETTINGS = Settings(work_dir=Path("/work-dir"), allowed_roots=[Path("/in"), Path("/targets")])
START, END = datetime(2026, 1, 25, tzinfo=UTC), datetime(2026, 1, 26, tzinfo=UTC)


def test_the_date_goes_before_the_interval() -> None:
    night = plan_night({"date": "2026-01-25"}, datetime(2025, 1, 1, tzinfo=UTC), END, SETTINGS)
    assert (night.date, night.start, night.end) == ("2026-01-25", START, END)


@pytest.mark.parametrize("zone", [UTC, timezone(timedelta(hours=-8))])
def test_the_interval_of_the_run(zone: timezone) -> None:
    night = plan_night({"date": None}, START.astimezone(zone), END.astimezone(zone), SETTINGS)
    assert (night.date, night.start, night.end) == ("2026-01-25", START, END)


def test_the_times_are_plain_ones() -> None:
    """Sums of Airflow's own datetimes with plain ones would lose the time zone."""
    night = plan_night({}, pendulum.instance(START), pendulum.instance(END), SETTINGS)
    assert type(night.start) is type(night.end) is datetime
    assert (night.start - timedelta(days=1)).tzinfo is UTC


@pytest.mark.parametrize(
    ("params", "interval", "reason"),
    [
        ({"date": "25 January"}, (None, None), "bad_date"),
        ({"date": 20260125}, (None, None), "bad_date"),
        ({}, (None, None), "no_date"),
        ({"date": ""}, (START, START), "no_date"),
        ({"dat": "2026-01-25"}, (START, END), "unknown_parameter"),
        ({"date": "2026-01-25", "dec_dgr": 54.5}, (None, None), "unknown_parameter"),
    ],
)
def test_no_night(params: dict[str, Any], interval: tuple[Any, Any], reason: str) -> None:
    with pytest.raises(InputError) as refusal:
        plan_night(params, *interval, SETTINGS)
    assert refusal.value.reason == reason


def test_paths_come_from_the_settings_unless_given() -> None:
    night = plan_night({"date": "2026-01-25"}, None, None, SETTINGS)
    assert night.input_dir == Path("/work-dir/incoming")
    assert night.sources_file == Path("/work-dir/sources.ecsv")
    given = {"date": "2026-01-25", "input_dir": "/in", "sources_file": "/targets/a.ecsv"}
    night = plan_night(given, None, None, SETTINGS)
    assert (night.input_dir, night.sources_file) == (Path("/in"), Path("/targets/a.ecsv"))


def test_equal_requests_find_the_same_run() -> None:
    """A run keeps its parameters when it is started again, so they are part of its name."""
    night = plan_night({"date": "2026-01-25"}, None, None, SETTINGS)
    conf = image_conf(night, "/ms/2026-01-25/2026-01-25T08:04:54.ms")
    run_id = image_run_id("scheduled__2026-01-26T00:00:00+00:00", conf)
    assert run_id.startswith("image__2026-01-25T08:04:54__scheduled__2026-01-26T00:00:00+00:00__")
    assert run_id == image_run_id("scheduled__2026-01-26T00:00:00+00:00", dict(conf))
    assert run_id != image_run_id("scheduled__2026-01-26T00:00:00+00:00", {**conf, "night": "x"})
    assert run_id != image_run_id("manual__1", conf)
    assert len(image_run_id("x" * 300, conf)) <= 250


@pytest.mark.parametrize("parent", ["manual__2026-01-26T00:00:00+00:00_x__y", "k_1"])
def test_a_run_knows_which_one_started_it(parent: str) -> None:
    conf = {"ms": "/ms/2026-01-25/2026-01-25T08:04:54.ms"}
    assert parent_of_image_run(image_run_id(parent, conf)) == parent
    for other in ("manual__1", "image__", "image__2026-01-25T08:04:54", "image__a__b"):
        assert parent_of_image_run(other) is None


@pytest.mark.parametrize(("place", "interval_s"), [(-1, 2), (0, 2), (4, 10), (279, 60)])
def test_a_late_group_is_asked_for_less_often(place: int, interval_s: int) -> None:
    context = {"ti": SimpleNamespace(map_index=place), "task": SimpleNamespace(poke_interval=1)}
    wait_in_turn(context)
    assert context["task"].poke_interval == interval_s
