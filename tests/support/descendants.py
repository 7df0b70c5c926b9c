"""What the processes that a test has started, and theirs, are doing."""

from __future__ import annotations

import contextlib
from collections.abc import Callable
from typing import TypeVar

import psutil

Answer = TypeVar("Answer")


def ask_descendants(
    question: Callable[[psutil.Process], Answer], below: psutil.Process | None = None
) -> list[Answer]:
    """Ask each process below one, the own by default, except those that end meanwhile."""
    answers = []
    for process in (below or psutil.Process()).children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            answers.append(question(process))
    return answers


def listening_addresses() -> set[tuple[str, int]]:
    """Address and port of each socket on which a descendant listens."""
    per_process = ask_descendants(lambda process: process.net_connections("inet"))
    return {
        (found.laddr.ip, found.laddr.port)
        for connections in per_process
        for found in connections
        if found.status == psutil.CONN_LISTEN
    }
