"""What the tasks of `image_ms` do before sources are measured: flag, solve, wait, apply."""

from __future__ import annotations

import time
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from dsa110_contimg.calibration.models import SolveOutcome, SolveState
from dsa110_contimg.errors import ContimgError, ScienceQualityError
from dsa110_contimg.orchestration import metrics
from dsa110_contimg.orchestration.ms_requests import (
    ImageRequest,
    check_sources,
    known_sources,
    ledger_of,
    look_at_ms,
    work_on_ms,
)
from dsa110_contimg.orchestration.waiting import Awaited, clock, tell_awaited
from dsa110_contimg.settings import get_settings
from dsa110_contimg.storage.ms_access import ACCESS_LOG

if TYPE_CHECKING:
    from dsa110_contimg.calibration.calibrator_plan import CalibratorPlan
    from dsa110_contimg.calibration.transits import Transit
    from dsa110_contimg.qa.records import NightLedger


def flag(request: ImageRequest, purpose: str) -> str:
    """Flag the MS and put on record what was flagged.

    Parameters
    ----------
    request : ImageRequest
        The MS.
    purpose : str
        Shown to those who wait for the MS.

    Returns
    -------
    str
        A sentence for the log and the UI.

    Raises
    ------
    ContimgError
        If it failed; on record too.
    """
    from dsa110_contimg.flagging.flag_ms import flag_ms
    from dsa110_contimg.flagging.models import FlagOptions

    settings = get_settings()
    with work_on_ms(request, purpose, fatal=ContimgError) as (group_id, ledger):
        check_sources(request, purpose)
        record = flag_ms(
            FlagOptions(
                ms_path=request.ms,
                access_log=settings.logs_dir / ACCESS_LOG,
                log_dir=settings.logs_dir / "flagging",
                purpose=purpose,
                reprocess=request.reprocess,
            )
        )
    ledger.save_flagging(record.model_copy(update={"group_id": group_id}))
    metrics.gauge(metrics.FLAGGED_FRACTION, record.after.fraction)
    dead = f", dead antennas: {', '.join(a.name for a in record.dead)}" if record.dead else ""
    return f"{record.after.fraction:.1%} flagged{dead}"


def solve(request: ImageRequest, purpose: str) -> str:
    """Solve on the calibrator that transits in the MS, if one does, and record what came of it.

    Parameters
    ----------
    request : ImageRequest
        The MS.
    purpose : str
        Shown to those who wait for the MS.

    Returns
    -------
    str
        A sentence for the log and the UI.

    Raises
    ------
    ContimgError
        If there are no solutions, or poor ones; on record too.
    """
    with work_on_ms(request, purpose) as (group_id, ledger):
        transit = _find_transit(request, purpose)
        if transit is None:
            _disappoint(ledger, group_id)
            return "no calibrator transits in this group"
        outcome = SolveOutcome(
            group_id=group_id, calibrator=transit.calibrator.name, state=SolveState.FAILED
        )
        return _solve(request, purpose, transit, outcome, ledger)


def _solve(
    request: ImageRequest,
    purpose: str,
    transit: Transit,
    outcome: SolveOutcome,
    ledger: NightLedger,
) -> str:
    """Solve on a calibrator, and put on record what came of it."""
    from dsa110_contimg.calibration.set_files import read_set, set_dir
    from dsa110_contimg.calibration.solve import SolveOptions, solve_ms

    settings = get_settings()
    start = time.perf_counter()
    try:
        solutions = solve_ms(
            SolveOptions(
                ms_path=request.ms,
                calibrator=transit.calibrator,
                known_sources=[s for s in known_sources(request) if s.flux_jy is not None],
                access_log=settings.logs_dir / ACCESS_LOG,
                log_dir=settings.logs_dir / "calibration",
                purpose=purpose,
                reprocess=request.reprocess,
            )
        )
    except ContimgError as error:
        is_refusal = isinstance(error, ScienceQualityError)
        set_id = f"{request.group_id}_{outcome.calibrator}"
        kept = set_dir(settings.calibration_dir, set_id, is_refused=True)
        update = {
            "state": SolveState.REFUSED if is_refusal else SolveState.FAILED,
            "solutions": read_set(kept) if error.reason == "poor_solutions" else None,
            "reason": f"{error.reason}: {error}",
            "seconds": time.perf_counter() - start,
        }
        record_solve(ledger, outcome.model_copy(update=update))
        raise
    update = {
        "state": SolveState.SOLVED,
        "solutions": solutions,
        "seconds": time.perf_counter() - start,
    }
    record_solve(ledger, outcome.model_copy(update=update))
    return f"solved: {solutions.set_id}"


def record_solve(ledger: NightLedger, outcome: SolveOutcome) -> None:
    """Put on record what came of a solve, and count it.

    Parameters
    ----------
    ledger : NightLedger
        The record.
    outcome : SolveOutcome
        What came of it.
    """
    ledger.save_solve(outcome)
    metrics.count_solve(outcome.state)


