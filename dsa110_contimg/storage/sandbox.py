"""A private directory in tmpfs, owned by a lock.

Every conversion works in a path that is made once and never used again, so nothing stale
can be met in it. The owner holds a lock on ``<sandbox>.lock`` BESIDE the directory: the
kernel frees it when the owner dies, however it dies, so a sandbox whose lock is free has
no owner. Age says nothing.
"""

from __future__ import annotations

import contextlib
import logging
import os
import pwd
import re
import shutil
import stat
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import lru_cache
from pathlib import Path
from typing import Final

from filelock import FileLock

from dsa110_contimg.errors import ContimgError, InputError, TransientError, name_os_error
from dsa110_contimg.storage.files import remove_for_sure
from dsa110_contimg.storage.locks import hold_existing

FALL_BACK: Final = ".sandboxes"
"""Name of the directory of sandboxes beside products, where tmpfs has no room."""
SANDBOX_NAME: Final = re.compile(r".+_[0-9a-f]{8}")
"""Names of sandboxes; their lock files have the suffix ``.lock``."""

_log = logging.getLogger(__name__)
_OWN_LOCK_TIMEOUT_S = 60.0
"""Nobody else wants this lock, but the reaper may look at it for a moment."""
_MEMORY_FILE_SYSTEMS = {"tmpfs", "ramfs"}
_OWNER_ONLY = 0o700
_WRITABLE_BY_OTHERS = stat.S_IWGRP | stat.S_IWOTH
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")


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
        Space that the work will take.

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
    for root in roots:
        reap_sandboxes(root)
    root, warnings = _choose(roots, need_bytes)
    path = root / f"{stem}_{uuid.uuid4().hex[:8]}"
    lock = FileLock(sandbox_lock_path(path), timeout=_OWN_LOCK_TIMEOUT_S)
    try:
        lock.acquire()
        sandbox_lock_path(path).write_text(_this_kernel(), encoding="ascii")
        path.mkdir(mode=_OWNER_ONLY)
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
    """Remove the sandboxes of this user whose owners have ended on this machine; log them.

    A lock is sure only within the kernel that gave it: what another machine, or this one before
    its last start, made in a directory that outlives it is left to housekeeping.

    Parameters
    ----------
    root : Path
        Directory of sandboxes; need not exist. One that others may write is left alone.

    Returns
    -------
    removed : list of Path
        The sandboxes that were removed.
    warnings : list of str
        What could not be removed.
    """
    removed: list[Path] = []
    warnings: list[str] = []
    try:
        locks = [] if _distrust(root) else sorted(root.glob("*.lock"))
    except OSError:  # _choose names it, if it matters
        locks = []
    for lock in locks:
        if not SANDBOX_NAME.fullmatch(lock.stem):
            continue
        # Gone since the look, or a lock that cannot be had: then it is not known to be ownerless.
        with contextlib.suppress(OSError), hold_existing(lock) as is_held:
            if is_held and _is_from_here(lock):
                sandbox = lock.with_suffix("")
                had_content = sandbox.exists()
                problems = _remove(sandbox)
                warnings += problems
                if had_content and not problems:
                    _log.warning("removed the sandbox %s, whose owner has ended", sandbox)
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
        root.mkdir(mode=_OWNER_ONLY, parents=make_parents, exist_ok=True)
        _make_private(root)
        if flaw := _distrust(root) or (None if make_parents else _distrust_parent(root)):
            raise InputError(
                f"no sandbox in {root}: {flaw}",
                reason="sandbox_root_not_private",
                remedy="remove it, or chmod 700 it if it is yours; or name another directory in "
                "the setting sandbox_root",
            )
        # Without a name: nothing can be left behind.
        with tempfile.TemporaryFile(dir=root):
            free_bytes = shutil.disk_usage(root).free
    except OSError as error:
        raise _named(error, root) from error
    if free_bytes < need_bytes:
        raise TransientError(
            f"{root} has {free_bytes / 1e9:.2f} GB free",
            reason="no_sandbox_space",
            remedy="free space there",
        )


def _make_private(root: Path) -> None:
    """Close a fall-back of ours that earlier versions left open to its group."""
    found = root.lstat()
    if root.name == FALL_BACK and stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid():
        root.chmod(_OWNER_ONLY)


def _distrust(root: Path) -> str | None:
    """Say how another user of the machine could meddle with what stands in a root."""
    own = os.geteuid()
    link, found = root.lstat(), root.stat()
    if found.st_uid != own:
        return f"it belongs to {_user_name(found.st_uid)}"
    if link.st_uid not in {own, 0}:
        return f"it is a symbolic link of {_user_name(link.st_uid)}"
    if found.st_mode & _WRITABLE_BY_OTHERS:
        return f"others may write in it: mode {stat.S_IMODE(found.st_mode):04o}"
    return None


def _distrust_parent(root: Path) -> str | None:
    """Say how another user of the machine could put another directory in a root's place."""
    parent = root.resolve().parent
    found = parent.stat()
    if found.st_uid not in {os.geteuid(), 0}:
        return f"{parent} belongs to {_user_name(found.st_uid)}"
    if found.st_mode & _WRITABLE_BY_OTHERS and not found.st_mode & stat.S_ISVTX:
        return f"others may write in {parent}: mode {stat.S_IMODE(found.st_mode):04o}"
    return None


def _user_name(number: int) -> str:
    """Name a user, who may have no name here."""
    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return f"user {number}"


def _is_from_here(lock: Path) -> bool:
    """Tell whether a lock file was made by this user under this kernel, or before they said so."""
    kernel = lock.read_text(encoding="ascii", errors="replace")
    return lock.lstat().st_uid == os.geteuid() and kernel in {"", _this_kernel()}


@lru_cache(maxsize=1)
def _this_kernel() -> str:
    """Identify the machine since its last start; containers share it with their host."""
    return _BOOT_ID.read_text(encoding="ascii").strip()


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
