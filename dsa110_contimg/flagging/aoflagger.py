"""AOFlagger, where it is installed (Offringa et al. 2012, A&A 539, A95)."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Final

from dsa110_contimg.errors import TransientError
from dsa110_contimg.processes import find_program, run_program

_STRATEGY: Final = Path(__file__).with_name("dsa110.lua")


def find_aoflagger() -> str:
    """Find the program.

    Returns
    -------
    str
        Its path.

    Raises
    ------
    InputError
        If it is not installed.
    """
    return find_program("aoflagger", "flag with casa")


def run_aoflagger(ms_path: Path, *, threshold: float, rank_level: float) -> None:
    """Flag interference in the DATA of cross-correlations; flags are only added.

    Parameters
    ----------
    ms_path : Path
        The MS, held and writable.
    threshold : float
        Of the last round of SumThreshold, in units of AOFlagger's own.
    rank_level : float
        Share of clean samples that may be flagged along with bad ones.

    Raises
    ------
    InputError
        If the program is not installed.
    TransientError
        If it failed.
    """
    arguments = [
        *(find_aoflagger(), "-j", str(os.cpu_count() or 1), "-column", "DATA"),
        *("-strategy", str(_STRATEGY)),
        *("-preamble", f"base_threshold={threshold}; rank_level={rank_level}"),
        str(ms_path),
    ]
    if failure := run_program(arguments):
        raise TransientError(
            f"aoflagger {failure}; the log holds what it said", reason="aoflagger_failed"
        )