def find_awaited(request: ImageRequest) -> list[str]:
    """List the calibrators of the night that an MS waits for.

    Parameters
    ----------
    request : ImageRequest
        The MS.

    Returns
    -------
    list of str
        Groups of the nearest transits before and after it that are not decided; empty if the
        settings say not to wait, or nobody has planned the night.

    Raises
    ------
    ContimgError
        If the MS is not there.
    """
    settings = get_settings()
    group_id, ledger = ledger_of(request)
    plan = ledger.find_calibrators()
    if settings.calibration_wait == "last" or plan is None:
        return []
    nearest = _nearest_groups(plan, group_id, settings.calibration_max_hours)
    return [group for group in nearest if not ledger.is_decided(group, anew=request.reprocess)]


def is_ready(request: ImageRequest, context: Mapping[str, Any]) -> bool:
    """Say whether an MS waits for no calibrator any more; if it does, tell for which.

    Parameters
    ----------
    request : ImageRequest
        The MS.
    context : mapping
        Airflow's, of the task that waits.

    Returns
    -------
    bool
        False if it waits.

    Raises
    ------
    ContimgError
        If the MS is not there.
    """
    awaited = find_awaited(request)
    if awaited:
        now = datetime.now(UTC)
        since = context["ti"].get_first_reschedule_date(context) or now
        until = since + timedelta(seconds=get_settings().calibration_wait_timeout_s)
        told = Awaited(
            date=request.night_of(request.group_id),
            group_id=request.group_id,
            sentence=f"awaits the solutions of {' and '.join(awaited)}, until "
            f"{clock(until, now)} UTC at the latest",
            since=since,
            until=until,
        )
        tell_awaited(told, context["ti"])
    return not awaited


def apply(request: ImageRequest, purpose: str) -> str:
    """Apply the best valid solutions, and put on record which.

    Parameters
    ----------
    request : ImageRequest
        The MS.
    purpose : str
        Shown to those who wait for the MS.

    Returns
    -------
    str
        The choice in words.

    Raises
    ------
    ContimgError
        If there are none, or it failed; on record too.
    """
    from dsa110_contimg.calibration.apply import ApplyOptions, apply_calibration

    settings = get_settings()
    with work_on_ms(request, purpose, fatal=ContimgError) as (group_id, ledger):
        record = apply_calibration(
            ApplyOptions(
                ms_path=request.ms,
                access_log=settings.logs_dir / ACCESS_LOG,
                log_dir=settings.logs_dir / "calibration",
                purpose=purpose,
                reprocess=request.reprocess,
            )
        )
    ledger.save_calibration(record.model_copy(update={"group_id": group_id}))
    return record.sentence


def _disappoint(ledger: NightLedger, group_id: str) -> None:
    """Let nobody wait for a solve that was planned with another catalogue or limit."""
    planned = planned_transit(ledger, group_id)
    if planned is not None:
        reason = "it was planned, but is not in the catalogue, or bright enough, any more"
        name = planned.calibrator.name
        ledger.save_solve(
            SolveOutcome(group_id=group_id, calibrator=name, state=SolveState.FAILED, reason=reason)
        )


def planned_transit(ledger: NightLedger, group_id: str) -> Transit | None:
    """Look up which transit in a group the night counts on.

    Parameters
    ----------
    ledger : NightLedger
        The record.
    group_id : str
        The group.

    Returns
    -------
    Transit or None
        None if the night does not count on this group, or was not planned.
    """
    plan = ledger.find_calibrators()
    return plan.solvable.get(group_id) if plan is not None else None


def _find_transit(request: ImageRequest, purpose: str) -> Transit | None:
    """Find the calibrator to solve on."""
    from dsa110_contimg.calibration.transits import calibrator_of_ms
    from dsa110_contimg.catalog.calibrators import read_calibrators

    settings = get_settings()
    # Without a catalogue the night says so in its plan, and solutions may be there already.
    if not settings.calibrators_path.exists():
        return None
    calibrators = read_calibrators(settings.calibrators_path)
    info = look_at_ms(request, purpose).info
    return calibrator_of_ms(calibrators, info, settings.calibrator_min_jy)


def _nearest_groups(plan: CalibratorPlan, group_id: str, max_hours: float) -> list[str]:
    """Its own group if it holds a transit, else those of the transits before and after it."""
    if group_id in plan.solvable:
        return [group_id]
    here = datetime.fromisoformat(group_id)
    hours = {
        group: (datetime.fromisoformat(group) - here).total_seconds() / 3600.0
        for group in plan.solvable
    }
    near = {group: apart for group, apart in hours.items() if abs(apart) <= max_hours}
    before = [group for group, apart in near.items() if apart < 0.0]
    after = [group for group, apart in near.items() if apart > 0.0]
    return before[-1:] + after[:1]
