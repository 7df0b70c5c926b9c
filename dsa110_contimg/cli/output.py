"""Where commands print: words for people on standard error, JSON on standard output."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING, Any

from rich.console import Console

if TYPE_CHECKING:
    from dsa110_contimg.qa.models import Totals

console = Console(stderr=True)
"""Progress, tables of a run, warnings and errors."""


def print_json(value: Any) -> None:
    """Print a value as JSON on standard output, and nothing else.

    Parameters
    ----------
    value : object
        Plain lists, dicts, strings and numbers.
    """
    sys.stdout.write(json.dumps(value, indent=2, allow_nan=False) + "\n")


def describe_sets(totals: Totals) -> str:
    """Say in words how many Measurement Sets a night has, and what was done to them.

    Parameters
    ----------
    totals : Totals
        The night in numbers.

    Returns
    -------
    str
        For a row of a table.
    """
    words = str(totals.measurement_sets)
    if totals.mean_flagged_fraction is None:
        return words
    flagged = f"{totals.mean_flagged_fraction:.1%} flagged"
    solutions = f"sets of solutions: {totals.solution_sets}"
    return f"{words} ({totals.calibrated_sets} calibrated, {flagged}; {solutions})"
