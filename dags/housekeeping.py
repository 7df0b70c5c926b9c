"""Every hour: remove what nobody owns and what was kept for long enough; reap idle pools.

The pools of Measurement Sets that no task has used for days go when a run of this DAG ends:
a listener in the scheduler does that, for tasks may not.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from airflow.sdk import dag, get_current_context, task

from dsa110_contimg.orchestration.errors import default_args
from dsa110_contimg.orchestration.queues import CONVERT
from dsa110_contimg.orchestration.runs import HOUSEKEEPING_DAG, IMAGE_DAG, IMAGE_DAG_LAST_TASK
from dsa110_contimg.settings import get_settings


@dag(
    dag_id=HOUSEKEEPING_DAG,
    schedule="@hourly",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args=default_args(),
    tags=["dsa110"],
    doc_md=__doc__,
)
def housekeeping() -> None:
    """Wire the tasks."""

    # Where there are several machines: on one with the tmpfs that conversions need.
    @task(queue=CONVERT)
    def tidy() -> dict[str, Any]:
        from dsa110_contimg.orchestration.housekeeping import keep_house

        if get_settings().retain_ms_days is None:
            return keep_house({})
        instance = get_current_context()["ti"]
        last = [IMAGE_DAG_LAST_TASK]
        return keep_house(instance.get_task_states(dag_id=IMAGE_DAG, task_ids=last))

    @task(queue=CONVERT)
    def watch() -> str:
        from dsa110_contimg.orchestration.alerts.watch import keep_watch

        return keep_watch()

    tidy()
    watch()


housekeeping()
