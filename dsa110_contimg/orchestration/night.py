"""Process one night through a real Airflow that lives only for it."""

from __future__ import annotations

import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import Field

from dsa110_contimg.errors import ContimgError
from dsa110_contimg.models import Model
from dsa110_contimg.orchestration.client import FINISHED_STATES, AirflowClient
from dsa110_contimg.orchestration.embedded import EmbeddedAirflow
from dsa110_contimg.orchestration.following import ended_with_us, follow
from dsa110_contimg.orchestration.pace import OVER_STATES, Pace, measure_pace
from dsa110_contimg.orchestration.refusals import check_paths
from dsa110_contimg.orchestration.runs import (
    COMMAND_PREFIX,
    CONVERT_TASK,
    IMAGE_DAG,
    IMAGE_TASK,
    NIGHT_DAG,
)
from dsa110_contimg.orchestration.waiting import read_obstacles, read_waits
from dsa110_contimg.qa.models import NightReport
from dsa110_contimg.qa.records import NightLedger
from dsa110_contimg.settings import Settings

_POLL_S = 1.0


class NightOptions(Model):
    """Which night is processed."""

    date: str
    """UTC date, ``YYYY-MM-DD``."""
    sources_file: Path | None = None
    """Catalogue of the sources to image; None: the one of the settings."""


class NightProgress(Model):
    """How far a night has got."""

    groups: int = 0
    """Groups found so far."""
    groups_done: int = 0
    """Of these converted, skipped, rejected or failed."""
    flagged: int = 0
    """Measurement Sets that are flagged."""
    calibrated: int = 0
    """Of these calibrated."""
    measured: int = 0
    """Measurement Sets whose sources are fitted."""
    sources: int = 0
    """Sources to be imaged one by one, as far as is known."""
    sources_done: int = 0
    """Of these imaged or failed."""
    failed: int = 0
    """Tasks that failed."""
    pace: Pace = Pace()
    """What the remaining time is estimated from."""
    waits: tuple[str, ...] = ()
    """What is awaited, a sentence each."""


class NightResult(Model):
    """What became of a night."""

    date: str
    """UTC date."""
    run_id: str
    """Run of `nightly_transit`."""
    state: str
    """``success`` or ``failed``."""
    report: NightReport | None
    """The night report; None if the run ended without one."""
    report_html: str
    """Path of the report as HTML."""
    report_json: str
    """The same as JSON."""
    ms_dir: str
    """Directory of the night's MSs."""
    products_dir: str
    """Directory of the night's images, plots and tables."""
    logs_dir: str
    """Directory of the logs."""
    seconds: dict[str, float] = Field(default_factory=dict)
    """Wall time of Airflow's start, of the run, and of the end."""


def run_night(
    options: NightOptions,
    settings: Settings,
    on_progress: Callable[[NightProgress], None] | None = None,
    on_stage: Callable[[str], None] | None = None,
) -> NightResult:
    """Start Airflow, run `nightly_transit` for a date through its scheduler, and end Airflow.

    If this is interrupted, the run is marked as failed, so that it does not go on by itself
    the next time that Airflow starts.

    Parameters
    ----------
    options : NightOptions
        The night.
    settings : Settings
        Where to work.
    on_progress : callable, optional
        Called whenever the night has got further.
    on_stage : callable, optional
        Called with a sentence when something else begins.

    Returns
    -------
    NightResult
        What became of it.

    Raises
    ------
    InputError
        If the input directory or the catalogue cannot be read: nothing is touched.
    ContimgError
        If Airflow does not start, or dies.
    """
    check_paths(settings.raw_dir, options.sources_file)
    say = on_stage or (lambda _: None)
    seconds: dict[str, float] = {}
    stamp = datetime.now(UTC).strftime("%Y%m%dT%H%M%S.%fZ")
    name = f"{COMMAND_PREFIX}{options.date}__"
    run_id = f"{name}{stamp}"
    conf = {"date": options.date}
    if options.sources_file is not None:
        catalogue = options.sources_file.absolute()
        conf["sources_file"] = str(catalogue)
        # What runs may name is limited for those who trigger them, not for who owns the machine.
        roots = [*settings.allowed_roots, catalogue.parent]
        settings = settings.model_copy(update={"allowed_roots": roots})
    say("starting Airflow")
    started_s = time.time()
    clock = time.monotonic()
    with EmbeddedAirflow(settings, schedule=False) as airflow:
        seconds["start"] = time.monotonic() - clock
        end_runs(airflow.client, name)
        say(f"Airflow runs at {airflow.url}; triggering {NIGHT_DAG} for {options.date}")
        clock = time.monotonic()
        with unpaused(airflow.client), ended_with_us(partial(end_runs, airflow.client, run_id)):
            airflow.client.trigger(NIGHT_DAG, run_id, conf)
            state = _watch(airflow, run_id, on_progress or (lambda _: None))
        seconds["run"] = time.monotonic() - clock
        say("ending Airflow")
        clock = time.monotonic()
    seconds["end"] = time.monotonic() - clock
    ledger = NightLedger(settings.nights_dir, options.date)
    return NightResult(
        date=options.date,
        run_id=run_id,
        state=state,
        report=_read_report(ledger, started_s),
        report_html=str(ledger.report_html),
        report_json=str(ledger.report_json),
        ms_dir=str(settings.ms_dir / options.date),
        products_dir=str(settings.products_dir / options.date),
        logs_dir=str(settings.logs_dir),
        seconds={name: round(value, 1) for name, value in seconds.items()},
    )


