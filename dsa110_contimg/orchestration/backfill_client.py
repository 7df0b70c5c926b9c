"""Airflow's REST interface to backfills."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, date, datetime, time
from typing import Any

from dsa110_contimg.errors import ContimgError, InputError
from dsa110_contimg.orchestration.client import AirflowClient

_REFUSALS = {
    "already a running backfill": (
        "backfill_running",
        "Airflow runs one backfill of a DAG at a time: wait until it is over",
    ),
    "No runs to create": ("no_nights", "no night begins in the range and is over"),
    "future dates": ("no_nights", "no night begins in the range and is over"),
    "Could not find dag": ("no_dag", "look for import errors in the UI"),
}
"""What Airflow says, and what it means here: reason and remedy."""


class BackfillClient(AirflowClient):
    """Starts and follows backfills of a DAG.

    It never cancels one: Airflow leaves a cancelled backfill paused, and its runs, once they are
    cleared, queued for ever.
    """

    def plan_backfill(self, request: dict[str, Any]) -> list[datetime]:
        """Ask which runs a backfill would make, or make again.

        Parameters
        ----------
        request : dict
            As `make_request` makes it.

        Returns
        -------
        list of datetime
            Logical dates, ascending. Runs that have not ended are not among them.

        Raises
        ------
        InputError
            If Airflow cannot backfill this DAG, or not this range.
        """
        with _refusals_explained():
            response = self._request("POST", "/backfills/dry_run", body=request)
        listed = self._json(response)["backfills"]
        return sorted(datetime.fromisoformat(run["logical_date"]) for run in listed)

    def start_backfill(self, request: dict[str, Any]) -> int:
        """Start a backfill.

        Parameters
        ----------
        request : dict
            As `make_request` makes it.

        Returns
        -------
        int
            Its id.

        Raises
        ------
        InputError
            If Airflow refuses it, e.g. because another one of this DAG is running.
        """
        with _refusals_explained():
            answer = self._json(self._request("POST", "/backfills", body=request))
        number: int = answer["id"]
        return number

    def unfinished_backfills(self, dag_id: str) -> list[int]:
        """List the backfills of a DAG that Airflow has not closed.

        Parameters
        ----------
        dag_id : str
            The DAG.

        Returns
        -------
        list of int
            Their ids.
        """
        found = self._pages("/backfills", "backfills", dag_id=dag_id)
        return [backfill["id"] for backfill in found if backfill["completed_at"] is None]

    def runs_between(self, dag_id: str, first: datetime, last: datetime) -> list[dict[str, Any]]:
        """List the runs of a DAG by their logical date.

        Parameters
        ----------
        dag_id : str
            The DAG.
        first, last : datetime
            Both included.

        Returns
        -------
        list of dict
            Airflow's records, in order of time.
        """
        return self._pages(
            f"/dags/{dag_id}/dagRuns",
            "dag_runs",
            order_by="logical_date",
            logical_date_gte=first.isoformat(),
            logical_date_lte=last.isoformat(),
        )

    def returned(self, dag_id: str, run_id: str, task_id: str) -> Any:
        """Read what a task returned.

        Parameters
        ----------
        dag_id, run_id, task_id : str
            The task.

        Returns
        -------
        object
            As JSON; None if it has returned nothing, or has not run.
        """
        return self.xcom(dag_id, run_id, task_id, "return_value")


def date_range(first: date, last: date) -> tuple[datetime, datetime]:
    """Turn a range of dates into one of times.

    Parameters
    ----------
    first, last : date
        UTC; the last one is included.

    Returns
    -------
    start, end : datetime
        From the first to the last moment: Airflow takes a bare date for its midnight, and would
        leave out all nights that begin later on the last date.
    """
    return datetime.combine(first, time.min, UTC), datetime.combine(last, time.max, UTC)


def make_request(
    dag_id: str, first: date, last: date, conf: dict[str, Any], *, max_active: int
) -> dict[str, Any]:
    """Describe a backfill to Airflow.

    Parameters
    ----------
    dag_id : str
        The DAG.
    first, last : date
        Runs with a logical date (the start of their data) from the one to the other.
    conf : dict
        Parameters of the runs.
    max_active : int
        Runs at a time.

    Returns
    -------
    dict
        For `BackfillClient.plan_backfill` and `BackfillClient.start_backfill`.
    """
    start, end = date_range(first, last)
    return {
        "dag_id": dag_id,
        "from_date": start.isoformat(),
        "to_date": end.isoformat(),
        "dag_run_conf": conf,
        # A run that has ended is looked at again too: its tasks find their work done, or mend it.
        "reprocess_behavior": "completed",
        "max_active_runs": max_active,
    }


@contextmanager
def _refusals_explained() -> Iterator[None]:
    """Give a refusal its reason and a remedy."""
    try:
        yield
    except ContimgError as error:
        for words, (reason, remedy) in _REFUSALS.items():
            if words in error.message:
                raise InputError(error.message, reason=reason, remedy=remedy) from None
        raise
