"""How the benchmarks run: where they write, who takes turns, what they say meanwhile."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from metering import Cost
from rich.console import Console

ROOT = Path(__file__).resolve().parents[1]

console = Console()


def use_only(ram: Path) -> None:
    """Have this process and its children write nowhere else, and find these modules."""
    paths = [str(ROOT / "benchmarks"), str(ROOT / "tests")]
    os.environ["PYTHONPATH"] = os.pathsep.join(paths)
    os.environ["DSA110_CONTIMG_WORK_DIR"] = str(ram / "work")
    os.environ["DSA110_CONTIMG_SANDBOX_ROOT"] = str(ram / "sandboxes")
    os.environ["MPLCONFIGDIR"] = str(ram / "matplotlib")
    os.environ["XDG_CACHE_HOME"] = os.environ["XDG_CONFIG_HOME"] = str(ram)


def take_turns(
    runs: dict[str, list[Cost]], contestants: dict[str, Callable[[], Cost]], times: int
) -> None:
    """Run all contestants in turn, several times."""
    for turn in range(times):
        for name, run in contestants.items():
            cost = run()
            runs[name].append(cost)
            say(f"{turn + 1}/{times} {name}: {cost.wall_s:.2f} s wall, {cost.cpu_s:.2f} s CPU")


def say(what: str) -> None:
    """Say what is being done."""
    console.print(f"[dim]{time.strftime('%H:%M:%S')}[/] {what}", highlight=False)
