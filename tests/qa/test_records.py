"""The ledger: what is saved is read back, and damage is reported, not fatal."""

from __future__ import annotations

import math

import pytest
from support.calibration_records import (
    make_transit,
    save_applied,
    save_flags,
    save_plan,
    save_solve,
)
from support.night_records import DATE, NightMaker

from dsa110_contimg.calibration.models import SolveState
from dsa110_contimg.conversion.models import ConversionState
from dsa110_contimg.errors import InputError
from dsa110_contimg.qa.record_models import ImagingPlan, MsFailure, StageFailure, StageSeconds
from dsa110_contimg.qa.records import NightLedger, list_nights

pytestmark = pytest.mark.unit


def test_everything_saved_is_read_back(night: NightMaker) -> None:
    group = night.add_group(0)
    night.save_listing()
    night.convert(group)
    source = night.image(group, "J0818+5437")
    plan = ImagingPlan(group_id=group, source_names=["J0818+5437"])
    ms_failure = MsFailure(group_id=group, reason="held")
    stage_failure = StageFailure(stage="discovery", reason="unreadable", remedy="chmod")
    seconds = StageSeconds(stage="discovery", seconds=1.5)
    night.ledger.save_plan(plan)
    night.ledger.save_ms_failure(ms_failure)
    night.ledger.save_stage_failure(stage_failure)
    night.ledger.save_stage_seconds(seconds)

    record = night.ledger.load()

    assert record.listing is not None
    assert record.listing.groups == night.groups
    assert [result.group_id for result in record.conversions] == [group]
    assert record.sources == {group: [source]}
    assert record.plans == [plan]
    assert record.ms_failures == [ms_failure]
    assert record.stage_failures == [stage_failure]
    assert record.stage_seconds == [seconds]
    assert record.unreadable == []


def test_what_calibration_saved_is_read_back(night: NightMaker) -> None:
    group = night.add_group(0)
    transit = make_transit(group)
    save_plan(night, [transit], ["a problem"])
    solutions = save_solve(night, group)
    assert solutions
    flags = save_flags(night, group)
    applied = save_applied(night, group, [(solutions, 0.0)])

    record = night.ledger.load()

    assert record.unreadable == []
    assert record.calibrators is not None
    assert (record.calibrators.transits, record.calibrators.problems) == ([transit], ["a problem"])
    assert night.ledger.find_calibrators() == record.calibrators
    assert [outcome.solutions for outcome in record.solves] == [solutions]
    assert record.flaggings == [flags]
    assert record.calibrations == [applied]


@pytest.mark.parametrize(
    ("happened", "decided"),
    [
        ("nothing", False),
        ("solved", True),
        ("refused", True),
        ("ms_failed", True),
        ("ms_failed_but_is_retried", False),
        ("converted", False),
        ("not_converted", True),
        ("not_converted_but_is_retried", False),
    ],
)
def test_a_calibrators_group_is_waited_for_until_nothing_more_can_come(
    night: NightMaker, happened: str, decided: bool
) -> None:
    group = night.add_group(0)
    if happened in {"solved", "refused"}:
        save_solve(night, group, state=SolveState(happened))
    elif happened.startswith("ms_failed"):
        night.ledger.save_ms_failure(
            MsFailure(group_id=group, reason="held", is_retried=happened.endswith("retried"))
        )
    elif happened == "converted":
        night.convert(group)
    elif happened.startswith("not_converted"):
        why = {"reason": "no_space: tmpfs is full", "is_retried": happened.endswith("retried")}
        night.convert(group, ConversionState.FAILED, **why)
    assert night.ledger.is_decided(group) is decided


