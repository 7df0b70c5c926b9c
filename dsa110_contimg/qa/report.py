"""The night report: what became of every file, group, MS and source of one night."""

from __future__ import annotations

from collections.abc import Mapping

from dsa110_contimg.errors import TransientError
from dsa110_contimg.models import Model
from dsa110_contimg.provenance import make_provenance
from dsa110_contimg.qa.models import NightReport
from dsa110_contimg.qa.record_models import StageSeconds
from dsa110_contimg.qa.records import NightLedger
from dsa110_contimg.qa.summary import summarize_night
from dsa110_contimg.storage.files import write_text_atomic


class ReportOptions(Model):
    """What the report is made from."""

    date: str
    """UTC date, ``YYYY-MM-DD``."""
    night_dir: str
    """Absolute path of the directory with the records; the report is written there."""


def write_report(
    ledger: NightLedger, *, stage_seconds: Mapping[str, float] | None = None
) -> NightReport:
    """Write ``report.json`` and ``report.html`` of a night, each whole or not at all.

    Parameters
    ----------
    ledger : NightLedger
        The night.
    stage_seconds : mapping of str to float, optional
        Wall time in seconds of stages that the caller timed as a whole; they are recorded in
        the ledger, so that a later report has them too.

    Returns
    -------
    NightReport
        What the files say. They are at ``ledger.report_json`` and ``ledger.report_html``.

    Raises
    ------
    TransientError
        If they cannot be written.
    """
    from dsa110_contimg.qa.render import render_html

    for stage, seconds in (stage_seconds or {}).items():
        ledger.save_stage_seconds(StageSeconds(stage=stage, seconds=seconds))
    options = ReportOptions(date=ledger.date, night_dir=str(ledger.night_dir.absolute()))
    inputs = [ledger.records_dir] if ledger.exists() else []
    report = summarize_night(ledger.load(), ledger.night_dir, make_provenance(options, inputs))
    html = render_html(report, ledger.night_dir)
    try:
        write_text_atomic(ledger.report_json, report.model_dump_json(indent=1))
        write_text_atomic(ledger.report_html, html)
    except OSError as error:
        raise TransientError(
            f"cannot write the report to {ledger.night_dir}: {error.strerror or error}",
            reason="report_not_written",
        ) from error
    return report
