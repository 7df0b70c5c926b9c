"""What Airflow is doing now, from its own database: runs of nights, tasks, pools."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import quote

from dsa110_contimg.errors import InputError, TransientError
from dsa110_contimg.operator_page.waits import Wait, read_waits
from dsa110_contimg.orchestration.pace import Pace, measure_pace
from dsa110_contimg.orchestration.pools import POOL_PREFIX, ms_pool_name, run_ms
from dsa110_contimg.orchestration.runs import (
    CONVERT_TASK,
    IMAGE_DAG,
    IMAGE_TASK,
    NIGHT_DAG,
    plan_night,
)
from dsa110_contimg.settings import Settings

if TYPE_CHECKING:
    from sqlalchemy import Select
    from sqlalchemy.orm import Session

_MAX_RUNS = 400
"""Newest runs of `nightly_transit` that are looked through."""
_MAX_TASKS = 500
"""Tasks in a list."""
_RUNNING_STATES = ("running", "restarting")
_WAITING_STATES = ("queued", "scheduled", "up_for_reschedule", "up_for_retry", "deferred")
ACTIVE_RUN_STATES = frozenset({"queued", "running"})


@dataclass(frozen=True)
class NightRun:
    """A run of `nightly_transit`."""

    date: str
    """The night that it is about."""
    run_id: str
    """Airflow's name of it."""
    state: str
    """Airflow's word."""
    started: datetime | None
    """UTC."""
    ended: datetime | None
    """UTC."""
    path: str
    """Of Airflow's page of it, below Airflow's root."""
    queued: datetime | None = None
    """When it was asked for, UTC."""

    @property
    def since(self) -> datetime | None:
        """When it started, or was asked for."""
        return self.started or self.queued

    @property
    def is_active(self) -> bool:
        """Whether it goes on."""
        return self.state in ACTIVE_RUN_STATES


@dataclass(frozen=True)
class TaskLine:
    """A task instance: the last try of it."""

    dag_id: str
    """Its DAG."""
    run_id: str
    """Its run."""
    task_id: str
    """The task."""
    label: str
    """What it is about, where it is one of several: a group, an MS, a source."""
    state: str
    """Airflow's word; ``none`` if it has not been scheduled."""
    started: datetime | None
    """UTC."""
    ended: datetime | None
    """UTC; None while it runs."""
    tries: int
    """How often it was started."""
    path: str
    """Of Airflow's page with its log, below Airflow's root."""
    subject: str = ""
    """What its run is about: a night, or the group of a Measurement Set."""

    @property
    def about(self) -> str:
        """What it is about, as a reader is told."""
        label = self.label.rpartition("/")[2]
        if label.isdigit():  # one of several that has no name until it runs
            return f"{self.subject} [{label}]".strip()
        if self.dag_id != IMAGE_DAG or not self.label:
            return label or self.subject
        return f"{label} in {self.subject}" if self.subject else label

    @property
    def seconds(self) -> float | None:
        """How long it took, or has taken so far."""
        if self.started is None:
            return None
        return ((self.ended or datetime.now(UTC)) - self.started).total_seconds()


@dataclass(frozen=True)
class PoolLine:
    """A pool and its slots."""

    name: str
    """Its name."""
    description: str
    """What it is for."""
    slots: int | None
    """How many it has; None: any number."""
    running: int
    """Slots of tasks that run."""
    queued: int
    """Slots of tasks that are about to run."""
    waiting: int
    """Slots that tasks wait for, deferred ones included."""

    @property
    def is_of_ms(self) -> bool:
        """Whether it guards an MS."""
        return self.name.startswith(POOL_PREFIX)

    @property
    def is_idle(self) -> bool:
        """Whether nobody uses it."""
        return not (self.running or self.queued or self.waiting)


class AirflowFacts(Protocol):
    """What the pages ask Airflow; each may raise `TransientError`."""

    def list_night_runs(self) -> list[NightRun]:
        """List the runs of nights, newest first."""

    def list_running_tasks(self) -> list[TaskLine]:
        """List the tasks that run or wait, those that run first."""

    def list_waits(self) -> list[Wait]:
        """List what the nights in progress wait for."""

    def read_pace(self, run_id: str) -> Pace:
        """Measure how far a run of a night has got.

        Parameters
        ----------
        run_id : str
            The run.
        """

    def list_group_tasks(self, date: str, group_id: str, ms_path: str | None) -> list[TaskLine]:
        """List the tasks that converted a group and worked on its MS.

        Parameters
        ----------
        date : str
            The night.
        group_id : str
            The group.
        ms_path : str or None
            Its MS, if it has one.
        """

    def list_pools(self) -> list[PoolLine]:
        """List the pools that are in use, and those that do not guard an MS."""


