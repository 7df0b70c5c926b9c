"""One Measurement Set: flag, calibrate, measure its sources; never two tasks on it at once.

Every task that touches the MS is written with the pool `MS_POOL`, which stands for the pool
of one slot of the MS that the run names; runs of any origin thus wait for one another.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from airflow.sdk import dag, get_current_context, task

from dsa110_contimg.orchestration.errors import default_args
from dsa110_contimg.orchestration.forms import image_form
from dsa110_contimg.orchestration.pools import MS_POOL
from dsa110_contimg.orchestration.queues import CASA, FIRST
from dsa110_contimg.orchestration.runs import IMAGE_DAG, task_limit
from dsa110_contimg.settings import get_settings

if TYPE_CHECKING:
    from dsa110_contimg.orchestration.ms_requests import ImageRequest

Sources = list[dict[str, Any]]
SETTINGS = get_settings()


IMAGING_LIMIT = task_limit(SETTINGS, SETTINGS.imaging_timeout_s)
FLAGGING_LIMIT = task_limit(SETTINGS, SETTINGS.flagging_timeout_s)
CALIBRATION_LIMIT = task_limit(SETTINGS, SETTINGS.calibration_timeout_s)


def this_run(what: str) -> tuple[ImageRequest, str]:
    """Read what the run is asked for, and name one of its tasks for those who wait for its MS."""
    from dsa110_contimg.orchestration.ms_requests import read_request

    context = get_current_context()
    run_id = context["run_id"]
    by_hand = run_id if context["dag_run"].run_type == "manual" else None
    return read_request(context["params"], by_hand), f"{IMAGE_DAG} {run_id}: {what}"


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

    @task(pool=MS_POOL, queue=CASA, execution_timeout=FLAGGING_LIMIT, **FIRST)
    def flag() -> str:
        from dsa110_contimg.orchestration import calibration_tasks

        return calibration_tasks.flag(*this_run("flag"))

    @task(pool=MS_POOL, queue=CASA, execution_timeout=CALIBRATION_LIMIT, **FIRST)
    def solve() -> str:
        from dsa110_contimg.orchestration import calibration_tasks

        return calibration_tasks.solve(*this_run("solve"))

    @task.sensor(
        mode="reschedule",
        poke_interval=10,
        exponential_backoff=True,
        max_wait=60,
        timeout=SETTINGS.calibration_wait_timeout_s,
        soft_fail=True,
        trigger_rule="all_done",
    )
    def calibrators(flagged: str | None) -> bool:
        from dsa110_contimg.orchestration import calibration_tasks, silence

        request, _ = this_run("calibrators")
        context = get_current_context()
        silence.settle_failed_solve(request, context["ti"])
        # Without flags there is nothing to calibrate; the task before has said why.
        return flagged is None or calibration_tasks.is_ready(request, context)

    @task(
        pool=MS_POOL,
        queue=CASA,
        execution_timeout=CALIBRATION_LIMIT,
        trigger_rule="none_failed",
    )
    def apply() -> str:
        from dsa110_contimg.orchestration import calibration_tasks

        return calibration_tasks.apply(*this_run("apply"))

    @task(pool=MS_POOL)
    def prepare() -> Sources:
        from dsa110_contimg.orchestration.ms_tasks import plan_sources

        planned = plan_sources(*this_run("prepare"))
        return [source.model_dump(mode="json") for source in planned]

    @task(pool=MS_POOL, queue=CASA, execution_timeout=IMAGING_LIMIT)
    def measure(planned: Sources) -> Sources:
        from dsa110_contimg.catalog.sources import Source
        from dsa110_contimg.orchestration import ms_tasks

        request, purpose = this_run(f"{len(planned)} sources")
        sources = [Source.model_validate(source) for source in planned]
        left = ms_tasks.measure(request, sources, purpose)
        return [job.model_dump(mode="json") for job in left]

    @task(
        pool=MS_POOL,
        queue=CASA,
        execution_timeout=IMAGING_LIMIT,
        map_index_template="{{ source_name }}",
    )
    def image(job: dict[str, Any]) -> str:
        from dsa110_contimg.orchestration import ms_tasks

        name: str = job["source"]["name"]
        get_current_context()["source_name"] = name  # type: ignore[typeddict-unknown-key]
        request, purpose = this_run(name)
        ms_tasks.image(request, ms_tasks.ImagingJob.model_validate(job), purpose)
        return name

    @task(trigger_rule="all_done")
    def summary(planned: Sources | None, left: Sources | None, imaged: Sequence[str]) -> str:
        from dsa110_contimg.orchestration.ms_tasks import judge_sources

        return judge_sources(planned, left, list(imaged))

    planned: Any = prepare()
    if SETTINGS.calibration == "on":
        flagged: Any = flag()
        ready: Any = calibrators(flagged)
        flagged >> solve() >> ready
        [flagged, ready] >> apply() >> planned
    left: Any = measure(planned)
    imaged: Any = image.expand(job=left)
    summary(planned, left, imaged)


image_ms()
