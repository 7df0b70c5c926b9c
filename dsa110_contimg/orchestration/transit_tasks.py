"""What the tasks of `nightly_transit` do: call a stage, and put on record what came of it."""

from __future__ import annotations

import time
from typing import Any

from dsa110_contimg.conversion.models import ConversionResult, ConversionState, SubbandGroup
from dsa110_contimg.errors import ContimgError, InputError
from dsa110_contimg.orchestration.alerts import Alert, raise_alert
from dsa110_contimg.orchestration.runs import Night
from dsa110_contimg.qa.models import NightReport, Verdict
from dsa110_contimg.qa.record_models import StageFailure, StageSeconds
from dsa110_contimg.qa.records import NightLedger
from dsa110_contimg.settings import get_settings

DISCOVERY = "discovery"


def discover_groups(night: Night) -> list[SubbandGroup]:
    """Find the groups of a night and put them on record.

    Parameters
    ----------
    night : Night
        The night.

    Returns
    -------
    list of SubbandGroup
        Those in which a calibrator transits first, for the others wait for them; else in order
        of time. The incomplete ones too, so that each has its word.

    Raises
    ------
    ContimgError
        If the input directory cannot be read; on record too.
    """
    from dsa110_contimg.conversion.groups import find_groups

    ledger = night_ledger(night.date)
    start = time.perf_counter()
    try:
        listing = find_groups(night.input_dir, night.start, night.end)
    except ContimgError as error:
        ledger.save_stage_failure(
            StageFailure(
                stage=DISCOVERY, reason=f"{error.reason}: {error.message}", remedy=error.remedy
            )
        )
        raise
    ledger.save_listing(listing)
    ledger.clear_stage_failure(DISCOVERY)
    groups = listing.groups
    if get_settings().calibration == "on":
        first = _plan_calibrators(night, groups)
        groups = sorted(groups, key=lambda group: group.group_id not in first)
    ledger.save_stage_seconds(StageSeconds(stage=DISCOVERY, seconds=time.perf_counter() - start))
    return groups


def _plan_calibrators(night: Night, groups: list[SubbandGroup]) -> set[str]:
    """Find the groups in which calibrators transit, and put the night's transits on record."""
    from dsa110_contimg.calibration.calibrator_plan import CalibratorPlan, plan_calibrators
    from dsa110_contimg.catalog.calibrators import read_calibrators

    settings = get_settings()
    try:
        plan = plan_calibrators(
            read_calibrators(settings.calibrators_path),
            groups,
            min_apparent_jy=settings.calibrator_min_jy,
        )
    except InputError as error:
        # Solutions of other nights may do; if not, each group says that it has none.
        plan = CalibratorPlan(
            min_apparent_jy=settings.calibrator_min_jy, transits=[], problems=[str(error)]
        )
    night_ledger(night.date).save_calibrators(plan)
    return set(plan.solvable)


def convert(night: Night, group: SubbandGroup) -> ConversionResult:
    """Convert a group and put on record what became of it, also if it fails.

    Parameters
    ----------
    night : Night
        The night.
    group : SubbandGroup
        The group.

    Returns
    -------
    ConversionResult
        Converted, skipped or rejected.

    Raises
    ------
    ContimgError
        If it failed.
    """
    from dsa110_contimg.conversion.hdf5_orchestrator import (
        ConversionOptions,
        convert_group,
        failed_result,
    )
    from dsa110_contimg.orchestration.metrics import count_conversion, count_failure

    settings = get_settings()
    ledger = night_ledger(night.date)
    start = time.perf_counter()
    try:
        result = convert_group(
            ConversionOptions(
                group=group,
                output_dir=settings.ms_dir,
                sandbox_roots=settings.sandbox_roots,
                workers=settings.conversion_workers,
                timeout_s=settings.conversion_timeout_s,
                lock_timeout_s=settings.ms_lock_timeout_s,
                log_dir=settings.logs_dir / "conversion",
            )
        )
    except ContimgError as error:
        ledger.save_conversion(failed_result(group.group_id, error, time.perf_counter() - start))
        count_failure(error, settings.sandbox_root)
        raise
    ledger.save_conversion(result)
    count_conversion(result, settings.sandbox_root)
    for failure in result.cleanup_failures:
        raise_alert(Alert(kind="cleanup_failure", subject=group.group_id, message=failure))
    return result


def is_rejected(result: ConversionResult) -> bool:
    """Tell whether a group was too incomplete to convert.

    Parameters
    ----------
    result : ConversionResult
        What became of it.

    Returns
    -------
    bool
        True if there is no MS, and no failure either.
    """
    return result.state is ConversionState.REJECTED


def report_night(night: Night) -> dict[str, Any]:
    """Write the report of a night.

    Parameters
    ----------
    night : Night
        The night.

    Returns
    -------
    dict
        ``date``, ``verdict``, ``headline`` and ``report``, the path of the HTML file.
    """
    from dsa110_contimg.qa.report import write_report

    ledger = night_ledger(night.date)
    report = write_report(ledger)
    return {
        "date": report.date,
        "verdict": report.verdict.value,
        "headline": report.headline,
        "report": str(ledger.report_html),
    }


def judge_night(date: str) -> str | None:
    """Say what failed in a night, from its report.

    Parameters
    ----------
    date : str
        The night.

    Returns
    -------
    str or None
        A sentence with the first reasons; None if nothing failed.
    """
    ledger = night_ledger(date)
    report = NightReport.model_validate_json(ledger.report_json.read_text(encoding="utf-8"))
    if report.verdict not in {Verdict.PARTIAL, Verdict.FAILED}:
        return None
    reasons = [f"{f.kind} {f.subject}: {f.reason.splitlines()[0]}" for f in report.failures[:5]]
    more = len(report.failures) - len(reasons)
    tail = [f"and {more} more"] if more > 0 else []
    return "\n".join([report.headline, *reasons, *tail, f"Report: {ledger.report_html}"])


def night_ledger(date: str) -> NightLedger:
    """Open the ledger of a night.

    Parameters
    ----------
    date : str
        UTC date, ``YYYY-MM-DD``.

    Returns
    -------
    NightLedger
        The ledger below the work directory.
    """
    return NightLedger(get_settings().nights_dir, date)
