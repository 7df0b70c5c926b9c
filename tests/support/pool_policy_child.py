"""Runs a small DAG under policy and listeners, in an Airflow of its own, and says what came of it.

Started by ``tests/airflow/test_pool_policy.py`` with the environment of a fresh Airflow.
"""

from __future__ import annotations

import json
import sys
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from airflow.dag_processing.dagbag import DagBag

from dsa110_contimg.orchestration.pools import ensure_ms_pool, reap_idle_pools


def pools_of_run(conf: dict[str, Any]) -> dict[str, str]:
    """Run the DAG; return the pool of each task instance."""
    run = DagBag(sys.argv[1]).dags["touches"].test(run_conf=conf)
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        found = session.scalars(select(TaskInstance).where(TaskInstance.run_id == run.run_id)).all()
        return {f"{ti.task_id}[{ti.map_index}]": ti.pool for ti in found}


def pool_rows() -> dict[str, int]:
    """All pools with their slots."""
    from airflow.models.pool import Pool
    from airflow.utils.session import create_session
    from sqlalchemy import select

    with create_session() as session:
        return {row.pool: row.slots for row in session.execute(select(Pool.pool, Pool.slots))}


def reap_after(days: float) -> int:
    """Reap as if so much time had passed."""
    from airflow.utils.session import create_session

    with create_session() as session:
        return reap_idle_pools(session, now=datetime.now(UTC) + timedelta(days=days))


def set_states(state: str | None) -> None:
    """Give all task instances one state."""
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.session import create_session
    from sqlalchemy import update

    with create_session() as session:
        session.execute(update(TaskInstance).values(state=state))


def make_pool_twice(ms: str) -> str:
    """Make a pool as the listener does, whether it is there or not."""
    from airflow.utils.session import create_session

    with create_session() as session:
        ensure_ms_pool(session, ms, look_first=False)
        return ensure_ms_pool(session, ms, look_first=False)


def end_after_mark(msg: str) -> str:
    """Let a run succeed that is failed in the database by now; return its state."""
    from airflow import settings
    from airflow.models.dagrun import DagRun
    from airflow.utils.session import create_session
    from airflow.utils.state import DagRunState
    from sqlalchemy import select, update

    with create_session() as session:
        run = session.scalars(select(DagRun)).first()
        assert run is not None
        run.set_state(DagRunState.RUNNING)
        session.commit()
        assert run.state == DagRunState.RUNNING
        with settings.engine.begin() as other:
            other.execute(update(DagRun).where(DagRun.id == run.id).values(state="failed"))
        run.set_state(DagRunState.SUCCESS)
        run.notify_dagrun_state_changed(msg=msg)
    with create_session() as session:
        return str(session.scalars(select(DagRun.state).where(DagRun.id == run.id)).one())


def main() -> None:
    from airflow.utils import db

    db.initdb()
    root = Path(sys.argv[2])
    (root / "ms").mkdir()
    (root / "link").symlink_to(root / "ms")
    answer: dict[str, Any] = {
        "a": pools_of_run({"ms": str(root / "ms/A.ms")}),
        "a again": pools_of_run({"ms": str(root / "link/A.ms")}),
        "b": pools_of_run({"ms": str(root / "ms/B.ms")}),
        "no ms": pools_of_run({}),
        "twice": make_pool_twice(str(root / "ms/A.ms")),
        "pools": pool_rows(),
        "reaped early": reap_after(6),
    }
    answer["marked meanwhile"] = end_after_mark("success")
    answer["marked by hand"] = end_after_mark("Dag Run's state was manually set to `success`.")
    set_states("running")
    answer["reaped in use"] = reap_after(30)
    set_states(None)
    answer["reaped waiting"] = reap_after(30)
    set_states("failed")
    answer["reaped late"] = reap_after(8)
    answer["pools at last"] = pool_rows()
    (root / "answer.json").write_text(json.dumps(answer))


if __name__ == "__main__":
    main()
