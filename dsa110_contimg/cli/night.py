"""The command ``night``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, time
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from dsa110_contimg.cli.options import parse_date, parse_utc
from dsa110_contimg.cli.output import (
    Column,
    console,
    describe_sets,
    print_json,
    print_table,
    say,
)
from dsa110_contimg.cli.progress import NewLines, RemainingColumn

if TYPE_CHECKING:
    from dsa110_contimg.orchestration.night import NightProgress, NightResult
    from dsa110_contimg.settings import Settings
    from dsa110_contimg.simulation.night import SimulationResult

_MAX_REASONS = 10
_CALIBRATOR_JY = 8.8
"""As 0834+555, the classic calibrator of this declination."""


def night(
    work_dir: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Root of everything that is written. Default: work"),
    ] = None,
    date_: Annotated[
        date | None,
        typer.Option(
            "--date",
            parser=parse_date,
            metavar="YYYY-MM-DD",
            help="Night to process (UTC). Default: that of --start.",
        ),
    ] = None,
    start: Annotated[
        datetime | None,
        typer.Option(
            parser=parse_utc,
            metavar="ISO",
            help="Start of the first simulated group. Default: 08:04:54 UTC of --date, or of"
            " 2026-01-25.",
        ),
    ] = None,
    groups: Annotated[int, typer.Option(min=1, help="Groups to simulate, 309 s each.")] = 2,
    antennas: Annotated[
        int, typer.Option(min=2, max=96, help="Antennas to simulate; fewer are faster.")
    ] = 96,
    simulate: Annotated[
        bool,
        typer.Option(
            "--simulate/--no-simulate",
            help="Simulate the night into the input directory if it is not there yet, or"
            " process what is there.",
        ),
    ] = True,
    input_dir: Annotated[
        Path | None,
        typer.Option(metavar="DIR", help="Raw subband files. Default: WORK_DIR/incoming"),
    ] = None,
    sources: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Catalogue of the sources to image (name, ra_deg, dec_deg). Default: those that"
            " were simulated, or WORK_DIR/sources.ecsv.",
        ),
    ] = None,
    json_output: Annotated[
        bool, typer.Option("--json", help="Print the result as JSON on standard output.")
    ] = False,
) -> None:
    """Process one night from end to end, through a real Airflow that runs only for it.

    Simulates a short night (unless it is there), starts Airflow on SQLite, runs the DAG
    nightly_transit for the date, shows how far it is, and ends with a summary, the paths of
    the products and of the night report. What is done already is not done again. Everything
    is written below the work directory.

    The simulated data have gain errors, interference, a dead antenna and the transit of a
    calibrator, so that they are flagged and calibrated as real ones are. With the setting
    DSA110_CONTIMG_CALIBRATION=off they are perfect, and measured as they are.

    This embedded Airflow is for one user: it listens on the loopback interface only, and
    whoever can reach it there may do anything.

    Example: dsa110-contimg night --work-dir work --groups 2 --antennas 24
    """
    from dsa110_contimg.orchestration.night import NightOptions, run_night

    settings = _make_settings(work_dir, input_dir)
    if simulate:
        first = _first_start(date_, start)
        simulated = _simulate(settings, first, groups, antennas)
        if simulated.calibrators_path and settings.calibrators_file is None:
            made = {"calibrators_file": Path(simulated.calibrators_path)}
            settings = settings.model_copy(update=made)
        options = NightOptions(
            date=f"{first:%Y-%m-%d}", sources_file=sources or Path(simulated.sources_path)
        )
    elif date_ is None:
        raise typer.BadParameter("is needed with --no-simulate", param_hint="--date")
    else:
        options = NightOptions(date=date_.isoformat(), sources_file=sources)
    with _progress_shown() as (on_stage, on_progress):
        result = run_night(options, settings, on_progress, on_stage)
    if json_output:
        print_json(result.model_dump(mode="json"))
    _print_summary(result)
    if result.state != "success":
        raise typer.Exit(1)


def _make_settings(work_dir: Path | None, input_dir: Path | None) -> Settings:
    """Put the options over the settings."""
    from dsa110_contimg.settings import Settings

    given: dict[str, Any] = {"work_dir": work_dir, "input_dir": input_dir}
    return Settings(**{name: path for name, path in given.items() if path is not None})


def _first_start(date_: date | None, start: datetime | None) -> datetime:
    """Find the start of the simulated night from --date and --start."""
    from dsa110_contimg.simulation.night import DEFAULT_START

    if date_ is None:
        return start or DEFAULT_START
    if start is None:
        return datetime.combine(date_, time(8, 4, 54), UTC)
    if start.date() != date_:
        raise typer.BadParameter(
            f"{start:%Y-%m-%dT%H:%M:%S} is not on {date_}", param_hint="--start"
        )
    return start


def _simulate(settings: Settings, start: datetime, groups: int, antennas: int) -> SimulationResult:
    """Simulate the night, or find it there."""
    from dsa110_contimg.simulation.night import SimulationOptions, simulate

    out, imperfect = settings.raw_dir, settings.calibration == "on"
    options = SimulationOptions(
        output_dir=out,
        start=start,
        n_groups=groups,
        n_antennas=antennas,
        gain_errors=imperfect,
        rfi=imperfect,
        calibrator_jy=_CALIBRATOR_JY if imperfect else None,
    )
    with _bars() as bars:
        bar = bars.add_task("simulating subband files", total=None, visible=console.is_terminal)
        result = simulate(
            options, lambda done, total: bars.update(bar, completed=done, total=total)
        )
    say(
        f"simulated {result.written} subband files in {out}"
        if result.written
        else f"the simulated night is in {out} already: {len(result.files)} subband files"
    )
    return result


def _bars() -> Progress:
    """Make the bars that all steps share."""
    return Progress(
        TextColumn("{task.description:<26}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        RemainingColumn(),
        console=console,
    )


@contextmanager
def _progress_shown() -> Iterator[tuple[Callable[[str], None], Callable[[NightProgress], None]]]:
    """Show how far the night is: bars on a terminal, else a line whenever it changes."""
    from dsa110_contimg.orchestration.pace import Pace

    waits = NewLines()
    if not console.is_terminal:
        yield say, partial(_print_progress, waits)
        return
    with _bars() as bars:
        converted = bars.add_task("groups converted", total=None)
        pace = Pace()
        bars.update(converted, remaining=lambda: pace.describe(datetime.now(UTC)).partition(":")[0])
        per_set = {
            name: bars.add_task(f"groups {name}", total=None)
            for name in ("flagged", "calibrated", "measured")
        }
        imaged = bars.add_task("sources imaged", total=None, visible=False)

        def on_progress(progress: NightProgress) -> None:
            """Move the bars."""
            nonlocal pace
            pace = progress.pace
            waits.say(progress.waits)
            failed = f" [red]({progress.failed} failed)[/]" if progress.failed else ""
            total = progress.groups or None
            bars.update(
                converted,
                completed=progress.groups_done,
                total=total,
                description=f"groups converted{failed}",
            )
            for name, bar in per_set.items():
                bars.update(bar, completed=getattr(progress, name), total=total)
            bars.update(
                imaged,
                completed=progress.sources_done,
                total=progress.sources or None,
                visible=progress.sources > 0,
            )

        yield say, on_progress


def _print_progress(waits: NewLines, progress: NightProgress) -> None:
    """Say in one line how far the night is, and what it waits for."""
    waits.say(progress.waits)
    now = datetime.now(UTC)
    images = f"  images {progress.sources_done}/{progress.sources}" if progress.sources else ""
    say(
        f"{now:%H:%M:%S}  groups {progress.groups_done}/{progress.groups}"
        f"  flagged {progress.flagged}  calibrated {progress.calibrated}"
        f"  measured {progress.measured}{images}  failed {progress.failed}"
        f"  {progress.pace.describe(now)}".rstrip()
    )


def _print_summary(result: NightResult) -> None:
    """Print what became of the night, and where it is."""
    rows: dict[str, str] = {}
    if result.report is not None:
        totals = result.report.totals
        outcomes = [f"{n} {outcome}" for outcome, n in totals.groups_by_outcome.items() if n]
        skipped = sum(source.skipped for source in result.report.sources)
        rows |= {
            "groups": f"{totals.groups} ({', '.join(outcomes) or 'none'})",
            "Measurement Sets": describe_sets(totals),
            "sources imaged": f"{totals.source_measurements} ({totals.sources_failed} failed, "
            f"{skipped} were there)",
            "detections": f"{totals.detections} of {totals.sources_detected} sources",
            "failures": str(totals.failures),
        }
        for stage in result.report.stage_times:
            if stage.part_of is None:
                rows[f"time: {stage.stage}"] = f"{stage.total_s:.1f} s in {stage.count}"
    for name, seconds in result.seconds.items():
        rows[f"time: Airflow, {name}"] = f"{seconds:.1f} s"
    fields = (Column(""), Column("", wraps=True))
    print_table(fields, list(rows.items()), console, title=f"Night of {result.date}")
    for name, path in {
        "Measurement Sets": result.ms_dir,
        "products": result.products_dir,
        "logs": result.logs_dir,
        "night report": result.report_html,
    }.items():
        say(f"{name + ':':<18}{path}")
    _print_verdict(result)


def _print_verdict(result: NightResult) -> None:
    """Print the reasons of a failure, or that there is none."""
    if result.report is None:
        say(
            f"failed: the run {result.run_id} ended without a report; the logs of its tasks are in "
            f"{result.logs_dir}/airflow/tasks"
        )
        return
    style = "bold green" if result.state == "success" else "bold red"
    say(f"{result.report.verdict}: {result.report.headline}", style=style)
    for failure in result.report.failures[:_MAX_REASONS]:
        say(f"  {failure.kind} {failure.subject}: {failure.reason.splitlines()[0]}")
    if (more := len(result.report.failures) - _MAX_REASONS) > 0:
        say(f"  and {more} more in the report")
