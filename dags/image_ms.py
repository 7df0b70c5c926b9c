"""One Measurement Set: image its sources, one task each, never two tasks on it at once.

Every task that touches the MS is written with the pool `MS_POOL`, which stands for the pool
of one slot of the MS that the run names; runs of any origin thus wait for one another.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from typing import Any

from airflow.sdk import Param, dag, get_current_context, task

from dsa110_contimg.orchestration.errors import default_args
from dsa110_contimg.orchestration.pools import MS_POOL
from dsa110_contimg.orchestration.runs import IMAGE_DAG
from dsa110_contimg.settings import get_settings

SETTINGS = get_settings()
IMAGING_LIMIT = timedelta(seconds=SETTINGS.imaging_timeout_s + SETTINGS.ms_lock_timeout_s + 120)

SOURCE_SCHEMA = {
    "type": "object",
    "required": ["name", "ra_deg", "dec_deg"],
    "properties": {
        "name": {"type": "string", "pattern": "^[A-Za-z0-9+._-]+$"},
        "ra_deg": {"type": "number", "minimum": 0, "exclusiveMaximum": 360},
        "dec_deg": {"type": "number", "minimum": -90, "maximum": 90},
    },
}


@dag(
    dag_id=IMAGE_DAG,
    schedule=None,
    start_date=datetime(2026, 1, 1, tzinfo=UTC),
    max_active_runs=512,
    max_active_tasks=512,
    dagrun_timeout=timedelta(hours=12),
    default_args=default_args(),
    params={
        "ms": Param(
            type="string",
            minLength=1,
            title="Measurement Set",
            description=f"Absolute path of a published MS, e.g. {SETTINGS.ms_dir}/DATE/GROUP.ms",
        ),
        "sources": Param(
            None,
            type=["null", "array"],
            items=SOURCE_SCHEMA,
            title="Sources",
            description='JSON list, e.g. [{"name": "J0834+5534", "ra_deg": 128.7287, '
            '"dec_deg": 55.5725}]. Empty: the sources of the catalogue that lie in the field.',
        ),
        "sources_file": Param(
            None,
            type=["null", "string"],
            title="Source catalogue",
            description=f"Used if no sources are given. Empty: {SETTINGS.sources_path}",
        ),
        "target_snr": Param(
            5.0,
            type="number",
            exclusiveMinimum=0,
            title="Target SNR",
            description="A run of spectral windows at or above it is a detection.",
        ),
        "min_width": Param(1, type="integer", minimum=1, title="Smallest bin, in windows"),
        "max_width": Param(16, type="integer", minimum=1, title="Largest bin, in windows"),
        "max_spws": Param(
            None,
            type=["null", "integer"],
            minimum=1,
            title="Number of windows",
            description="Image only the first so many. Empty: all.",
        ),
        "reprocess": Param(
            False,
            type="boolean",
            title="Reprocess",
            description="Do the work again even if the products are there.",
        ),
        "night": Param(
            None,
            type=["null", "string"],
            format="date",
            title="Night",
            description="Night that the results are filed under. Empty: the date of the MS.",
        ),
    },
    tags=["dsa110"],
    doc_md=__doc__,
)
def image_ms() -> None:
    """Wire the tasks."""

    @task(pool=MS_POOL)
    def prepare() -> list[dict[str, Any]]:
        from dsa110_contimg.orchestration.ms_tasks import plan_sources, read_request

        context = get_current_context()
        request = read_request(context["params"])
        planned = plan_sources(request, f"{IMAGE_DAG} {context['run_id']}: prepare")
        return [source.model_dump(mode="json") for source in planned]

    @task(pool=MS_POOL, execution_timeout=IMAGING_LIMIT, map_index_template="{{ source_name }}")
    def image(source: dict[str, Any]) -> str:
        from dsa110_contimg.catalog.sources import Source
        from dsa110_contimg.orchestration import ms_tasks

        context = get_current_context()
        context["source_name"] = source["name"]  # type: ignore[typeddict-unknown-key]
        ms_tasks.image(
            ms_tasks.read_request(context["params"]),
            Source.model_validate(source),
            f"{IMAGE_DAG} {context['run_id']}: {source['name']}",
        )
        name: str = source["name"]
        return name

    @task(trigger_rule="all_done")
    def summary(planned: list[dict[str, Any]] | None, done: Sequence[str]) -> str:
        from dsa110_contimg.orchestration.ms_tasks import judge_sources

        return judge_sources(planned, list(done))

    planned: Any = prepare()
    done: Any = image.expand(source=planned)
    summary(planned, done)


image_ms()
