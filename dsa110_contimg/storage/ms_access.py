"""The one door to a Measurement Set: an exclusive lock, and a record of who held it when.

CASA deadlocks when several processes write one MS. Airflow's pool of one slot per MS
schedules; this lock, taken inside the worker, proves. The lock file stands beside the MS
and is never unlinked: removing one that may be held would split the waiters. It holds the
name of the holder, and nothing once the MS was given back; so whoever gets the lock learns
of a holder that was killed, and puts on record what that one could not.

A published MS is read-only except inside a hold that asks for more: who writes it by
mistake gets an error at once, not a deadlock.
"""

from __future__ import annotations

import logging
import os
import select
import socket
import stat
import time
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import Final

from filelock import FileLock, Timeout

from dsa110_contimg.errors import TransientError, name_os_error
from dsa110_contimg.models import Model
from dsa110_contimg.storage.files import make_read_only, make_writable
from dsa110_contimg.storage.publish import manifest_path

_log = logging.getLogger(__name__)

ACCESS_LOG: Final = "ms_access.jsonl"
"""Name of the log of who held which MS when, among the logs of a work directory."""
_SHORT_WAIT_S, _LONG_WAIT_S = 1.0, 5.0
"""How long a wait for a holder goes on in silence, at first and later."""
_DYING_S = 10.0
"""A killed process frees its locks a moment before it is gone."""


class Holder(Model):
    """Who holds an MS, or was killed while it did."""

    pid: int
    """Process id."""
    host: str
    """Machine."""
    purpose: str
    """Task or command, in words."""
    since: str
    """UTC, ISO 8601."""
    process_start: int
    """Start of the process in ticks since the machine's, which tells it from a later one with
    the same id."""


class HoldEnd(StrEnum):
    """How a hold ended."""

    RELEASED = "released"
    """The holder gave the MS back."""
    KILLED = "killed"
    """The holder is gone; its span ends when the next one got the lock, and was written by it."""
    LOST = "lost"
    """The holder lived on when the next one got the lock: they may have met. Never seen as
    long as the file system keeps its locks."""


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
    end: HoldEnd = HoldEnd.RELEASED
    """How the hold ended."""

    def append_to(self, log: Path) -> None:
        """Write a line; the work on the MS is done, and a line less must not undo it.

        Parameters
        ----------
        log : Path
            JSON-lines file, made if need be.
        """
        try:
            log.parent.mkdir(parents=True, exist_ok=True)
            # One write in append mode: the lines of several processes do not mix.
            with log.open("ab", buffering=0) as file:
                file.write(f"{self.model_dump_json()}\n".encode())
        except OSError as error:
            _log.warning("cannot write to %s: %s", log, error)


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
    """Say who holds an MS, or was killed while it did and has had no successor.

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
    ms_path: Path | str,
    purpose: str,
    *,
    timeout_s: float,
    access_log: Path | None = None,
    writable: bool = False,
) -> Iterator[Path]:
    """Hold an MS for oneself alone.

    A published MS that a killed writer left writable is read-only again from the next hold
    on, whatever that one is for.

    Parameters
    ----------
    ms_path : Path or str
        Any path of the MS; it need not exist yet.
    purpose : str
        What for; others see it while they wait.
    timeout_s : float
        How long to wait for another holder, in seconds.
    access_log : Path, optional
        JSON-lines file that gets one `AccessSpan` when the hold ends, and one for an earlier
        holder that was killed.
    writable : bool, optional
        Whether the owner may write the MS until the hold ends, however it ends.

    Yields
    ------
    Path
        The canonical path of the MS.

    Raises
    ------
    InputError
        If the lock file may not be written, or the MS belongs to somebody else and is to be
        made writable.
    TransientError
        If the time runs out (the message says who holds the MS), or the lock cannot be
        taken for want of space or open files.
    """
    ms = canonical_ms(ms_path)
    lock = _take(ms, purpose, timeout_s, access_log)
    start_s = time.time()
    try:
        with _write_access(ms) if writable else _no_write_access(ms):
            yield ms
    finally:
        end_s = time.time()
        _sign_off(ms)
        lock.release()
        _record(access_log, ms, _describe_self(purpose), start_s, end_s, HoldEnd.RELEASED)


def _take(ms: Path, purpose: str, timeout_s: float, access_log: Path | None) -> FileLock:
    """Get the lock, record what became of a holder that did not sign off, and sign."""
    lock = FileLock(lock_path(ms))
    try:
        lock_path(ms).parent.mkdir(parents=True, exist_ok=True)
        _acquire(lock, ms, timeout_s)
        if (left := read_holder(ms)) is not None:
            _record_left(left, ms, access_log)
        lock_path(ms).write_text(_describe_self(purpose).model_dump_json(), encoding="utf-8")
    except Timeout:
        who = _name_holder(ms)
        raise TransientError(
            f"{ms} is held by {who}; waited {timeout_s:.0f} s", reason="ms_held"
        ) from None
    except OSError as error:
        lock.release()
        raise name_os_error(error, f"cannot lock {ms}", denied="target_not_writable") from error
    return lock


def _acquire(lock: FileLock, ms: Path, timeout_s: float) -> None:
    """Wait for the lock, and say every few seconds for whom."""
    start_s = time.monotonic()
    silence_s = _SHORT_WAIT_S
    while True:
        left_s = timeout_s - (time.monotonic() - start_s)
        try:
            lock.acquire(timeout=max(0.0, min(left_s, silence_s)))
        except Timeout:
            if left_s <= silence_s:
                raise
            waited_s = time.monotonic() - start_s
            _log.info("waiting for %s: held by %s; %.0f s", ms, _name_holder(ms), waited_s)
            silence_s = _LONG_WAIT_S
        else:
            return


@contextmanager
def _write_access(ms: Path) -> Iterator[None]:
    """Let the owner write an MS, and protect it afterwards if it was protected or published."""
    if not ms.exists():
        yield
        return
    protected = manifest_path(ms).exists() or not ms.stat().st_mode & stat.S_IWUSR
    try:
        _make_writable(ms)
        yield
    finally:
        if protected:
            _protect(ms)


def _make_writable(ms: Path) -> None:
    """Let the owner write an MS."""
    try:
        make_writable(ms)
    except OSError as error:
        deed = f"cannot make {ms} writable"
        raise name_os_error(error, deed, denied="ms_not_writable") from error


@contextmanager
def _no_write_access(ms: Path) -> Iterator[None]:
    """Protect a published MS, in case that a killed writer left it writable."""
    if manifest_path(ms).exists() and ms.exists():
        _protect(ms)
    yield


def _protect(ms: Path) -> None:
    """Make an MS read-only; what has gone wrong is for the next hold to put right."""
    try:
        make_read_only(ms)
    except OSError as error:
        _log.warning("cannot make %s read-only: %s", ms, error)


def _describe_self(purpose: str) -> Holder:
    """Say who this process is."""
    return Holder(
        pid=os.getpid(),
        host=socket.gethostname(),
        purpose=purpose,
        since=datetime.now(UTC).isoformat(timespec="microseconds"),
        process_start=_process_start(os.getpid()) or 0,
    )


def _process_start(pid: int) -> int | None:
    """Read when a process started, in ticks since the machine's start."""
    try:
        # The name, in brackets, may hold anything; the start is the 22nd field.
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19])
    except (OSError, ValueError, IndexError):
        return None


