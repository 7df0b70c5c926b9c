"""When which task worked on which MS, written by the tasks themselves."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dsa110_contimg.storage.ms_access import AccessSpan, canonical_ms


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
        span.append_to(log)