def test_a_night_that_is_done_anew_waits_anew(night: NightMaker) -> None:
    """What was decided before its groups were looked for again does not count."""
    group, other = night.add_group(0), night.add_group(1)
    night.save_listing()
    save_solve(night, group)
    night.convert(other, ConversionState.FAILED, reason="no_space: tmpfs is full")
    assert night.ledger.is_decided(group, anew=True)
    assert night.ledger.is_decided(other, anew=True)

    night.save_listing()

    assert [night.ledger.is_decided(one) for one in (group, other)] == [True, True]
    assert [night.ledger.is_decided(one, anew=True) for one in (group, other)] == [False, False]
    save_solve(night, group)
    night.convert(other, ConversionState.FAILED, reason="no_space: tmpfs is full")
    assert [night.ledger.is_decided(one, anew=True) for one in (group, other)] == [True, True]


def test_a_later_record_replaces_an_earlier_one(night: NightMaker) -> None:
    group = night.add_group(0)
    night.convert(group, ConversionState.FAILED, reason="no_space: tmpfs is full")
    night.convert(group)
    night.ledger.save_ms_failure(MsFailure(group_id=group, reason="held"))
    night.ledger.clear_ms_failure(group)
    night.ledger.save_stage_failure(StageFailure(stage="discovery", reason="unreadable"))
    night.ledger.clear_stage_failure("discovery")
    night.ledger.clear_stage_failure("discovery")

    record = night.ledger.load()

    assert [result.state for result in record.conversions] == [ConversionState.CONVERTED]
    assert record.ms_failures == []
    assert record.stage_failures == []


def test_numbers_that_are_not_finite_survive(night: NightMaker) -> None:
    group = night.add_group(0)
    result = night.measure(group, "J0818+5437", 0.01)
    spw = result.spws[0].model_copy(update={"flux_jy": math.nan, "rms_jy": math.inf})
    night.ledger.save_source(group, result.model_copy(update={"spws": [spw]}))

    record = night.ledger.load()

    assert record.unreadable == []
    assert math.isnan(record.sources[group][0].spws[0].flux_jy)
    assert record.sources[group][0].spws[0].rms_jy == math.inf


@pytest.mark.parametrize("damage", [b"", b'{"group_id": "2026', b"\xff\xfe", b'{"other": 1}'])
def test_a_damaged_record_is_listed_and_the_others_are_read(
    night: NightMaker, damage: bytes
) -> None:
    good, bad = night.add_group(0), night.add_group(1)
    night.convert(good)
    night.convert(bad)
    path = night.ledger.records_dir / "conversions" / f"{bad}.json"
    path.write_bytes(damage)

    record = night.ledger.load()

    assert [result.group_id for result in record.conversions] == [good]
    assert [item.file for item in record.unreadable] == [str(path)]
    assert record.unreadable[0].reason


def test_a_record_that_is_being_written_is_passed_over(night: NightMaker) -> None:
    group = night.add_group(0)
    night.convert(group)
    folder = night.ledger.records_dir / "conversions"
    (folder / f".{group}.json.1234abcd.json").write_text("{")

    record = night.ledger.load()

    assert len(record.conversions) == 1
    assert record.unreadable == []


@pytest.mark.parametrize("name", ["../../escape", "a/b", ".hidden", "", "a\0b"])
def test_a_name_that_would_leave_the_ledger_is_refused(night: NightMaker, name: str) -> None:
    with pytest.raises(InputError) as refusal:
        night.ledger.save_ms_failure(MsFailure(group_id=name, reason="x"))
    assert refusal.value.reason == "bad_name"
    assert not night.ledger.exists()


@pytest.mark.parametrize("date", ["..", "2026-1-5", "20260125", "2026-W04-7", "2026-02-30", ""])
def test_only_a_date_names_a_night(night: NightMaker, date: str) -> None:
    with pytest.raises(InputError) as refusal:
        NightLedger(night.root / "nights", date)
    assert refusal.value.reason == "bad_date"


def test_nights_are_listed(night: NightMaker) -> None:
    nights_dir = night.root / "nights"
    assert list_nights(nights_dir) == []
    for date in ("2026-01-27", DATE):
        NightLedger(nights_dir, date).save_stage_seconds(StageSeconds(stage="x", seconds=1.0))
    assert list_nights(nights_dir) == [DATE, "2026-01-27"]
