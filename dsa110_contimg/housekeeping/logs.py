"""Logs that are old enough: of children, of Airflow's tasks and of its parser."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from dsa110_contimg.housekeeping.broom import Broom, Rubbish
from dsa110_contimg.housekeeping.models import HousekeepingOptions, Kind
from dsa110_contimg.storage.files import remove_for_sure

_DAY_S = 86400.0
_SERVICES = ("forkserver.log",)
"""A service may be silent for longer than logs are kept."""
_ROOMS = ("conversion", "flagging", "calibration", "imaging", "airflow/tasks", "airflow/parsing")


@dataclass(frozen=True)
class _OldLog:
    """A log file that nobody has written for long."""

    path: Path
    size_bytes: int
    changed_s: float


def sweep_logs(options: HousekeepingOptions, broom: Broom) -> None:
    """Remove the logs that nobody has written for long, and the directories that they leave.

    A task or child that begins to write a log changes its time, and none may run for as long
    as the shortest time that logs are kept. Logs of services and the records of who worked on
    which MS stay.

    Parameters
    ----------
    options : HousekeepingOptions
        Where to look, and how long is enough; nothing is done unless that is said.
    broom : Broom
        Removes, and takes notes.
    """
    days = options.retention.logs_days
    if days is None:
        return
    before_s = time.time() - days * _DAY_S
    for room in (options.logs_dir / name for name in _ROOMS):
        old = list(_list_old(room, before_s))
        if old:
            broom.sweep(
                Rubbish(
                    kind=Kind.LOGS,
                    path=room,
                    why=f"{len(old)} logs that nobody has written for {days:g} days",
                    remove=lambda old=old: _remove(old, before_s),  # type: ignore[misc]
                    used_s=max(log.changed_s for log in old),
                    size_bytes=sum(log.size_bytes for log in old),
                )
            )
        if broom.apply:
            _remove_empty(room, before_s)


def _list_old(room: Path, before_s: float) -> Iterator[_OldLog]:
    """List the old log files below a directory; links are not followed."""
    for folder, _, names in os.walk(room):
        for name in names:
            path = Path(folder) / name
            try:
                found = path.lstat()
            except FileNotFoundError:
                continue
            is_log = stat.S_ISREG(found.st_mode) and path.suffix == ".log"
            if is_log and name not in _SERVICES and found.st_mtime < before_s:
                yield _OldLog(path, 512 * found.st_blocks, found.st_mtime)


def _remove(logs: list[_OldLog], before_s: float) -> list[str]:
    """Remove logs, unless somebody began to write one meanwhile."""
    problems: list[str] = []
    for log in logs:
        if log.path.exists() and log.path.lstat().st_mtime < before_s:
            problems += remove_for_sure(log.path)
    return problems


def _remove_empty(room: Path, before_s: float) -> None:
    """Remove directories that were left empty as long ago."""
    for folder, _, _ in os.walk(room, topdown=False):
        path = Path(folder)
        try:
            if path != room and path.lstat().st_mtime < before_s:
                path.rmdir()
        except OSError:
            # It is not empty, or somebody came first.
            continue
