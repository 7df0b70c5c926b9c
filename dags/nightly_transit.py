"""The night: find its groups, convert each, hand each MS over to `image_ms`, report."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.providers.standard.operators.trigger_dagrun import TriggerDagRunOperator
from airflow.sdk import CronDataIntervalTimetable, Param, dag, get_current_context, task, task_group
from airflow.sdk.exceptions import AirflowFailException, AirflowSkipException

from dsa110_contimg.orchestration.errors import default_args
from dsa110_contimg.orchestration.runs import (
    IMAGE_DAG,
    NIGHT_DAG,
    Night,
    image_conf,
    image_run_id,
    plan_night,
    task_limit,
)
from dsa110_contimg.settings import get_settings

SETTINGS = get_settings()
CONVERSION_LIMIT = task_limit(SETTINGS, SETTINGS.conversion_timeout_s)


def this_night() -> Night:
    """Read from the run which night it is about."""
    context = get_current_context()
    return plan_night(
        context["params"],
        context.get("data_interval_start"),
        context.get("data_interval_end"),
        get_settings(),
    )


@dag(
    dag_id=NIGHT_DAG,
    schedule=CronDataIntervalTimetable(SETTINGS.schedule, "UTC") if SETTINGS.schedule else None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    catchup=False,
    is_paused_upon_creation=True,
    max_active_runs=3,
    max_active_tasks=64,
    dagrun_timeout=timedelta(hours=24),
    default_args=default_args(),
    params={
        "date": Param(
            None,
            type=["null", "string"],
            format="date",
            title="Night",
            description="UTC date. Empty: the data interval of the run.",
        ),
        "input_dir": Param(
            None,
            type=["null", "string"],
            title="Input directory",
            description=f"Raw UVH5 subband files. Empty: {SETTINGS.raw_dir}",
        ),
        "sources_file": Param(
            None,
            type=["null", "string"],
            title="Source catalogue",
            description="Table with name, ra_deg and dec_deg (ECSV, CSV, VOTable or FITS). "
            f"Empty: {SETTINGS.sources_path}",
        ),
    },
    tags=["dsa110"],
    doc_md=__doc__,
)
def nightly_transit() -> None:
    """Wire the tasks."""

    @task
    def discover() -> list[dict[str, Any]]:
        from dsa110_contimg.orchestration.transit_tasks import discover_groups

        return [group.model_dump(mode="json") for group in discover_groups(this_night())]

    @task(
        multiple_outputs=True,
        execution_timeout=CONVERSION_LIMIT,
        map_index_template="{{ group_id }}",
    )
    def convert(group: dict[str, Any]) -> dict[str, Any]:
        from dsa110_contimg.conversion.models import SubbandGroup
        from dsa110_contimg.orchestration import transit_tasks

        context = get_current_context()
        context["group_id"] = group["group_id"]  # type: ignore[typeddict-unknown-key]
        night = this_night()
        result = transit_tasks.convert(night, SubbandGroup.model_validate(group))
        if transit_tasks.is_rejected(result):
            raise AirflowSkipException(result.reason)
        conf = image_conf(night, str(result.ms_path))
        run_id = image_run_id(context["run_id"], conf)
        return {**result.model_dump(mode="json"), "image_conf": conf, "image_run_id": run_id}

    @task_group
    def process(group: dict[str, Any]) -> None:
        converted: Any = convert(group)
        TriggerDagRunOperator(
            task_id="image",
            trigger_dag_id=IMAGE_DAG,
            trigger_run_id=converted["image_run_id"],
            conf=converted["image_conf"],
            logical_date=None,
            reset_dag_run=True,
            wait_for_completion=True,
            deferrable=True,
            poke_interval=2,
            map_index_template="{{ task.conf['ms'] }}",
        )

    @task(trigger_rule="all_done")
    def report() -> dict[str, Any]:
        from dsa110_contimg.orchestration.transit_tasks import report_night

        return report_night(this_night())

    @task
    def verdict(summary: dict[str, Any]) -> str:
        from dsa110_contimg.orchestration.transit_tasks import judge_night

        if failure := judge_night(summary["date"]):
            raise AirflowFailException(failure)
        headline: str = summary["headline"]
        return headline

    reported: Any = report()
    process.expand(group=discover()) >> reported
    verdict(reported)


nightly_transit()
