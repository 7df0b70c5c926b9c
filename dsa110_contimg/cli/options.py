"""Options that several commands share."""

from __future__ import annotations

import math
from datetime import UTC, date, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from dsa110_contimg.settings import Settings


def parse_utc(text: str) -> datetime:
    """Read a time from the command line.

    Parameters
    ----------
    text : str
        ISO 8601; without a time zone, UTC.

    Returns
    -------
    datetime
        The time in UTC.

    Raises
    ------
    typer.BadParameter
        If it is not ISO 8601.
    """
    try:
        time = datetime.fromisoformat(text)
        return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)
    except (ValueError, OverflowError):
        raise typer.BadParameter(f"{text!r} is not a time such as 2026-01-25T00:00:00") from None


def parse_date(text: str) -> date:
    """Read a date from the command line.

    Parameters
    ----------
    text : str
        ISO 8601.

    Returns
    -------
    date
        The date.

    Raises
    ------
    typer.BadParameter
        If it is not ISO 8601.
    """
    try:
        return date.fromisoformat(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a date such as 2026-01-25") from None


def require_finite(number: float | None) -> float | None:
    """Refuse what is no number: the bounds of an option let NaN pass.

    Parameters
    ----------
    number : float or None
        As given.

    Returns
    -------
    float or None
        The same.

    Raises
    ------
    typer.BadParameter
        If it is NaN or infinite.
    """
    if number is not None and not math.isfinite(number):
        raise typer.BadParameter(f"{number} is not a finite number")
    return number


StartOption = Annotated[
    datetime | None,
    typer.Option(
        parser=parse_utc,
        metavar="ISO",
        help="Only groups that start at this time (UTC) or later.",
    ),
]
EndOption = Annotated[
    datetime | None,
    typer.Option(
        parser=parse_utc, metavar="ISO", help="Only groups that start before this time (UTC)."
    ),
]
WorkDirOption = Annotated[
    Path | None,
    typer.Option(
        help="Root of everything the pipeline writes; default DSA110_CONTIMG_WORK_DIR, or"
        " 'work' in the current directory. The registry is the one that the setting"
        " calibration_registry names, else calibration/registry.sqlite in it.",
        exists=True,
        file_okay=False,
    ),
]
CalibratorsOption = Annotated[
    Path | None,
    typer.Option(
        metavar="FILE",
        help="Catalogue of calibrators: the VLA calibrator manual as text, or a table (ECSV, "
        "CSV, VOTable, FITS) with the columns name, ra_deg, dec_deg, flux_jy and optionally "
        "ref_freq_hz, spectral_index, quality. Default: DSA110_CONTIMG_CALIBRATORS_FILE, or "
        "calibrators.ecsv in the work directory.",
    ),
]


def settings_for(work_dir: Path | None) -> Settings:
    """Read the settings, with the work directory of the command line in its place.

    Parameters
    ----------
    work_dir : Path or None
        As given; None leaves the settings as they are.

    Returns
    -------
    Settings
        The settings.
    """
    from dsa110_contimg.settings import Settings

    return Settings() if work_dir is None else Settings(work_dir=work_dir)
