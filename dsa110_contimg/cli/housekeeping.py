"""The command ``housekeeping``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from dsa110_contimg.cli.options import WorkDirOption, settings_for
from dsa110_contimg.cli.output import Column, open_screen, print_json, print_table, say

if TYPE_CHECKING:
    from dsa110_contimg.housekeeping.models import Finding, HousekeepingResult

_COLUMNS = (
    Column("What"),
    Column("Size", align="right"),
    Column("Idle", rank=1, align="right"),
    Column("Fate"),
    Column("Where"),
)
_STYLES = {"removed": "green", "would go": "cyan", "kept": "yellow", "failed": "bold red"}
_UNITS = (("d", 86400.0), ("h", 3600.0), ("min", 60.0))
_KIB = 1024
_KEPT = {"ms_days": "Measurement Sets", "products_days": "products", "logs_days": "logs"}


def housekeeping(
    work_dir: WorkDirOption = None,
    apply: Annotated[
        bool,
        typer.Option("--apply/--dry-run", help="Remove what is listed, or only say what would go."),
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the result as JSON on standard output.")
    ] = False,
) -> None:
    """Show what nobody owns and what was kept for long enough, or remove it.

    What has no owner is told by locks, never by age: sandboxes of killed work, trees that were
    not published, half-written records, sockets of fork servers. What is finished is kept for
    ever unless the settings say otherwise: DSA110_CONTIMG_RETAIN_MS_DAYS,
    DSA110_CONTIMG_RETAIN_PRODUCTS_DAYS, DSA110_CONTIMG_RETAIN_LOGS_DAYS.

    Never removed: raw files, records, reports, manifests, solutions, and whatever somebody
    holds. A Measurement Set goes only when nobody has used it for so many days and its night is
    processed without failure and reported; the night report then says so.

    Airflow does the same every hour, with --apply. Exit status 1: something could not be
    removed, or looked into.

    Example: DSA110_CONTIMG_RETAIN_MS_DAYS=30 dsa110-contimg housekeeping --work-dir work
    """
    from dsa110_contimg.housekeeping.keep_house import keep_house
    from dsa110_contimg.housekeeping.models import options_for

    result = keep_house(options_for(settings_for(work_dir), apply=apply))
    if as_json:
        print_json(result.model_dump(mode="json"))
    else:
        _print(result)
    if result.problems:
        for problem in result.problems:
            say(f"problem: {problem}", style="bold red")
        raise typer.Exit(1)


def _print(result: HousekeepingResult) -> None:
    """Print what was found as a table, then the sum and what the settings keep."""
    screen = open_screen()
    if result.findings:
        print_table(_COLUMNS, [_cells(found) for found in result.findings], screen)
    for found in result.findings:
        say(f"{found.path}: {found.because or found.why}", screen)
    gone = [found for found in result.findings if found.fate in {"removed", "would go"}]
    size = describe_bytes(sum(found.size_bytes for found in gone))
    if result.applied:
        say(f"{len(gone)} removed, {size} freed", screen)
    else:
        say(f"{len(gone)} would go, {size}; a dry run: --apply removes them", screen)
    for name, days in result.retention:
        kept = "for ever" if days is None else f"for {days:g} days"
        say(f"{_KEPT[name]} are kept {kept} (retain_{name})", screen)
    for night in result.nights:
        say(f"the report of {night} was written again", screen)


def _cells(found: Finding) -> tuple[str | Text, ...]:
    """Put a finding into words."""
    return (
        found.kind,
        describe_bytes(found.size_bytes),
        describe_age(found.age_s),
        Text(found.fate, style=_STYLES[found.fate]),
        found.path,
    )


def describe_bytes(size_bytes: int) -> str:
    """Write a size for people.

    Parameters
    ----------
    size_bytes : int
        In bytes.

    Returns
    -------
    str
        E.g. ``"1.5 GiB"``.
    """
    size, units = float(size_bytes), ["B", "KiB", "MiB", "GiB", "TiB"]
    while size >= _KIB and len(units) > 1:
        size /= _KIB
        units.pop(0)
    return f"{size:.0f} {units[0]}" if units[0] == "B" else f"{size:.1f} {units[0]}"


def describe_age(age_s: float) -> str:
    """Write a length of time for people.

    Parameters
    ----------
    age_s : float
        In seconds.

    Returns
    -------
    str
        E.g. ``"3 h"``.
    """
    for unit, seconds in _UNITS:
        if age_s >= 2.0 * seconds:
            return f"{age_s / seconds:.0f} {unit}"
    return f"{age_s:.0f} s"
