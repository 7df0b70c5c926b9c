"""Airflow's REST interface, as far as this project needs it."""

from __future__ import annotations

from collections.abc import Generator
from typing import Any

import httpx
from tenacity import retry, retry_if_result, stop_after_attempt, wait_random_exponential

from dsa110_contimg.errors import InputError, TransientError

FINISHED_STATES = frozenset({"success", "failed"})
_PAGE = 100
_TIMEOUT_S = 120.0
_MAX_ATTEMPTS = 8


class _AllAdminsToken(httpx.Auth):
    """Gets a token without a password, which the embedded Airflow grants to its one user."""

    requires_response_body = True

    def __init__(self, url: str):
        # A request that the client did not build has no time-out of its own.
        self._request = httpx.Request(
            "GET", f"{url}/auth/token", extensions={"timeout": httpx.Timeout(_TIMEOUT_S).as_dict()}
        )
        self._token = ""

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Add the token; get one first, or anew when it has expired."""
        for _ in range(2):
            if not self._token:
                answer = yield self._request
                answer.raise_for_status()
                self._token = answer.json()["access_token"]
            request.headers["Authorization"] = f"Bearer {self._token}"
            answer = yield request
            if answer.status_code != httpx.codes.UNAUTHORIZED:
                return
            self._token = ""


def _database_was_busy(response: httpx.Response) -> bool:
    """Whether SQLite did not get its turn: nothing was written, and another try may succeed."""
    return response.status_code == httpx.codes.INTERNAL_SERVER_ERROR and (
        "Database error" in response.text or "database is locked" in response.text.lower()
    )


class AirflowClient:
    """Triggers DAG runs and reads what becomes of them.

    Parameters
    ----------
    url : str
        Base address of the api-server.
    """

    def __init__(self, url: str):
        self.url = url
        self._http = httpx.Client(
            base_url=f"{url}/api/v2",
            auth=_AllAdminsToken(url),
            timeout=_TIMEOUT_S,
            transport=httpx.HTTPTransport(retries=3),
            trust_env=False,
        )

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def health(self) -> dict[str, Any]:
        """Read the health of the services.

        Returns
        -------
        dict
            Component to ``{"status": "healthy" | "unhealthy", ...}``.
        """
        return self._get("/monitor/health")

    def dag(self, dag_id: str) -> dict[str, Any] | None:
        """Read what is known of a DAG.

        Parameters
        ----------
        dag_id : str
            The DAG.

        Returns
        -------
        dict or None
            Airflow's answer; None while the DAG is not known.
        """
        response = self._request("GET", f"/dags/{dag_id}", missing_ok=True)
        return None if response.status_code == httpx.codes.NOT_FOUND else response.json()

    def import_errors(self) -> dict[str, str]:
        """Read which DAG files could not be imported.

        Returns
        -------
        dict of str to str
            File to traceback.
        """
        listed = self._get("/importErrors")["import_errors"]
        return {error["filename"]: error["stack_trace"] for error in listed}

    def trigger(
        self,
        dag_id: str,
        run_id: str,
        conf: dict[str, Any],
        *,
        interval: tuple[str, str] | None = None,
    ) -> dict[str, Any]:
        """Start a DAG run.

        Parameters
        ----------
        dag_id : str
            The DAG.
        run_id : str
            Id of the run, unique in the DAG.
        conf : dict
            Its parameters.
        interval : tuple of str, optional
            Start and end of the data interval, ISO 8601; the start is the logical date too.

        Returns
        -------
        dict
            Airflow's record of the run.

        Raises
        ------
        InputError
            If Airflow refuses the run or its parameters.
        """
        start, end = interval or (None, None)
        body = {
            "dag_run_id": run_id,
            "logical_date": start,
            "data_interval_start": start,
            "data_interval_end": end,
            "conf": conf,
        }
        return self._json(self._request("POST", f"/dags/{dag_id}/dagRuns", body=body))

    def dag_run(self, dag_id: str, run_id: str) -> dict[str, Any]:
        """Read the record of a run.

        Parameters
        ----------
        dag_id, run_id : str
            The run.

        Returns
        -------
        dict
            Airflow's record.
        """
        return self._get(f"/dags/{dag_id}/dagRuns/{run_id}")

    def dag_runs(self, dag_id: str, *, containing: str = "") -> list[dict[str, Any]]:
        """List the runs of a DAG.

        Parameters
        ----------
        dag_id : str
            The DAG.
        containing : str, optional
            Part of the run's id.

        Returns
        -------
        list of dict
            Airflow's records, the latest first.
        """
        found = self._pages(
            f"/dags/{dag_id}/dagRuns",
            "dag_runs",
            order_by="-run_after",
            run_id_pattern=f"%{containing}%",
        )
        return [run for run in found if containing in run["dag_run_id"]]

    def task_instances(
        self, dag_id: str, run_id: str = "~", *, containing: str = ""
    ) -> list[dict[str, Any]]:
        """List the task instances of a run, or of many.

        Parameters
        ----------
        dag_id : str
            The DAG.
        run_id : str, optional
            The run; all runs by default.
        containing : str, optional
            Part of the run's id.

        Returns
        -------
        list of dict
            Airflow's records, with pool, state, start and end.
        """
        found = self._pages(
            f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances",
            "task_instances",
            run_id_pattern=f"%{containing}%",
        )
        return [task for task in found if containing in task["dag_run_id"]]

    def set_paused(self, dag_id: str, *, paused: bool) -> None:
        """Stop a DAG from starting runs, or let it.

        Parameters
        ----------
        dag_id : str
            The DAG.
        paused : bool
            True to stop it.
        """
        self._request("PATCH", f"/dags/{dag_id}", body={"is_paused": paused})

    def pools(self) -> list[dict[str, Any]]:
        """List the pools.

        Returns
        -------
        list of dict
            Airflow's records.
        """
        return self._pages("/pools", "pools")

    def fail_run(self, dag_id: str, run_id: str) -> None:
        """Mark a run as failed, which ends its tasks.

        Parameters
        ----------
        dag_id, run_id : str
            The run.
        """
        self._request("PATCH", f"/dags/{dag_id}/dagRuns/{run_id}", body={"state": "failed"})

    def _pages(self, path: str, key: str, **query: Any) -> list[dict[str, Any]]:
        """Read all pages of a list."""
        found: list[dict[str, Any]] = []
        while True:
            page = self._get(path, limit=_PAGE, offset=len(found), **query)
            found += page[key]
            if not page[key] or len(found) >= page["total_entries"]:
                return found

    def _get(self, path: str, **query: Any) -> dict[str, Any]:
        """Read one answer."""
        return self._json(self._request("GET", path, query=query))

    def _request(
        self,
        method: str,
        path: str,
        *,
        query: dict[str, Any] | None = None,
        body: dict[str, Any] | None = None,
        missing_ok: bool = False,
    ) -> httpx.Response:
        """Send one request, again if the database was busy, and name what went wrong with it."""
        try:
            response = self._send(method, path, params=query, json=body)
        except httpx.TransportError as error:
            raise TransientError(
                f"Airflow's api-server at {self.url} does not answer: {error!r}",
                reason="api_server",
            ) from error
        if response.is_success or (missing_ok and response.status_code == httpx.codes.NOT_FOUND):
            return response
        kind = TransientError if response.is_server_error else InputError
        raise kind(
            f"Airflow refused {method} {path}: {response.status_code} {response.text}",
            reason="api_refusal",
        )

    @retry(
        retry=retry_if_result(_database_was_busy),
        stop=stop_after_attempt(_MAX_ATTEMPTS),
        wait=wait_random_exponential(max=5.0),
        retry_error_callback=lambda state: state.outcome.result() if state.outcome else None,
    )
    def _send(self, method: str, path: str, **content: Any) -> httpx.Response:
        """Send one request until the database has time for it."""
        return self._http.request(method, path, **content)

    @staticmethod
    def _json(response: httpx.Response) -> dict[str, Any]:
        """Read the body of an answer."""
        answer: dict[str, Any] = response.json()
        return answer
