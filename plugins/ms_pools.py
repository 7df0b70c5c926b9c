"""Listener in the scheduler: a started run has its MS's pool; pools long idle go.

They go when a run of `housekeeping` ends, every hour, also in weeks without data. The scheduler
then holds the session that the deletion needs; a task has none.
"""

from __future__ import annotations

import logging
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from airflow.listeners import hookimpl
from airflow.plugins_manager import AirflowPlugin
from sqlalchemy.orm import object_session

from dsa110_contimg.orchestration.pools import ensure_ms_pool, reap_idle_pools, run_ms
from dsa110_contimg.orchestration.runs import HOUSEKEEPING_DAG

if TYPE_CHECKING:
    from airflow.models.dagrun import DagRun

_log = logging.getLogger(__name__)


@hookimpl
def on_dag_run_running(dag_run: DagRun) -> None:
    """Make the pool again if it was reaped while the api-server made the run.

    Parameters
    ----------
    dag_run : DagRun
        The run that starts.
    """
    session = object_session(dag_run)
    if session is not None and (ms_path := run_ms(dag_run.conf)):
        ensure_ms_pool(session, ms_path, look_first=False)


@hookimpl
def on_dag_run_success(dag_run: DagRun) -> None:
    """Reap idle pools when housekeeping ends well.

    Parameters
    ----------
    dag_run : DagRun
        The run that ended.
    """
    _reap(dag_run)


@hookimpl
def on_dag_run_failed(dag_run: DagRun) -> None:
    """Reap idle pools when housekeeping fails, which says nothing about pools.

    Parameters
    ----------
    dag_run : DagRun
        The run that ended.
    """
    _reap(dag_run)


def _reap(dag_run: DagRun) -> None:
    """Reap with the session of a run that is in one; the caller commits."""
    session = object_session(dag_run)
    if session is not None and dag_run.dag_id == HOUSEKEEPING_DAG:
        n_pools = reap_idle_pools(session, now=datetime.now(UTC))
        _log.info("idle pools reaped: %d", n_pools)


class MsPoolsPlugin(AirflowPlugin):
    """Registers this module as a listener."""

    name = "ms_pools"
    listeners = [sys.modules[__name__]]  # noqa: RUF012 - as the base class declares it
