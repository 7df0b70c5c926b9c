"""The command ``apply``."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from dsa110_contimg.cli.options import WorkDirOption, require_finite, settings_for
from dsa110_contimg.cli.output import open_screen, print_json, say, working
from dsa110_contimg.errors import ContimgError

if TYPE_CHECKING:
    from dsa110_contimg.calibration.models import CalibrationRecord


def apply(
    ms: Annotated[
        list[Path],
        typer.Argument(help="The Measurement Sets, flagged.", show_default=False),
    ],
    set_id: Annotated[
        str | None,
        typer.Option(
            "--set",
            metavar="SET",
            help="Apply this very set of the registry, if it is valid. Default: the best.",
        ),
    ] = None,
    max_hours: Annotated[
        float | None,
        typer.Option(
            min=0.01,
            callback=require_finite,
            help="How far in time solutions may be borrowed. Default: "
            "DSA110_CONTIMG_CALIBRATION_MAX_HOURS, or 30.",
        ),
    ] = None,
    interpolate: Annotated[
        bool,
        typer.Option(
            " /--no-interpolate",
            help="Apply the nearest set alone, where the default is to interpolate in time between "
            "the one before and the one after.",
            show_default=False,
        ),
    ] = True,
    work_dir: WorkDirOption = None,
    again: Annotated[
        bool, typer.Option("--again", help="Apply also what has been applied already.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the records as JSON on standard output.")
    ] = False,
) -> None:
    """Calibrate Measurement Sets with the best valid solutions there are.

    A set that was solved on the very group is taken; else the nearest before and the nearest
    after are interpolated, or the nearest is borrowed. Antennas, spectral windows and declination
    must match, and the tables must be what was judged: no valid set, no calibration. Nothing else
    is ever applied instead.

    CORRECTED_DATA is written from DATA, and from the flags as flagged, however often; data without
    solutions are flagged; a sample is corrected by hand and compared. The record beside the MS,
    and every product made from it, names the sets and says whether they were borrowed.

    Exit status 0: all are calibrated, now or before; 1: one is not; 2: wrong usage.

    Example: dsa110-contimg apply work/ms/2026-01-25/*.ms

    Example: dsa110-contimg apply 2026-01-25T09:00:00.ms --set 2026-01-25T08:06:19_0834+555
    """
    from dsa110_contimg.calibration.apply import ApplyOptions, apply_calibration
    from dsa110_contimg.calibration.models import ValidityRules

    settings = settings_for(work_dir)
    rules = ValidityRules(
        max_hours=settings.calibration_max_hours if max_hours is None else max_hours,
        max_dec_deg=settings.calibration_max_dec_deg,
        interpolate=interpolate,
    )
    told: list[dict[str, Any]] = []
    for path in ms:
        options = ApplyOptions(
            ms_path=path,
            set_id=set_id,
            registry_url=settings.registry_url,
            rules=rules,
            reprocess=again,
        )
        record: CalibrationRecord | None = None
        error: ContimgError | None = None
        try:
            with working(f"calibrating {path.name}"):
                record = apply_calibration(options)
        except ContimgError as caught:  # one that cannot be calibrated does not hold up the others
            error = caught
        told.append(_describe(path, record, error))
        if not as_json or error is not None:
            _print(path, record, error)
    if as_json:
        print_json(told)
    if any(one["error"] for one in told):
        raise typer.Exit(1)


def _describe(
    path: Path, record: CalibrationRecord | None, error: ContimgError | None
) -> dict[str, Any]:
    """Put the outcome for one MS into plain values."""
    return {
        "ms": str(path.absolute()),
        # Only pydantic's own JSON writes what is not a number.
        "calibration": json.loads(record.model_dump_json()) if record else None,
        "error": {"reason": error.reason, "message": str(error)} if error else None,
    }


def _print(path: Path, record: CalibrationRecord | None, error: ContimgError | None) -> None:
    """Print the outcome for one MS: the choice in words, or what speaks against all sets."""
    if record is None:
        reason = error.reason if error else ""
        say(f"{path.name}: failed ({reason})", style="bold red")
        for line in str(error).splitlines():
            say(f"    {line}")
        return
    flags = f"{record.flagged_after:.2%} flagged ({record.flagged_before:.2%} before)"
    lines = [
        f"{path.name}: {record.sentence}{', done before' if record.skipped else ''}",
        f"    {flags}; {record.seconds:.1f} s",
        *(f"    {note}" for note in record.notes),
        *(f"    passed over {one.set_id}: {one.sentence}" for one in record.refused),
    ]
    screen = open_screen()
    for line in lines:
        say(line, screen)
