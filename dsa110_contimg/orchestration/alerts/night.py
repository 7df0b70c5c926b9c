"""One message for each night: what it came to, what failed, and where the report is."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any
from urllib.parse import quote

from dsa110_contimg.errors import InputError
from dsa110_contimg.models import Model
from dsa110_contimg.orchestration.alerts.models import Alert, AlertKind
from dsa110_contimg.orchestration.alerts.raising import (
    describe_outcome,
    list_alerts,
    raise_alert,
    withdraw_alert,
)
from dsa110_contimg.orchestration.metrics import count_night
from dsa110_contimg.orchestration.refusals import find_refusal
from dsa110_contimg.orchestration.run_ends import BY_HAND
from dsa110_contimg.orchestration.runs import NIGHT_DAG, plan_run
from dsa110_contimg.qa.models import GroupOutcome, NightReport, Verdict
from dsa110_contimg.qa.records import NightLedger
from dsa110_contimg.qa.verdict import plural
from dsa110_contimg.settings import get_settings

_MOST_NAMED = 5
_KINDS = {
    Verdict.PARTIAL: AlertKind.NIGHT_FAILED,
    Verdict.FAILED: AlertKind.NIGHT_FAILED,
    Verdict.EMPTY: AlertKind.NO_DATA,
}
"""The other verdicts make a summary."""
_REFUSED = "the request is refused: its run says why, and no alert is raised"
_NIGHT_KINDS = (AlertKind.NIGHT_SUMMARY, AlertKind.NIGHT_FAILED, AlertKind.NO_DATA)


class NightRun(Model):
    """The run of `nightly_transit` that a message is about."""

    run_id: str
    """Its id."""
    started: datetime | None = None
    """When it began, UTC."""
    data_ended: datetime | None = None
    """End of its data interval, where it follows that by the clock; None for other runs."""

    @property
    def url(self) -> str:
        """Its page in Airflow's UI."""
        from airflow.sdk.configuration import conf

        base = conf.get("api", "base_url", fallback="") or "http://localhost:8080"
        return f"{base.rstrip('/')}/dags/{NIGHT_DAG}/runs/{quote(self.run_id, safe='')}"


def announce_night(summary: Mapping[str, Any] | None, context: Any) -> str:
    """Tell the operator what a night came to, and count it.

    Parameters
    ----------
    summary : mapping or None
        What the task that writes the night's report returned; None if it failed. That of a
        request that is refused bears its ``refusal``.
    context : mapping
        Airflow's context of the task.

    Returns
    -------
    str
        What became of the messages, for the log and the UI.
    """
    run = _read_run(context)
    if "refusal" in (summary or find_refusal(context) or {}):
        return _REFUSED
    if summary is None:
        count_night("unreported", run.started)
        words = "its report could not be written"
        return _raise([_unreported(_read_date(context) or run.run_id, run, words)])
    ledger = NightLedger(get_settings().nights_dir, summary["date"])
    report = NightReport.model_validate_json(ledger.report_json.read_text(encoding="utf-8"))
    count_night(report.verdict.value, run.started, run.data_ended)
    return _raise(night_alerts(report, run, str(ledger.report_html)))


def announce_failed_run(context: Any) -> str:
    """Tell the operator of a run that failed before it could announce its night.

    Airflow calls this in the dag-processor, whenever a run fails or is marked as failed by hand.

    Parameters
    ----------
    context : mapping
        Airflow's context: that of the run's last task, or no more than ``run_id`` and ``reason``.

    Returns
    -------
    str
        What became of the message; that there is none, if the run has announced its night, or
        was refused.
    """
    if find_refusal(context):
        return _REFUSED
    run, date = _read_run(context), _read_date(context)
    if date is not None and _is_announced(date, run.started):
        return f"the night {date} is announced"
    reason = context.get("reason")
    ended = f"it was {BY_HAND}" if reason == BY_HAND else f"Airflow ended it ({reason})"
    words = f"{ended} before its report"
    return _raise([_unreported(date or run.run_id, run, words)])


def night_alerts(report: NightReport, run: NightRun, report_path: str) -> list[Alert]:
    """Compose what there is to tell of a night.

    Parameters
    ----------
    report : NightReport
        The night's report.
    run : NightRun
        The run that made it.
    report_path : str
        Where it stands as HTML.

    Returns
    -------
    list of Alert
        The night's own, and one more if it had no solutions.
    """
    where = [f"Report: {report_path}", f"Run: {run.url}"]
    body = [report.headline, "", *_totals(report), "", *_worst(report), *where]
    own = Alert(
        kind=_KINDS.get(report.verdict, AlertKind.NIGHT_SUMMARY),
        subject=report.date,
        message="\n".join(body),
        fingerprint="\n".join([report.headline, *list_failures(report), *report.losses]),
    )
    if not _lacks_solutions(report):
        return [own]
    sets = plural(report.totals.measurement_sets, "Measurement Set")
    problems = report.calibration.problems if report.calibration else []
    lines = [f"None of {sets} found solutions to be calibrated with.", *problems[:_MOST_NAMED]]
    lacking = Alert(
        kind=AlertKind.NO_CALIBRATOR,
        subject=report.date,
        message="\n".join([*lines, *_transits(report), *where]),
        fingerprint=sets,
    )
    return [own, lacking]


