"""The command ``solve``."""

from __future__ import annotations

import json
import math
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dsa110_contimg.cli.options import CalibratorsOption, WorkDirOption, settings_for
from dsa110_contimg.cli.output import Column, open_screen, print_json, print_table, say, working

if TYPE_CHECKING:
    from dsa110_contimg.calibration.models import SolutionSet
    from dsa110_contimg.catalog.sources import Source
    from dsa110_contimg.settings import Settings

_COLUMNS = (
    Column("Table"),
    Column("Unflagged"),
    Column("SNR"),
    Column("Phase scatter"),
    Column("Amplitude scatter", rank=1),
    Column("Without", wraps=True),
)
_MJD_EPOCH = datetime(1858, 11, 17, tzinfo=UTC)


def solve(
    ms: Annotated[
        Path,
        typer.Argument(
            help="The Measurement Set of the calibrator's transit, flagged; only read.",
            show_default=False,
        ),
    ],
    calibrator: Annotated[
        str | None,
        typer.Option(
            metavar="NAME",
            help="Solve on this calibrator of the catalogue, whatever its brightness. Default: "
            "the brightest that transits.",
        ),
    ] = None,
    calibrators: CalibratorsOption = None,
    sources: Annotated[
        Path | None,
        typer.Option(
            metavar="FILE",
            help="Table (ECSV, CSV, VOTable, FITS) with the columns name, ra_deg, dec_deg, flux_jy "
            "and optionally spectral_index: the field's other sources, which go into the model. "
            "Default: the settings sources_file and field_model_file; the catalogue's other "
            "calibrators go in anyway.",
            show_default=False,
        ),
    ] = None,
    solve_delay: Annotated[
        bool,
        typer.Option(
            "--solve-delay",
            help="Solve a delay for each antenna before the bandpass. The bandpass holds delays "
            "by itself; a table of them shows a cable that was changed.",
        ),
    ] = False,
    refant: Annotated[
        str | None,
        typer.Option(
            metavar="ANTENNA",
            help="Reference antenna by name. Default: the one nearest the middle of the array of "
            "those with nearly all of their data.",
        ),
    ] = None,
    work_dir: WorkDirOption = None,
    again: Annotated[
        bool, typer.Option("--again", help="Solve also if the same solutions are there already.")
    ] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the set of solutions as JSON on standard output.")
    ] = False,
) -> None:
    """Solve for bandpass and gains on a calibrator's transit, and judge the solutions.

    The visibilities are divided by a model of the calibrator and its field as the primary beam
    shows them, averaged over a minute, and solved by CASA: delay (on request), bandpass, gain.
    Good solutions are published under WORK_DIR/calibration/date/set with a plot of each table,
    and entered in the registry, where `apply` finds them. Poor ones are refused by name, and
    kept under date/refused-set to be looked at. Figures: the fraction of unflagged solutions,
    their median signal-to-noise ratio, and the scatter of phase and amplitude about a smooth
    course.

    Exit status 0: solved, now or before; 1: refused or failed; 2: wrong usage.

    Example: dsa110-contimg solve 2026-01-25T08:06:19.ms --calibrators vlacalibrators.txt

    Example: dsa110-contimg solve 2026-01-25T08:06:19.ms --calibrator 0834+555 --refant 68 --again
    """
    from dsa110_contimg.calibration.solve import SolveOptions, solve_ms
    from dsa110_contimg.calibration.solve_work import SolveStrategy

    settings = settings_for(work_dir)
    calibrators = calibrators or settings.calibrators_path
    with working(f"looking for a calibrator in {ms.name}"):
        chosen = _choose_calibrator(ms, calibrator, calibrators, settings)
    options = SolveOptions(
        ms_path=ms,
        calibrator=chosen,
        known_sources=_read_known(settings, sources, calibrators),
        solutions_dir=settings.calibration_dir,
        registry_url=settings.registry_url,
        strategy=SolveStrategy(solve_delay=solve_delay, refant=refant),
        reprocess=again,
    )
    with working(f"solving on {chosen.name}"):
        solutions = solve_ms(options)
    for note in solutions.notes:
        say(f"note: {note}")
    if as_json:
        # Only pydantic's own JSON writes what is not a number.
        print_json(json.loads(solutions.model_dump_json()))
    else:
        _print(solutions)


def _choose_calibrator(
    ms: Path, name: str | None, catalogue_path: Path, settings: Settings
) -> Source:
    """Find the calibrator of that name, or the one that transits."""
    from dsa110_contimg.calibration.snapshot import take_snapshot
    from dsa110_contimg.calibration.transits import calibrator_of_ms
    from dsa110_contimg.catalog.calibrators import read_catalogue
    from dsa110_contimg.errors import InputError

    timeout_s = settings.ms_lock_timeout_s
    info = take_snapshot(ms, "looking for a calibrator", timeout_s=timeout_s).info
    catalogue = read_catalogue(catalogue_path)
    if name is not None:
        for one in catalogue.calibrators:
            if one.name == name:
                return one
        raise InputError(
            f"{catalogue.path} has no calibrator {name} with a flux density at 20 cm",
            reason="unknown_calibrator",
            remedy="dsa110-contimg transits lists those that can be seen",
        )
    transit = calibrator_of_ms(catalogue.calibrators, info, settings.calibrator_min_jy)
    if transit is None:
        raise InputError(
            f"no calibrator of {settings.calibrator_min_jy:g} Jy or more through the beam transits "
            f"during {ms}, at declination {info.center_dec_deg:+.3f} deg, according to "
            f"{catalogue.path}",
            reason="no_calibrator",
            remedy="name one with --calibrator, or find the group of a transit with: dsa110-contimg"
            f" transits --date {_MJD_EPOCH + timedelta(days=info.start_mjd):%Y-%m-%d} "
            "--input-dir DIR",
        )
    return transit.calibrator


def _read_known(settings: Settings, sources: Path | None, calibrators: Path) -> list[Source]:
    """Read all known sources; one without a flux density is of no use in a model."""
    from dsa110_contimg.catalog.known import read_known_sources

    found = read_known_sources(settings, sources_file=sources, calibrators_file=calibrators)
    known = [source for source in found if source.flux_jy is not None]
    if len(known) < len(found):
        say(
            f"warning: {len(found) - len(known)} known source(s) have no flux density and are left "
            "out of the model"
        )
    return known


def _print(solutions: SolutionSet) -> None:
    """Print the figures as a table, then the paths, in lines to be copied."""
    screen = open_screen()
    say(
        f"{solutions.set_id}: {solutions.calibrator}, {solutions.calibrator_flux_jy:.2f} Jy at "
        f"mid-band, {len(solutions.antennas)} antennas, reference antenna {solutions.refant}",
        screen,
    )
    print_table(
        _COLUMNS,
        [
            (
                one.kind,
                f"{one.quality.unflagged_fraction:.1%}",
                _write(one.quality.median_snr, ".0f"),
                _write(one.quality.phase_scatter_deg, ".3f", "°"),
                _write(one.quality.amplitude_scatter, ".3%"),
                ", ".join(one.quality.antennas_without) or "-",
            )
            for one in solutions.tables
        ],
        screen,
    )
    for path in (
        solutions.directory,
        *(f"{solutions.directory}/{t.plot}" for t in solutions.tables),
    ):
        say(path, screen)


def _write(value: float, style: str, unit: str = "") -> str:
    """Write a figure, or a dash for one that is not known."""
    return f"{value:{style}}{unit}" if math.isfinite(value) else "-"
