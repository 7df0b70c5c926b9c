"""Sets of solutions as they stand on disk: the tables, their plots, and what they are."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pydantic import ValidationError

from dsa110_contimg.calibration.models import SolutionSet

SET_FILE: Final = "set.json"
"""Description of a set, beside its tables."""


def set_dir(solutions_dir: Path, set_id: str, *, is_refused: bool = False) -> Path:
    """Name the directory of a set.

    Parameters
    ----------
    solutions_dir : Path
        Root of the solutions.
    set_id : str
        ``GROUP_CALIBRATOR``.
    is_refused : bool
        Whether it is kept for inspection only.

    Returns
    -------
    Path
        ``date/set``, or ``date/refused-set``.
    """
    return solutions_dir / set_id[:10] / (f"refused-{set_id}" if is_refused else set_id)


def read_set(directory: Path) -> SolutionSet | None:
    """Read what a set is, as its solve described it.

    Parameters
    ----------
    directory : Path
        The set.

    Returns
    -------
    SolutionSet or None
        None if it is not there, or damaged.
    """
    try:
        return SolutionSet.model_validate_json((directory / SET_FILE).read_bytes())
    except (OSError, ValidationError):
        return None
