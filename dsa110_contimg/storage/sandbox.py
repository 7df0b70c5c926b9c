"""A private directory in tmpfs, owned by a lock.

Every conversion works in a path that is made once and never used again, so nothing stale
can be met in it. The owner holds a lock on ``<sandbox>.lock`` BESIDE the directory: the
kernel frees it when the owner dies, however it dies, so a sandbox whose lock is free has
no owner. Age says nothing.
"""

from __future__ import annotations

import shutil
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType

from filelock import FileLock, Timeout

from dsa110_contimg.errors import TransientError

_OWN_LOCK_TIMEOUT_S = 10.0
"""Nobody else wants this lock, but the reaper may look at it for a moment."""
_ErrorInfo = tuple[type[BaseException], BaseException, TracebackType]


@dataclass
class Sandbox:
    """A private directory that is removed when its owner is done.

    Attributes
    ----------
    path : Path
        The directory.
    warnings : list of str
        What the owner should report: a fall-back, or what could not be removed.
    """

    path: Path
    warnings: list[str] = field(default_factory=list)


def sandbox_lock_path(sandbox: Path) -> Path:
    """Name the lock file of a sandbox.

    Parameters
    ----------
    sandbox : Path
        The directory.

    Returns
    -------
    Path
        ``<sandbox>.lock`` beside it.
    """
    return sandbox.with_name(f"{sandbox.name}.lock")


@contextmanager
def open_sandbox(stem: str, roots: list[Path], need_bytes: int) -> Iterator[Sandbox]:
    """Make a sandbox in the first root with room, own it, and remove it at the end.

    Parameters
    ----------
    stem : str
        What it is for; the name becomes ``{stem}_{uuid8}``.
    roots : list of Path
        Candidate roots in order of preference: tmpfs first, then scratch.
    need_bytes : int
        Space that the work will take.

    Yields
    ------
    Sandbox
        With a warning for each root that was passed over, and, once closed, one for what
        could not be removed.

    Raises
    ------
    TransientError
        If no root has the room.
    """
    refusals: list[str] = []
    for root in roots:
        refusal = _refusal(root, need_bytes)
        if refusal is None:
            break
        refusals.append(refusal)
    else:
        raise TransientError(
            f"no room for a sandbox of {need_bytes / 1e9:.2f} GB: {'; '.join(refusals)}",
            reason="no_sandbox_space",
            remedy="free space, or run housekeeping to remove sandboxes without an owner",
        )
    path = root / f"{stem}_{uuid.uuid4().hex[:8]}"
    lock = FileLock(sandbox_lock_path(path), timeout=_OWN_LOCK_TIMEOUT_S)
    sandbox = Sandbox(path, [f"tmpfs passed over: {refusal}" for refusal in refusals])
    with lock:
        path.mkdir()
        try:
            yield sandbox
        finally:
            sandbox.warnings += _remove(path)


def reap_sandboxes(root: Path) -> tuple[list[Path], list[str]]:
    """Remove the sandboxes that nobody owns.

    Parameters
    ----------
    root : Path
        Directory of sandboxes; need not exist.

    Returns
    -------
    removed : list of Path
        The sandboxes that were removed.
    warnings : list of str
        What could not be removed.
    """
    removed: list[Path] = []
    warnings: list[str] = []
    for lock_file in sorted(root.glob("*.lock")):
        sandbox = lock_file.with_suffix("")
        try:
            with FileLock(lock_file, timeout=0):
                had_content = sandbox.exists()
                problems = _remove(sandbox)
        except Timeout:
            continue
        warnings += problems
        if had_content and not problems:
            removed.append(sandbox)
    return removed, warnings


def _refusal(root: Path, need_bytes: int) -> str | None:
    """Say why a root cannot hold a sandbox; None if it can."""
    try:
        root.mkdir(parents=True, exist_ok=True)
        probe = root / f".probe_{uuid.uuid4().hex[:8]}"
        probe.touch()
        probe.unlink()
        free_bytes = shutil.disk_usage(root).free
    except OSError as error:
        return f"{root}: {error.strerror}"
    if free_bytes < need_bytes:
        return f"{root} has {free_bytes / 1e9:.2f} GB free"
    return None


def _remove(path: Path) -> list[str]:
    """Remove a sandbox, then its lock file; say what would not go."""
    problems: list[str] = []

    def note(_function: object, name: str, info: _ErrorInfo) -> None:
        if not isinstance(info[1], FileNotFoundError):
            problems.append(f"could not remove {name}: {info[1]}")

    shutil.rmtree(path, onerror=note)
    if path.exists() and not problems:
        problems.append(f"{path} is still there after its removal")
    if not problems:
        # The name is never used again, so nobody can be waiting for this lock.
        sandbox_lock_path(path).unlink(missing_ok=True)
    return problems
