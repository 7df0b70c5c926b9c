"""The command ``groups``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.progress import Progress
from rich.text import Text

from dsa110_contimg.cli.options import EndOption, StartOption
from dsa110_contimg.cli.output import Column, console, open_screen, print_json, print_table, say

if TYPE_CHECKING:
    from rich.console import Console

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
        print_json(listing.model_dump(mode="json", exclude={"groups": each, "rejects": each}))
    else:
        _print(listing)


@contextmanager
def _progress() -> Iterator[Callable[[int, int], None]]:
    """Show a bar on standard error, if a person is looking, and take it away in the end."""
    with Progress(console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("Reading headers", total=None)
        yield lambda done, total: bar.update(task, completed=done, total=total)


def _print(listing: GroupListing) -> None:
    """Print the groups as a table, then what is wrong, then the rejects."""
    screen = open_screen()
    print_table(
        (Column("Group"), Column("State"), Column("Present"), Column("Missing", wraps=True)),
        [
            (
                group.group_id,
                Text(group.state, style=_STYLES[group.state]),
                str(len(group.present)),
                " ".join(group.missing),
            )
            for group in listing.groups
        ],
        screen,
    )
    lines = [
        f"{group.group_id}  {problem}" for group in listing.groups for problem in group.problems
    ]
    _print_lines(screen, "Problems", lines)
    rejects = [f"{reject.file} {reject.reason}" for reject in listing.rejects]
    _print_lines(screen, "Rejected files", rejects)


def _print_lines(screen: Console, title: str, lines: list[str]) -> None:
    """Print lines that may be copied whole, under a title."""
    if lines:
        say("", screen)
        say(f"{title} ({len(lines)})", screen, style="bold")
        for line in lines:
            say(line, screen)
