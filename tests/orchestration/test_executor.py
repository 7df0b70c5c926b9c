"""What the executor has handed over, and what it may still take."""

from __future__ import annotations

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
