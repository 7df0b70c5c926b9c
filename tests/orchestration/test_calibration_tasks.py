"""Which calibrators of its night a Measurement Set waits for."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from dsa110_contimg.calibration.calibrator_plan import CalibratorPlan
from dsa110_contimg.calibration.models import SolveOutcome, SolveState
from dsa110_contimg.calibration.transits import Transit
from dsa110_contimg.catalog.calibrators import Calibrator
from dsa110_contimg.conversion.models import (
    ConversionResult,
    ConversionState,
    GroupListing,
    Manifest,
)
from dsa110_contimg.orchestration.calibration_tasks import find_awaited, settle_failed_solve
from dsa110_contimg.orchestration.ms_requests import ImageRequest
from dsa110_contimg.provenance import make_provenance
from dsa110_contimg.qa.record_models import MsFailure
from dsa110_contimg.qa.records import NightLedger
from dsa110_contimg.settings import get_settings
from dsa110_contimg.storage.publish import manifest_path

pytestmark = pytest.mark.unit

NIGHT = "2026-01-25"
EARLY, MORNING, NOON, EVENING = (f"{NIGHT}T{hour}:00:00" for hour in ("01", "08", "12", "20"))
"""Groups with transits are all but the one at noon."""

Ask = Callable[..., list[str]]


def transit(group_id: str) -> Transit:
    calibrator = Calibrator(name=f"at-{group_id[11:13]}", ra_deg=1.0, dec_deg=54.0, flux_jy=8.8)
    return Transit(
        calibrator=calibrator,
        transit_utc=group_id,
        transit_mjd=61065.0,
        pointing_dec_deg=54.5,
        offset_deg=-0.5,
        beam=0.9,
        flux_jy=8.8,
        apparent_flux_jy=7.9,
        group_id=group_id,
    )


@pytest.fixture
def ledger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[NightLedger]:
    """A night with three transits, of which nothing is decided."""
    monkeypatch.setenv("DSA110_CONTIMG_WORK_DIR", str(tmp_path))
    get_settings.cache_clear()
    made = NightLedger(get_settings().nights_dir, NIGHT)
    groups = (EARLY, MORNING, EVENING)
    made.save_calibrators(
        CalibratorPlan(min_apparent_jy=2.0, transits=[transit(group) for group in groups])
    )
    yield made
    get_settings.cache_clear()


@pytest.fixture
def ask(tmp_path: Path, ledger: NightLedger) -> Ask:
    """What the MS of a group waits for."""
    assert ledger.exists()

    def awaited(group_id: str, *, reprocess: bool = False) -> list[str]:
        return find_awaited(request_for(tmp_path, group_id, reprocess=reprocess))

    return awaited


def request_for(folder: Path, group_id: str, *, reprocess: bool = False) -> ImageRequest:
    """Ask for a group whose MS was published."""
    ms = folder / f"{group_id}.ms"
    ms.mkdir(exist_ok=True)
    manifest = Manifest.model_construct(
        group_id=group_id,
        state="complete",
        missing=[],
        spectral_windows=[],
        phase_center_ra_deg=1.0,
        phase_center_dec_deg=54.0,
        start_utc=group_id,
        duration_s=309.0,
        files={},
        stage_seconds={},
        provenance=make_provenance(transit(group_id), []),
    )
    manifest_path(ms).write_text(manifest.model_dump_json(warnings=False))
    return ImageRequest(ms=ms, reprocess=reprocess)


def test_the_last_before_and_the_first_after_are_awaited(ask: Ask) -> None:
    assert ask(NOON) == [MORNING, EVENING]
    assert ask(f"{NIGHT}T00:30:00") == [EARLY]
    assert ask(f"{NIGHT}T23:00:00") == [EVENING]


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


class AfterSolve(NamedTuple):
    """A task of a run in which the solve has ended."""

    state: str
    dag_id: str = "image_ms"
    run_id: str = "image__1"

    def get_task_states(
        self, dag_id: str, *, task_ids: list[str], run_ids: list[str]
    ) -> dict[str, dict[str, str]]:
        assert (dag_id, run_ids) == (self.dag_id, [self.run_id])
        return {self.run_id: dict.fromkeys(task_ids, self.state)}


@pytest.mark.parametrize("state", ["failed", "upstream_failed"])
def test_nobody_waits_for_a_solve_that_was_killed(
    ask: Ask, ledger: NightLedger, tmp_path: Path, state: str
) -> None:
    """Its own run knows when its tasks have ended, though none of them could say so."""
    settle_failed_solve(request_for(tmp_path, NOON), AfterSolve(state))
    assert ask(NOON) == [MORNING, EVENING], "nothing is solved at noon"
    settle_failed_solve(request_for(tmp_path, MORNING), AfterSolve(state))
    assert ask(NOON) == [EVENING]
    [outcome] = ledger.load().solves
    assert (outcome.group_id, outcome.state) == (MORNING, SolveState.FAILED)
    assert outcome.reason.startswith("no_word: ")


def test_a_flagging_that_failed_on_all_tries_is_the_reason(
    ask: Ask, ledger: NightLedger, tmp_path: Path
) -> None:
    failure = MsFailure(group_id=MORNING, reason="ms_held: held by a person", is_retried=True)
    ledger.save_ms_failure(failure)
    settle_failed_solve(request_for(tmp_path, MORNING), AfterSolve("upstream_failed"))
    assert [outcome.reason for outcome in ledger.load().solves] == [failure.reason]
    assert ask(NOON) == [EVENING]


def test_what_a_solve_has_said_stays(ledger: NightLedger, tmp_path: Path) -> None:
    """Also where the groups of the night were looked for again since."""
    solved = SolveOutcome(group_id=MORNING, calibrator="at-08", state=SolveState.SOLVED)
    ledger.save_solve(solved)
    settle_failed_solve(request_for(tmp_path, MORNING), AfterSolve("failed"))
    ledger.save_listing(GroupListing(groups=[], rejects=[]))
    settle_failed_solve(request_for(tmp_path, MORNING, reprocess=True), AfterSolve("success"))
    assert ledger.load().solves == [solved]


def test_a_solve_that_goes_on_is_left_alone(ledger: NightLedger, tmp_path: Path) -> None:
    settle_failed_solve(request_for(tmp_path, MORNING), AfterSolve("success"))
    assert ledger.load().solves == []


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
