"""How the end of a run is put right where Airflow leaves it half done.

Airflow's scheduler may take a run that is marked as failed at this very moment for a success, for
its waiting tasks are *skipped*. Nobody is told of such a run, and the runs that it started go on.
All of this works inside the caller's transaction: nothing is committed, and nothing takes long.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Final

from dsa110_contimg.orchestration.runs import (
    COMMAND_PREFIX,
    IMAGE_DAG,
    NIGHT_DAG,
    parent_of_image_run,
)

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun
    from sqlalchemy.orm import Session

BY_HAND: Final = "marked as failed by hand"
"""Why a run ended, for those who are told of it."""


def keep_failed(session: Session, dag_run: DagRun) -> None:
    """Leave a run failed that was marked so while the scheduler looked at its tasks.

    Parameters
    ----------
    session : Session
        The scheduler's.
    dag_run : DagRun
        A run that the scheduler takes for a success.
    """
    from airflow.models.dagrun import DagRun
    from airflow.utils.state import DagRunState
    from sqlalchemy import select

    # Past the session, which has read the run before it was marked.
    known = select(DagRun.state).where(DagRun.id == dag_run.id)
    if session.connection().scalar(known) == DagRunState.FAILED:
        dag_run.set_state(DagRunState.FAILED)


def end_runs_of(session: Session, night_run: DagRun) -> list[str]:
    """Fail the unfinished runs of `image_ms` that a run of `nightly_transit` has started.

    Parameters
    ----------
    session : Session
        The caller's.
    night_run : DagRun
        A run that has ended.

    Returns
    -------
    list of str
        Ids of the runs that were ended: none, where the night has waited for all of them.
    """
    from airflow.models.dagrun import DagRun
    from airflow.utils.state import State
    from sqlalchemy import select

    started = select(DagRun.run_id).where(
        DagRun.dag_id == IMAGE_DAG,
        DagRun.state.in_(State.unfinished_dr_states),
        DagRun.run_id.contains(night_run.run_id, autoescape=True),
    )
    run_ids = [
        run_id
        for run_id in session.connection().scalars(started)
        if parent_of_image_run(run_id) == night_run.run_id
    ]
    if run_ids:
        _fail_runs(session, run_ids)
    return run_ids


def end_late_run(session: Session, image_run: DagRun) -> bool:
    """Fail a run of `image_ms` whose night was ended while it was being started.

    Parameters
    ----------
    session : Session
        The scheduler's.
    image_run : DagRun
        A run that begins.

    Returns
    -------
    bool
        Whether it was ended. A run that is cleared later works on, whatever its night came to.
    """
    from airflow.models.dagrun import DagRun
    from airflow.utils.state import DagRunState
    from sqlalchemy import select

    parent = parent_of_image_run(image_run.run_id)
    if image_run.dag_id != IMAGE_DAG or parent is None or image_run.clear_number:
        return False
    known = select(DagRun.state).where(DagRun.dag_id == NIGHT_DAG, DagRun.run_id == parent)
    if session.connection().scalar(known) != DagRunState.FAILED:
        return False
    image_run.set_state(DagRunState.FAILED)
    _fail_runs(session, [image_run.run_id])
    return True


def _fail_runs(session: Session, run_ids: list[str]) -> None:
    """Mark runs of `image_ms` as failed, and as Airflow does it what waits as skipped."""
    from airflow.models.dagrun import DagRun
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.state import DagRunState, State, TaskInstanceState
    from sqlalchemy import or_, update

    now, connection = datetime.now(UTC), session.connection()
    # First the runs, then their tasks: in this order the scheduler locks them, too.
    runs = update(DagRun).where(DagRun.dag_id == IMAGE_DAG, DagRun.run_id.in_(run_ids))
    connection.execute(runs.values(state=DagRunState.FAILED, end_date=now))
    tasks = update(TaskInstance).where(
        TaskInstance.dag_id == IMAGE_DAG, TaskInstance.run_id.in_(run_ids)
    )
    at_work = (TaskInstanceState.RUNNING, TaskInstanceState.UP_FOR_RESCHEDULE)
    connection.execute(
        tasks.where(TaskInstance.state.in_(at_work)).values(
            state=TaskInstanceState.FAILED, end_date=now
        )
    )
    waiting = [state for state in State.unfinished if state is not None]
    connection.execute(
        tasks.where(or_(TaskInstance.state.is_(None), TaskInstance.state.in_(waiting))).values(
            state=TaskInstanceState.SKIPPED, start_date=now, end_date=now
        )
    )


def tell_of_mark(session: Session, night_run: DagRun) -> None:
    """Have the message sent that Airflow sends of no run that was marked as failed by hand.

    Parameters
    ----------
    session : Session
        The api-server's; the dag-processor finds the request in the database.
    night_run : DagRun
        The run. Who uses the command `night` is told by that.
    """
    from airflow.callbacks.database_callback_sink import DatabaseCallbackSink
    from airflow.models.taskinstance import TaskInstance
    from sqlalchemy import select

    if night_run.run_id.startswith(COMMAND_PREFIX) or night_run.dag is None:
        return
    # A callback reads from a task which night its run is about.
    last = select(TaskInstance).where(
        TaskInstance.dag_id == NIGHT_DAG,
        TaskInstance.run_id == night_run.run_id,
        TaskInstance.task_id == "verdict",
    )
    callback = night_run.produce_dag_callback(
        night_run.dag, success=False, relevant_ti=session.scalar(last), reason=BY_HAND
    )
    if callback is not None:
        DatabaseCallbackSink().send(callback, session=session)
