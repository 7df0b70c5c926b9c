"""When a night may be closed: once its files have stopped arriving, or patience is over."""

from __future__ import annotations

import logging
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from dsa110_contimg.conversion.groups import find_files
from dsa110_contimg.errors import InputError
from dsa110_contimg.orchestration.runs import Night
from dsa110_contimg.orchestration.transit_tasks import check_request, night_ledger
from dsa110_contimg.orchestration.waiting import Awaited, clock, tell_awaited
from dsa110_contimg.qa.record_models import Arrival
from dsa110_contimg.settings import Settings, get_settings

_log = logging.getLogger(__name__)
_CLOCKS_S = 60.0
"""The clocks of the scheduler and of this machine differ by less."""
_RUN_AGAIN = "run the night again for what comes later"


def has_settled(night: Night, waiting_since: datetime | None, ti: Any = None) -> bool:
    """Say whether a run may go on to find its groups, and put on record why.

    Parameters
    ----------
    night : Night
        The night.
    waiting_since : datetime or None
        When the run started; None if that is not known, so that it does not wait at all.
    ti : RuntimeTaskInstance, optional
        The task that waits: what it waits for is told there.

    Returns
    -------
    bool
        False if files may still arrive.

    Raises
    ------
    InputError
        If the run names what is not there: it is refused.
    """
    check_request(night)
    now_s = time.time()
    since_s = waiting_since.timestamp() if waiting_since else 0.0
    seen = _look(night, get_settings(), now_s=now_s, waiting_since_s=since_s)
    if isinstance(seen, Awaited):
        tell_awaited(seen, ti)
        return False
    _log.info("%s", seen.sentence)
    night_ledger(night.date).save_arrival(seen)
    return True


def judge_arrival(
    night: Night, settings: Settings, *, now_s: float, waiting_since_s: float
) -> Arrival | None:
    """Say whether all files of a night have arrived, as far as can be known.

    A file counts as changed when its data, its name or its permissions last changed (its
    ``ctime``): copies that keep the time of the original are seen too.

    Parameters
    ----------
    night : Night
        The night.
    settings : Settings
        ``settle_s`` and ``settle_timeout_s`` count.
    now_s : float
        The present time in seconds since 1970.
    waiting_since_s : float
        When the wait began, likewise.

    Returns
    -------
    Arrival or None
        None if it is worth waiting.
    """
    seen = _look(night, settings, now_s=now_s, waiting_since_s=waiting_since_s)
    return None if isinstance(seen, Awaited) else seen


def _look(
    night: Night, settings: Settings, *, now_s: float, waiting_since_s: float
) -> Arrival | Awaited:
    """Say how the night is closed, or for what it waits."""
    try:
        files = find_files(night.input_dir, night.start, night.end)
    except InputError as error:
        # Discovery says so on record.
        return _arrival(night, str(error), settled=True)
    if now_s < night.end.timestamp() - _CLOCKS_S:
        return _arrival(
            night, f"the night lasts until {night.end:%Y-%m-%d %H:%M} UTC: {_RUN_AGAIN}"
        )
    # A night without files may have files on their way.
    last_s = max(map(_changed_s, files), default=night.end.timestamp())
    closes_s, gives_up_s = last_s + settings.settle_s, waiting_since_s + settings.settle_timeout_s
    quiet_s, waited_s = now_s - last_s, now_s - waiting_since_s
    if quiet_s >= settings.settle_s:
        return _arrival(night, f"no file has changed for {quiet_s:.0f} s", settled=True)
    if waited_s < settings.settle_timeout_s:
        now, last, since, until = (
            datetime.fromtimestamp(moment_s, UTC)
            for moment_s in (now_s, last_s, waiting_since_s, min(closes_s, gives_up_s))
        )
        seen = f"last change {clock(last, now)} UTC" if files else "none has come"
        return Awaited(
            date=night.date,
            sentence=f"waits for files: {seen}, closes at {clock(until, now)}",
            since=since,
            until=until,
        )
    return _arrival(
        night,
        f"after a wait of {waited_s:.0f} s files still arrived, the last {quiet_s:.0f} s before: "
        f"{_RUN_AGAIN}",
    )


def _arrival(night: Night, sentence: str, *, settled: bool = False) -> Arrival:
    """Describe how a night was closed."""
    return Arrival(start=night.start, is_settled=settled, sentence=sentence)


def _changed_s(path: Path) -> float:
    """Say when a file last changed, in seconds since 1970; one that is gone, never."""
    try:
        return path.stat().st_ctime
    except OSError:
        return 0.0
