"""What is put on record for tasks that could not say themselves what they came to."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest
from support.night_records import NightMaker
from support.planned_night import MORNING, NIGHT, NOON, request_for

from dsa110_contimg.calibration.models import SolveOutcome, SolveState
from dsa110_contimg.conversion.hdf5_orchestrator import failed_result
from dsa110_contimg.conversion.models import ConversionResult, ConversionState, GroupListing
from dsa110_contimg.errors import TransientError
from dsa110_contimg.orchestration.runs import Night, plan_night
from dsa110_contimg.orchestration.silence import (
    settle_failed_group,
    settle_failed_groups,
    settle_failed_solve,
)
from dsa110_contimg.qa.record_models import MsFailure
from dsa110_contimg.qa.records import NightLedger
from dsa110_contimg.settings import get_settings

pytestmark = pytest.mark.unit

SOLVED = SolveOutcome(group_id=MORNING, calibrator="at-08", state=SolveState.SOLVED)
CONVERTED = ConversionResult(group_id=MORNING, state=ConversionState.CONVERTED, ms_path="/ms/08.ms")


class Later(NamedTuple):
    """A task that comes after another one has ended."""

    task_id: str
    state: str
    dag_id: str = "any"
    run_id: str = "run_1"
    map_index: int = 3

    def get_task_states(
        self, dag_id: str, *, map_index: int, task_ids: list[str], run_ids: list[str]
    ) -> dict[str, dict[str, str]]:
        assert (dag_id, map_index, run_ids) == (self.dag_id, self.map_index, [self.run_id])
        states = {self.task_id: self.state} if self.task_id in task_ids else {}
        return {self.run_id: {f"{name}_{map_index}": state for name, state in states.items()}}


def after_solve(state: str) -> Later:
    return Later("solve", state)


def after_convert(state: str) -> Later:
    return Later("process.convert", state)


def this_night(*, reprocess: bool = False) -> Night:
    return plan_night({"date": NIGHT, "reprocess": reprocess}, None, None, get_settings())


@pytest.mark.parametrize("state", ["failed", "upstream_failed"])
def test_nobody_waits_for_a_solve_that_was_killed(
    ledger: NightLedger, tmp_path: Path, state: str
) -> None:
    """Its own run knows when its tasks have ended, though none of them could say so."""
    settle_failed_solve(request_for(tmp_path, NOON), after_solve(state))
    assert ledger.load().solves == [], "nothing is solved at noon"
    settle_failed_solve(request_for(tmp_path, MORNING), after_solve(state))
    assert ledger.is_decided(MORNING)
    [outcome] = ledger.load().solves
    assert (outcome.group_id, outcome.state) == (MORNING, SolveState.FAILED)
    assert outcome.reason.startswith("no_word: ")


def test_a_flagging_that_failed_on_all_tries_is_the_reason(
    ledger: NightLedger, tmp_path: Path
) -> None:
    failure = MsFailure(group_id=MORNING, reason="ms_held: held by a person", is_retried=True)
    ledger.save_ms_failure(failure)
    settle_failed_solve(request_for(tmp_path, MORNING), after_solve("upstream_failed"))
    assert [outcome.reason for outcome in ledger.load().solves] == [failure.reason]
    assert ledger.is_decided(MORNING)


def test_a_request_by_hand_that_is_refused_settles_no_solve(
    ledger: NightLedger, tmp_path: Path
) -> None:
    request = request_for(tmp_path, MORNING).model_copy(update={"by_hand": "manual__1"})
    settle_failed_solve(request, after_solve("upstream_failed"))
    assert ledger.load().solves == []


def test_what_a_solve_has_said_stays(ledger: NightLedger, tmp_path: Path) -> None:
    """Also where the groups of the night were looked for again since."""
    ledger.save_solve(SOLVED)
    settle_failed_solve(request_for(tmp_path, MORNING), after_solve("failed"))
    ledger.save_listing(GroupListing(groups=[], rejects=[]))
    settle_failed_solve(request_for(tmp_path, MORNING, reprocess=True), after_solve("success"))
    assert ledger.load().solves == [SOLVED]


def test_a_solve_that_goes_on_is_left_alone(ledger: NightLedger, tmp_path: Path) -> None:
    settle_failed_solve(request_for(tmp_path, MORNING), after_solve("success"))
    assert ledger.load().solves == []


@pytest.mark.parametrize("earlier", [None, CONVERTED])
def test_a_conversion_that_was_killed_did_not_convert(
    ledger: NightLedger, earlier: ConversionResult | None
) -> None:
    """Also where an earlier run had: what that made is not what was asked for now."""
    if earlier is not None:
        ledger.save_conversion(earlier)
    assert "without a word" in settle_failed_group(this_night(), MORNING, after_convert("failed"))
    [conversion] = ledger.load().conversions
    assert conversion.state is ConversionState.FAILED
    assert conversion.reason.startswith("no_word: ")
    assert ledger.is_decided(MORNING), "nobody waits for its calibrator"


def test_what_a_conversion_has_said_stays(ledger: NightLedger) -> None:
    failed = failed_result(MORNING, TransientError("the disk is full", reason="disk_full"), 1.0)
    ledger.save_conversion(failed)
    assert not ledger.is_decided(MORNING), "Airflow may try again"
    settle_failed_group(this_night(), MORNING, after_convert("failed"))
    assert ledger.load().conversions == [failed.model_copy(update={"is_retried": False})]
    assert ledger.is_decided(MORNING)


def test_a_run_that_never_began_is_a_failure_of_its_ms(ledger: NightLedger) -> None:
    ledger.save_conversion(CONVERTED)
    assert "without a word" in settle_failed_group(this_night(), MORNING, after_convert("success"))
    record = ledger.load()
    assert [failure.reason.split(":")[0] for failure in record.ms_failures] == ["no_word"]
    assert [outcome.state for outcome in record.solves] == [SolveState.FAILED]
    assert record.conversions == [CONVERTED]


def test_solutions_of_an_earlier_run_are_none_of_a_night_done_anew(ledger: NightLedger) -> None:
    ledger.save_solve(SOLVED)
    ledger.save_listing(GroupListing(groups=[], rejects=[]))
    settle_failed_group(this_night(reprocess=True), MORNING, after_convert("success"))
    assert [outcome.state for outcome in ledger.load().solves] == [SolveState.FAILED]


def test_what_a_source_has_said_stays(ledger: NightLedger, tmp_path: Path) -> None:
    measured = NightMaker(tmp_path).measure(MORNING, "faint", 0.02)
    failed = measured.model_copy(update={"success": False, "error": "no_data: all flagged"})
    ledger.save_source(MORNING, failed)
    said = settle_failed_group(this_night(), MORNING, after_convert("success"))
    assert said == "its run of image_ms has said why"
    assert ledger.load().ms_failures == []


class AllEnded(NamedTuple):
    """A task that comes after all groups of a night."""

    states: dict[str, str]
    dag_id: str = "any"
    run_id: str = "run_1"

    def get_task_states(
        self, dag_id: str, *, task_ids: list[str], run_ids: list[str]
    ) -> dict[str, dict[str, str]]:
        assert (dag_id, run_ids) == (self.dag_id, [self.run_id])
        assert task_ids == ["process.convert", "process.image"]
        return {self.run_id: self.states} if self.states else {}


def test_the_report_comes_after_the_failures_of_what_was_cleared(ledger: NightLedger) -> None:
    """In a night that was good nothing else looks after the failures of a cleared group."""
    found = [{"group_id": NOON}, {"group_id": MORNING}]
    ledger.save_conversion(CONVERTED)
    settle_failed_groups(this_night(), found, AllEnded({}))
    good = {f"process.{task}_{k}": "success" for task in ("convert", "image") for k in (0, 1)}
    settle_failed_groups(this_night(), found, AllEnded(good))
    assert ledger.load().ms_failures == []
    settle_failed_groups(this_night(), found, AllEnded({**good, "process.image_1": "failed"}))
    [failure] = ledger.load().ms_failures
    assert (failure.group_id, failure.reason[:8]) == (MORNING, "no_word:")
    lost = {**good, "process.convert_0": "failed", "process.image_0": "upstream_failed"}
    settle_failed_groups(this_night(), found, AllEnded(lost))
    [conversion] = [one for one in ledger.load().conversions if one.group_id == NOON]
    assert conversion.state is ConversionState.FAILED
