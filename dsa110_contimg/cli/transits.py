"""The command ``transits``."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from dsa110_contimg.cli.options import (
    CalibratorsOption,
    WorkDirOption,
    require_finite,
    settings_for,
)
from dsa110_contimg.cli.output import Column, open_screen, print_json, print_table, say, working

if TYPE_CHECKING:
    from dsa110_contimg.calibration.calibrator_plan import CalibratorPlan
    from dsa110_contimg.calibration.transits import Transit
    from dsa110_contimg.catalog.calibrators import Calibrator

_COLUMNS = (
    Column("UTC"),
    Column("calibrator"),
    Column("RA", rank=7),
    Column("Dec", rank=6),
    Column("offset (deg)", rank=4, align="right"),
    Column("beam", rank=5, align="right"),
    Column("flux (Jy)", rank=3, align="right"),
    Column("apparent (Jy)", rank=1, align="right"),
    Column("quality", rank=2),
)


def transits(
    date: Annotated[
        datetime,
        typer.Option(formats=["%Y-%m-%d"], metavar="YYYY-MM-DD", help="UTC date."),
    ],
    dec_deg: Annotated[
        float | None,
        typer.Option(
            min=-90.0,
            max=90.0,
            callback=require_finite,
            help="Declination of date at which the dishes point, in degrees.",
        ),
    ] = None,
    input_dir: Annotated[
        Path | None,
        typer.Option(
            help="Directory of raw subband files: their headers tell the pointing, and each "
            "transit is listed with the group that holds it. Default, without --dec-deg: that of "
            "the settings."
        ),
    ] = None,
    calibrators: CalibratorsOption = None,
    min_jy: Annotated[
        float | None,
        typer.Option(
            min=0.0,
            callback=require_finite,
            help="Least flux density at the middle of the band through the primary beam, in Jy. "
            "Default: DSA110_CONTIMG_CALIBRATOR_MIN_JY, or 2.",
        ),
    ] = None,
    any_quality: Annotated[
        bool,
        typer.Option(
            "--any-quality",
            help="List also what the VLA manual's code at 20 cm (C configuration) calls worse "
            "than P and S; the pipeline does not solve on those.",
        ),
    ] = False,
    work_dir: WorkDirOption = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print the transits as JSON on standard output.")
    ] = False,
) -> None:
    """List the calibrators that pass through the beam on a date.

    Give the pointing, or a directory of subband files that tells it. A calibrator is listed at
    its upper culmination if the primary beam at 1.405 GHz leaves at least 30 % of it, and enough
    flux density. The sidereal time is worked out from the Earth orientation tables that come
    with astropy; nothing is downloaded. The group is "-" if none was recorded at that time.

    Exit status: 0, also if there is no such calibrator; 1 if the catalogue or the directory
    cannot be read; 2 for wrong usage.

    Example: dsa110-contimg transits --date 2026-01-25 --dec-deg 54.57 --calibrators
    vlacalibrators.txt
    """
    if None not in (dec_deg, input_dir):
        raise typer.BadParameter("give one of --dec-deg and --input-dir")
    from dsa110_contimg.calibration.transits import GOOD_QUALITIES
    from dsa110_contimg.catalog.calibrators import read_catalogue

    settings = settings_for(work_dir)
    pointing = (input_dir or settings.raw_dir) if dec_deg is None else dec_deg
    if dec_deg is None and input_dir is None and not settings.raw_dir.is_dir():
        raise typer.BadParameter(
            f"give one of --dec-deg and --input-dir: there is no directory {settings.raw_dir}"
        )
    catalogue = read_catalogue(calibrators or settings.calibrators_path)
    for entry in catalogue.garbled:
        say(f"warning: {catalogue.path}, line {entry.line}, {entry.name}: {entry.reason}")
    plan, n_groups = _plan(
        catalogue.calibrators,
        date.replace(tzinfo=UTC),
        pointing,
        settings.calibrator_min_jy if min_jy is None else min_jy,
        None if any_quality else GOOD_QUALITIES,
    )
    for problem in plan.problems:
        say(f"warning: {problem}")
    if as_json:
        head = {"date": f"{date:%Y-%m-%d}", "catalogue": catalogue.path, "groups": n_groups}
        chosen = {group_id: one.calibrator.name for group_id, one in plan.solvable.items()}
        print_json(head | plan.model_dump(mode="json") | {"solve_on": chosen})
    else:
        _print(plan, f"{date:%Y-%m-%d}", n_groups)


def _plan(
    calibrators: list[Calibrator],
    start: datetime,
    pointing: float | Path,
    min_apparent_jy: float,
    qualities: tuple[str, ...] | None,
) -> tuple[CalibratorPlan, int | None]:
    """Find the transits of a date, and the number of its groups where a directory is given."""
    from dsa110_contimg.calibration.calibrator_plan import CalibratorPlan, plan_calibrators
    from dsa110_contimg.calibration.transits import find_transits
    from dsa110_contimg.conversion.groups import find_groups
    from dsa110_contimg.instrument import GROUP_DURATION_S

    end = start + timedelta(days=1)
    if isinstance(pointing, float):
        found = find_transits(
            calibrators,
            dec_deg=pointing,
            start=start,
            end=end,
            min_apparent_jy=min_apparent_jy,
            qualities=qualities,
        )
        return CalibratorPlan(min_apparent_jy=min_apparent_jy, transits=found), None
    # The group that holds midnight began on the day before.
    before = start - timedelta(seconds=GROUP_DURATION_S)
    with working("Reading headers"):
        groups = find_groups(pointing, before, end).groups
    plan = plan_calibrators(
        calibrators,
        groups,
        min_apparent_jy=min_apparent_jy,
        start=start,
        end=end,
        qualities=qualities,
    )
    return plan, len(groups)


def _print(plan: CalibratorPlan, date: str, n_groups: int | None) -> None:
    """Print the transits as a table, or say that there are none."""
    screen = open_screen()
    if n_groups == 0:
        say(f"No group was recorded on {date}: the pointing is not known.", screen)
    elif not plan.transits:
        say(
            f"No calibrator of {plan.min_apparent_jy:g} Jy or more through the beam transits on "
            f"{date}.",
            screen,
        )
    else:
        group = (Column("group"),) if n_groups is not None else ()
        rows = [
            (*_cells(transit), *((transit.group_id or "-",) if group else ()))
            for transit in plan.transits
        ]
        print_table((*_COLUMNS, *group), rows, screen)


def _cells(transit: Transit) -> tuple[str, ...]:
    """Write a transit as people read it."""
    calibrator = transit.calibrator
    return (
        transit.transit_utc[:19],
        calibrator.name,
        _sexagesimal(calibrator.ra_deg / 15.0, 2),
        f"{'-' if calibrator.dec_deg < 0 else '+'}{_sexagesimal(abs(calibrator.dec_deg), 1)}",
        f"{transit.offset_deg:+.2f}",
        f"{transit.beam:.3f}",
        f"{transit.flux_jy:.2f}",
        f"{transit.apparent_flux_jy:.2f}",
        calibrator.quality or "-",
    )


def _sexagesimal(value: float, digits: int) -> str:
    """Write hours or degrees in base 60, rounded."""
    seconds, scale = round(value * 3600 * 10**digits), 10**digits
    whole = f"{seconds // (3600 * scale):02d}:{seconds // (60 * scale) % 60:02d}"
    return f"{whole}:{seconds % (60 * scale) / scale:0{3 + digits}.{digits}f}"
