"""Dates as they name nights and their directories."""

from __future__ import annotations

from datetime import date


def is_date(text: str) -> bool:
    """Say whether a text is a date in the one form that names a night.

    Parameters
    ----------
    text : str
        What may be one.

    Returns
    -------
    bool
        True for ``YYYY-MM-DD`` and nothing else that ISO 8601 allows, such as weeks.
    """
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False