class AirflowDatabase:
    """Asks the database of the api-server that this runs in.

    Parameters
    ----------
    settings : Settings
        The settings in force.
    """

    def __init__(self, settings: Settings):
        self._settings = settings

    def list_night_runs(self) -> list[NightRun]:
        """List the runs of nights.

        Returns
        -------
        list of NightRun
            Newest first; runs that are about no night are left out.
        """
        with _session() as session:
            return list(self._night_runs(session))

    def list_running_tasks(self) -> list[TaskLine]:
        """List the tasks of `nightly_transit` and `image_ms` that run or wait.

        Returns
        -------
        list of TaskLine
            Those that run first, then by their start.
        """
        from airflow.models.taskinstance import TaskInstance

        # Whoever sees the pages may read these DAGs, and not necessarily others.
        of_ours = TaskInstance.dag_id.in_([NIGHT_DAG, IMAGE_DAG])
        with _session() as session:
            nights = {run.run_id: run.date for run in self._night_runs(session)}
            lines: list[TaskLine] = []
            for states in (_RUNNING_STATES, _WAITING_STATES):
                query = _task_query().where(of_ours, TaskInstance.state.in_(states))
                lines += _read_tasks(session, query, nights)
            return lines[:_MAX_TASKS]

    def list_waits(self) -> list[Wait]:
        """List what the nights in progress wait for.

        Returns
        -------
        list of Wait
            What holds up all of them first.
        """
        with _session() as session:
            return read_waits(session, list(self._night_runs(session)))

    def read_pace(self, run_id: str) -> Pace:
        """Measure how far a run of a night has got.

        Parameters
        ----------
        run_id : str
            The run.

        Returns
        -------
        Pace
            From the tasks of its groups.
        """
        from airflow.models.taskinstance import TaskInstance
        from sqlalchemy import select

        query = select(TaskInstance.task_id, TaskInstance.state, TaskInstance.start_date).where(
            TaskInstance.dag_id == NIGHT_DAG,
            TaskInstance.run_id == run_id,
            TaskInstance.task_id.in_([CONVERT_TASK, IMAGE_TASK]),
            TaskInstance.map_index >= 0,
        )
        with _session() as session:
            rows = session.execute(query).all()
        return measure_pace(
            [(row.state, row.start_date) for row in rows if row.task_id == CONVERT_TASK],
            [row.state for row in rows if row.task_id == IMAGE_TASK],
        )

    def list_group_tasks(self, date: str, group_id: str, ms_path: str | None) -> list[TaskLine]:
        """List the tasks that converted a group and worked on its MS.

        Parameters
        ----------
        date : str
            The night.
        group_id : str
            The group.
        ms_path : str or None
            Its MS.

        Returns
        -------
        list of TaskLine
            In the order in which they started, those that have not at the end.
        """
        from airflow.models.taskinstance import TaskInstance
        from sqlalchemy import select

        labels = [group_id, *([ms_path] if ms_path else [])]
        with _session() as session:
            nights = {r.run_id: r.date for r in self._night_runs(session) if r.date == date}
            query = _task_query().where(
                TaskInstance.dag_id == NIGHT_DAG,
                TaskInstance.run_id.in_(nights),
                _label_column().in_(labels),
            )
            tasks = _read_tasks(session, query, nights) if nights else []
            if ms_path:
                # All runs on an MS share its pool, whoever asked for them.
                of_ms = select(TaskInstance.run_id).where(
                    TaskInstance.dag_id == IMAGE_DAG, TaskInstance.pool == ms_pool_name(ms_path)
                )
                query = _task_query().where(
                    TaskInstance.dag_id == IMAGE_DAG, TaskInstance.run_id.in_(of_ms)
                )
                tasks += _read_tasks(session, query, nights)
        return tasks

    def list_pools(self) -> list[PoolLine]:
        """List the pools that are in use, and those that do not guard an MS.

        Returns
        -------
        list of PoolLine
            Those of MSs first, busiest first.
        """
        from airflow.models.pool import Pool
        from sqlalchemy import select

        with _session() as session:
            stats = Pool.slots_stats(session=session)
            described = dict(session.execute(select(Pool.pool, Pool.description)).tuples().all())
        pools = [
            PoolLine(
                name=name,
                description=described.get(name) or "",
                slots=None if one["total"] == float("inf") else int(one["total"]),
                running=one["running"],
                queued=one["queued"],
                waiting=one["scheduled"] + one["deferred"],
            )
            for name, one in stats.items()
        ]
        return sorted(pools, key=lambda p: (not p.is_of_ms, -p.running, -p.queued, p.name))

    def _night_runs(self, session: Session) -> Iterator[NightRun]:
        """Read the newest runs of nights."""
        from airflow.models.dagrun import DagRun
        from sqlalchemy import select

        query = (
            select(
                DagRun.run_id,
                DagRun.state,
                DagRun.conf,
                DagRun.data_interval_start,
                DagRun.data_interval_end,
                DagRun.start_date,
                DagRun.end_date,
                DagRun.queued_at,
            )
            .where(DagRun.dag_id == NIGHT_DAG)
            .order_by(DagRun.run_after.desc())
            .limit(_MAX_RUNS)
        )
        for run_id, state, conf, start, end, started, ended, queued in session.execute(query):
            try:
                night = plan_night(conf or {}, start, end, self._settings)
            except InputError:
                continue
            yield NightRun(
                date=night.date,
                run_id=run_id,
                state=str(state),
                started=started,
                ended=ended,
                queued=queued,
                path=f"/dags/{NIGHT_DAG}/runs/{quote(run_id, safe='')}",
            )


