"""CPU time of an embedded Airflow, service by service."""

from __future__ import annotations

import contextlib
from collections import Counter

import psutil

API_SERVER, SCHEDULER = "api-server", "scheduler"
SUPERVISORS, TASKS = "task supervisors", "task processes"
FORK_SERVER = "fork server"
_GUARD = "dsa110_contimg.orchestration.guard"
_SERVER = "dsa110_contimg.forkserver"
_WORKER = "airflow worker -- LocalExecutor"


class ServiceMeter:
    """Reads the accounts that the kernel keeps; nothing is sampled.

    A process that has ended is in the account of the parent that reaped it. The executor's
    workers are the supervisors of the tasks: their own account and that of their children tell
    the two apart. What a task has done by the fork server is in that one's account.

    Parameters
    ----------
    root : psutil.Process
        The process that started Airflow.
    """

    def __init__(self, root: psutil.Process):
        self._guards: dict[str, psutil.Process] = {}
        self._server: psutil.Process | None = None
        for child in root.children():
            command = child.cmdline()
            if _GUARD in command:
                self._guards[command[command.index("airflow") + 1]] = child
            elif any(_SERVER in word for word in command):
                self._server = child

    def cpu_s(self) -> Counter[str]:
        """CPU time of each service since it began, in seconds."""
        spent: Counter[str] = Counter()
        for name, guard in self._guards.items():
            if name == SCHEDULER:
                spent += _read_scheduler(guard)
            else:
                spent[name] = _tree_s(guard)
        if self._server is not None:
            spent[FORK_SERVER] = _tree_s(self._server)
        return spent


def _read_scheduler(guard: psutil.Process) -> Counter[str]:
    """Tell the scheduler from its executor's workers and from the tasks."""
    spent = Counter({SUPERVISORS: 0.0, TASKS: 0.0})
    for process in guard.children(recursive=True):
        with contextlib.suppress(psutil.NoSuchProcess):
            if _WORKER in " ".join(process.cmdline()):
                spent[SUPERVISORS] += _own_s(process)
                spent[TASKS] += _tree_s(process) - _own_s(process)
    spent[SCHEDULER] = _tree_s(guard) - spent.total()
    return spent


def _own_s(process: psutil.Process) -> float:
    """CPU time of a process itself."""
    with contextlib.suppress(psutil.NoSuchProcess):
        times = process.cpu_times()
        return float(times.user + times.system)
    return 0.0


def _tree_s(root: psutil.Process) -> float:
    """CPU time of a process and of all below it, also of those that have been reaped."""
    total_s = 0.0
    for process in (root, *root.children(recursive=True)):
        with contextlib.suppress(psutil.NoSuchProcess):
            times = process.cpu_times()
            total_s += times.user + times.system + times.children_user + times.children_system
    return total_s
