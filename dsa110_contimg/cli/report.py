"""The command ``report``."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dsa110_contimg.cli.output import (
    Column,
    describe_sets,
    open_screen,
    print_json,
    print_table,
    say,
)

if TYPE_CHECKING:
    from dsa110_contimg.qa.models import NightReport

_MAX_FAILURES = 10


def report(
    date: Annotated[
        datetime,
        typer.Argument(
            formats=["%Y-%m-%d"], metavar="DATE", help="UTC date of the night, YYYY-MM-DD."
        ),
    ],
    work_dir: Annotated[
        Path | None,
        typer.Option(
            help="Root of everything the pipeline writes; default DSA110_CONTIMG_WORK_DIR, or"
            " 'work' in the current directory.",
            exists=True,
            file_okay=False,
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the summary as JSON on standard output.")
    ] = False,
) -> None:
    """Write a night's report anew, from what is on record.

    The report says what became of every file, group, Measurement Set and source of the night,
    what failed and why: as one HTML file that needs no network, nights/DATE/report.html in the
    work directory, and the same in JSON beside it. Nothing is converted or imaged again.

    Exit status: 0 if the report was written, whatever it says; 1 if the night is not on record
    or the report could not be written; 2 for wrong usage.

    Example: dsa110-contimg report 2026-01-25 --work-dir /data/contimg
    """
    from dsa110_contimg.errors import InputError
    from dsa110_contimg.qa.records import NightLedger, list_nights
    from dsa110_contimg.qa.report import write_report
    from dsa110_contimg.settings import Settings

    settings = Settings() if work_dir is None else Settings(work_dir=work_dir)
    ledger = NightLedger(settings.nights_dir, f"{date:%Y-%m-%d}")
    if not ledger.exists():
        nights = ", ".join(list_nights(settings.nights_dir)) or "none"
        raise InputError(
            f"the night {ledger.date} is not on record in {settings.nights_dir}",
            reason="unknown_night",
            remedy=f"on record: {nights}",
        )
    written = write_report(ledger)
    if as_json:
        shown = {"date", "verdict", "headline", "totals", "failures", "losses"}
        summary = written.model_dump(mode="json", include=shown)
        paths = {"html_path": str(ledger.report_html), "json_path": str(ledger.report_json)}
        print_json(summary | paths)
    else:
        _print_summary(written, [ledger.report_html, ledger.report_json])


def _print_summary(written: NightReport, paths: list[Path]) -> None:
    """Print what the report says, in short, and where it is."""
    totals = written.totals
    outcomes = [f"{count} {outcome}" for outcome, count in totals.groups_by_outcome.items()]
    rows = {
        "groups": f"{totals.groups} ({', '.join(outcomes)})",
        "Measurement Sets": describe_sets(totals),
        "source measurements": f"{totals.source_measurements} ({totals.sources_failed} failed)",
        "detections": f"{totals.detections} in {totals.sources_detected} measurements",
        "rejected files": str(totals.rejected_files),
        "failures": str(totals.failures),
    }
    screen = open_screen()
    fields = (Column(""), Column("", wraps=True))
    print_table(fields, list(rows.items()), screen, title=f"Night of {written.date}")
    say(f"{written.verdict}: {written.headline}", screen)
    for failure in written.failures[:_MAX_FAILURES]:
        reason = failure.reason.splitlines()[0]
        say(f"  {failure.kind} {failure.subject}: {reason}", screen)
    if (more := len(written.failures) - _MAX_FAILURES) > 0:
        say(f"  and {more} more in the report", screen)
    for path in paths:
        say(str(path), screen)
