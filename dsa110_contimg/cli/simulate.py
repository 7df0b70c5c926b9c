"""The command ``simulate``."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Annotated, Any

import typer
from pydantic import ValidationError
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from dsa110_contimg.cli.options import parse_utc
from dsa110_contimg.cli.output import Column, console, open_screen, print_json, print_table, say
from dsa110_contimg.instrument import SEFD_JY
from dsa110_contimg.simulation.night import (
    DEFAULT_DEC_DEG,
    DEFAULT_START,
    SimulationOptions,
    SimulationResult,
)
from dsa110_contimg.simulation.night import simulate as simulate_night

_OPTION_NAMES = {"n_groups": "groups", "n_antennas": "antennas", "output_dir": "OUT"}


def simulate(
    out: Annotated[
        Path,
        typer.Argument(
            metavar="OUT", help="Directory of the files: absent, empty, or holding this night."
        ),
    ],
    start: Annotated[
        datetime | None,
        typer.Option(
            parser=parse_utc,
            metavar="ISO",
            show_default=f"{DEFAULT_START:%Y-%m-%dT%H:%M:%S}",
            help="Start of the first integration, UTC unless it names a zone.",
        ),
    ] = None,
    groups: Annotated[
        int, typer.Option(help="Consecutive groups of 309.24 s, 2.3 GB each with 96 antennas.")
    ] = 1,
    antennas: Annotated[
        int, typer.Option(help="Antennas with data, spread over arms and outriggers; 2 to 96.")
    ] = 96,
    sources: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Catalogue of the sky, all of it targets: name, ra_deg, dec_deg (ICRS), flux_jy,"
            " and optionally ref_freq_hz, spectral_index. Default: three targets of 0.6-1.5 Jy"
            " around the meridian at the middle of the night, and four fainter field sources"
            " for each group.",
        ),
    ] = None,
    dec_deg: Annotated[
        float, typer.Option(help="Declination of date at which the dishes point.")
    ] = DEFAULT_DEC_DEG,
    sefd_jy: Annotated[
        float, typer.Option(help="System equivalent flux density of a dish; 0: no noise.")
    ] = SEFD_JY,
    jitter: Annotated[
        bool,
        typer.Option(
            "--jitter/--no-jitter",
            help="Let the time stamps of a group's files differ as real ones do.",
        ),
    ] = True,
    missing: Annotated[
        str,
        typer.Option(metavar="sbNN,...", help="Subbands to leave out of every group."),
    ] = "",
    gain_errors: Annotated[
        bool,
        typer.Option(
            "--gain-errors",
            help="Multiply with antenna gains: 10 % in amplitude, any phase, 1 ns of delay, a"
            " bandpass, and a slow drift of 2 % and 10 deg; written to truth_gains.ecsv.",
        ),
    ] = False,
    rfi: Annotated[
        bool,
        typer.Option(
            "--rfi",
            help="Add interference: carriers of 30-300 Jy in 2-4 % of the channels, and two"
            " broad-band bursts of 20-200 Jy in each group; written to truth_rfi.ecsv.",
        ),
    ] = False,
    dead_antennas: Annotated[
        int | None,
        typer.Option(
            metavar="N",
            show_default="1 with --rfi, else 0",
            help="Antennas that receive nothing, with a hundredth of the noise power.",
        ),
    ] = None,
    calibrator_jy: Annotated[
        float | None,
        typer.Option(
            metavar="FLUX",
            show_default="none",
            help="Let a calibrator of this flux density at 1.4 GHz cross the meridian, 0.1 deg"
            " north of the pointing; written to calibrators.ecsv.",
        ),
    ] = None,
    calibrator_group: Annotated[
        int,
        typer.Option(metavar="K", help="Group (0: the first) in whose middle it crosses."),
    ] = 0,
    seed: Annotated[int, typer.Option(help="Equal seeds give equal bytes.")] = 0,
    json_output: Annotated[
        bool, typer.Option("--json", help="Print the result as JSON on standard output.")
    ] = False,
) -> None:
    """Simulate a night of DSA-110 subband files (UVH5), laid out as the correlator does.

    Point sources drift through the primary beam over the fringe-stopped array, with thermal
    noise. OUT gets 16 files per group, truth.ecsv (what each group holds) and sources.ecsv (the
    sources to image). The same command again completes an interrupted night, or does nothing;
    other options in the same directory are refused.

    Example: dsa110-contimg simulate work/incoming --groups 2 --antennas 16 --missing sb05,sb11

    A night to flag and to calibrate: dsa110-contimg simulate work/uncalibrated --groups 3
    --antennas 24 --gain-errors --rfi --calibrator-jy 8 --calibrator-group 1
    """
    given: dict[str, Any] = {
        "output_dir": out,
        "start": start or DEFAULT_START,
        "n_groups": groups,
        "n_antennas": antennas,
        "dec_deg": dec_deg,
        "sefd_jy": sefd_jy,
        "jitter": jitter,
        "missing": tuple(name.strip() for name in missing.split(",") if name.strip()),
        "gain_errors": gain_errors,
        "rfi": rfi,
        "dead_antennas": dead_antennas,
        "calibrator_jy": calibrator_jy,
        "calibrator_group": calibrator_group,
        "seed": seed,
    }
    if sources is not None:
        from dsa110_contimg.catalog.sources import read_sources

        given["sources"] = tuple(read_sources(sources))
    result = _simulate_with_progress(_make_options(given))
    if json_output:
        print_json(result.model_dump(mode="json"))
    else:
        _print_summary(result)


def _make_options(given: dict[str, Any]) -> SimulationOptions:
    """Build the options; a value out of range is wrong usage."""
    try:
        return SimulationOptions.model_validate(given)
    except ValidationError as error:
        problem = error.errors()[0]
        field = str(problem["loc"][0])
        option = _OPTION_NAMES.get(field, field).replace("_", "-")
        message = problem["msg"].removeprefix("Value error, ")
        raise typer.BadParameter(message, param_hint=f"--{option}") from error


def _simulate_with_progress(options: SimulationOptions) -> SimulationResult:
    """Run the simulation under a progress bar on standard error."""
    columns = (
        TextColumn("simulating"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("files"),
        TimeElapsedColumn(),
    )
    with Progress(*columns, console=console) as bar:
        task = bar.add_task("", visible=False)
        return simulate_night(
            options, lambda done, total: bar.update(task, completed=done, total=total, visible=True)
        )


def _print_summary(result: SimulationResult) -> None:
    """Say what was made, and where."""
    screen = open_screen()
    print_table(
        (Column("group"), Column("start (UTC)"), Column("files"), Column("first file")),
        [
            (
                str(group.index),
                group.start_utc,
                str(len(group.file_names)),
                next(iter(group.file_names.values())),
            )
            for group in result.groups
        ],
        screen,
    )
    say(
        f"{result.written} files written in {result.seconds:.1f} s to {result.output_dir}"
        if result.written
        else f"nothing to do: all {len(result.files)} files are in {result.output_dir}",
        screen,
    )
    for what, path in {
        "truth": result.truth_path,
        "sources to image": result.sources_path,
        "calibrator": result.calibrators_path,
        "gain errors": result.gains_path,
        "interference and dead antennas": result.rfi_path,
    }.items():
        if path:
            say(f"{what}: {path}", screen)