def list_failures(report: NightReport) -> list[str]:
    """Put the worst failures of a night into a line each.

    Parameters
    ----------
    report : NightReport
        The night's report.

    Returns
    -------
    list of str
        The largest things first; the last line counts those that are left out.
    """
    first = report.failures[:_MOST_NAMED]
    lines = [f"{item.kind} {item.subject}: {item.reason.splitlines()[0]}" for item in first]
    return _shortened(lines, len(report.failures))


def _raise(alerts: Sequence[Alert]) -> str:
    """Raise alerts of a night, forget what they supersede, and say what became of them."""
    for kind in {*_NIGHT_KINDS, AlertKind.NO_CALIBRATOR} - {alert.kind for alert in alerts}:
        withdraw_alert(kind, alerts[0].subject)
    return "; ".join([describe_outcome(raise_alert(alert)) for alert in alerts])


def _is_announced(date: str, since: datetime | None) -> bool:
    """Whether a night has been announced since a run began."""
    known = [
        datetime.fromisoformat(record.last_utc)
        for record in list_alerts(get_settings())
        if record.alert.kind in _NIGHT_KINDS and record.alert.subject == date
    ]
    return any(since is None or moment >= since.replace(microsecond=0) for moment in known)


def _unreported(subject: str, run: NightRun, words: str) -> Alert:
    """Say that a night has no report."""
    return Alert(
        kind=AlertKind.NIGHT_FAILED,
        subject=subject,
        message=f"The run {run.run_id} failed: {words}.\nThe logs of its tasks say why; what is "
        "done is not lost: clear the failed tasks, or trigger the night again.\n"
        f"Run: {run.url}",
        fingerprint=words,
    )


def _lacks_solutions(report: NightReport) -> bool:
    """Whether a night was to be calibrated, and none of it was."""
    totals = report.totals
    to_calibrate = report.calibration is not None and totals.measurement_sets > 0
    return to_calibrate and totals.calibrated_sets == 0


def _totals(report: NightReport) -> list[str]:
    """Put a night's numbers into lines."""
    totals = report.totals
    outcomes = totals.groups_by_outcome
    groups = ", ".join(f"{outcomes[kind]} {kind}" for kind in GroupOutcome if outcomes[kind])
    lines = [
        f"Verdict: {report.verdict}",
        f"Groups: {totals.groups}" + (f" ({groups})" if groups else ""),
    ]
    lines.append(
        f"Measurement Sets: {totals.measurement_sets}, {totals.calibrated_sets} calibrated"
    )
    if totals.mean_flagged_fraction is not None:
        lines.append(f"Flagged: {totals.mean_flagged_fraction:.1%} on average")
    lines.append(
        f"Source measurements: {totals.source_measurements}, {totals.sources_failed} failed; "
        f"{plural(totals.detections, 'detection')} in {totals.sources_detected} of them"
    )
    return lines


def _worst(report: NightReport) -> list[str]:
    """List a night's worst failures and losses, with what to do about the first."""
    lines: list[str] = []
    if report.failures:
        lines += [f"Failed ({len(report.failures)}):"]
        lines += [f"- {line}" for line in list_failures(report)]
        lines += [f"What to do about the first: {report.failures[0].remedy}", ""]
    if report.losses:
        losses = _shortened(list(report.losses[:_MOST_NAMED]), len(report.losses))
        lines += ["Lost without a failure:", *(f"- {loss}" for loss in losses), ""]
    return lines


def _transits(report: NightReport) -> list[str]:
    """Say what became of the night's calibrators."""
    transits = report.calibration.transits if report.calibration else []
    if not transits:
        return ["No calibrator transited."]
    lines = [
        f"- {item.calibrator}, {item.transit_utc}: {item.state}"
        + (f", {item.reason}" if item.reason else "")
        for item in transits[:_MOST_NAMED]
    ]
    return ["Calibrators:", *_shortened(lines, len(transits))]


def _shortened(lines: list[str], total: int) -> list[str]:
    """Say how many lines are left out."""
    return [*lines, f"and {total - len(lines)} more"] if total > len(lines) else lines


def _read_date(context: Any) -> str | None:
    """Read which night a run is about, as far as its context says."""
    try:
        return plan_run(context).date
    except InputError:
        return None


def _read_run(context: Any) -> NightRun:
    """Read which run a context is about; that of a callback may know no more than its id."""
    dag_run = context.get("dag_run")
    is_by_clock = getattr(dag_run, "run_type", None) == "scheduled"
    return NightRun(
        run_id=context["run_id"],
        started=getattr(dag_run, "start_date", None),
        data_ended=getattr(dag_run, "data_interval_end", None) if is_by_clock else None,
    )