@contextmanager
def _session() -> Iterator[Session]:
    """Open a session of Airflow's; name what goes wrong with its database."""
    from airflow.utils.session import create_session
    from sqlalchemy.exc import SQLAlchemyError

    try:
        with create_session(scoped=False) as session:
            yield session
    except SQLAlchemyError as error:
        cause = str(getattr(error, "orig", None) or error).partition("\n")[0]
        raise TransientError(
            f"Airflow's database does not answer: {cause}", reason="airflow_database"
        ) from error


def _label_column() -> Any:
    """Name the column of a task's label, which Airflow's model types as a method."""
    from airflow.models.taskinstance import TaskInstance

    return TaskInstance.rendered_map_index


def _task_query() -> Select[Any]:
    """Select what `_read_tasks` reads, in the order of the work."""
    from airflow.models.taskinstance import TaskInstance
    from sqlalchemy import select

    query: Select[Any] = (
        select(
            TaskInstance.dag_id,
            TaskInstance.run_id,
            TaskInstance.task_id,
            TaskInstance.map_index,
            _label_column(),
            TaskInstance.state,
            TaskInstance.start_date,
            TaskInstance.end_date,
            TaskInstance.try_number,
        )
        .order_by(
            TaskInstance.start_date.is_(None),
            TaskInstance.start_date,
            TaskInstance.task_id,
            TaskInstance.map_index,
        )
        .limit(_MAX_TASKS)
    )
    return query


def _read_tasks(session: Session, query: Select[Any], nights: Mapping[str, str]) -> list[TaskLine]:
    """Read task instances, and what their runs are about."""
    rows: Sequence[Any] = session.execute(query).all()
    subjects = {
        **{run_id: f"night of {date}" for run_id, date in nights.items()},
        **_read_groups(session, {row.run_id for row in rows if row.dag_id == IMAGE_DAG}),
    }
    return [
        TaskLine(
            dag_id=row.dag_id,
            run_id=row.run_id,
            task_id=row.task_id,
            label=(row.rendered_map_index or str(row.map_index)) if row.map_index >= 0 else "",
            state=str(row.state or "none"),
            started=row.start_date,
            ended=row.end_date,
            tries=row.try_number,
            path=task_path(row.dag_id, row.run_id, row.task_id, row.map_index, row.try_number),
            subject=subjects.get(row.run_id, ""),
        )
        for row in rows
    ]


def _read_groups(session: Session, run_ids: Collection[str]) -> dict[str, str]:
    """Read which group the Measurement Set of each run of `image_ms` was made from."""
    from airflow.models.dagrun import DagRun
    from sqlalchemy import select

    query = select(DagRun.run_id, DagRun.conf).where(
        DagRun.dag_id == IMAGE_DAG, DagRun.run_id.in_(run_ids)
    )
    found = {run_id: run_ms(conf) for run_id, conf in session.execute(query)} if run_ids else {}
    return {run_id: Path(ms).name.removesuffix(".ms") for run_id, ms in found.items() if ms}


def task_path(dag_id: str, run_id: str, task_id: str, map_index: int, try_number: int) -> str:
    """Name Airflow's page of a task instance, which opens with its log.

    Parameters
    ----------
    dag_id, run_id, task_id : str
        The task.
    map_index : int
        Which one, if it is mapped; -1 if not.
    try_number : int
        Which try, from 1; 0: none so far.

    Returns
    -------
    str
        Below Airflow's root, as `TaskInstance.log_url` has it.
    """
    path = f"/dags/{dag_id}/runs/{quote(run_id, safe='')}/tasks/{quote(task_id, safe='')}"
    mapped = f"/mapped/{map_index}" if map_index >= 0 else ""
    tried = f"?try_number={try_number}" if try_number > 0 else ""
    return f"{path}{mapped}{tried}"
