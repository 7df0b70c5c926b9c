"""Cluster policy: a task that touches a Measurement Set waits in that MS's pool of one slot.

Airflow imports this module by its name, in every component. The scheduler applies the policy
to the runs that it makes, the api-server to manual, REST and operator-triggered ones.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from sqlalchemy.orm import object_session

from dsa110_contimg.orchestration.pools import DEFAULT_POOL, MS_POOL, ensure_ms_pool, run_ms

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance

__all__ = ["task_instance_mutation_hook"]

log = logging.getLogger(__name__)


def task_instance_mutation_hook(task_instance: TaskInstance, dag_run: DagRun | None) -> None:
    """Put the pool of the run's MS in the place of `MS_POOL`.

    Parameters
    ----------
    task_instance : TaskInstance
        A task instance that is being made, expanded or cleared.
    dag_run : DagRun or None
        Its run. None while the instance is under construction: Airflow calls again.
    """
    if dag_run is None or task_instance.pool != MS_POOL:
        return
    ms_path, session = run_ms(dag_run.conf), object_session(dag_run)
    if ms_path is None:
        # An exception here would end the scheduler. The task reads the same and fails at once.
        task_instance.pool = DEFAULT_POOL
        return
    if session is None:
        log.error("no session for run %.250s of %s", dag_run.run_id, dag_run.dag_id)
        return
    task_instance.pool = ensure_ms_pool(session, ms_path)
