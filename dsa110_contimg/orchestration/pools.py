"""One pool of one slot per Measurement Set, made when a run is made.

A task that touches the MS of its run is written with ``pool=MS_POOL``. No such pool exists:
the cluster policy in ``plugins/`` puts the pool of that very MS in its place. Without the
policy the task is never scheduled; it cannot slip into another pool. Of a run without an MS every
task fails as soon as it starts, so that it may start in Airflow's own pool.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any, Final

from dsa110_contimg.settings import get_settings
from dsa110_contimg.storage.ms_access import canonical_ms

if TYPE_CHECKING:
    from sqlalchemy.orm import Session

MS_POOL: Final = "one-per-measurement-set"
"""Stands for the pool of the run's MS in the DAG file."""

POOL_PREFIX: Final = "ms-"
MAX_PATH: Final = 4096
"""Characters of a path: Linux takes no more bytes (``PATH_MAX``)."""
_MAX_DEPTH: Final = 64
DEFAULT_POOL: Final = "default_pool"
"""Airflow's own. A task without an MS fails there at once (`ms_requests.read_request`)."""


def ms_pool_name(ms_path: str) -> str:
    """Name the pool of an MS, the same for every path that leads to it.

    Parameters
    ----------
    ms_path : str
        Any path of the MS; it need not exist.

    Returns
    -------
    str
        The MS's name in letters that metrics allow, and a hash of its canonical path.
    """
    ms = canonical_ms(ms_path)
    readable = re.sub(r"[^A-Za-z0-9.-]+", "-", ms.name.removesuffix(".ms"))[:80].strip("-.")
    digest = hashlib.sha256(str(ms).encode()).hexdigest()[:10]
    return f"{POOL_PREFIX}{readable}-{digest}"


def run_ms(conf: Mapping[str, Any] | None) -> str | None:
    """Find the MS in the configuration of a run.

    Parameters
    ----------
    conf : mapping or None
        ``dag_run.conf``.

    Returns
    -------
    str or None
        None if the run names no MS: what is no absolute path of a usable length is none, and
        the file system is not asked.
    """
    ms = (conf or {}).get("ms")
    if not isinstance(ms, str) or len(ms) > MAX_PATH or not ms.startswith("/") or "\0" in ms:
        return None
    # Path components are followed one by one, inside Airflow's transactions.
    return ms if ms.count("/") <= _MAX_DEPTH else None


def ensure_ms_pool(session: Session, ms_path: str, *, look_first: bool = True) -> str:
    """Make the pool of an MS inside the caller's transaction, if there is none.

    Nothing is committed or flushed: Airflow's scheduler forbids the one, and the objects
    around it may not be ready for the other.

    Parameters
    ----------
    session : Session
        The session of the run.
    ms_path : str
        Any path of the MS.
    look_first : bool, optional
        Spare SQLite the write lock if the pool is there. Without, the insert also waits for
        a concurrent deletion of the pool.

    Returns
    -------
    str
        Name of the pool.
    """
    from airflow.models.pool import Pool
    from sqlalchemy import select

    name = ms_pool_name(ms_path)
    connection = session.connection()
    if look_first and connection.execute(select(Pool.id).where(Pool.pool == name)).first():
        return name
    connection.execute(
        _insert_for(connection.dialect.name)(Pool.__table__)
        .values(
            pool=name,
            slots=1,
            description=f"Tasks that touch {canonical_ms(ms_path)}",
            include_deferred=True,
        )
        .on_conflict_do_nothing(index_elements=["pool"])
    )
    return name


def _insert_for(dialect: str) -> Any:
    """Choose the INSERT that knows ON CONFLICT."""
    from sqlalchemy.dialects import postgresql, sqlite

    return {"postgresql": postgresql.insert, "sqlite": sqlite.insert}[dialect]


def reap_idle_pools(session: Session, *, now: datetime) -> int:
    """Delete the pools of MSs that no task uses and none has used for as long as settings say.

    Parameters
    ----------
    session : Session
        The caller's session; nothing is committed.
    now : datetime
        The present time, with a time zone.

    Returns
    -------
    int
        Number of pools deleted.
    """
    from airflow.models.pool import Pool
    from airflow.models.taskinstance import TaskInstance
    from airflow.utils.state import State
    from sqlalchemy import delete, exists, or_

    idle = timedelta(days=get_settings().retain_pools_days)
    unfinished = [state for state in State.unfinished if state is not None]
    needed = exists().where(
        TaskInstance.pool == Pool.pool,
        or_(
            TaskInstance.state.is_(None),
            TaskInstance.state.in_(unfinished),
            TaskInstance.end_date > now - idle,
        ),
    )
    result = session.connection().execute(
        delete(Pool).where(Pool.pool.startswith(POOL_PREFIX, autoescape=True), ~needed)
    )
    return result.rowcount
