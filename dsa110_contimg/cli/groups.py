"""The command ``groups``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Console
from rich.progress import Progress
from rich.table import Table

from dsa110_contimg.cli.options import EndOption, StartOption

if TYPE_CHECKING:
    from dsa110_contimg.conversion.models import GroupListing

_STYLES = {"complete": "green", "semi-complete": "yellow", "incomplete": "red"}


def groups(
    input_dir: Annotated[
        Path,
        typer.Argument(
            help="Directory of raw subband files, YYYY-MM-DDTHH:MM:SS_sbNN.hdf5; its "
            "subdirectories named YYYY-MM-DD are searched as well."
        ),
    ],
    start: StartOption = None,
    end: EndOption = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the listing as JSON on standard output.")
    ] = False,
) -> None:
    """List the groups of subband files in a directory.

    The 16 subband files of one observation make a group: those whose headers name the same
    first time, however the times in their names jitter. Each group is complete (16),
    semi-complete (12 to 15) or incomplete; files that cannot be used, or are still being
    written, are listed with the reason. Nothing is changed on disk.

    Example: dsa110-contimg groups /data/incoming --start 2026-01-25T00:00:00
    --end 2026-01-26T00:00:00 --json
    """
    from dsa110_contimg.conversion.groups import find_groups

    with _progress() as report:
        listing = find_groups(input_dir, start, end, report)
    if as_json:
        # What cannot be used stands in `problems` and `rejects` already, with its reason.
        each: dict[str, Any] = {"__all__": {"unusable"}}
        typer.echo(listing.model_dump_json(indent=2, exclude={"groups": each, "rejects": each}))
    else:
        _print(listing)


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """Show a bar on standard error, if a person is looking, and take it away in the end."""
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("Reading headers", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _print(listing: GroupListing) -> None:
    """Print the groups as a table, then what is wrong, then the rejects."""
    console = Console()
    table = Table("Group", "State", "Present", "Missing")
    for group in listing.groups:
        table.add_row(
            group.group_id,
            f"[{_STYLES[group.state]}]{group.state}[/]",
            str(len(group.present)),
            " ".join(group.missing),
        )
    console.print(table)
    lines = [
        f"{group.group_id}  {problem}" for group in listing.groups for problem in group.problems
    ]
    _print_lines(console, "Problems", lines)
    rejects = [f"{reject.file} {reject.reason}" for reject in listing.rejects]
    _print_lines(console, "Rejected files", rejects)


def _print_lines(console: Console, title: str, lines: list[str]) -> None:
    """Print lines that may be copied whole, under a title."""
    if lines:
        console.print(f"\n[bold]{title}[/] ({len(lines)})")
        for line in lines:
            console.print(line, markup=False, highlight=False, soft_wrap=True)
