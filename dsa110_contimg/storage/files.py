"""Files written whole or not at all, trees that are read-only, or removed for sure or reported."""

from __future__ import annotations

import logging
import os
import shutil
import stat
import uuid
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import TracebackType

_log = logging.getLogger(__name__)
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
    temporary = path.with_name(f".{path.name}.{uuid.uuid4().hex[:8]}{path.suffix}")
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
    with atomic_path(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


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
