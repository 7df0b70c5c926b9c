"""The command ``convert``."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from dsa110_contimg.cli.options import EndOption, StartOption

if TYPE_CHECKING:
    from dsa110_contimg.conversion.models import ConversionResult

_STYLES = {"converted": "green", "skipped": "cyan", "failed": "bold red", "rejected": "yellow"}


def convert(
    input_dir: Annotated[Path, typer.Argument(help="Directory of UVH5 subband files; only read.")],
    output_dir: Annotated[
        Path, typer.Argument(help="Root of the MSs: OUTPUT_DIR/YYYY-MM-DD/YYYY-MM-DDTHH:MM:SS.ms")
    ],
    start: StartOption = None,
    end: EndOption = None,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Fill workers per group. [default: from the settings]")
    ] = None,
    tmpfs: Annotated[
        bool, typer.Option(help="Work in tmpfs; --no-tmpfs works beside OUTPUT_DIR.")
    ] = True,
    scratch_dir: Annotated[
        Path | None, typer.Option(help="Where to work when tmpfs has no room.")
    ] = None,
    again: Annotated[
        bool, typer.Option("--again", help="Convert also what is there and checks out.")
    ] = False,
    header_contradictions: Annotated[
        Literal["refuse", "warn"] | None,
        typer.Option(
            help="Whether a group whose headers contradict themselves fails, or is converted "
            "with a warning. [default: from the settings]"
        ),
    ] = None,
    json_output: Annotated[
        bool, typer.Option("--json", help="Print the results as JSON on standard output.")
    ] = False,
) -> None:
    """Convert groups of subband files to Measurement Sets.

    Takes complete groups (16 subbands) and semi-complete ones (12 to 15, with only the windows
    that exist). Each MS is written in a sandbox in tmpfs, checked, and published whole with a
    manifest. A group that fails does not stop the others.

    Exit status 0: all is converted, what never came set aside; 1: a group failed, or a file that
    is there cannot be used, which is listed with the reason; 2: wrong usage.

    Example: dsa110-contimg convert /data/incoming /data/ms --start 2026-01-25T00:00:00
    """
    from rich.markup import escape

    from dsa110_contimg.cli.output import console, print_json, say, working
    from dsa110_contimg.conversion.hdf5_orchestrator import convert_subband_groups_to_ms

    def show_line(what: str, text: str) -> None:
        line = f"    [yellow]{what}[/] {escape(text)}"
        console.print(line, soft_wrap=True, highlight=False)

    def show(result: ConversionResult, done: int, total: int) -> None:
        style = _STYLES[result.state]
        reason = f"  {escape(result.reason)}" if result.reason else ""
        console.print(
            f"[{done}/{total}] {escape(result.group_id)} [{style}]{result.state}[/] "
            f"in {result.seconds:.1f} s{reason}",
            soft_wrap=True,
            highlight=False,
        )
        for warning in result.warnings:
            show_line("warning", warning)
        for file in result.unusable:
            show_line("unusable", f"{file.file} {file.reason}")

    with working(f"converting {input_dir}", of="dsa110_contimg.storage.ms_access"):
        results = convert_subband_groups_to_ms(
            input_dir,
            output_dir,
            start,
            end,
            max_workers=workers,
            stage_to_tmpfs=tmpfs,
            scratch_dir=scratch_dir,
            header_contradictions=header_contradictions,
            skip_existing=not again,
            progress=show,
        )
    if json_output:
        fields = {"group_id", "state", "ms_path", "reason", "unusable", "seconds", "warnings"}
        print_json([result.model_dump(mode="json", include=fields) for result in results])
    elif not results:
        say(f"no groups in {input_dir}; `dsa110-contimg groups` says what is there")
    if any(result.state == "failed" or result.unusable for result in results):
        raise typer.Exit(1)
