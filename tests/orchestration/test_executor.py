"""What the executor has handed over, and what it may still take."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest
from airflow.models.taskinstancekey import TaskInstanceKey

from dsa110_contimg.orchestration.executor import BoundedLocalExecutor

pytestmark = pytest.mark.airflow


def test_a_task_that_never_began_frees_its_slot() -> None:
    """The scheduler revokes what was handed to a worker that was killed before it could begin."""
    executor = BoundedLocalExecutor(parallelism=2)
    key = TaskInstanceKey("image_ms", "flag", "image__1", 1, -1)
    executor.running.add(key)
    assert executor.slots_available == 1
    executor.revoke_task(ti=SimpleNamespace(key=key))
    assert executor.slots_available == 2


START = """
import multiprocessing, time
multiprocessing.set_start_method("forkserver")
multiprocessing.set_forkserver_preload(["slow_imports"])
from dsa110_contimg.orchestration.executor import BoundedLocalExecutor
executor = BoundedLocalExecutor(parallelism=2)
times = [time.monotonic()]
executor.start()
times.append(time.monotonic())
executor._spawn_worker()
times.append(time.monotonic())
executor.end()
print(f"\\n{times[1] - times[0]} {times[2] - times[1]}")
"""


def test_imports_are_paid_before_the_first_loop(tmp_path: Path) -> None:
    """A scheduler that is silent for as long as they take resets its own tasks."""
    (tmp_path / "slow_imports.py").write_text("import time; time.sleep(3)")
    done = subprocess.run(
        [sys.executable, "-c", START],
        env={**os.environ, "AIRFLOW_HOME": str(tmp_path), "PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    at_start_s, later_s = map(float, done.stdout.splitlines()[-1].split())
    assert at_start_s >= 3 > later_s
