"""The one door to a Measurement Set: an exclusive lock, and a record of who held it when.

CASA deadlocks when several processes write one MS. Airflow's pool of one slot per MS
schedules; this lock, taken inside the worker, proves. The lock file stands beside the MS
and is never unlinked: removing one that may be held would split the waiters.
"""

from __future__ import annotations

import json
import logging
import os
import socket
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path

from filelock import FileLock, Timeout

from dsa110_contimg.errors import TransientError, name_os_error
from dsa110_contimg.models import Model

_log = logging.getLogger(__name__)


class Holder(Model):
    """Who holds, or last held, an MS."""

    pid: int
    """Process id."""
    host: str
    """Machine."""
    purpose: str
    """Task or command, in words."""
    since: str
    """UTC, ISO 8601."""


class AccessSpan(Model):
    """One finished hold of an MS, a line of the access log."""

    ms: str
    """Canonical path of the MS."""
    purpose: str
    """Task or command, in words."""
    pid: int
    """Process id."""
    host: str
    """Machine."""
    start_s: float
    """Lock taken, seconds since 1970."""
    end_s: float
    """Lock about to be released, seconds since 1970."""


def canonical_ms(ms_path: Path | str) -> Path:
    """Resolve the path that identifies an MS, whatever links led to it.

    Parameters
    ----------
    ms_path : Path or str
        Any path of the MS.

    Returns
    -------
    Path
        Absolute, without symbolic links.
    """
    return Path(os.path.realpath(ms_path))


def lock_path(ms_path: Path | str) -> Path:
    """Name the lock file of an MS.

    Parameters
    ----------
    ms_path : Path or str
        Any path of the MS.

    Returns
    -------
    Path
        The lock file beside the MS.
    """
    ms = canonical_ms(ms_path)
    return ms.with_name(f".{ms.name}.lock")


def read_holder(ms_path: Path | str) -> Holder | None:
    """Say who holds, or last held, an MS.

    Parameters
    ----------
    ms_path : Path or str
        Any path of the MS.

    Returns
    -------
    Holder or None
        None if nobody has left a name.
    """
    try:
        return Holder.model_validate_json(lock_path(ms_path).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None


@contextmanager
def exclusive_ms(
    ms_path: Path | str, purpose: str, *, timeout_s: float, access_log: Path | None = None
) -> Iterator[Path]:
    """Hold an MS for oneself alone.

    Parameters
    ----------
    ms_path : Path or str
        Any path of the MS; it need not exist yet.
    purpose : str
        What for; others see it while they wait.
    timeout_s : float
        How long to wait for another holder, in seconds.
    access_log : Path, optional
        JSON-lines file that gets one `AccessSpan` when the hold ends.

    Yields
    ------
    Path
        The canonical path of the MS.

    Raises
    ------
    InputError
        If the lock file may not be written.
    TransientError
        If the time runs out (the message says who holds the MS), or the lock cannot be
        taken for want of space or open files.
    """
    ms = canonical_ms(ms_path)
    lock = FileLock(lock_path(ms))
    try:
        lock_path(ms).parent.mkdir(parents=True, exist_ok=True)
        lock.acquire(timeout=timeout_s)
        lock_path(ms).write_text(_sign(purpose).model_dump_json(), encoding="utf-8")
    except Timeout:
        raise _held(ms, timeout_s) from None
    except OSError as error:
        lock.release()
        raise name_os_error(error, f"cannot lock {ms}", denied="target_not_writable") from error
    start_s = time.time()
    try:
        yield ms
    finally:
        end_s = time.time()
        lock.release()
        if access_log is not None:
            span = AccessSpan(
                ms=str(ms),
                purpose=purpose,
                pid=os.getpid(),
                host=socket.gethostname(),
                start_s=start_s,
                end_s=end_s,
            )
            _append_line(access_log, json.dumps(span.model_dump()))


def _sign(purpose: str) -> Holder:
    """Say who this process is."""
    return Holder(
        pid=os.getpid(),
        host=socket.gethostname(),
        purpose=purpose,
        since=datetime.now(UTC).isoformat(timespec="milliseconds"),
    )


def _held(ms: Path, waited_s: float) -> TransientError:
    """Say who holds an MS."""
    holder = read_holder(ms)
    who = (
        f"{holder.purpose} (pid {holder.pid} on {holder.host} since {holder.since})"
        if holder
        else "an unnamed process"
    )
    return TransientError(f"{ms} is held by {who}; waited {waited_s:.0f} s", reason="ms_held")


def _append_line(path: Path, line: str) -> None:
    """Append one line in one write, so that lines of several processes do not mix."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        try:
            os.write(descriptor, f"{line}\n".encode())
        finally:
            os.close(descriptor)
    except OSError as error:
        # The work on the MS is done; a line less in a log must not undo it.
        _log.warning("cannot write to %s: %s", path, error)
