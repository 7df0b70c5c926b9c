"""Which calibrators of its night a Measurement Set waits for."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.planned_night import EARLY, EVENING, MORNING, NIGHT, NOON, request_for

from dsa110_contimg.calibration.models import SolveOutcome, SolveState
from dsa110_contimg.conversion.models import ConversionResult, ConversionState, GroupListing
from dsa110_contimg.orchestration.calibration_tasks import find_awaited, is_ready
from dsa110_contimg.orchestration.waiting import AWAITED_KEY, Awaited, clock
from dsa110_contimg.qa.record_models import MsFailure
from dsa110_contimg.qa.records import NightLedger
from dsa110_contimg.settings import get_settings

pytestmark = pytest.mark.unit

Ask = Callable[..., list[str]]


@pytest.fixture
def ask(tmp_path: Path, ledger: NightLedger) -> Ask:
    """What the MS of a group waits for."""
    assert ledger.exists()

    def awaited(group_id: str, *, reprocess: bool = False) -> list[str]:
        return find_awaited(request_for(tmp_path, group_id, reprocess=reprocess))

    return awaited


def test_the_last_before_and_the_first_after_are_awaited(ask: Ask) -> None:
    assert ask(NOON) == [MORNING, EVENING]
    assert ask(f"{NIGHT}T00:30:00") == [EARLY]
    assert ask(f"{NIGHT}T23:00:00") == [EVENING]


@pytest.mark.usefixtures("ledger")
@pytest.mark.parametrize("first", [None, datetime.now(UTC) - timedelta(hours=1)])
def test_it_is_told_what_is_awaited_and_until_when(tmp_path: Path, first: datetime | None) -> None:
    """The wait began with the first look."""
    told: dict[str, Any] = {}

    class Task:
        def get_first_reschedule_date(self, _: Any) -> datetime | None:
            return first

        def xcom_push(self, key: str, value: Any) -> None:
            told[key] = value

    assert not is_ready(request_for(tmp_path, NOON), {"ti": Task()})
    awaited = Awaited.model_validate(told[AWAITED_KEY])
    assert (awaited.date, awaited.group_id) == (NIGHT, NOON)
    assert awaited.sentence.startswith(f"awaits the solutions of {MORNING} and {EVENING}, until ")
    now = datetime.now(UTC)
    assert abs(awaited.since - (first or now)) < timedelta(seconds=5)
    limit = timedelta(seconds=get_settings().calibration_wait_timeout_s)
    assert awaited.until == awaited.since + limit
    assert f"until {clock(awaited.until, now)} UTC at the latest" in awaited.sentence


def test_a_transit_waits_for_itself_alone(ask: Ask) -> None:
    assert ask(MORNING) == [MORNING]


@pytest.mark.parametrize("state", list(SolveState))
def test_a_decided_solve_is_not_awaited(ask: Ask, ledger: NightLedger, state: SolveState) -> None:
    ledger.save_solve(SolveOutcome(group_id=MORNING, calibrator="at-08", state=state))
    assert ask(NOON) == [EVENING]


def test_what_is_done_anew_waits_for_what_is_solved_anew(ask: Ask, ledger: NightLedger) -> None:
    ledger.save_solve(SolveOutcome(group_id=MORNING, calibrator="at-08", state=SolveState.SOLVED))
    ledger.save_listing(GroupListing(groups=[], rejects=[]))
    assert ask(NOON) == [EVENING]
    assert ask(NOON, reprocess=True) == [MORNING, EVENING]


def test_a_group_without_an_ms_is_not_awaited(ask: Ask, ledger: NightLedger) -> None:
    converted = ConversionResult(
        group_id=MORNING, state=ConversionState.CONVERTED, ms_path="/ms/08.ms"
    )
    ledger.save_conversion(converted)
    assert ask(NOON) == [MORNING, EVENING]
    failed = ConversionResult(group_id=MORNING, state=ConversionState.FAILED, reason="truncated")
    ledger.save_conversion(failed)
    assert ask(NOON) == [EVENING]


def test_a_failure_that_may_pass_is_awaited(ask: Ask, ledger: NightLedger) -> None:
    failure = MsFailure(group_id=MORNING, reason="timeout: flagging", is_retried=True)
    ledger.save_ms_failure(failure)
    assert ask(NOON) == [MORNING, EVENING]
    ledger.save_ms_failure(failure.model_copy(update={"is_retried": False}))
    assert ask(NOON) == [EVENING]


def test_transits_out_of_reach_are_not_awaited(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSA110_CONTIMG_CALIBRATION_MAX_HOURS", "5")
    get_settings.cache_clear()
    assert ask(NOON) == [MORNING]


def test_the_last_valid_set_may_do(ask: Ask, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DSA110_CONTIMG_CALIBRATION_WAIT", "last")
    get_settings.cache_clear()
    assert ask(NOON) == []


def test_nobody_waits_in_a_night_that_was_not_planned(ask: Ask, ledger: NightLedger) -> None:
    (ledger.records_dir / "calibrators.json").unlink()
    assert ask(NOON) == []
