"""Airflow's LocalExecutor, which hands over no more tasks than it has workers.

Airflow 3.3.2's own does not note what it has handed over (apache/airflow#71914): its limit does
not hold, and the scheduler hands tasks over until the pipe to the workers is full. There they
wait regardless of their priority, while the scheduler stands still until a task has ended
(apache/airflow#70526): for minutes where a Measurement Set is flagged or solved.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from airflow.executors.local_executor import LocalExecutor  # noqa: TID253 - for Airflow alone

if TYPE_CHECKING:
    from airflow.executors.workloads import ExecutorWorkload
    from airflow.models.taskinstance import TaskInstance


class BoundedLocalExecutor(LocalExecutor):
    """Runs at most ``[core] parallelism`` tasks; the others wait in the scheduler, by priority."""

    def start(self) -> None:
        """Start a worker, and with it the imports of all, before the first loop of the scheduler.

        On a busy machine they take longer than a scheduler may be silent: it would take itself for
        dead, and reset the tasks that it has just handed over.
        """
        super().start()
        if not self.is_mp_using_fork:
            self._spawn_worker()  # type: ignore[no-untyped-call]

    def _process_workloads(self, workload_list: Sequence[ExecutorWorkload]) -> None:
        """Note what the workers are given; the base class forgets it when it has ended."""
        self.running.update(workload.key for workload in workload_list)
        super()._process_workloads(workload_list)  # type: ignore[no-untyped-call]

    def revoke_task(self, *, ti: TaskInstance) -> None:
        """Free the slot of a task that was handed over and never began: its worker was killed.

        Parameters
        ----------
        ti : TaskInstance
            The task, which the scheduler then hands over again.
        """
        self.running.discard(ti.key)
