"""A private directory in tmpfs, owned by a lock.

Every conversion works in a path that is made once and never used again, so nothing stale
can be met in it. The owner holds a lock on ``<sandbox>.lock`` BESIDE the directory: the
kernel frees it when the owner dies, however it dies, so a sandbox whose lock is free has
no owner. Age says nothing.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from filelock import FileLock, Timeout

from dsa110_contimg.errors import ContimgError, TransientError, name_os_error
from dsa110_contimg.storage.files import remove_for_sure

_OWN_LOCK_TIMEOUT_S = 60.0
"""Nobody else wants this lock, but the reaper may look at it for a moment."""
_MEMORY_FILE_SYSTEMS = {"tmpfs", "ramfs"}


@dataclass
class Sandbox:
    """A private directory that is removed when its owner is done.

    Attributes
    ----------
    path : Path
        The directory.
    warnings : list of str
        What the owner should report: a fall-back, or what could not be removed.
    cleanup_failures : list of str
        Those of the warnings that say what could not be removed.
    """

    path: Path
    warnings: list[str] = field(default_factory=list)
    cleanup_failures: list[str] = field(default_factory=list)


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
        Candidate roots in order of preference. All but the last are meant to be in tmpfs,
        so their parent, the mount, must be there; the last, scratch, is made as a whole.
    need_bytes : int
        Space that the work will take. Where it is lacking, sandboxes without an owner are
        removed first.

    Yields
    ------
    Sandbox
        With a warning for each root that was passed over or is not in memory, and, once
        closed, one for what could not be removed.

    Raises
    ------
    InputError
        If no root may be written.
    TransientError
        If no root has the room, or open files ran out.
    """
    root, warnings = _choose(roots, need_bytes)
    path = root / f"{stem}_{uuid.uuid4().hex[:8]}"
    lock = FileLock(sandbox_lock_path(path), timeout=_OWN_LOCK_TIMEOUT_S)
    try:
        lock.acquire()
        path.mkdir()
    except OSError as error:
        lock.release()
        raise _named(error, path) from error
    sandbox = Sandbox(path, warnings)
    try:
        yield sandbox
    finally:
        sandbox.cleanup_failures = _remove(path)
        sandbox.warnings += sandbox.cleanup_failures
        lock.release()


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


def sandbox_bytes(root: Path) -> int:
    """Add up what the sandboxes hold, whoever owns them.

    Parameters
    ----------
    root : Path
        Directory of sandboxes; need not exist.

    Returns
    -------
    int
        Allocated bytes; what vanishes meanwhile does not count.
    """
    total = 0
    for directory, _, names in os.walk(root):
        for name in names:
            with contextlib.suppress(FileNotFoundError):
                total += 512 * (Path(directory) / name).lstat().st_blocks
    return total


def _choose(roots: list[Path], need_bytes: int) -> tuple[Path, list[str]]:
    """Take the first root with room; say what is amiss with it and with those before."""
    refusals: list[ContimgError] = []
    for root in roots:
        is_last = root == roots[-1]
        try:
            _check_root(root, need_bytes, make_parents=is_last)
        except ContimgError as refusal:
            refusals.append(refusal)
            continue
        warnings = [f"tmpfs passed over: {refusal.message}" for refusal in refusals]
        if not is_last and _file_system_type(root) not in _MEMORY_FILE_SYSTEMS:
            warnings.append(f"{root} is not in tmpfs: the work is done on its disk")
        return root, warnings
    hopeful = [refusal for refusal in refusals if isinstance(refusal, TransientError)]
    decisive = (hopeful or refusals)[0]
    raise type(decisive)(
        f"no place for a sandbox of {need_bytes / 1e9:.2f} GB: "
        f"{'; '.join(refusal.message for refusal in refusals)}",
        reason=decisive.reason,
        remedy=decisive.remedy,
    )


def _check_root(root: Path, need_bytes: int, *, make_parents: bool) -> None:
    """Raise what speaks against a sandbox in this root."""
    try:
        root.mkdir(parents=make_parents, exist_ok=True)
        # Without a name: nothing can be left behind.
        with tempfile.TemporaryFile(dir=root):
            if shutil.disk_usage(root).free < need_bytes:
                reap_sandboxes(root)
            free_bytes = shutil.disk_usage(root).free
    except OSError as error:
        raise _named(error, root) from error
    if free_bytes < need_bytes:
        raise TransientError(
            f"{root} has {free_bytes / 1e9:.2f} GB free",
            reason="no_sandbox_space",
            remedy="free space there",
        )


def _file_system_type(path: Path) -> str:
    """Look up the type of the file system of an existing path."""
    device = path.stat().st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    for line in Path("/proc/self/mountinfo").read_text(encoding="utf-8").splitlines():
        mount, _, source = line.partition(" - ")
        if mount.split()[2] == number:
            return source.split()[0]
    return "unknown"


def _named(error: OSError, path: Path) -> ContimgError:
    """Name what keeps a sandbox from being made."""
    return name_os_error(error, f"cannot write {path}", denied="sandbox_not_writable")


def _remove(path: Path) -> list[str]:
    """Remove a sandbox, then its lock file; say what would not go."""
    # The name is never used again, so nobody can be waiting for this lock.
    return remove_for_sure(path) or remove_for_sure(sandbox_lock_path(path))
