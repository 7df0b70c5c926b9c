"""Requests that are refused: nothing is recorded of them, and only their run tells of them."""

from __future__ import annotations

import difflib
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dsa110_contimg.errors import InputError, TransientError
from dsa110_contimg.settings import get_settings

if TYPE_CHECKING:
    from dsa110_contimg.orchestration.runs import Night


def refuse_unknown(given: Collection[str], known: Collection[str]) -> None:
    """Refuse parameters of a run that its form does not have.

    Parameters
    ----------
    given : collection of str
        Names of the parameters.
    known : collection of str
        Those of the form.

    Raises
    ------
    InputError
        With the name that was meant, as far as it can be guessed.
    """
    for name in given:
        if name not in known:
            close = difflib.get_close_matches(name[:80], known, 1)
            raise InputError(
                f"there is no parameter {name[:80]!a}",
                reason="unknown_parameter",
                remedy=f"write {close[0]}" if close else f"there are {', '.join(known)}",
            )


def check_paths(input_dir: Path | None, sources_file: Path | None) -> None:
    """Find out whether the paths that a request names can be read.

    Parameters
    ----------
    input_dir : Path or None
        Directory of raw subband files; None if it names none.
    sources_file : Path or None
        Source catalogue, likewise.

    Raises
    ------
    InputError
        If one cannot be read.
    TransientError
        If that may be otherwise later.
    """
    from dsa110_contimg.catalog.sources import read_sources
    from dsa110_contimg.conversion.scan import list_directory

    if sources_file is not None:
        read_sources(sources_file)
    if input_dir is not None:
        list_directory(input_dir)


def check_named(night: Night) -> None:
    """Find out whether what a run names itself, beside the settings, can be read.

    Parameters
    ----------
    night : Night
        The night. Without the catalogue of the settings its groups are still worth converting,
        and that their input directory cannot be read is the failure of a night.

    Raises
    ------
    InputError, TransientError
        As `check_paths` raises them.
    """
    settings = get_settings()
    check_paths(
        night.input_dir if night.input_dir != settings.raw_dir else None,
        night.sources_file if night.sources_file != settings.sources_path else None,
    )


def find_refusal(context: Mapping[str, Any]) -> dict[str, str | None] | None:
    """Say why a run of `nightly_transit` is refused.

    Parameters
    ----------
    context : mapping
        Airflow's, of a task of the run or of a callback; it may lack the run's parameters.

    Returns
    -------
    dict or None
        ``refusal``, ``reason`` and ``remedy``, as of an error; None if it is not refused, as far
        as can be known.
    """
    from dsa110_contimg.orchestration.runs import plan_run

    if "params" not in context:
        return None
    try:
        check_named(plan_run(context))
    except InputError as error:
        return {"refusal": error.message, "reason": error.reason, "remedy": error.remedy}
    except TransientError:
        return None
    return None
