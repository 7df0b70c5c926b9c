"""Wall time, CPU time and memory of everything that a piece of work starts."""

from __future__ import annotations

import resource
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import TypeVar

import psutil
from pydantic import Field, computed_field

from dsa110_contimg.models import Model

ResultT = TypeVar("ResultT")

_SAMPLE_INTERVAL_S = 0.02


class Cost(Model):
    """What one run took."""

    wall_s: float
    """Wall time in seconds."""
    cpu_s: float
    """User and system time of all processes together, in seconds."""
    parts_s: dict[str, float] = Field(default_factory=dict)
    """Wall time of its parts, where they are known, in seconds."""


class Costs(Model):
    """What the runs of one contestant took."""

    name: str
    """The contestant."""
    runs: list[Cost]
    """One per run, in order."""

    @computed_field
    @property
    def wall_s(self) -> float:
        """Median wall time in seconds."""
        return median(run.wall_s for run in self.runs)

    @computed_field
    @property
    def cpu_s(self) -> float:
        """Median CPU time in seconds."""
        return median(run.cpu_s for run in self.runs)


class PeakMemory(Model):
    """The largest sums over a process tree, each at its own moment."""

    rss_bytes: int
    """Resident set sizes: pages shared by several processes, and mapped input, count in each."""
    pss_bytes: int
    """Proportional set sizes: every page counts once, mapped input included."""
    private_bytes: int
    """Pages that only one process has: what would be free if all of them ended."""
    samples: int
    """How often was looked."""


def own_cpu_s() -> float:
    """CPU time of this process and of the children that it has reaped, in seconds."""
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


class Meter:
    """Measures work that this process does, or has done by its children.

    The kernel adds the time of an ended child to its parent's account when the parent reaps
    it. The fork server reaps every child before it answers, so that its account and this
    process's own hold the CPU time of the whole tree, without sampling.

    Parameters
    ----------
    server_pid : int
        The fork server.
    """

    def __init__(self, server_pid: int):
        self._server = psutil.Process(server_pid)

    def cpu_s(self) -> float:
        """CPU time of the tree until now, in seconds."""
        times = self._server.cpu_times()
        server_s = times.user + times.system + times.children_user + times.children_system
        return own_cpu_s() + server_s

    def measure(self, work: Callable[[], object]) -> Cost:
        """Do the work and say what it took."""
        cpu_s, start_s = self.cpu_s(), time.perf_counter()
        work()
        wall_s = time.perf_counter() - start_s
        return Cost(wall_s=wall_s, cpu_s=self.cpu_s() - cpu_s)


@contextmanager
def sampled_memory(
    root_pid: int, interval_s: float = _SAMPLE_INTERVAL_S
) -> Iterator[Callable[[], PeakMemory]]:
    """Watch the memory of a process and its descendants while the body runs.

    Looking walks page tables, so nothing else is measured meanwhile, unless the interval is
    long.
    """
    done = threading.Event()
    sums: list[tuple[int, int, int]] = []

    def watch() -> None:
        while not done.wait(interval_s):
            sums.append(_tree_memory(root_pid))

    watcher = threading.Thread(target=watch, name="memory-watcher")
    watcher.start()

    def peak() -> PeakMemory:
        rss, pss, private = (max(column) for column in zip(*sums, strict=True))
        return PeakMemory(rss_bytes=rss, pss_bytes=pss, private_bytes=private, samples=len(sums))

    try:
        yield peak
    finally:
        done.set()
        watcher.join()


def _tree_memory(root_pid: int) -> tuple[int, int, int]:
    """Sum RSS, PSS and private memory of a tree, in bytes; who has just ended counts nothing."""
    totals = [0, 0, 0]
    try:
        root = psutil.Process(root_pid)
        pids = [root_pid, *(child.pid for child in root.children(recursive=True))]
    except psutil.NoSuchProcess:
        return 0, 0, 0
    for pid in pids:
        try:
            text = Path(f"/proc/{pid}/smaps_rollup").read_text("ascii")
        except OSError:
            continue
        lines = dict(line.split(":") for line in text.splitlines()[1:])
        sizes = {name: 1024 * int(value.split()[0]) for name, value in lines.items()}
        for index, names in enumerate((("Rss",), ("Pss",), ("Private_Clean", "Private_Dirty"))):
            totals[index] += sum(sizes[name] for name in names)
    return totals[0], totals[1], totals[2]
