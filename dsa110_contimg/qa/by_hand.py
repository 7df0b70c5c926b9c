"""Results that were asked for by hand: where they stand, and how they are withdrawn."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path
from typing import Final

from dsa110_contimg.errors import InputError, TransientError
from dsa110_contimg.qa.record_files import file_name
from dsa110_contimg.qa.records import BY_HAND, NightLedger
from dsa110_contimg.storage.files import remove_for_sure
from dsa110_contimg.storage.locks import hold_existing

_MAX_RUN: Final = 120
"""Characters of a run's name; file systems take 255 bytes, temporary names among them."""


def name_run(group_id: str, run_id: str) -> str:
    """Name the directory of the results of a run by hand.

    Parameters
    ----------
    group_id : str
        The group of its MS.
    run_id : str
        Airflow's id of the run, of any length.

    Returns
    -------
    str
        Group and id, fit for a file name and an address; another name for each run.
    """
    readable = re.sub(r"[^A-Za-z0-9.:+-]+", "-", run_id)
    if readable != run_id or len(readable) > _MAX_RUN:
        digest = hashlib.sha256(run_id.encode()).hexdigest()[:10]
        readable = f"{readable[:_MAX_RUN]}-{digest}"
    return f"{group_id}__{readable}"


def group_of_run(name: str) -> str:
    """Tell the group from the name of a run by hand.

    Parameters
    ----------
    name : str
        As `name_run` makes it.

    Returns
    -------
    str
        The group.
    """
    return name.partition("__")[0]


def products_of_run(products_dir: Path, date: str, name: str) -> Path:
    """Find the products of a run by hand.

    Parameters
    ----------
    products_dir : Path
        Root of the products.
    date : str
        Night.
    name : str
        The run, as `name_run` makes it.

    Returns
    -------
    Path
        Their directory: one for each source, and the run's own fit of the field.
    """
    return products_dir / date / BY_HAND / file_name(name, suffix="")


def withdraw(nights_dir: Path, products_dir: Path, date: str, name: str) -> None:
    """Remove the records and products of a run by hand, and write the night's report anew.

    Parameters
    ----------
    nights_dir, products_dir : Path
        Roots of the nights and of the products.
    date : str
        Night.
    name : str
        The run, as `NightLedger.list_by_hand` lists it.

    Raises
    ------
    InputError
        If the night has no such run.
    TransientError
        If a task of the run is at work, or something could not be removed.
    """
    from dsa110_contimg.qa.report import write_report

    night = NightLedger(nights_dir, date)
    if name not in night.list_by_hand():
        listed = ", ".join(night.list_by_hand()) or "none"
        raise InputError(
            f"the night {date} has no results of a run by hand {name!r}",
            reason="unknown_run",
            remedy=f"its runs by hand: {listed}",
        )
    records = night.by_hand_dir / name
    with hold_existing(records) as is_free:
        if not is_free:
            raise TransientError(
                f"a task of the run by hand {name} is at work",
                reason="run_at_work",
                remedy="withdraw its results when the run is over; Airflow can end it",
            )
        # Records last: until they are gone, the rest can be withdrawn again.
        folders = (products_of_run(products_dir, date, name), records)
        problems = [problem for folder in folders for problem in remove_for_sure(folder)]
    if problems:
        raise TransientError("; ".join(problems), reason="not_removed", remedy="try again")
    if night.report_json.exists():
        write_report(night)
