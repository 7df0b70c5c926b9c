"""The command ``flag``."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from dsa110_contimg.cli.output import Column, open_screen, print_json, print_table, say, working
from dsa110_contimg.errors import ContimgError

if TYPE_CHECKING:
    from dsa110_contimg.flagging.models import FlagOptions, FlagRecord

_COLUMNS = (
    Column("MS"),
    Column("Flagger", rank=2),
    Column("As converted"),
    Column("As flagged"),
    Column("Dead antennas", wraps=True),
    Column("Seconds", rank=1),
)


def flag(
    ms: Annotated[
        list[Path], typer.Argument(help="The Measurement Sets, converted.", show_default=False)
    ],
    flagger: Annotated[
        Literal["casa", "aoflagger"] | None,
        typer.Option(
            help="Program that finds interference: tfcrop and rflag of CASA, or AOFlagger (a "
            "Debian package; faster). Default: DSA110_CONTIMG_FLAGGER, or casa.",
            show_default=False,
        ),
    ] = None,
    undo: Annotated[
        bool, typer.Option("--undo", help="Restore the flags as converted instead.")
    ] = False,
    again: Annotated[
        bool, typer.Option("--again", help="Flag also what has been flagged so already.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the records as JSON on standard output.")
    ] = False,
) -> None:
    """Flag interference, dead antennas, and what is no measurement.

    In this order: autocorrelations, zeros, antennas whose power is far from the array's, and
    amplitudes far above the noise of their window; then what the flagger finds in time and
    frequency; then channels and integrations of which most is flagged, as a whole.

    Flagging begins from the flags as converted, which are kept: it can be done again with
    another flagger, and undone. An earlier calibration becomes void; calibrate again. A record
    and a picture of the flagged fractions appear beside the Measurement Set, as
    MS.flagging.json and MS.flagging.png.

    The table gives the flagged fractions of the cross-correlations.

    Exit status 0: all are flagged, now or before; 1: one is not; 2: wrong usage.

    Example: dsa110-contimg flag work/ms/2026-01-25/*.ms

    Example: dsa110-contimg flag 2026-01-25T08:06:19.ms --flagger aoflagger --json
    """
    if undo and (again or flagger is not None):
        raise typer.BadParameter("--undo goes without --flagger and --again")
    from dsa110_contimg.flagging.models import Flagger, FlagOptions, FlagStrategy

    chosen = {} if flagger is None else {"strategy": FlagStrategy(flagger=Flagger(flagger))}
    told = []
    for number, path in enumerate(ms, start=1):
        options = FlagOptions(ms_path=path, reprocess=again, **chosen)
        doing = "undoing the flags of" if undo else "flagging"
        with working(f"[{number}/{len(ms)}] {doing} {path.name}"):
            told.append(_work_on(options, undo=undo))
        _show(told[-1], f"[{number}/{len(ms)}]")
    if as_json:
        print_json(told)
    elif not undo:
        _print([one["flagging"] for one in told if one["flagging"]])
    if any(one["error"] for one in told):
        raise typer.Exit(1)


def _work_on(options: FlagOptions, *, undo: bool) -> dict[str, Any]:
    """Flag one MS, and put what came of it into plain values; a failure is one of them."""
    from dsa110_contimg.flagging.flag_ms import flag_ms, unflag_ms

    start = time.perf_counter()
    record: FlagRecord | None = None
    error: ContimgError | None = None
    try:
        if undo:
            unflag_ms(options)
        else:
            record = flag_ms(options)
    except ContimgError as caught:  # one that fails does not hold up the others
        error = caught
    state = "failed" if error else "undone" if undo else "flagged"
    return {
        "ms": str(options.ms_path),
        "state": "skipped" if record is not None and record.skipped else state,
        "seconds": time.perf_counter() - start,
        # Only pydantic's own JSON writes what is not a number.
        "flagging": json.loads(record.model_dump_json()) if record else None,
        "error": {"reason": error.reason, "message": str(error)} if error else None,
    }


def _show(told: dict[str, Any], count: str) -> None:
    """Print what came of one MS, and what took the time, on standard error."""
    words = {
        "flagged": "flagged",
        "skipped": "has been flagged so before",
        "undone": "flags as converted restored",
        "failed": "failed",
    }
    lines = [f"{count} {Path(told['ms']).name}: {words[told['state']]} ({told['seconds']:.1f} s)"]
    if told["state"] == "flagged":
        steps = told["flagging"]["stage_seconds"].items()
        lines.append("    " + ", ".join(f"{step} {seconds:.1f} s" for step, seconds in steps))
    if told["error"]:
        sentence = f"{told['error']['reason']}: {told['error']['message']}"
        lines += [f"    {line}" for line in sentence.splitlines()]
    for line in lines:
        say(line)


def _print(records: list[dict[str, Any]]) -> None:
    """Print the fractions as a table, then dead antennas and pictures in lines to be copied."""
    if not records:
        return
    screen = open_screen()
    print_table(
        _COLUMNS,
        [
            (
                Path(record["ms_path"]).name,
                record["strategy"]["flagger"],
                f"{record['before']['fraction']:.2%}",
                f"{record['after']['fraction']:.2%}",
                ", ".join(antenna["name"] for antenna in record["dead"]) or "-",
                f"{record['seconds']:.1f}",
            )
            for record in records
        ],
        screen,
    )
    for record in records:
        name = Path(record["ms_path"]).name
        about = [f"antenna {dead['name']} is dead: {dead['reason']}" for dead in record["dead"]]
        for words in (*about, record["plot"]):
            if words:
                say(f"{name}: {words}", screen)
