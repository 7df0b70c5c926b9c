"""When a night may be closed, and what is on record of it."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from dsa110_contimg.conversion.models import ConversionResult, ConversionState
from dsa110_contimg.errors import InputError
from dsa110_contimg.orchestration.runs import Night, plan_night
from dsa110_contimg.orchestration.settling import has_settled, judge_arrival
from dsa110_contimg.orchestration.transit_tasks import discover_groups, night_ledger
from dsa110_contimg.orchestration.waiting import AWAITED_KEY, Awaited, clock
from dsa110_contimg.qa.models import GroupOutcome, Verdict
from dsa110_contimg.qa.record_models import Arrival
from dsa110_contimg.qa.report import write_report
from dsa110_contimg.settings import Settings, get_settings
from dsa110_contimg.simulation.night import SimulationResult

pytestmark = [pytest.mark.unit, pytest.mark.usefixtures("private_places")]

SETTLE_S, TIMEOUT_S = 600.0, 7200.0
SETTINGS = Settings(settle_s=SETTLE_S, settle_timeout_s=TIMEOUT_S)


@pytest.fixture
def incoming(tmp_path: Path) -> Path:
    path = tmp_path / "work/incoming"
    path.mkdir(parents=True)
    return path


@pytest.fixture
def night(incoming: Path) -> Night:
    return plan_night({"date": "2026-01-25"}, None, None, get_settings())


def arrive(incoming: Path, name: str) -> float:
    """Let a file arrive; when that was, seconds since 1970."""
    file = incoming / name
    file.write_bytes(b"x")
    return file.stat().st_ctime


def judge(night: Night, now_s: float, waited_s: float = 0.0) -> Arrival | None:
    return judge_arrival(night, SETTINGS, now_s=now_s, waiting_since_s=now_s - waited_s)


def test_files_that_have_not_changed_for_a_while(night: Night, incoming: Path) -> None:
    arrive(incoming, "2026-01-25T08:04:54_sb00.hdf5")
    last_s = arrive(incoming, "2026-01-25T08:04:55_sb01.hdf5")
    assert judge(night, last_s + SETTLE_S - 1) is None
    arrival = judge(night, last_s + SETTLE_S + 1)
    assert arrival is not None
    assert arrival.is_settled


@pytest.mark.parametrize(
    "change",
    [
        lambda file: file.write_bytes(b"xx"),
        lambda file: file.rename(file.with_name("2026-01-25T08:04:54_sb00.hdf5")),
        lambda file: os.utime(file, (0, 0)),
    ],
    ids=["written", "renamed", "old time restored"],
)
def test_every_way_of_arriving_counts(night: Night, incoming: Path, change: Any) -> None:
    """A copy may bear the time of its original; the name of a file being written ends otherwise."""
    first_s = arrive(incoming, "2026-01-25T08:04:54_sb00_incomplete.hdf5")
    change(next(incoming.iterdir()))
    [file] = incoming.iterdir()
    assert file.stat().st_ctime >= first_s
    assert judge(night, file.stat().st_ctime + SETTLE_S / 2) is None


class Told:
    """Takes what a task tells Airflow."""

    def __init__(self) -> None:
        self.said: dict[str, Any] = {}

    def xcom_push(self, key: str, value: Any) -> None:
        self.said[key] = value

    def awaited(self) -> Awaited:
        return Awaited.model_validate(self.said[AWAITED_KEY])


@pytest.mark.parametrize("is_patient", [True, False], ids=["settle", "patience"])
def test_it_is_told_what_is_awaited_since_when_and_until_when(
    night: Night, incoming: Path, caplog: pytest.LogCaptureFixture, is_patient: bool
) -> None:
    last = datetime.fromtimestamp(arrive(incoming, "2026-01-25T08:04:54_sb00.hdf5"), UTC)
    closes = last + timedelta(seconds=SETTLE_S)
    since = last - timedelta(seconds=0.0 if is_patient else TIMEOUT_S - 60.0)
    until = closes if is_patient else since + timedelta(seconds=TIMEOUT_S)
    ti = Told()
    with caplog.at_level("INFO"):
        assert not has_settled(night, since, ti)
    told = ti.awaited()
    assert (told.date, told.group_id, told.since) == (night.date, None, since)
    assert abs(told.until - until) < timedelta(milliseconds=1)
    now = datetime.now(UTC)
    assert told.sentence == (
        f"waits for files: last change {clock(last, now)} UTC, closes at {clock(until, now)}"
    )
    assert f"the night {night.date} {told.sentence}" in caplog.text


def test_a_night_without_files_says_that_none_has_come(incoming: Path) -> None:
    yesterday = datetime.now(UTC) - timedelta(days=1)
    night = plan_night({"date": f"{yesterday:%Y-%m-%d}"}, None, None, get_settings())
    night = night.model_copy(update={"end": datetime.now(UTC)})
    ti = Told()
    assert not has_settled(night, datetime.now(UTC), ti)
    assert ti.awaited().sentence.startswith("waits for files: none has come, closes at ")


@pytest.mark.parametrize(
    "name", ["2026-01-26T08:04:54_sb00.hdf5", "2026-01-24T08:04:54_sb00.hdf5", "notes.txt"]
)
def test_files_of_other_nights_do_not_hold_it_up(night: Night, incoming: Path, name: str) -> None:
    arrival = judge(night, arrive(incoming, name) + 1.0)
    assert arrival is not None
    assert arrival.is_settled


def test_a_night_without_files_waits_for_the_first(night: Night) -> None:
    end_s = night.end.timestamp()
    assert judge(night, end_s + SETTLE_S - 1) is None
    arrival = judge(night, end_s + SETTLE_S + 1)
    assert arrival is not None
    assert arrival.is_settled


def test_patience_has_an_end(night: Night, incoming: Path) -> None:
    last_s = arrive(incoming, "2026-01-25T08:04:54_sb00.hdf5")
    assert judge(night, last_s + 60, TIMEOUT_S - 1) is None
    arrival = judge(night, last_s + 60, TIMEOUT_S + 1)
    assert arrival is not None
    assert not arrival.is_settled
    assert "after a wait of 7201 s files still arrived, the last 60 s before" in arrival.sentence


def test_a_night_that_is_not_over_is_taken_as_it_is(incoming: Path) -> None:
    """An operator who asks for the present day wants what is there."""
    today = datetime.now(UTC).date()
    night = plan_night({"date": str(today)}, None, None, get_settings())
    now_s = arrive(incoming, f"{today}T00:00:00_sb00.hdf5")
    arrival = judge(night, now_s)
    assert arrival is not None
    assert not arrival.is_settled
    assert "the night lasts until" in arrival.sentence


def test_a_missing_directory_is_left_to_discovery(night: Night, incoming: Path) -> None:
    incoming.rmdir()
    arrival = judge(night, 0.0)
    assert arrival is not None
    assert "does not exist" in arrival.sentence
    # The run did not name it, so that it is no refusal: the night has failed.
    with pytest.raises(InputError, match="does not exist"):
        discover_groups(night)
    [failure] = night_ledger(night.date).load().stage_failures
    assert failure.reason.startswith("missing_directory: ")


def test_what_came_too_late_is_in_the_report(
    night: Night, incoming: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    arrive(incoming, "2026-01-25T08:04:54_sb00.hdf5")
    assert not has_settled(night, datetime.now(UTC))
    assert night_ledger(night.date).load().arrivals == []
    long_ago = datetime.now(UTC) - timedelta(seconds=TIMEOUT_S + 60)
    assert has_settled(night, long_ago)
    discover_groups(night)
    report = write_report(night_ledger(night.date))
    assert any("files still arrived" in loss for loss in report.losses)
    # Later, by hand: no wait, all files there, and nothing to be said any more.
    monkeypatch.setenv("DSA110_CONTIMG_SETTLE_S", "0")
    get_settings.cache_clear()
    discover_groups(night)
    assert night_ledger(night.date).load().arrivals == []


def night_of(simulated: SimulationResult, **params: Any) -> Night:
    date = simulated.groups[0].start_utc[:10]
    night = plan_night({"date": date, **params}, None, None, get_settings())
    return night.model_copy(update={"input_dir": Path(simulated.output_dir)})


@pytest.fixture
def uncalibrated(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSA110_CONTIMG_CALIBRATION", "off")
    get_settings.cache_clear()


@pytest.mark.usefixtures("uncalibrated")
def test_groups_that_point_elsewhere_are_left_out_with_a_reason(
    small_night: SimulationResult,
) -> None:
    night = night_of(small_night, dec_deg=54.573)
    assert len(discover_groups(night)) == 2
    elsewhere = night_of(small_night, dec_deg=16.0)
    assert discover_groups(elsewhere) == []
    report = write_report(night_ledger(night.date))
    assert [group.outcome for group in report.groups] == [GroupOutcome.LEFT_OUT] * 2
    assert "points at declination +54.573 deg; the run asked for +16.000" in str(
        report.groups[0].reason
    )
    assert (report.verdict, report.failures) == (Verdict.LOSSES, [])
    wide = night_of(small_night, dec_deg=16.0, dec_tolerance_deg=40)
    assert len(discover_groups(wide)) == 2


@pytest.mark.usefixtures("uncalibrated")
def test_a_part_of_a_night_leaves_the_rest_on_record(small_night: SimulationResult) -> None:
    night = night_of(small_night)
    first, second = discover_groups(night)
    ledger = night_ledger(night.date)
    ledger.save_conversion(
        ConversionResult(group_id=first.group_id, state=ConversionState.CONVERTED, ms_path="/x.ms")
    )
    part = night.model_copy(
        update={"start": datetime.fromisoformat(second.group_id).replace(tzinfo=UTC)}
    )
    assert discover_groups(part) == [second]
    listing = ledger.load().listing
    assert listing is not None
    assert listing.groups == [first, second]
    # Nor does a run that asks for another declination take back what was made.
    discover_groups(night_of(small_night, dec_deg=16.0))
    states = {one.group_id: one.state for one in ledger.load().conversions}
    assert states == {
        first.group_id: ConversionState.CONVERTED,
        second.group_id: ConversionState.LEFT_OUT,
    }
