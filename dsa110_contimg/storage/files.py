"""Files written whole or not at all, trees that are read-only, or removed for sure or reported."""

from __future__ import annotations

import ctypes
import errno
import fcntl
import logging
import os
import re
import shutil
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Final, TextIO

TEMPORARY_NAME: Final = re.compile(r"\.(?P<name>.+(?P<suffix>\.\w+))\.[0-9a-f]{8}(?P=suffix)")
"""Names of files that `atomic_path` and `write_text_atomic` make."""

_log = logging.getLogger(__name__)
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_CANNOT_EXCHANGE = frozenset({errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP})
"""Answers of a kernel or a file system, e.g. NFS, that has no such operation."""
_CANNOT_LOCK = frozenset({errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOLCK})
_WRITE_BITS = stat.S_IWUSR | stat.S_IWGRP | stat.S_IWOTH
_ErrorInfo = tuple[type[BaseException], BaseException, TracebackType]


def fsync_path(path: Path) -> None:
    """Force a file or a directory entry to the disk.

    Parameters
    ----------
    path : Path
        File or directory.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def atomic_path(path: Path) -> Iterator[Path]:
    """Yield a hidden temporary name beside `path`, and rename it into place on success.

    Parameters
    ----------
    path : Path
        The good name.

    Yields
    ------
    Path
        Where to write; removed again if the body raises.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = _hidden_beside(path)
    try:
        yield temporary
        fsync_path(temporary)
        temporary.replace(path)
        fsync_path(path.parent)
    finally:
        temporary.unlink(missing_ok=True)


def write_text_atomic(path: Path, text: str) -> None:
    """Write a text file whole or not at all.

    Parameters
    ----------
    path : Path
        The file; replaced if present.
    text : str
        Its content.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    with _own_temporary(path) as file:
        temporary = Path(file.name)
        try:
            file.write(text)
            file.flush()
            os.fsync(file.fileno())
            temporary.replace(path)
            fsync_path(path.parent)
        finally:
            temporary.unlink(missing_ok=True)


def _own_temporary(path: Path) -> TextIO:
    """Make a hidden temporary file beside `path`; its lock says that it has an owner."""
    while True:
        file = _hidden_beside(path).open("x", encoding="utf-8")
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
        except OSError as error:
            # Where there are no locks, nobody can find that it has no owner either.
            if error.errno not in _CANNOT_LOCK:
                file.close()
                raise
        if os.fstat(file.fileno()).st_nlink:
            return file
        # It was taken for ownerless before it was locked.
        file.close()


def _hidden_beside(path: Path) -> Path:
    """Choose a name that matches `TEMPORARY_NAME` and that nobody used before."""
    return path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}{path.suffix}")


def exchange_paths(one: Path, other: Path) -> bool:
    """Let two paths change places in one step, so that neither name is ever without a file.

    Parameters
    ----------
    one, other : Path
        Existing files or trees on one file system.

    Returns
    -------
    bool
        False if the system cannot do that; nothing has changed then.

    Raises
    ------
    OSError
        If it may not be done.
    """
    rename = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if rename is None:
        return False
    paths = (_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(other))
    if rename(*paths, _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _CANNOT_EXCHANGE:
        return False
    raise OSError(number, os.strerror(number), str(one), None, str(other))


def make_read_only(tree: Path) -> None:
    """Take the permission to write away from a tree; times of modification stay.

    Parameters
    ----------
    tree : Path
        A directory; what is below it, too. Symbolic links are not followed.
    """
    _change_modes(tree, set_bits=0, clear_bits=_WRITE_BITS)


def make_writable(tree: Path) -> None:
    """Give the owner the permission to write in a tree; times of modification stay.

    Parameters
    ----------
    tree : Path
        A directory; what is below it, too. Symbolic links are not followed.
    """
    _change_modes(tree, set_bits=stat.S_IWUSR, clear_bits=0)


def _change_modes(tree: Path, *, set_bits: int, clear_bits: int) -> None:
    """Change the permissions of a tree where they are not as wanted."""
    for path in (tree, *tree.rglob("*")):
        found = path.lstat().st_mode
        wanted = (found | set_bits) & ~clear_bits
        if wanted != found and not stat.S_ISLNK(found):
            path.chmod(stat.S_IMODE(wanted))


def remove_for_sure(path: Path) -> list[str]:
    """Remove a file or a tree, also a read-only one, and look whether it is gone.

    Parameters
    ----------
    path : Path
        What to remove; need not exist.

    Returns
    -------
    list of str
        What could not be removed, a sentence each; it is logged as well.
    """
    problems: list[str] = []

    def note(_function: object, name: str, info: _ErrorInfo) -> None:
        if not isinstance(info[1], FileNotFoundError):
            problems.append(f"could not remove {name}: {info[1]}")

    try:
        if path.is_dir() and not path.is_symlink():
            _allow_removal(path)
            shutil.rmtree(path, onerror=note)
            if path.exists() and not problems:
                problems.append(f"{path} is still there after its removal")
        else:
            path.unlink(missing_ok=True)
    except OSError as error:
        problems.append(f"could not remove {path}: {error}")
    for problem in problems:
        _log.warning(problem)
    return problems


def _allow_removal(tree: Path) -> None:
    """Let the owner remove what is in the directories of a tree; removal itself reports."""
    for folder, _, _ in os.walk(tree):
        with suppress(OSError):
            mode = stat.S_IMODE(os.lstat(folder).st_mode)
            if not mode & stat.S_IWUSR:
                os.chmod(folder, mode | stat.S_IWUSR)  # noqa: PTH101
