"""The one place where housekeeping removes anything: under the locks of its owner."""

from __future__ import annotations

import contextlib
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from filelock import FileLock, Timeout

from dsa110_contimg.housekeeping.models import Fate, Finding, Kind
from dsa110_contimg.storage.files import remove_for_sure
from dsa110_contimg.storage.locks import hold_existing
from dsa110_contimg.storage.sandbox import sandbox_bytes

IN_USE = "it is in use: its lock is held"


@dataclass(frozen=True)
class Rubbish:
    """Something that may be removed, once its locks are held and nothing speaks against it.

    Attributes
    ----------
    kind : Kind
        What it is.
    path : Path
        Where.
    why : str
        Why it may go, in words.
    locks : tuple of Path
        Lock files of those who may own it.
    own_lock : Path or None
        File or directory that its owner holds for as long as it is there; gone, so is it.
    keep : callable
        Says why it has to be kept, or None; it is asked while the locks are held.
    remove : callable or None
        Removes it and says what would not go; None: it is removed as it is.
    used_s : float or None
        When it was last used, in seconds since 1970; None: when it was last changed.
    size_bytes : int or None
        Space that it takes; None: it is measured.
    """

    kind: Kind
    path: Path
    why: str
    locks: tuple[Path, ...] = ()
    own_lock: Path | None = None
    keep: Callable[[], str | None] = lambda: None
    remove: Callable[[], list[str]] | None = None
    used_s: float | None = None
    size_bytes: int | None = None


class Broom:
    """Removes rubbish, or only says what would go.

    Parameters
    ----------
    apply : bool
        Whether to remove.
    """

    def __init__(self, *, apply: bool):
        self.apply = apply
        self.findings: list[Finding] = []
        self.problems: list[str] = []

    def sweep(self, rubbish: Rubbish) -> Fate | None:
        """Remove something, if nobody owns it and nothing speaks against it.

        Parameters
        ----------
        rubbish : Rubbish
            What may be removed.

        Returns
        -------
        Fate or None
            What became of it; None if it was gone already.
        """
        size_bytes, used_s = _measure(rubbish)
        fate, because = self._decide(rubbish)
        if fate is None:
            return None
        if fate is Fate.FAILED:
            self.problems.append(because)
        self.findings.append(
            Finding(
                kind=rubbish.kind,
                path=str(rubbish.path),
                size_bytes=size_bytes,
                age_s=max(0.0, time.time() - used_s),
                why=rubbish.why,
                fate=fate,
                because=because,
            )
        )
        return fate

    def _decide(self, rubbish: Rubbish) -> tuple[Fate | None, str]:
        """Take the locks, ask, and remove; what became of it, and why."""
        try:
            with contextlib.ExitStack() as held:
                if not self._hold_all(rubbish, held):
                    return Fate.KEPT, IN_USE
                if not os.path.lexists(rubbish.path):
                    return None, ""
                if (reason := rubbish.keep()) is not None:
                    return Fate.KEPT, reason
                return self._remove(rubbish)
        except FileNotFoundError:
            return None, ""
        except OSError as error:
            return Fate.FAILED, f"could not remove {rubbish.path}: {error}"

    def _hold_all(self, rubbish: Rubbish, held: contextlib.ExitStack) -> bool:
        """Take all locks, or say that somebody holds one."""
        holds = [_hold_lock(lock, make=self.apply) for lock in rubbish.locks]
        if rubbish.own_lock is not None:
            holds.append(hold_existing(rubbish.own_lock))
        return all(held.enter_context(hold) for hold in holds)

    def _remove(self, rubbish: Rubbish) -> tuple[Fate, str]:
        """Remove what nobody owns, unless this is a dry run."""
        if not self.apply:
            return Fate.WOULD_GO, ""
        remove = rubbish.remove or (lambda: remove_for_sure(rubbish.path))
        problems = remove()
        return (Fate.FAILED, "; ".join(problems)) if problems else (Fate.REMOVED, "")


@contextmanager
def _hold_lock(lock: Path, *, make: bool) -> Iterator[bool]:
    """Try to hold a lock file; a dry run makes none, for nobody holds one that is not there."""
    if make:
        file_lock = FileLock(lock)
        try:
            file_lock.acquire(timeout=0)
        except Timeout:
            yield False
            return
        try:
            yield True
        finally:
            file_lock.release()
    elif os.path.lexists(lock):
        with hold_existing(lock) as is_held:
            yield is_held
    else:
        yield True


def _measure(rubbish: Rubbish) -> tuple[int, float]:
    """Space that something takes, and when it was last used; what vanishes is nothing."""
    try:
        found = rubbish.path.lstat()
    except OSError:
        return 0, time.time()
    size_bytes = rubbish.size_bytes
    if size_bytes is None:
        own = 512 * found.st_blocks
        size_bytes = own if not rubbish.path.is_dir() else sandbox_bytes(rubbish.path)
    return size_bytes, found.st_mtime if rubbish.used_s is None else rubbish.used_s
