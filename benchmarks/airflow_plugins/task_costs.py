"""Airflow plugin of the benchmark of a day: what the process of each task costs.

The listener runs in the task's own process. It notes what Airflow took until the task's function
was called, and once more when the process ends, however the task ended: also if it deferred.
"""

from __future__ import annotations

import atexit
import json
import os
import resource
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
from airflow.listeners import hookimpl
from airflow.plugins_manager import AirflowPlugin

if TYPE_CHECKING:
    from airflow.sdk.execution_time.task_runner import RuntimeTaskInstance

_FILE_NAME = "task_costs.jsonl"
"""In the home of Airflow."""


@hookimpl
def on_task_instance_running(task_instance: RuntimeTaskInstance) -> None:
    """Note the start of a task's function; the end of the process writes the line."""
    own_s, _ = _cpu_s()
    cost: dict[str, Any] = {
        "kind": f"{task_instance.dag_id}: {task_instance.task_id}",
        "forked_s": psutil.Process().create_time(),
        "called_s": time.time(),
        "start_cpu_s": own_s,
        "start_modules": len(sys.modules),
    }
    atexit.register(_write, cost, os.getpid())


def _write(cost: dict[str, Any], pid: int) -> None:
    """Append the line in one write, so that lines of several processes do not mix."""
    if os.getpid() != pid:
        return
    own_s, children_s = _cpu_s()
    end = {
        "ended_s": time.time(),
        "cpu_s": own_s,
        "children_cpu_s": children_s,
        "modules": len(sys.modules),
    }
    with (Path(os.environ["AIRFLOW_HOME"]) / _FILE_NAME).open("ab", buffering=0) as file:
        file.write(f"{json.dumps(cost | end)}\n".encode())


def _cpu_s() -> tuple[float, float]:
    """CPU time of this process, and of the children that it has reaped, in seconds."""
    own, children = map(resource.getrusage, (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return own.ru_utime + own.ru_stime, children.ru_utime + children.ru_stime


class TaskCostsPlugin(AirflowPlugin):
    """Registers this module as a listener."""

    name = "task_costs"
    listeners = [sys.modules[__name__]]  # noqa: RUF012 - as the base class declares it
