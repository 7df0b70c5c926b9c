"""A work directory with a night in it, for housekeeping to look at."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from support.night_records import DATE, NightMaker, draw_plain

from dsa110_contimg.housekeeping.keep_house import keep_house
from dsa110_contimg.housekeeping.models import (
    Fate,
    HousekeepingOptions,
    HousekeepingResult,
    Retention,
)
from dsa110_contimg.qa.report import write_report
from dsa110_contimg.storage.ms_access import exclusive_ms

DAY_S = 86400.0
HOLD = """
import sys, time
from pathlib import Path
from dsa110_contimg.storage.ms_access import exclusive_ms
with exclusive_ms(Path(sys.argv[1]), "the holder", timeout_s=10):
    print("held", flush=True)
    time.sleep(600)
"""


@dataclass
class House:
    """Directories as the settings lay them out, below `root`."""

    root: Path
    overrides: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self.night = NightMaker(self.root)
        self.temporary_dir = Path(tempfile.mkdtemp(prefix="house-"))

    @property
    def options(self) -> HousekeepingOptions:
        """Where everything is; nothing is removed for its age unless a test says so."""
        defaults = {
            "sandbox_roots": [self.root / "tmpfs", self.root / "ms" / ".sandboxes"],
            "ms_dir": self.root / "ms",
            "products_dir": self.root / "products",
            "calibration_dir": self.root / "calibration",
            "nights_dir": self.root / "nights",
            "logs_dir": self.root / "logs",
            "temporary_dir": self.temporary_dir,
        }
        return HousekeepingOptions.model_validate({**defaults, **self.overrides})

    def look(self, **overrides: Any) -> HousekeepingResult:
        """Keep house without touching anything."""
        return keep_house(self.options.model_copy(update={"apply": False, **overrides}))

    def tidy(self, **overrides: Any) -> HousekeepingResult:
        """Keep house."""
        return keep_house(self.options.model_copy(update={"apply": True, **overrides}))

    def retain(self, **days: float) -> None:
        """Keep what is finished for so many days."""
        self.overrides["retention"] = Retention(**days)

    def process(self, n_groups: int = 1, sources: tuple[str, ...] = ("a", "b")) -> list[str]:
        """Make a night that is processed and reported; its groups."""
        groups = [self.night.add_group(number) for number in range(n_groups)]
        for group in groups:
            self.night.convert(group)
            with exclusive_ms(self.night.ms_path(group), "a task", timeout_s=5):
                versions = self.night.ms_path(group).with_name(f"{group}.ms.flagversions")
                (versions / "flags.contimg_as_flagged").mkdir(parents=True)
            for name in sources:
                self.night.image(group, name, draw=draw_plain)
        self.night.save_listing()
        self.report()
        return groups

    def report(self) -> dict[str, Any]:
        """Write the report of the night, and read it."""
        return write_report(self.night.ledger).model_dump(mode="json")

    def age(self, days: float) -> None:
        """Make everything older than it is."""
        for path in (self.root, *self.root.rglob("*")):
            found = path.lstat()
            times = (found.st_atime - days * DAY_S, found.st_mtime - days * DAY_S)
            os.utime(path, times, follow_symlinks=False)

    def inventory(self) -> dict[str, tuple[int, int]]:
        """Everything there is, with size and time of change."""
        entries = {path: path.lstat() for path in self.root.rglob("*")}
        return {
            str(path.relative_to(self.root)): (found.st_size, found.st_mtime_ns)
            for path, found in sorted(entries.items())
        }


def fates(result: HousekeepingResult) -> dict[str, Fate]:
    """What became of each thing, by its name."""
    return {Path(found.path).name: found.fate for found in result.findings}


@contextmanager
def running(program: str, *arguments: Path | str) -> Iterator[subprocess.Popen[str]]:
    """Run a program until it has said a line; it ends with the body."""
    process = subprocess.Popen(
        [sys.executable, "-P", "-c", program, *map(str, arguments)],
        stdout=subprocess.PIPE,
        text=True,
    )
    with process:
        try:
            assert process.stdout is not None
            process.first_line = process.stdout.readline().strip()  # type: ignore[attr-defined]
            assert process.first_line  # type: ignore[attr-defined]
            yield process
        finally:
            process.kill()


def kill(process: subprocess.Popen[str]) -> None:
    """Kill a process and wait until its locks are free."""
    process.kill()
    process.wait()


def now_s() -> float:
    """Seconds since 1970."""
    return time.time()


__all__ = ["DATE", "DAY_S", "HOLD", "House", "fates", "kill", "now_s", "running"]
