"""Where commands print: words for people on standard error, JSON on standard output."""

from __future__ import annotations

import json
import sys
from typing import Any

from rich.console import Console

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
