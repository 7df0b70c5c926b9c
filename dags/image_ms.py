"""One Measurement Set: measure its sources, never two tasks on it at once.

Every task that touches the MS is written with the pool `MS_POOL`, which stands for the pool
of one slot of the MS that the run names; runs of any origin thus wait for one another.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import dag, get_current_context, task

from dsa110_contimg.orchestration.errors import default_args
from dsa110_contimg.orchestration.forms import image_form
from dsa110_contimg.orchestration.pools import MS_POOL
from dsa110_contimg.orchestration.runs import IMAGE_DAG
from dsa110_contimg.settings import get_settings

Sources = list[dict[str, Any]]
SETTINGS = get_settings()
IMAGING_LIMIT = timedelta(seconds=SETTINGS.imaging_timeout_s + SETTINGS.ms_lock_timeout_s + 120)


@dag(
    dag_id=IMAGE_DAG,
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    max_active_runs=512,
    max_active_tasks=512,
    dagrun_timeout=timedelta(hours=12),
    default_args=default_args(),
    params=image_form(SETTINGS),
    tags=["dsa110"],
    doc_md=__doc__,
)
def image_ms() -> None:
    """Wire the tasks."""

    @task(pool=MS_POOL)
    def prepare() -> Sources:
        from dsa110_contimg.orchestration.ms_tasks import plan_sources, read_request

        context = get_current_context()
        request = read_request(context["params"])
        planned = plan_sources(request, f"{IMAGE_DAG} {context['run_id']}: prepare")
        return [source.model_dump(mode="json") for source in planned]

    @task(pool=MS_POOL, execution_timeout=IMAGING_LIMIT)
    def measure(planned: Sources) -> Sources:
        from dsa110_contimg.catalog.sources import Source
        from dsa110_contimg.orchestration import ms_tasks

        context = get_current_context()
        left = ms_tasks.measure(
            ms_tasks.read_request(context["params"]),
            [Source.model_validate(source) for source in planned],
            f"{IMAGE_DAG} {context['run_id']}: {len(planned)} sources",
        )
        return [job.model_dump(mode="json") for job in left]

    @task(pool=MS_POOL, execution_timeout=IMAGING_LIMIT, map_index_template="{{ source_name }}")
    def image(job: dict[str, Any]) -> str:
        from dsa110_contimg.orchestration import ms_tasks

        context = get_current_context()
        name: str = job["source"]["name"]
        context["source_name"] = name  # type: ignore[typeddict-unknown-key]
        ms_tasks.image(
            ms_tasks.read_request(context["params"]),
            ms_tasks.ImagingJob.model_validate(job),
            f"{IMAGE_DAG} {context['run_id']}: {name}",
        )
        return name

    @task(trigger_rule="all_done")
    def summary(planned: Sources | None, left: Sources | None, imaged: Sequence[str]) -> str:
        from dsa110_contimg.orchestration.ms_tasks import judge_sources

        return judge_sources(planned, left, list(imaged))

    planned: Any = prepare()
    left: Any = measure(planned)
    imaged: Any = image.expand(job=left)
    summary(planned, left, imaged)


image_ms()
