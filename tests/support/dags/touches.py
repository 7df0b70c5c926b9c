"""A stand-in for any DAG whose tasks touch an MS."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from airflow.sdk import dag, get_current_context, task

from dsa110_contimg.orchestration.pools import MS_POOL


@dag(schedule=None, start_date=datetime(2026, 1, 1, tzinfo=UTC))
def touches() -> None:
    @task(pool=MS_POOL)
    def prepare() -> list[int]:
        return [0, 1, 2]

    @task(pool=MS_POOL, retries=1, retry_delay=timedelta(seconds=0))
    def touch(number: int) -> None:
        if number == 1 and get_current_context()["ti"].try_number == 1:
            raise RuntimeError("once")

    @task
    def other() -> None: ...

    touch.expand(number=prepare()) >> other()


touches()
