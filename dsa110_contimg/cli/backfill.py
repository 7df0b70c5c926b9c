"""The command ``backfill``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn
from rich.text import Text

from dsa110_contimg.cli.options import parse_date, settings_for
from dsa110_contimg.cli.output import Column, console, print_json, print_table, say
from dsa110_contimg.cli.progress import NewLines, RemainingColumn

if TYPE_CHECKING:
    from dsa110_contimg.orchestration.backfill import (
        BackfilledNight,
        BackfillProgress,
        BackfillResult,
    )
    from dsa110_contimg.orchestration.night import NightProgress

_COLUMNS = (
    Column("Date"),
    Column("State"),
    *(Column(title, align="right") for title in ("Groups", "MSs", "Detections", "Failures")),
)
_STYLES = {"success": "green", "failed": "bold red"}


def backfill(
    first: Annotated[
        date,
        typer.Option(
            "--from", parser=parse_date, metavar="YYYY-MM-DD", help="First night (UTC date)."
        ),
    ],
    last: Annotated[
        date,
        typer.Option(
            "--to",
            parser=parse_date,
            metavar="YYYY-MM-DD",
            help="Last night (UTC date), included. A night has the date on which its data begin.",
        ),
    ],
    reprocess: Annotated[
        bool,
        typer.Option(
            "--reprocess",
            help="Do all work again, from the raw files on; each result replaces the earlier one "
            "once it is there. Default: do only what is not done.",
        ),
    ] = False,
    input_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR", help="Raw subband files. Default: that of the settings of Airflow"
        ),
    ] = None,
    sources: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Catalogue of the sources to image (name, ra_deg, dec_deg). Default: that of the "
            "settings of Airflow",
        ),
    ] = None,
    max_active: Annotated[int, typer.Option(min=1, help="Nights at a time.")] = 2,
    work_dir: Annotated[
        Path | None,
        typer.Option(
            metavar="DIR",
            help="Root of everything that is written, without --url. Default: work",
        ),
    ] = None,
    url: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            help="An Airflow that is running, e.g. http://127.0.0.1:8080. Default: one that is "
            "started for the backfill. User and password, if it asks for them, are taken from "
            "DSA110_CONTIMG_AIRFLOW_USER and DSA110_CONTIMG_AIRFLOW_PASSWORD.",
        ),
    ] = None,
    json_output: Annotated[
        bool, typer.Option("--json", help="Print the result as JSON on standard output.")
    ] = False,
) -> None:
    """Process the nights of a range of dates, as the schedule would have.

    This is the backfill of Airflow's UI: it makes, or makes again, the run of nightly_transit
    of each night, waits until all have ended, and shows what became of them. A night that was
    processed before is looked at again: what is done stays as it is, what is missing or came
    late is made up for. A night that fails does not hold up the others.

    Exit status: 0 if every night succeeded, 1 if one failed.

    Example: dsa110-contimg backfill --from 2026-01-25 --to 2026-01-31 --work-dir work

    Example: dsa110-contimg backfill --from 2026-01-25 --to 2026-01-25 --reprocess
    --url http://127.0.0.1:8080
    """
    if first > last:
        raise typer.BadParameter(f"{last} is before {first}", param_hint="--to")
    from dsa110_contimg.orchestration.backfill import BackfillOptions, run_backfill

    options = BackfillOptions(
        first=first,
        last=last,
        input_dir=input_dir,
        sources_file=sources,
        reprocess=reprocess,
        max_active=max_active,
    )
    try:
        with _progress_shown() as on_progress:
            result = run_backfill(
                options,
                settings_for(work_dir),
                url=url,
                on_progress=on_progress,
                on_stage=say,
            )
    except KeyboardInterrupt:
        if url is not None:
            say("nobody watches the backfill any more; it goes on in Airflow")
        raise
    if json_output:
        print_json(result.model_dump(mode="json"))
    _print_result(result)
    if result.failed:
        raise typer.Exit(1)


@contextmanager
def _progress_shown() -> Iterator[Callable[[BackfillProgress], None]]:
    """Show how far the nights are: a bar on a terminal, else a line whenever one changes."""
    if not console.is_terminal:
        yield _LinePerChange().show
        return
    waits = NewLines()
    columns = TextColumn("nights"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn()
    words = RemainingColumn(), TextColumn("{task.description}")
    with Progress(*columns, *words, console=console) as bars:
        bar = bars.add_task("", total=None)

        def on_progress(progress: BackfillProgress) -> None:
            """Move the bar, and say what is under way and what is awaited."""
            _say_waits(waits, progress)
            under_way = [f"{start}: {_describe(night)}" for start, night in progress.nights.items()]
            bars.update(
                bar,
                completed=progress.done,
                total=len(progress.states) or None,
                remaining=lambda: _remaining(progress),
                description="; ".join(under_way),
            )

        yield on_progress


class _LinePerChange:
    """Prints a line for each night that got further."""

    def __init__(self) -> None:
        self._said: dict[str, str] = {}
        self._waits = NewLines()

    def show(self, progress: BackfillProgress) -> None:
        """Say what has changed, how long the rest takes, and what is awaited."""
        _say_waits(self._waits, progress)
        for start, state in progress.states.items():
            night = progress.nights.get(start)
            words = f"{state}  {_describe(night)}" if night else state
            if self._said.get(start) != words:
                self._said[start] = words
                now = datetime.now(UTC)
                left = _remaining(progress)
                after = f"  ({left})" if left else ""
                say(f"{now:%H:%M:%S}  night of {start}  {words}{after}")


def _say_waits(waits: NewLines, progress: BackfillProgress) -> None:
    """Say what is awaited, once."""
    waits.say(progress.waits)
    for start, night in progress.nights.items():
        waits.say(night.waits, f"night of {start}")


def _remaining(progress: BackfillProgress) -> str:
    """Say how long the nights still take."""
    from dsa110_contimg.orchestration.pace import about

    if progress.done == len(progress.states):
        return ""
    remaining_s = progress.remaining_s(datetime.now(UTC))
    if remaining_s is None:
        return "remaining time not known yet: no group is done"
    return f"{about(remaining_s)} left"


def _describe(night: NightProgress) -> str:
    """Say in a few words how far a night is."""
    failed = f", {night.failed} failed" if night.failed else ""
    return f"groups {night.groups_done}/{night.groups}, measured {night.measured}{failed}"


def _print_result(result: BackfillResult) -> None:
    """Print a table of the nights, and what there is to say of them."""
    print_table(
        _COLUMNS,
        [_cells(night) for night in result.nights],
        console,
        title=f"{len(result.nights)} dates in {result.seconds:.0f} s",
    )
    for night in result.nights:
        if night.state != "success" and night.note:
            say(f"{night.date}  {night.note}")
        if night.report_html:
            say(f"{night.date}  {night.report_html}")


def _cells(night: BackfilledNight) -> tuple[str | Text, ...]:
    """Put a night into a row."""
    style = _STYLES.get(night.state, "yellow")
    words = night.state if night.verdict is None else f"{night.state}: {night.verdict}"
    totals = night.totals
    figures = (
        [totals.groups, totals.measurement_sets, totals.detections, totals.failures]
        if totals
        else ["-"] * 4
    )
    return night.date, Text(words, style=style), *map(str, figures)
