"""Small files: written whole or not at all."""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path


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
