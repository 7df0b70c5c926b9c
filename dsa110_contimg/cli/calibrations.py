"""The command ``calibrations``."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from dsa110_contimg.cli.options import WorkDirOption, parse_utc, settings_for
from dsa110_contimg.cli.output import Column, open_screen, print_json, print_table, say

if TYPE_CHECKING:
    from dsa110_contimg.calibration.registry import RegisteredSet, Registry
    from dsa110_contimg.settings import Settings

_MJD_EPOCH = datetime(1858, 11, 17, tzinfo=UTC)
_COLUMNS = (
    Column("Set"),
    Column("Calibrator", rank=4),
    Column("Middle", rank=5),
    Column("Dec", rank=1),
    Column("Refant", rank=6),
    Column("Unflagged", rank=2),
    Column("SNR", rank=3),
    Column("Phase", rank=2),
    Column("State"),
)
_STYLES = {"good": "green", "withdrawn": "yellow", "refused": "red"}


def calibrations(
    start: Annotated[
        datetime | None,
        typer.Option(
            parser=parse_utc,
            metavar="ISO",
            help="Only transits whose middle is at this time (UTC) or later.",
        ),
    ] = None,
    end: Annotated[
        datetime | None,
        typer.Option(
            parser=parse_utc,
            metavar="ISO",
            help="Only transits whose middle is before this time (UTC).",
        ),
    ] = None,
    withdraw: Annotated[
        str | None,
        typer.Option(
            metavar="SET",
            help="Take this set out of use, for the --reason given: it is applied to no further "
            "Measurement Set, even if its transit is solved again.",
        ),
    ] = None,
    reason: Annotated[
        str | None,
        typer.Option(metavar="TEXT", help="Why a set is withdrawn; needed with --withdraw."),
    ] = None,
    reinstate: Annotated[
        str | None, typer.Option(metavar="SET", help="Put this withdrawn set back into use.")
    ] = None,
    rebuild: Annotated[
        bool,
        typer.Option(
            "--rebuild",
            help="Register the sets that stand on disk and are not on record, after the registry "
            "was lost. Withdrawals are on record nowhere else: make them again.",
        ),
    ] = False,
    work_dir: WorkDirOption = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what is on record as JSON on standard output.")
    ] = False,
) -> None:
    """List the sets of calibration solutions, or take one out of use.

    A set holds the solutions of one calibrator transit. Each Measurement Set is calibrated with
    the nearest good set in time, or between the one before and the one after, as long as
    pointing, array and spectral windows match and the tables are what was published. The list
    shows the middle of the observation (UTC), and the worst figures of the tables of each set: the
    fraction of unflagged solutions, the signal-to-noise ratio, and the scatter of the phase.

    A set is good; withdrawn by an operator, until it is reinstated; or refused, because its
    solve failed or gave poor solutions: only a new solve mends that. What was calibrated with a
    set before it was withdrawn is not changed.

    Example: dsa110-contimg calibrations --start 2026-01-25T00:00:00

    Example: dsa110-contimg calibrations --withdraw 2026-01-25T08:06:19_0834+555
    --reason "wind above 15 m/s"

    Example: dsa110-contimg calibrations --rebuild
    """
    _check_usage(withdraw, reason, reinstate, is_listing=not (start or end))
    if rebuild and (withdraw or reinstate or start or end):
        raise typer.BadParameter("--rebuild goes with no other option but --work-dir and --json")
    from dsa110_contimg.calibration.registry import Registry

    settings = settings_for(work_dir)
    registry = Registry(settings.registry_url)
    if rebuild:
        found = _rebuild(registry, settings)
    elif withdraw is not None:
        found = [registry.withdraw(withdraw, reason or "")]
    elif reinstate is not None:
        found = [registry.reinstate(reinstate)]
    else:
        found = _list(registry, start, end)
    if as_json:
        # Only pydantic's own JSON writes what is not a number.
        print_json([json.loads(record.model_dump_json()) for record in found])
    elif found or not rebuild:
        _print(found, registry.name)


def _check_usage(
    withdraw: str | None, reason: str | None, reinstate: str | None, *, is_listing: bool
) -> None:
    """Refuse options that do not go together."""
    if withdraw is not None and reinstate is not None:
        raise typer.BadParameter("--withdraw and --reinstate do not go together")
    if withdraw is not None and not (reason or "").strip():
        raise typer.BadParameter("--withdraw needs a --reason: others will read it")
    if reason is not None and withdraw is None:
        raise typer.BadParameter("--reason goes with --withdraw")
    if (withdraw or reinstate) and not is_listing:
        raise typer.BadParameter("--start and --end select what is listed, not what is changed")


def _rebuild(registry: Registry, settings: Settings) -> list[RegisteredSet]:
    """Register what stands on disk, and say what cannot be."""
    from dsa110_contimg.calibration.rebuild import rebuild_registry

    rebuilt = rebuild_registry(registry, settings.calibration_dir)
    for one in rebuilt.passed_over:
        say(f"passed over {one.directory}: {one.reason}")
    say(f"{len(rebuilt.registered)} sets registered, {rebuilt.known} were on record")
    return rebuilt.registered


def _list(registry: Registry, start: datetime | None, end: datetime | None) -> list[RegisteredSet]:
    """List the sets of an interval."""
    day = timedelta(days=1)
    return registry.list_sets(
        start_mjd=None if start is None else (start - _MJD_EPOCH) / day,
        end_mjd=None if end is None else (end - _MJD_EPOCH) / day,
    )


def _print(found: list[RegisteredSet], registry_name: str) -> None:
    """Print the sets as a table, then why some are not good, in lines that can be copied."""
    screen = open_screen()
    if not found:
        say(f"no set on record in {registry_name}", screen)
        return
    print_table(
        _COLUMNS,
        [(*_cells(one), Text(one.state, style=_STYLES[one.state])) for one in found],
        screen,
    )
    for record in found:
        for words in filter(None, (record.reason, record.problem)):
            say(f"{record.set_id}  {words}", screen)


def _cells(record: RegisteredSet) -> list[str]:
    """Put a set into words; of its tables, the worst figures."""
    known = [
        record.set_id,
        record.calibrator,
        f"{_MJD_EPOCH + timedelta(days=record.mid_mjd):%H:%M}",
        f"{record.dec_deg:+.2f}°",
    ]
    solved = record.solution_set
    if solved is None or not solved.tables:
        return [*known, *("-" * 4)]
    qualities = [table.quality for table in solved.tables]
    return [
        *known,
        solved.refant,
        f"{min(quality.unflagged_fraction for quality in qualities):.1%}",
        _write(min, [quality.median_snr for quality in qualities], ".0f"),
        _write(max, [quality.phase_scatter_deg for quality in qualities], ".2f", "°"),
    ]


def _write(
    worst: Callable[[list[float]], float], values: list[float], style: str, unit: str = ""
) -> str:
    """Write the worst of what is known of several tables."""
    known = [value for value in values if math.isfinite(value)]
    return f"{worst(known):{style}}{unit}" if known else "-"
