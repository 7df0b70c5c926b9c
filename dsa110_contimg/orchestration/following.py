"""Follow runs in Airflow to their end, and leave none behind if that is interrupted."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from typing import TypeVar

from dsa110_contimg.errors import ContimgError, TransientError

ProgressT = TypeVar("ProgressT")
_PATIENCE_S = 300.0


def follow(
    look: Callable[[], ProgressT],
    is_over: Callable[[ProgressT], bool],
    wait: Callable[[], None],
    on_progress: Callable[[ProgressT], None],
) -> ProgressT:
    """Look again and again until all is over.

    Parameters
    ----------
    look : callable
        Reads how far it has got.
    is_over : callable
        Tells from that whether to stop.
    wait : callable
        Waits until the next look; raises if a service of Airflow has died.
    on_progress : callable
        Called whenever there is something new.

    Returns
    -------
    ProgressT
        What the last look saw.

    Raises
    ------
    TransientError
        If there was no answer for minutes.
    """
    last: ProgressT | None = None
    answered_s = time.monotonic()
    while True:
        try:
            progress = look()
        except TransientError:
            # A busy machine answers late.
            if time.monotonic() - answered_s > _PATIENCE_S:
                raise
        else:
            answered_s = time.monotonic()
            if progress != last:
                on_progress(progress)
                last = progress
            if is_over(progress):
                return progress
        wait()


@contextlib.contextmanager
def ended_with_us(end: Callable[[], None]) -> Iterator[None]:
    """End what would go on by itself when Airflow is started the next time.

    Parameters
    ----------
    end : callable
        Ends the runs; called if the block is left by an error or an interrupt.

    Yields
    ------
    None
        Nothing.
    """
    finished = False
    try:
        yield
        finished = True
    finally:
        if not finished:
            with contextlib.suppress(ContimgError):
                end()
