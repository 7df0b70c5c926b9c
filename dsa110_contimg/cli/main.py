"""The console script ``dsa110-contimg``."""

from __future__ import annotations

import os
import sys
from importlib.metadata import version
from pathlib import Path
from typing import Annotated

import typer
from pydantic import ValidationError

from dsa110_contimg.caches import settle_caches
from dsa110_contimg.cli.adaptive import adaptive
from dsa110_contimg.cli.airflow import airflow
from dsa110_contimg.cli.alerts import alerts
from dsa110_contimg.cli.apply import apply
from dsa110_contimg.cli.backfill import backfill
from dsa110_contimg.cli.by_hand import by_hand
from dsa110_contimg.cli.calibrations import calibrations
from dsa110_contimg.cli.convert import convert
from dsa110_contimg.cli.flag import flag
from dsa110_contimg.cli.groups import groups
from dsa110_contimg.cli.housekeeping import housekeeping
from dsa110_contimg.cli.night import night
from dsa110_contimg.cli.output import console, say
from dsa110_contimg.cli.report import report
from dsa110_contimg.cli.simulate import simulate
from dsa110_contimg.cli.solve import solve
from dsa110_contimg.cli.transits import transits
from dsa110_contimg.errors import ContimgError, SettingsError
from dsa110_contimg.models import explain

_READER_GONE = 128 + 13
"""As a shell puts an end by SIGPIPE."""
_INTERRUPTED = 128 + 2
"""And by Ctrl-C."""

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
    by_hand,
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
        arguments = [_read_argument(argument) for argument in sys.argv[1:]]
        settle_caches()
        _run(arguments)
    except ContimgError as error:
        _tell(error.reason, str(error))
        sys.exit(2 if isinstance(error, SettingsError) else 1)
    except ValidationError as error:
        _tell("bad_option", explain(error))
        sys.exit(2)
    except KeyboardInterrupt:  # before a command began, which knows what to do
        sys.exit(_INTERRUPTED)


def _run(arguments: list[str]) -> None:
    """Run a command; one whose reader went away (``| head``) ends as by SIGPIPE, not as failed."""
    try:
        app(arguments)
    except SystemExit as end:
        if isinstance(end.__context__, BrokenPipeError):
            sys.exit(_READER_GONE)
        try:
            sys.stdout.flush()
        except BrokenPipeError:
            # Else the interpreter tries once more at its end, and complains.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            sys.exit(_READER_GONE)
        raise


def _tell(reason: str, sentence: str) -> None:
    """Print an error, with what it quotes as it is."""
    console.print("[bold red]error[/]", end=" ")
    say(f"({reason}): {sentence}")


def _read_argument(argument: str) -> str:
    """Take ``~`` for the home where no shell did."""
    _require_text("the argument is", argument)
    is_option = argument.startswith("--")
    option, equals, value = argument.partition("=") if is_option else ("", "", argument)
    # An unknown home leaves it as it is.
    value = os.path.expanduser(value)  # noqa: PTH111
    # Work is done on, and records name, the place that a link leads to.
    _require_text(f"{argument} leads to", os.path.realpath(value))
    return option + equals + value


def _require_text(what: str, text: str) -> None:
    """Refuse bytes that are no text: neither JSON nor a database takes them."""
    try:
        text.encode()
    except UnicodeEncodeError:
        shown = os.fsencode(text).decode(errors="backslashreplace")
        raise SettingsError(
            f"{what} {shown}, which is not UTF-8", reason="not_utf8", remedy="rename it"
        ) from None


def _require_directory() -> None:
    """Refuse to begin in a directory that was deleted: no relative path means anything there."""
    try:
        _require_text("the current directory is", str(Path.cwd()))
    except FileNotFoundError:
        raise SettingsError(
            "the current directory was deleted",
            reason="no_current_directory",
            remedy="change to one that exists",
        ) from None