def _watch(
    airflow: EmbeddedAirflow, run_id: str, on_progress: Callable[[NightProgress], None]
) -> str:
    """Follow a run to its end; return its state."""

    def look() -> tuple[str, NightProgress]:
        """Read the state first: what is over then does not change any more."""
        state: str = airflow.client.dag_run(NIGHT_DAG, run_id)["state"]
        return state, read_progress(airflow.client, run_id)

    state, _ = follow(
        look,
        is_over=lambda seen: seen[0] in FINISHED_STATES,
        wait=partial(airflow.wait, _POLL_S),
        on_progress=lambda seen: on_progress(seen[1]),
    )
    return state


def read_progress(client: AirflowClient, run_id: str) -> NightProgress:
    """Read from Airflow how far a run of `nightly_transit` has got.

    Parameters
    ----------
    client : AirflowClient
        Airflow.
    run_id : str
        The run.

    Returns
    -------
    NightProgress
        Counts of groups, Measurement Sets and sources.
    """
    of_night = client.task_instances(NIGHT_DAG, run_id)
    converts = _mapped(of_night, CONVERT_TASK)
    of_sets = client.task_instances(IMAGE_DAG, containing=run_id)
    images = _mapped(of_sets, "image")
    done = Counter(task["task_id"] for task in of_sets if task["state"] == "success")
    failed = [task for task in [*converts, *of_sets] if task["state"] == "failed"]
    tasks = [*of_night, *of_sets]
    waits = read_waits(client, tasks)
    if not any(task["state"] == "running" for task in tasks):
        waits += read_obstacles(client)
    return NightProgress(
        groups=len(converts),
        groups_done=sum(_is_over(task) for task in converts),
        flagged=done["flag"],
        calibrated=done["apply"],
        measured=done["measure"],
        sources=len(images),
        sources_done=sum(_is_over(task) for task in images),
        failed=len(failed),
        pace=measure_pace(
            [(task["state"], _read_start(task)) for task in converts],
            [task["state"] for task in _mapped(of_night, IMAGE_TASK)],
        ),
        waits=tuple(waits),
    )


def _mapped(tasks: list[dict[str, Any]], task_id: str) -> list[dict[str, Any]]:
    """Select the expanded instances of a task."""
    return [task for task in tasks if task["task_id"] == task_id and task["map_index"] >= 0]


def _is_over(task: dict[str, Any]) -> bool:
    """Whether a task instance will not run again."""
    return task["state"] in OVER_STATES


def _read_start(task: dict[str, Any]) -> datetime | None:
    """Read when a task instance last started."""
    return datetime.fromisoformat(task["start_date"]) if task["start_date"] else None


def end_runs(client: AirflowClient, name: str) -> None:
    """Mark unfinished runs as failed, with the runs that they started.

    Parameters
    ----------
    client : AirflowClient
        Airflow.
    name : str
        Part of the ids of the runs.
    """
    for dag_id in (NIGHT_DAG, IMAGE_DAG):
        for run in client.dag_runs(dag_id, containing=name):
            if run["state"] not in FINISHED_STATES:
                client.fail_run(dag_id, run["dag_run_id"])


@contextlib.contextmanager
def unpaused(client: AirflowClient) -> Iterator[None]:
    """Let the DAG start runs for a while; it is paused until the operator wants nights.

    Parameters
    ----------
    client : AirflowClient
        Airflow.

    Yields
    ------
    None
        Nothing.
    """
    dag = client.dag(NIGHT_DAG) or {}
    client.set_paused(NIGHT_DAG, paused=False)
    try:
        yield
    finally:
        if dag.get("is_paused"):
            with contextlib.suppress(ContimgError):
                client.set_paused(NIGHT_DAG, paused=True)


def _read_report(ledger: NightLedger, since_s: float) -> NightReport | None:
    """Read the report, if this run wrote it."""
    path = ledger.report_json
    if not path.exists() or path.stat().st_mtime < since_s:
        return None
    return NightReport.model_validate_json(path.read_text(encoding="utf-8"))
