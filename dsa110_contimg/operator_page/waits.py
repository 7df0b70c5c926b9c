"""What nights wait for, read from Airflow's own database."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING
from urllib.parse import quote

from pydantic import ValidationError

from dsa110_contimg.orchestration.runs import IMAGE_DAG, NIGHT_DAG
from dsa110_contimg.orchestration.waiting import AWAITED_KEY, Awaited, describe_obstacles

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

    from dsa110_contimg.operator_page.airflow_state import NightRun

_WAITING_STATES = ("up_for_reschedule", "running", "queued", "scheduled")
"""Of a task that waits, and looks again now and then."""
_IN_TURN = "waits for its turn: Airflow works on a few nights at a time"


@dataclass(frozen=True)
class Wait:
    """Something that is awaited."""

    sentence: str
    """What, and until when."""
    since: datetime | None
    """Start of the wait, UTC."""
    path: str
    """Of Airflow's page of the run, or of the DAG, below Airflow's root."""
    date: str | None = None
    """The night that waits; None: all of them."""
    group_id: str | None = None
    """The group that waits; None: the whole night."""


def read_waits(session: Session, runs: Iterable[NightRun]) -> list[Wait]:
    """Read what keeps Airflow from its work, and what the nights in progress wait for.

    Parameters
    ----------
    session : Session
        Of Airflow's database.
    runs : iterable of NightRun
        The runs of nights.

    Returns
    -------
    list of Wait
        What holds up all of them, then what each waits for, in order of group.
    """
    active = [run for run in runs if run.is_active]
    since = min((run.since for run in active if run.since), default=None)
    obstacles = _read_obstacles(session, since)
    in_turn = [
        Wait(_IN_TURN, run.since, run.path, run.date)
        for run in active
        if run.state == "queued" and not obstacles
    ]
    told = sorted(_read_awaited(session), key=lambda wait: wait.group_id or "")
    return [*obstacles, *in_turn, *told]


def _read_awaited(session: Session) -> list[Wait]:
    """Read what the tasks that wait have told."""
    from airflow.models.taskinstance import TaskInstance
    from airflow.models.xcom import XComModel
    from sqlalchemy import and_, select

    query = (
        select(XComModel)
        .join(
            TaskInstance,
            and_(
                TaskInstance.dag_id == XComModel.dag_id,
                TaskInstance.run_id == XComModel.run_id,
                TaskInstance.task_id == XComModel.task_id,
                TaskInstance.map_index == XComModel.map_index,
            ),
        )
        .where(
            XComModel.dag_id.in_([NIGHT_DAG, IMAGE_DAG]),
            XComModel.key == AWAITED_KEY,
            TaskInstance.state.in_(_WAITING_STATES),
        )
    )
    found = []
    for row in session.scalars(query):
        try:
            one = Awaited.model_validate(XComModel.deserialize_value(row))
        except ValidationError:
            continue
        path = f"/dags/{row.dag_id}/runs/{quote(row.run_id, safe='')}"
        found.append(Wait(one.sentence, one.since, path, one.date, one.group_id))
    return found


def _read_obstacles(session: Session, since: datetime | None) -> list[Wait]:
    """Read what keeps Airflow from starting tasks of nights."""
    from airflow.jobs.job import most_recent_job
    from airflow.models.dag import DagModel
    from sqlalchemy import select

    query = select(DagModel.dag_id).where(
        DagModel.dag_id.in_([NIGHT_DAG, IMAGE_DAG]), DagModel.is_paused
    )
    scheduler = most_recent_job("SchedulerJob", session=session)
    heartbeat = scheduler.latest_heartbeat if scheduler else None
    is_scheduled = scheduler is not None and scheduler.is_alive()
    paused = sorted(session.scalars(query), reverse=True)
    sentences = describe_obstacles(
        paused, is_scheduled=is_scheduled, heartbeat=heartbeat, now=datetime.now(UTC)
    )
    return [
        Wait(sentence, heartbeat if dag_id is None else since, f"/dags/{dag_id or NIGHT_DAG}")
        for sentence, dag_id in zip(sentences, [*paused, None], strict=False)
    ]
