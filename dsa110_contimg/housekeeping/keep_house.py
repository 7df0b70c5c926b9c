"""Housekeeping as a whole: first what has no owner, then what was kept for long enough."""

from __future__ import annotations

import time

from dsa110_contimg.errors import ContimgError
from dsa110_contimg.housekeeping.broom import Broom
from dsa110_contimg.housekeeping.logs import sweep_logs
from dsa110_contimg.housekeeping.models import HousekeepingOptions, HousekeepingResult
from dsa110_contimg.housekeeping.ownerless import sweep_ownerless
from dsa110_contimg.housekeeping.retention import sweep_old
from dsa110_contimg.qa.records import NightLedger
from dsa110_contimg.qa.report import write_report


def keep_house(options: HousekeepingOptions) -> HousekeepingResult:
    """Remove what nobody owns and what is old enough, or only say what would go.

    Nothing is removed whose lock somebody holds. Raw files, records, reports, manifests,
    solutions and lock files of MSs and products are never removed. Several may keep house at
    once.

    Parameters
    ----------
    options : HousekeepingOptions
        Where to look, what to keep, and whether to remove anything.

    Returns
    -------
    HousekeepingResult
        What was found and what became of it; what could not be removed is a problem in it, and
        keeps nothing else from being removed.
    """
    start = time.perf_counter()
    broom = Broom(apply=options.apply)
    sweep_ownerless(options, broom)
    nights = sorted(sweep_old(options, broom))
    sweep_logs(options, broom)
    for night in nights:
        try:
            write_report(NightLedger(options.nights_dir, night))
        except ContimgError as error:
            broom.problems.append(f"cannot write the report of {night} again: {error}")
    return HousekeepingResult(
        applied=options.apply,
        retention=options.retention,
        findings=broom.findings,
        nights=nights,
        problems=broom.problems,
        seconds=round(time.perf_counter() - start, 3),
    )
