"""What the processes that a test has started, and theirs, are doing."""

from __future__ import annotations

import contextlib
import threading
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


class Eavesdropper(threading.Thread):
    """Notes, while its block runs, at which addresses descendants listen.

    An address counts from the second look on: casatools opens a socket when it is imported, and
    the door shuts it at once.
    """

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.addresses: set[str] = set()
        self._over = threading.Event()

    def __enter__(self) -> Eavesdropper:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()

    def run(self) -> None:
        """Look until it is over."""
        before: set[tuple[str, int]] = set()
        while not self._over.wait(0.5):
            now = listening_addresses()
            self.addresses |= {address for address, _ in now & before}
            before = now


def listening_addresses() -> set[tuple[str, int]]:
    """Address and port of each socket on which a descendant listens."""
    per_process = ask_descendants(lambda process: process.net_connections("inet"))
    return {
        (found.laddr.ip, found.laddr.port)
        for connections in per_process
        for found in connections
        if found.status == psutil.CONN_LISTEN
    }
