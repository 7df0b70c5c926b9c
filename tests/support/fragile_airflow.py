"""An Airflow whose scheduler and supervisors are killed while tasks work on an MS."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
from support.descendants import ask_descendants

from dsa110_contimg.orchestration.embedded import EmbeddedAirflow
from dsa110_contimg.orchestration.home import AirflowHome
from dsa110_contimg.settings import Settings
from dsa110_contimg.storage.ms_access import Holder, read_holder

_LOOK_S = 0.002
_SCAN_S = 0.25
_HASTE = {
    "SCHEDULER_HEALTH_CHECK_THRESHOLD": 12,
    "ORPHANED_TASKS_CHECK_INTERVAL": 4,
    "TASK_INSTANCE_HEARTBEAT_TIMEOUT": 12,
    "TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": 3,
}
"""How soon Airflow gives up what it has not heard of; its own values are minutes."""


class _HastyHome(AirflowHome):
    """An Airflow that notices the dead within seconds."""

    def environment(self, **options: Any) -> dict[str, str]:
        hasty = {f"AIRFLOW__SCHEDULER__{name}": str(value) for name, value in _HASTE.items()}
        return {**super().environment(**options), **hasty}


class FragileAirflow(EmbeddedAirflow):
    """The embedded Airflow, with means to kill parts of it."""

    def __init__(self, settings: Settings, **options: Any):
        super().__init__(settings, **options)
        self.home = _HastyHome(settings)
        self.schedulers: list[int] = []
        self.supervisors: list[int] = []
        self.stopped: set[int] = set()

    def kill_scheduler(self, *, orphans: bool) -> None:
        """SIGKILL the scheduler and start another one; its workers may live on as orphans.

        The guard that starts the scheduler ends what is left below it. To see what happens
        without it, it is killed too, as by an operator or the kernel short of memory.
        """
        guard = self._services["scheduler"]
        # The guard also adopts the tasks of supervisors that were killed.
        scheduler = min(psutil.Process(guard.pid).children(), key=psutil.Process.create_time)
        workers = workers_below(scheduler)
        self.schedulers.append(scheduler.pid)
        if orphans:
            guard.kill()
        else:
            scheduler.kill()
        guard.wait()
        guard.stdin.close()
        _await_death(scheduler)
        assert any(_lives(worker) for worker in workers) == orphans
        log = self.service_log("scheduler")
        log.rename(log.with_suffix(f".{len(self.schedulers)}.log"))
        self._services["scheduler"] = self._start("scheduler", "scheduler", "--skip-serve-logs")

    def kill_supervisor(self, holder: Holder) -> None:
        """SIGKILL the supervisor of the task whose CASA child holds an MS."""
        task = psutil.Process(holder.pid).parent()
        supervisor = task.parent()
        assert is_worker(supervisor)
        self.supervisors.append(supervisor.pid)
        supervisor.kill()

    def processes(self) -> list[psutil.Process]:
        """All that belong to this Airflow, also those whose parents were killed."""
        home, found = str(self.home.path), []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error):
                # The title of a worker is written over its environment.
                if home in {process.environ().get("AIRFLOW_HOME"), process.cwd()}:
                    found.append(process)
        return found

    def end_orphans(self) -> None:
        """Kill what no guard is there to end."""
        orphans = self.processes()
        for process in orphans:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(orphans, timeout=5)


def is_worker(process: psutil.Process) -> bool:
    """Whether it belongs to the executor: such a process supervises one task after the other."""
    return "worker -- LocalExecutor" in " ".join(process.cmdline())


def workers_below(scheduler: psutil.Process) -> list[psutil.Process]:
    """Processes of the executor that live."""
    known = ask_descendants(lambda process: (process, is_worker(process)), scheduler)
    return [process for process, works in known if works]


def _lives(process: psutil.Process) -> bool:
    """Whether a process of another parent has not ended, even if that parent did not notice."""
    try:
        return bool(process.status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def _await_death(process: psutil.Process) -> None:
    """Wait until a process that was killed has ended."""
    until = time.monotonic() + 10
    while _lives(process):
        assert time.monotonic() < until
        time.sleep(_LOOK_S)


def await_imaging(ms: Path, source: str, stopped_before: set[int], timeout_s: float) -> Holder:
    """Wait until a task that images such a source holds the MS, and stop it there."""
    until = time.monotonic() + timeout_s
    while time.monotonic() < until:
        holder = read_holder(ms)
        wanted = holder is not None and f": {source}" in holder.purpose
        if wanted and holder.pid not in stopped_before and _is_child(holder.pid):
            with contextlib.suppress(ProcessLookupError):
                os.kill(holder.pid, signal.SIGSTOP)
                # It may have given the MS back before the signal came.
                if read_holder(ms) == holder:
                    return holder
                os.kill(holder.pid, signal.SIGCONT)
        time.sleep(_LOOK_S)
    raise AssertionError(f"no task for {source} has held {ms} within {timeout_s} s")


def _is_child(pid: int) -> bool:
    """Whether it is a stage's child, which reads the data; a task itself only looks."""
    with contextlib.suppress(psutil.Error):
        return "child_main" in str(psutil.Process(pid).cmdline())
    return False


@contextlib.contextmanager
def stopped_in_its_hold(
    airflow: FragileAirflow, ms: Path, source: str, timeout_s: float = 180
) -> Iterator[Holder]:
    """Have an imaging task hold the MS as long as the body lasts, unless the body kills it."""
    holder = await_imaging(ms, source, airflow.stopped, timeout_s)
    airflow.stopped.add(holder.pid)
    try:
        yield holder
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(holder.pid, signal.SIGCONT)


def await_waiter(airflow: FragileAirflow, holder: Holder, timeout_s: float) -> None:
    """Wait until the log of another task says that it waits for the holder."""
    said = f"held by {holder.purpose} (pid {holder.pid} on "
    until = time.monotonic() + timeout_s
    while time.monotonic() < until:
        logs = airflow.home.logs_dir.rglob("*.log")
        if any(said in log.read_text(errors="replace") for log in logs):
            return
        time.sleep(_SCAN_S)
    raise AssertionError(f"no other imaging has come for the MS within {timeout_s} s")
