"""What a night waits for, since when and until when: told by its tasks, read by pages and commands.

A task that waits puts an `Awaited` into Airflow beside its run, where the operator page (by the
database) and the commands (by REST) find it on whatever machine they run.
"""

from __future__ import annotations

import logging
from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Final

from dsa110_contimg.models import Model
from dsa110_contimg.orchestration.runs import IMAGE_DAG, NIGHT_DAG

if TYPE_CHECKING:
    from dsa110_contimg.orchestration.client import AirflowClient

_log = logging.getLogger(__name__)
AWAITED_KEY: Final = "awaited"
"""Of the XCom of a task that waits."""
SETTLE_TASK: Final = "settle"
CALIBRATORS_TASK: Final = "calibrators"
_PAUSED = "{} is paused in Airflow: its tasks wait until it is unpaused"
_NO_SCHEDULER = "Airflow's scheduler does not run: no task starts until it does"
_LAST_SEEN = "Airflow's scheduler does not run (last heartbeat {}): no task starts until it does"


class Awaited(Model):
    """What a task waits for."""

    date: str
    """The night."""
    group_id: str | None = None
    """The group that waits; None: the whole night."""
    sentence: str
    """What it waits for, and until when."""
    since: datetime
    """Start of the wait."""
    until: datetime
    """When it is over at the latest, unless files still come."""


def clock(moment: datetime, now: datetime) -> str:
    """Write a time of day, with the date where that is another.

    Parameters
    ----------
    moment : datetime
        The time, with a time zone.
    now : datetime
        The present time, with a time zone.

    Returns
    -------
    str
        UTC, to the second.
    """
    there, here = moment.astimezone(UTC), now.astimezone(UTC)
    return f"{there:%H:%M:%S}" if there.date() == here.date() else f"{there:%Y-%m-%d %H:%M:%S}"


def tell_awaited(awaited: Awaited, ti: Any) -> None:
    """Say in the log, and to pages and commands, what a task waits for.

    Parameters
    ----------
    awaited : Awaited
        What it waits for.
    ti : RuntimeTaskInstance or None
        The task; None outside of Airflow.
    """
    _log.info("%s %s", awaited.group_id or f"the night {awaited.date}", awaited.sentence)
    if ti is not None:
        ti.xcom_push(AWAITED_KEY, awaited.model_dump(mode="json"))


def describe_obstacles(
    paused: Iterable[str], *, is_scheduled: bool, heartbeat: datetime | None, now: datetime
) -> list[str]:
    """Say what keeps Airflow from starting tasks.

    Parameters
    ----------
    paused : iterable of str
        The DAGs that are paused.
    is_scheduled : bool
        Whether the scheduler is alive.
    heartbeat : datetime or None
        When it last was.
    now : datetime
        The present time.

    Returns
    -------
    list of str
        A sentence each; empty if nothing does.
    """
    sentences = [_PAUSED.format(dag_id) for dag_id in paused]
    if not is_scheduled:
        seen = f"{clock(heartbeat, now)} UTC" if heartbeat else None
        sentences.append(_LAST_SEEN.format(seen) if seen else _NO_SCHEDULER)
    return sentences


def read_obstacles(client: AirflowClient) -> list[str]:
    """Ask an Airflow what keeps it from starting tasks.

    Parameters
    ----------
    client : AirflowClient
        Airflow.

    Returns
    -------
    list of str
        A sentence each; empty if nothing does.
    """
    scheduler = client.health().get("scheduler") or {}
    heartbeat = scheduler.get("latest_scheduler_heartbeat")
    return describe_obstacles(
        [dag for dag in (NIGHT_DAG, IMAGE_DAG) if (client.dag(dag) or {}).get("is_paused")],
        is_scheduled=scheduler.get("status") == "healthy",
        heartbeat=datetime.fromisoformat(heartbeat) if heartbeat else None,
        now=datetime.now(UTC),
    )


def read_waits(client: AirflowClient, tasks: Iterable[dict[str, Any]]) -> list[str]:
    """Ask an Airflow what the tasks of a night wait for.

    Parameters
    ----------
    client : AirflowClient
        Airflow.
    tasks : iterable of dict
        Airflow's records of the tasks of the night and of its Measurement Sets.

    Returns
    -------
    list of str
        A sentence for the files, and one for all groups that await their calibrators.
    """
    waiting = [task for task in tasks if task["state"] == "up_for_reschedule"]
    told = []
    for name in (SETTLE_TASK, CALIBRATORS_TASK):
        same = [task for task in waiting if task["task_id"] == name]
        first = min(same, key=lambda task: str(task["start_date"]), default=None)
        awaited = _read_awaited(client, first) if first else None
        if awaited is not None:
            others = f", and {len(same) - 1} more groups wait" if len(same) > 1 else ""
            told.append(f"{awaited.group_id or ''} {awaited.sentence}{others}".strip())
    return told


def _read_awaited(client: AirflowClient, task: dict[str, Any]) -> Awaited | None:
    """Read what a task waits for; None in the moment in which it looks again."""
    value = client.xcom(task["dag_id"], task["dag_run_id"], task["task_id"], AWAITED_KEY)
    return None if value is None else Awaited.model_validate(value)
