"""The command ``by-hand``."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated

import typer

from dsa110_contimg.cli.options import settings_for
from dsa110_contimg.cli.output import open_screen, print_json, say


def by_hand(
    date: Annotated[
        datetime,
        typer.Argument(
            formats=["%Y-%m-%d"], metavar="DATE", help="UTC date of the night, YYYY-MM-DD."
        ),
    ],
    withdraw: Annotated[
        str | None,
        typer.Option(
            metavar="RUN",
            help="Remove the records and products of this run by hand, as it is listed.",
        ),
    ] = None,
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
        bool, typer.Option("--json", help="Print the results as JSON on standard output.")
    ] = False,
) -> None:
    """List the results of runs of image_ms by hand, or withdraw those of one.

    They stand beside the results of their night, whose verdict does not count them. To withdraw
    them leaves the Measurement Set and the night as they are.

    Exit status: 0 if all is well; 1 if there is no such run, a task of it is at work, or it could
    not be removed; 2 for wrong usage.

    Example: dsa110-contimg by-hand 2026-01-25
    """
    from dsa110_contimg.qa.by_hand import withdraw as withdraw_run
    from dsa110_contimg.qa.records import NightLedger
    from dsa110_contimg.qa.summary import report_by_hand

    settings = settings_for(work_dir)
    night = NightLedger(settings.nights_dir, f"{date:%Y-%m-%d}")
    if withdraw is not None:
        withdraw_run(settings.nights_dir, settings.products_dir, night.date, withdraw)
    runs = [
        report_by_hand(
            run, NightLedger(settings.nights_dir, night.date, run).load(), night.night_dir
        )
        for run in night.list_by_hand()
    ]
    if as_json:
        print_json([run.model_dump(mode="json") for run in runs])
        return
    lines = [f"{run.run}  {run.verdict}: {run.headline}" for run in runs]
    for line in lines or [f"no results by hand in the night {night.date}"]:
        say(line, open_screen())
