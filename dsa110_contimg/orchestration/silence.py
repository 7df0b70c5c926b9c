"""Tasks that ended on every try before they could say why, as when they are killed.

Others put it on record for them: else the record would go on to say what an earlier run came to,
and groups would wait for solutions that nobody makes.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from dsa110_contimg.calibration.models import SolveOutcome, SolveState
from dsa110_contimg.conversion.models import ConversionResult, ConversionState
from dsa110_contimg.orchestration.calibration_tasks import planned_transit, record_solve
from dsa110_contimg.orchestration.runs import CONVERT_TASK, FAILED_STATES, IMAGE_TASK
from dsa110_contimg.orchestration.transit_tasks import night_ledger
from dsa110_contimg.qa.record_models import MsFailure

if TYPE_CHECKING:
    from dsa110_contimg.orchestration.ms_requests import ImageRequest
    from dsa110_contimg.orchestration.runs import Night
    from dsa110_contimg.qa.records import NightLedger

_SILENT = "no_word: its tasks ended on every try before they could say why; see their logs"


def settle_failed_solve(request: ImageRequest, ti: Any) -> None:
    """Let nobody wait for a solve that failed without a word.

    Parameters
    ----------
    request : ImageRequest
        The MS.
    ti : RuntimeTaskInstance
        A task of the same run that comes after the solve, whether that succeeded or not.
    """
    # A request by hand that is refused never comes to its solve, and settles nothing.
    if _has_failed(ti, "solve", {"failed"} if request.by_hand else FAILED_STATES):
        ledger = night_ledger(request.night_of(request.group_id))
        _settle_solve(ledger, request.group_id, anew=request.reprocess)


def settle_failed_group(night: Night, group_id: str, ti: Any) -> str:
    """Put on record that a group failed, if none of its tasks could say so itself.

    Parameters
    ----------
    night : Night
        The night.
    group_id : str
        A group of which the conversion, or the run of `image_ms`, failed on all tries.
    ti : RuntimeTaskInstance
        A task of the same group of tasks that comes after them.

    Returns
    -------
    str
        A sentence for the log and the UI.
    """
    return _settle_group(night, group_id, is_converted=not _has_failed(ti, CONVERT_TASK))


def settle_failed_groups(night: Night, groups: Sequence[Mapping[str, Any]], ti: Any) -> None:
    """Do the same for all groups of a night before its report.

    Where a task was cleared after its night had ended well, Airflow makes no task anew that looks
    after the failures of its group.

    Parameters
    ----------
    night : Night
        The night.
    groups : sequence of mapping
        Its groups as they were found, as JSON.
    ti : RuntimeTaskInstance
        A task of the same run that comes after all groups.
    """
    tasks = [CONVERT_TASK, IMAGE_TASK]
    states = ti.get_task_states(ti.dag_id, task_ids=tasks, run_ids=[ti.run_id]).get(ti.run_id, {})
    for index, group in enumerate(groups):
        convert, wait = (states.get(f"{task}_{index}") in FAILED_STATES for task in tasks)
        if convert or wait:
            _settle_group(night, group["group_id"], is_converted=not convert)


def _settle_group(night: Night, group_id: str, *, is_converted: bool) -> str:
    """Put on record that a group failed, unless its tasks said so themselves."""
    ledger = night_ledger(night.date)
    if not is_converted:
        return _settle_conversion(ledger, group_id)
    _settle_solve(ledger, group_id, anew=night.reprocess)
    if ledger.find_ms_failure(group_id) or _is_any_source_failed(ledger, group_id):
        return "its run of image_ms has said why"
    ledger.save_ms_failure(MsFailure(group_id=group_id, reason=_SILENT, is_retried=False))
    return "its run of image_ms failed without a word"


def _has_failed(ti: Any, task_id: str, failed: Collection[str] = FAILED_STATES) -> bool:
    """Whether a task of the same run, and of the same group of tasks, failed on all tries."""
    states = ti.get_task_states(
        ti.dag_id, map_index=ti.map_index, task_ids=[task_id], run_ids=[ti.run_id]
    )
    return any(state in failed for state in states[ti.run_id].values())


def _settle_conversion(ledger: NightLedger, group_id: str) -> str:
    """Put on record that a group was not converted."""
    known = ledger.find_conversion(group_id)
    if known is not None and known.state is ConversionState.FAILED:
        ledger.save_conversion(known.model_copy(update={"is_retried": False}))
        return "its conversion has said why"
    ledger.save_conversion(
        ConversionResult(group_id=group_id, state=ConversionState.FAILED, reason=_SILENT)
    )
    return "its conversion failed without a word"


def _settle_solve(ledger: NightLedger, group_id: str, *, anew: bool) -> None:
    """Put on record that a planned solve failed, unless it has an outcome."""
    planned = planned_transit(ledger, group_id)
    if planned is None or ledger.is_decided(group_id, anew=anew):
        return
    failure = ledger.find_ms_failure(group_id)
    record_solve(
        ledger,
        SolveOutcome(
            group_id=group_id,
            calibrator=planned.calibrator.name,
            state=SolveState.FAILED,
            reason=failure.reason if failure else _SILENT,
        ),
    )


def _is_any_source_failed(ledger: NightLedger, group_id: str) -> bool:
    """Whether it is on record that a source of a group could not be measured."""
    results = ledger.load().sources.get(group_id, [])
    return any(not result.success for result in results)
