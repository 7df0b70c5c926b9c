"""Listener: a run marked as failed stays failed, is told of, and ends what it has started.

Called in the scheduler, and for what is marked by hand in the api-server.
"""

from __future__ import annotations

import sys
from typing import TYPE_CHECKING

from airflow.listeners import hookimpl
from airflow.plugins_manager import AirflowPlugin
from sqlalchemy.orm import object_session

from dsa110_contimg.orchestration.run_ends import (
    end_late_run,
    end_runs_of,
    keep_failed,
    tell_of_mark,
)
from dsa110_contimg.orchestration.runs import NIGHT_DAG

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun

_BY_HAND = "manually"
"""In Airflow's message about a run whose state was set by hand."""


@hookimpl
def on_dag_run_running(dag_run: DagRun) -> None:
    """End a run that was started while its night was ended.

    Parameters
    ----------
    dag_run : DagRun
        The run that starts.
    """
    if (session := object_session(dag_run)) is not None:
        end_late_run(session, dag_run)


@hookimpl
def on_dag_run_success(dag_run: DagRun, msg: str) -> None:
    """Leave a run failed that was marked so meanwhile, and end what a night has started.

    Parameters
    ----------
    dag_run : DagRun
        The run that ended.
    msg : str
        Why.
    """
    session = object_session(dag_run)
    if session is None:
        return
    if _BY_HAND not in msg:
        keep_failed(session, dag_run)
    if dag_run.dag_id == NIGHT_DAG:
        end_runs_of(session, dag_run)


@hookimpl
def on_dag_run_failed(dag_run: DagRun, msg: str) -> None:
    """End what a night has started, and have it told if nobody else does.

    Parameters
    ----------
    dag_run : DagRun
        The run that ended.
    msg : str
        Why.
    """
    session = object_session(dag_run)
    if session is None or dag_run.dag_id != NIGHT_DAG:
        return
    end_runs_of(session, dag_run)
    if _BY_HAND in msg:
        tell_of_mark(session, dag_run)


class RunEndsPlugin(AirflowPlugin):
    """Registers this module as a listener."""

    name = "run_ends"
    listeners = [sys.modules[__name__]]  # noqa: RUF012 - as the base class declares it
