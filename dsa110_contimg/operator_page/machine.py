"""What the machine of the api-server has left: file systems, memory, sandboxes."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from dsa110_contimg.settings import Settings
from dsa110_contimg.storage.sandbox import sandbox_bytes, sandbox_lock_path

LOW_FRACTION = 0.1
"""A file system with less than this free is marked."""


@dataclass(frozen=True)
class DiskUse:
    """A file system that the pipeline writes to."""

    label: str
    """What for."""
    path: str
    """Where the first of these stands."""
    total_bytes: int | None
    """Its size; None if it cannot be asked."""
    free_bytes: int | None
    """What is free."""
    problem: str | None = None
    """Why it cannot be asked."""

    @property
    def used_fraction(self) -> float:
        """What is used, from 0 to 1."""
        if not self.total_bytes or self.free_bytes is None:
            return 0.0
        return 1.0 - self.free_bytes / self.total_bytes

    @property
    def is_low(self) -> bool:
        """Whether the operator should act."""
        return self.problem is not None or self.used_fraction > 1.0 - LOW_FRACTION


@dataclass(frozen=True)
class SandboxUse:
    """A sandbox in tmpfs or in scratch."""

    path: str
    """Absolute path."""
    size_bytes: int
    """What it holds."""
    since: datetime
    """When it was made, UTC."""
    is_owned: bool
    """Whether a process of this machine holds its lock."""


@dataclass(frozen=True)
class Machine:
    """The machine now."""

    host: str
    """Its name."""
    cores: int
    """Its cores."""
    load: float
    """Processes that want to run, mean of the last minute."""
    memory_bytes: int
    """Its memory."""
    available_bytes: int
    """What of it can still be had."""
    disks: list[DiskUse]
    """File systems, each once."""
    sandboxes: list[SandboxUse]
    """Oldest first."""


def look_at_machine(settings: Settings) -> Machine:
    """Look at the machine that this runs on.

    Parameters
    ----------
    settings : Settings
        Where the pipeline writes.

    Returns
    -------
    Machine
        What there is now.
    """
    import psutil

    memory = psutil.virtual_memory()
    return Machine(
        host=os.uname().nodename,
        cores=os.cpu_count() or 1,
        load=os.getloadavg()[0],
        memory_bytes=memory.total,
        available_bytes=memory.available,
        disks=_look_at_disks(settings),
        sandboxes=_list_sandboxes(settings),
    )


def _look_at_disks(settings: Settings) -> list[DiskUse]:
    """Ask each file system once."""
    places = {
        "sandboxes": settings.sandbox_root.absolute(),
        "work directory": settings.work_dir.absolute(),
        "MSs": settings.ms_dir,
        "products": settings.products_dir,
        "raw files": settings.raw_dir,
    }
    found: dict[int, tuple[list[str], Path, Path]] = {}
    disks: list[DiskUse] = []
    failed = []
    for label, path in places.items():
        try:
            existing = next(p for p in (path, *path.parents) if p.exists())
            device = existing.stat().st_dev
            found.setdefault(device, ([], path, existing))[0].append(label)
        except OSError as error:
            failed.append(DiskUse(label, str(path), None, None, error.strerror or str(error)))
    for labels, path, existing in found.values():
        usage = shutil.disk_usage(existing)
        words = ", ".join(labels)
        disks.append(DiskUse(f"{words[0].upper()}{words[1:]}", str(path), usage.total, usage.free))
    return [*disks, *failed]


def _list_sandboxes(settings: Settings) -> list[SandboxUse]:
    """List the sandboxes of this machine; who owns them is asked without touching their locks."""
    held = _held_inodes()
    found = []
    for root in settings.sandbox_roots:
        for path in root.glob("*"):
            try:
                if path.is_dir():
                    found.append(_look_at_sandbox(path.absolute(), held))
            except OSError:
                continue  # it went meanwhile
    return sorted(found, key=lambda sandbox: sandbox.since)


def _look_at_sandbox(path: Path, held: set[int]) -> SandboxUse:
    """Look at one sandbox."""
    lock = sandbox_lock_path(path)
    return SandboxUse(
        path=str(path),
        size_bytes=sandbox_bytes(path),
        since=datetime.fromtimestamp(path.stat().st_ctime, UTC),
        is_owned=lock.exists() and lock.stat().st_ino in held,
    )


def _held_inodes() -> set[int]:
    """Inodes of the files that are locked (proc_locks(5): device:inode is the sixth column)."""
    try:
        lines = Path("/proc/locks").read_text(encoding="ascii").splitlines()
    except OSError:
        return set()
    columns = [line.split() for line in lines]
    return {int(c[5].rpartition(":")[2]) for c in columns if len(c) > 5 and c[1] == "FLOCK"}
