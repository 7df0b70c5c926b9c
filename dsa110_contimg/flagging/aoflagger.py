"""AOFlagger, where it is installed (Offringa et al. 2012, A&A 539, A95)."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from dsa110_contimg.errors import InputError, TransientError
from dsa110_contimg.processes import run_program


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
    program = shutil.which("aoflagger")
    if program is None:
        raise InputError(
            "the program aoflagger is not installed",
            reason="no_aoflagger",
            remedy="apt-get install aoflagger, or flag with casa",
        )
    return program


def run_aoflagger(ms_path: Path) -> None:
    """Flag interference in DATA with AOFlagger's generic strategy; flags are only added.

    Parameters
    ----------
    ms_path : Path
        The MS, held and writable.

    Raises
    ------
    InputError
        If the program is not installed.
    TransientError
        If it failed.
    """
    threads = str(os.cpu_count() or 1)
    arguments = [find_aoflagger(), "-j", threads, "-column", "DATA", str(ms_path)]
    if failure := run_program(arguments):
        raise TransientError(
            f"aoflagger {failure}; the log holds what it said", reason="aoflagger_failed"
        )
