"""Locks of files that are there already: to ask for one leaves nothing behind."""

from __future__ import annotations

import errno
import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


@contextmanager
def hold_existing(path: Path) -> Iterator[bool]:
    """Try to lock a file or directory that is there, for as long as the body runs.

    Parameters
    ----------
    path : Path
        Not a symbolic link.

    Yields
    ------
    bool
        False if somebody else holds it.

    Raises
    ------
    OSError
        If it is not there, or may not be opened.
    """
    descriptor = _open(path)
    try:
        is_held = _try_lock(descriptor)
        if is_held and os.fstat(descriptor).st_nlink == 0:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        yield is_held
    finally:
        os.close(descriptor)


def _open(path: Path) -> int:
    """Open a file or directory for its lock; a network file system wants to write for that."""
    flags = os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
    try:
        return os.open(path, flags | (os.O_RDONLY if path.is_dir() else os.O_RDWR))
    except PermissionError:
        return os.open(path, flags | os.O_RDONLY)


def _try_lock(descriptor: int) -> bool:
    """Take the lock of an open file if it is free."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        if error.errno in {errno.EWOULDBLOCK, errno.EACCES}:
            return False
        raise
    return True