def _sign_off(ms: Path) -> None:
    """Leave no name in the lock file, which takes no space: nobody was killed in this hold."""
    try:
        os.truncate(lock_path(ms), 0)
    except OSError as error:
        _log.warning("cannot sign off from %s: %s", lock_path(ms), error)


def _record_left(left: Holder, ms: Path, access_log: Path | None) -> None:
    """Record the hold of a process that did not end it, and whether that process is gone."""
    now_s = time.time()
    end = HoldEnd.LOST if _lives_on(left) else HoldEnd.KILLED
    _log.warning("%s was %s while it held %s", left.purpose, end, ms)
    _record(access_log, ms, left, datetime.fromisoformat(left.since).timestamp(), now_s, end)


def _lives_on(holder: Holder) -> bool:
    """Whether a process of this machine is still there; one that is dying is waited for."""
    if holder.host != socket.gethostname():
        return False
    try:
        process = os.pidfd_open(holder.pid)
    except ProcessLookupError:
        return False
    try:
        gone = select.poll()
        gone.register(process, select.POLLIN)
        same = _process_start(holder.pid) == holder.process_start
        return same and not gone.poll(_DYING_S * 1000)
    finally:
        os.close(process)


def _record(
    access_log: Path | None, ms: Path, holder: Holder, start_s: float, end_s: float, end: HoldEnd
) -> None:
    """Write a span into the access log, if there is one."""
    if access_log is None:
        return
    span = AccessSpan(
        ms=str(ms),
        purpose=holder.purpose,
        pid=holder.pid,
        host=holder.host,
        start_s=start_s,
        end_s=end_s,
        end=end,
    )
    span.append_to(access_log)


def _name_holder(ms: Path) -> str:
    """Say who holds an MS."""
    holder = read_holder(ms)
    if holder is None:
        return "an unnamed process"
    return f"{holder.purpose} (pid {holder.pid} on {holder.host} since {holder.since})"
