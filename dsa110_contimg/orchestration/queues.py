"""Which workers do which tasks, and which tasks come first.

Queues matter where there are several machines (CeleryExecutor); Airflow's LocalExecutor does
everything itself and does not look at them.
"""

from __future__ import annotations

from typing import Any, Final

CONVERT: Final = "convert"
"""Conversions: bound by the disk and by memory, each with a sandbox in the worker's own tmpfs."""
CASA: Final = "casa"
"""Whatever reads or writes the data of an MS: flags, solutions, fits, images."""
LIGHT: Final = "light"
"""All else, the default of every task: seconds and little memory, and never behind the others."""

FIRST: Final[dict[str, Any]] = {"priority_weight": 10_000, "weight_rule": "absolute"}
"""What other groups wait for, such as solutions, comes before conversions that could start."""
