"""What the DAG `housekeeping` does: remove what has no owner or is old enough, and say so."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, Final

from dsa110_contimg.errors import TransientError
from dsa110_contimg.housekeeping.models import Fate, options_for
from dsa110_contimg.orchestration.alerts import alert_cleanup_failures
from dsa110_contimg.orchestration.runs import IMAGE_DAG, IMAGE_DAG_LAST_TASK, group_of_image_run
from dsa110_contimg.settings import get_settings

_log = logging.getLogger(__name__)

_FINISHED: Final = frozenset({"success", "failed", "skipped", "upstream_failed", "removed"})


def find_wanted(
    states: Mapping[str, Mapping[str, Any]],
) -> tuple[dict[str, str], str | None]:
    """Find the MSs that unfinished runs of `image_ms` are about.

    Parameters
    ----------
    states : mapping
        Run id to the state of its last task, as Airflow's execution interface gives it.

    Returns
    -------
    wanted : dict of str to str
        Group to the run.
    wanted_by : str or None
        A run whose id does not tell its MS, because somebody started it by hand.
    """
    wanted: dict[str, str] = {}
    wanted_by = None
    for run_id, of_run in states.items():
        if of_run.get(IMAGE_DAG_LAST_TASK) in _FINISHED:
            continue
        group_id = group_of_image_run(run_id)
        if group_id is not None:
            wanted[group_id] = f"the run {run_id} of {IMAGE_DAG}"
        else:
            wanted_by = f"the run {run_id} of {IMAGE_DAG}, whose id does not tell its MS,"
    return wanted, wanted_by


def keep_house(states: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    """Keep house as the settings say, and raise an alert for what could not be removed.

    Parameters
    ----------
    states : mapping
        Run id of `image_ms` to the state of its last task.

    Returns
    -------
    dict
        Counts, for the log and the UI.

    Raises
    ------
    TransientError
        If something could not be removed; the rest is gone.
    """
    from dsa110_contimg.housekeeping import keep_house as stage
    from dsa110_contimg.orchestration.metrics import count_sandboxes

    settings = get_settings()
    wanted, wanted_by = find_wanted(states)
    options = options_for(settings, apply=True)
    result = stage.keep_house(options.model_copy(update={"wanted": wanted, "wanted_by": wanted_by}))
    for finding in result.findings:
        _log.info(
            "%s %s %s: %s", finding.fate, finding.kind, finding.path, finding.because or finding.why
        )
    count_sandboxes(settings.sandbox_root, len(result.problems))
    alert_cleanup_failures(result.problems)
    if result.problems:
        raise TransientError(
            "; ".join(result.problems),
            reason="cleanup_failure",
            remedy="see docs/operations/housekeeping.md",
        )
    return {
        "removed": len(result.select(Fate.REMOVED)),
        "freed_bytes": sum(found.size_bytes for found in result.select(Fate.REMOVED)),
        "kept": len(result.select(Fate.KEPT)),
        "nights": result.nights,
        "seconds": result.seconds,
    }
