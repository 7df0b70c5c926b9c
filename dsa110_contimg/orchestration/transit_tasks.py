"""What the tasks of `nightly_transit` do: call a stage, and put on record what came of it."""

from __future__ import annotations

import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from dsa110_contimg.conversion.models import ConversionResult, ConversionState, SubbandGroup
from dsa110_contimg.errors import ContimgError, InputError, ScienceQualityError, TransientError
from dsa110_contimg.orchestration.alerts import alert_cleanup_failures
from dsa110_contimg.orchestration.refusals import check_named, find_refusal
from dsa110_contimg.orchestration.runs import Night, image_conf, image_run_id, plan_run
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
    InputError
        If the run names what is not there: it is refused.
    ContimgError
        If the input directory of the settings cannot be read; on record too.
    """
    from dsa110_contimg.conversion.groups import find_groups
    from dsa110_contimg.orchestration.alerts.space import check_room

    check_request(night)
    check_room()
    settings = get_settings()
    ledger = night_ledger(night.date)
    start = time.perf_counter()
    with _failure_recorded(night):
        listing = find_groups(night.input_dir, night.start, night.end)
    ledger.save_listing(listing, (night.start, night.end))
    ledger.clear_stage_failure(DISCOVERY)
    if not settings.settle_s:
        ledger.clear_arrival(night.start)
    groups = listing.groups
    first = _plan_calibrators(night, groups) if settings.calibration == "on" else set()
    groups = [group for group in groups if _is_asked_for(night, group)]
    groups.sort(key=lambda group: group.group_id not in first)
    ledger.save_stage_seconds(StageSeconds(stage=DISCOVERY, seconds=time.perf_counter() - start))
    return groups


def check_request(night: Night) -> None:
    """Find out before the work whether what a run names is there.

    Parameters
    ----------
    night : Night
        The night.

    Raises
    ------
    InputError
        If it is not: the run is refused, and the night keeps its record.
    TransientError
        If it cannot be read at present; on record too.
    """
    with _failure_recorded(night, TransientError):
        check_named(night)


@contextmanager
def _failure_recorded(night: Night, kind: type[ContimgError] = ContimgError) -> Iterator[None]:
    """Put on record that the night as a whole failed before it began."""
    try:
        yield
    except kind as error:
        night_ledger(night.date).save_stage_failure(
            StageFailure(
                stage=DISCOVERY, reason=f"{error.reason}: {error.message}", remedy=error.remedy
            )
        )
        raise


def _is_asked_for(night: Night, group: SubbandGroup) -> bool:
    """Whether a group points where the run asks; if not, that goes on record."""
    from dsa110_contimg.calibration.calibrator_plan import pointing_dec_deg

    if night.dec_deg is None:
        return True
    try:
        dec_deg = pointing_dec_deg(group)
    except InputError:
        # Its conversion says what is wrong with its files.
        return True
    if abs(dec_deg - night.dec_deg) <= night.dec_tolerance_deg:
        return True
    ledger = night_ledger(night.date)
    earlier = ledger.find_conversion(group.group_id)
    # What became of it in another run still holds.
    if earlier is None or earlier.state is ConversionState.LEFT_OUT:
        wanted = f"{night.dec_deg:+.3f} +- {night.dec_tolerance_deg:g} deg"
        ledger.save_conversion(
            ConversionResult(
                group_id=group.group_id,
                state=ConversionState.LEFT_OUT,
                reason=f"points at declination {dec_deg:+.3f} deg; the run asked for {wanted}",
            )
        )
    return False


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
    night_ledger(night.date).save_calibrators(plan, (night.start, night.end))
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
                skip_existing=not night.reprocess,
            )
        )
    except ContimgError as error:
        seconds = time.perf_counter() - start
        failed = failed_result(group.group_id, error, seconds, unusable=group.unusable)
        ledger.save_conversion(failed)
        count_failure(error, settings.sandbox_root)
        raise
    ledger.save_conversion(result)
    count_conversion(result, settings.sandbox_root)
    alert_cleanup_failures(result.cleanup_failures)
    return result


def hand_over(night: Night, result: ConversionResult, run_id: str) -> dict[str, Any]:
    """Say which run of `image_ms` is to work on the MS of a group.

    Parameters
    ----------
    night : Night
        The night.
    result : ConversionResult
        What became of the group.
    run_id : str
        The run of the night.

    Returns
    -------
    dict
        The fields of `result`; ``image_conf``, the parameters of the run; ``image_run_id``.

    Raises
    ------
    AirflowSkipException
        If there is nothing to measure, without a failure: the group was too incomplete to
        convert, or its MS was removed since.
    """
    from airflow.sdk.exceptions import AirflowSkipException

    if result.ms_path is None:
        raise AirflowSkipException(result.reason)
    conf = image_conf(night, result.ms_path)
    image_run = image_run_id(run_id, conf)
    return {**result.model_dump(mode="json"), "image_conf": conf, "image_run_id": image_run}


def report_run(
    groups: Sequence[Mapping[str, Any]] | None, context: Mapping[str, Any]
) -> dict[str, Any]:
    """Write the report of a run's night, unless the run is refused.

    Parameters
    ----------
    groups : sequence of mapping or None
        The groups that it has found, as JSON; None if it has not come so far.
    context : mapping
        Airflow's, of a task that comes after all others.

    Returns
    -------
    dict
        As of `report_night`, or of `find_refusal`.
    """
    from dsa110_contimg.orchestration.silence import settle_failed_groups

    if groups is None and (refusal := find_refusal(context)) is not None:
        return refusal
    night = plan_run(context)
    settle_failed_groups(night, groups or [], context["ti"])
    return report_night(night)


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


def judge_night(summary: Mapping[str, Any] | None) -> str:
    """Say what a night came to, from its report.

    Parameters
    ----------
    summary : mapping or None
        What `report_run` returned; None if it failed.

    Returns
    -------
    str
        The headline of a night in which nothing failed.

    Raises
    ------
    InputError
        If the run was refused.
    ScienceQualityError
        If something failed, be it the report; the message has the first reasons.
    """
    from dsa110_contimg.orchestration.alerts.night import list_failures

    if summary is None:
        raise ScienceQualityError(
            "the night has no report", reason="no_report", remedy="the log of its task says why"
        )
    if "refusal" in summary:
        raise InputError(summary["refusal"], reason=summary["reason"], remedy=summary["remedy"])
    ledger = night_ledger(summary["date"])
    report = NightReport.model_validate_json(ledger.report_json.read_text(encoding="utf-8"))
    if report.verdict in {Verdict.PARTIAL, Verdict.FAILED}:
        lines = [report.headline, *list_failures(report), f"Report: {ledger.report_html}"]
        raise ScienceQualityError("\n".join(lines), reason="night_failed")
    return report.headline


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
