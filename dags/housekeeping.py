"""Every hour: remove the sandboxes that nobody owns, and say what could not be removed."""

from __future__ import annotations

from datetime import UTC, datetime

from airflow.sdk import dag, task

from dsa110_contimg.orchestration.errors import default_args


@dag(
    dag_id="housekeeping",
    schedule="@hourly",
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    max_active_runs=1,
    default_args=default_args(),
    tags=["dsa110"],
    doc_md=__doc__,
)
def housekeeping() -> None:
    """Wire the one task."""

    @task
    def sandboxes() -> list[str]:
        from dsa110_contimg.orchestration.housekeeping import remove_dead_sandboxes

        return remove_dead_sandboxes()

    sandboxes()


housekeeping()
