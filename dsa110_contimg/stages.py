"""The named steps of a piece of work: logged as they begin, timed as they end."""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from contextlib import contextmanager

_log = logging.getLogger("dsa110_contimg.stages")


class StageClock:
    """Times the steps of one piece of work.

    Parameters
    ----------
    subject : str
        What is worked on, for the log.
    """

    def __init__(self, subject: str):
        self._subject = subject
        self.seconds: dict[str, float] = {}
        """Step to wall time in seconds, in the order of the work."""

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Log that a step begins, and note its wall time when it ends well.

        Parameters
        ----------
        name : str
            The step.

        Yields
        ------
        None
            The body is the step.
        """
        _log.info("%s: %s", self._subject, name)
        start = time.perf_counter()
        yield
        self.seconds[name] = round(time.perf_counter() - start, 3)
