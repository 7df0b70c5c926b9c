"""The night: find its groups, convert each, hand each MS over to `image_ms`, report."""

from __future__ import annotations

from datetime import UTC, date, datetime, time, timedelta
from typing import Any

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import dag, get_current_context, task, task_group

from dsa110_contimg.orchestration.errors import default_args
from dsa110_contimg.orchestration.forms import night_form
from dsa110_contimg.orchestration.queues import CONVERT, FIRST
from dsa110_contimg.orchestration.runs import (
    IMAGE_DAG,
    NIGHT_DAG,
    plan_run,
    task_limit,
    wait_in_turn,
)
from dsa110_contimg.orchestration.timetable import find_schedule
from dsa110_contimg.settings import get_settings

SETTINGS = get_settings()
CONVERSION_LIMIT = task_limit(SETTINGS, SETTINGS.conversion_timeout_s)


def announce_failure(context: Any) -> None:
    """Tell of a run that was ended before it could tell of its night."""
    from dsa110_contimg.orchestration.alerts.night import announce_failed_run

    announce_failed_run(context)


@dag(
    dag_id=NIGHT_DAG,
    schedule=find_schedule(SETTINGS),
    start_date=datetime.combine(SETTINGS.catchup_from or date(2026, 1, 1), time(), UTC),
    catchup=SETTINGS.catchup_from is not None,
    is_paused_upon_creation=True,
    max_active_runs=3,
    max_active_tasks=64,
    dagrun_timeout=timedelta(hours=24),
    default_args=default_args(),
    params=night_form(SETTINGS),
    on_failure_callback=announce_failure,
    tags=["dsa110"],
    doc_md=__doc__,
)
def nightly_transit() -> None:
    """Wire the tasks."""

    @task.sensor(
        mode="reschedule",
        poke_interval=SETTINGS.settle_poke_s,
        timeout=SETTINGS.settle_timeout_s + 3600,
    )
    def settle() -> bool:
        from dsa110_contimg.orchestration.settling import has_settled

        context = get_current_context()
        return has_settled(plan_run(context), context["dag_run"].start_date, context["ti"])

    @task
    def discover() -> list[dict[str, Any]]:
        from dsa110_contimg.orchestration.transit_tasks import discover_groups

        groups = discover_groups(plan_run(get_current_context()))
        return [group.model_dump(mode="json") for group in groups]

    @task(
        multiple_outputs=True,
        queue=CONVERT,
        execution_timeout=CONVERSION_LIMIT,
        map_index_template="{{ group_id }}",
    )
    def convert(group: dict[str, Any]) -> dict[str, Any]:
        from dsa110_contimg.conversion.models import SubbandGroup
        from dsa110_contimg.orchestration import transit_tasks

        context = get_current_context()
        context["group_id"] = group["group_id"]  # type: ignore[typeddict-unknown-key]
        night = plan_run(context)
        result = transit_tasks.convert(night, SubbandGroup.model_validate(group))
        return transit_tasks.hand_over(night, result, context["run_id"])

    @task(trigger_rule="one_failed")
    def settle_failed(group: dict[str, Any]) -> str:
        from dsa110_contimg.orchestration.silence import settle_failed_group

        context = get_current_context()
        return settle_failed_group(plan_run(context), group["group_id"], context["ti"])

    @task_group
    def process(group: dict[str, Any]) -> None:
        converted: Any = convert(group)
        image = TriggerDagRunOperator(
            task_id="image",
            trigger_dag_id=IMAGE_DAG,
            trigger_run_id=converted["image_run_id"],
            conf=converted["image_conf"],
            logical_date=None,
            reset_dag_run=True,
            wait_for_completion=True,
            deferrable=True,
            pre_execute=wait_in_turn,
            **FIRST,
            map_index_template="{{ task.conf['ms'] }}",
        )
        image >> [settle_failed(group), reported]  # the first is no task after a good night

    @task(trigger_rule="all_done")
    def report(groups: list[dict[str, Any]] | None) -> dict[str, Any]:
        from dsa110_contimg.orchestration.transit_tasks import report_run

        return report_run(groups, get_current_context())

    @task(trigger_rule="all_done")
    def announce(summary: dict[str, Any] | None) -> str:
        from dsa110_contimg.orchestration.alerts.night import announce_night

        return announce_night(summary, get_current_context())

    @task(trigger_rule="all_done")
    def verdict(summary: dict[str, Any] | None) -> str:
        from dsa110_contimg.orchestration.transit_tasks import judge_night

        return judge_night(summary)

    found: Any = discover()
    if SETTINGS.settle_s:
        settle() >> found
    reported: Any = report(found)
    process.expand(group=found) >> reported
    announce(reported) >> verdict(reported)


nightly_transit()
