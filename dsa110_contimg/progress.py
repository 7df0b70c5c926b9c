"""Say in this process's log what a child is doing, from what the child writes into its own.

A child of `processes.run_in_child` has a log file of its own, which CASA shares. While it works,
its parent repeats there what the project's modules say (a step begins, a window is done), and
every few seconds how far CASA is with a step, or how long the step has taken.
"""

from __future__ import annotations

import logging
import re
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

_log = logging.getLogger(__name__)

LOG_FORMAT: Final = "%(asctime)s %(name)s: %(message)s"
"""Of the lines in a child's log."""
_OURS = re.compile(r"\S+ \S+ dsa110_contimg\S*: (?P<said>.+)")
"""A line of `LOG_FORMAT` by one of our own modules."""
_OF_CASA = re.compile(r".*progress: (?P<percent>\d+)%.*Spw = (?P<spw>\d+)")
"""flagdata names the window that it begins, and how much of the data it has seen by then."""
_LOOK_S = 1.0
_QUIET_S = 4.0
"""Longest silence."""


@contextmanager
def told_progress(log_path: Path) -> Iterator[None]:
    """Repeat what a child says in its log while the body waits for it.

    Parameters
    ----------
    log_path : Path
        The child's log; what stands in it already is of earlier children.

    Yields
    ------
    None
        The body runs the child.
    """
    follower, done = _Follower(log_path), threading.Event()

    def follow() -> None:
        while not done.wait(_LOOK_S):
            follower.look()
        follower.look()

    thread = threading.Thread(target=follow, name="progress", daemon=True)
    thread.start()
    try:
        yield
    finally:
        done.set()
        thread.join()


class _Follower:
    """Reads a growing log, and tells what matters of it."""

    def __init__(self, log_path: Path):
        self._path = log_path
        self._offset = log_path.stat().st_size if log_path.exists() else 0
        self._step, self._detail = "", ""
        self._step_s = self._told_s = time.monotonic()

    def look(self) -> None:
        """Tell what is new; if that is nothing for a while, how far the last step is."""
        for line in self._new_lines():
            if ours := _OURS.fullmatch(line):
                self._step, self._detail, self._step_s = ours["said"], "", time.monotonic()
                self._tell(self._step)
            elif casa := _OF_CASA.match(line):
                self._detail = f", window {casa['spw']}, {casa['percent']} % seen"
        now_s = time.monotonic()
        if self._step and now_s - self._told_s >= _QUIET_S:
            self._tell(f"{self._step}{self._detail} ({now_s - self._step_s:.0f} s)")

    def _new_lines(self) -> list[str]:
        """Read the lines that were ended since the last look."""
        try:
            with self._path.open("rb") as log:
                log.seek(self._offset)
                text = log.read()
        except OSError:  # a log that is gone is missed by nobody who waits for the child
            return []
        whole = text[: text.rfind(b"\n") + 1]
        self._offset += len(whole)
        return whole.decode(errors="replace").splitlines()

    def _tell(self, said: str) -> None:
        """Say it."""
        self._told_s = time.monotonic()
        _log.info("%s", said)
