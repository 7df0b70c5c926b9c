"""When which task worked on which MS, written by the tasks themselves."""

from __future__ import annotations

import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dsa110_contimg.storage.ms_access import AccessSpan, canonical_ms

_log = logging.getLogger(__name__)


@contextmanager
def task_span(ms_path: Path, purpose: str, log: Path) -> Iterator[None]:
    """Record how long the body works on an MS, whether it succeeds or not.

    The lock's own record says when the MS was open; this one also covers the work on what was
    read from it, and so is what the pool of one slot promises to keep apart.

    Parameters
    ----------
    ms_path : Path
        Any path of the MS.
    purpose : str
        The task, in words.
    log : Path
        JSON-lines file that gets one `AccessSpan`.

    Yields
    ------
    None
        Nothing.
    """
    start_s = time.time()
    try:
        yield
    finally:
        span = AccessSpan(
            ms=str(canonical_ms(ms_path)),
            purpose=purpose,
            pid=os.getpid(),
            host=socket.gethostname(),
            start_s=start_s,
            end_s=time.time(),
        )
        _append(log, span)


def _append(log: Path, span: AccessSpan) -> None:
    """Write one line; the work is done, and a line less in a log must not undo it."""
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        # One write in append mode: the lines of several tasks do not mix.
        with log.open("ab", buffering=0) as file:
            file.write(f"{span.model_dump_json()}\n".encode())
    except OSError as error:
        _log.warning("cannot write to %s: %s", log, error)
