"""The console script ``dsa110-contimg``."""

from __future__ import annotations

import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer

from dsa110_contimg.caches import settle_caches
from dsa110_contimg.cli.adaptive import adaptive
from dsa110_contimg.cli.airflow import airflow
from dsa110_contimg.cli.alerts import alerts
from dsa110_contimg.cli.apply import apply
from dsa110_contimg.cli.backfill import backfill
from dsa110_contimg.cli.calibrations import calibrations
from dsa110_contimg.cli.convert import convert
from dsa110_contimg.cli.flag import flag
from dsa110_contimg.cli.groups import groups
from dsa110_contimg.cli.housekeeping import housekeeping
from dsa110_contimg.cli.night import night
from dsa110_contimg.cli.output import console
from dsa110_contimg.cli.report import report
from dsa110_contimg.cli.simulate import simulate
from dsa110_contimg.cli.solve import solve
from dsa110_contimg.cli.transits import transits
from dsa110_contimg.errors import ContimgError, SettingsError

app = typer.Typer(
    name="dsa110-contimg",
    help="Nightly continuum imaging for DSA-110: UVH5 subband files to Measurement Sets, "
    "images and detections.\n\nSettings come from the variables DSA110_CONTIMG_NAME and, below "
    "them, from the file that DSA110_CONTIMG_CONFIG names, else dsa110-contimg.toml in the current "
    "directory.\n\nExit status: 0 all is well, 1 something failed, 2 wrong usage or settings.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="markdown",
)
for command in (
    simulate,
    groups,
    convert,
    adaptive,
    night,
    backfill,
    airflow,
    report,
    transits,
    flag,
    solve,
    apply,
    calibrations,
    alerts,
    housekeeping,
):
    app.command()(command)


def _show_version(asked: bool) -> None:
    """Print the version and end."""
    if asked:
        sys.stdout.write(f"dsa110-contimg {version('dsa110-contimg')}\n")
        raise typer.Exit


@app.callback()
def options(
    show_version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version."),
    ] = False,
) -> None:
    """Take the options of no command in particular."""


def main() -> None:
    """Run the command line; a named error becomes one line and exit status 1, or 2 for usage."""
    try:
        _require_directory()
        settle_caches()
        app()
    except ContimgError as error:
        console.print(f"[bold red]error[/] ({error.reason}): {error}", soft_wrap=True)
        sys.exit(2 if isinstance(error, SettingsError) else 1)


def _require_directory() -> None:
    """Refuse to begin in a directory that was deleted: no relative path means anything there."""
    try:
        Path.cwd()
    except FileNotFoundError:
        raise SettingsError(
            "the current directory was deleted",
            reason="no_current_directory",
            remedy="change to one that exists",
        ) from None
