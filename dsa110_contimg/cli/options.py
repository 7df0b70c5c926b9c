"""Options that several commands share."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated

import typer


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
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not a time such as 2026-01-25T00:00:00") from None
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


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
