"""Airflow's REST interface, as far as this project needs it."""

from __future__ import annotations

import os
from collections.abc import Generator
from typing import Any, Final

import httpx
from pydantic import SecretStr
from tenacity import retry, retry_if_result, stop_after_attempt, wait_random_exponential

from dsa110_contimg.errors import InputError, TransientError
from dsa110_contimg.models import Model

USER_VARIABLE: Final = "DSA110_CONTIMG_AIRFLOW_USER"
PASSWORD_VARIABLE: Final = "DSA110_CONTIMG_AIRFLOW_PASSWORD"  # noqa: S105 - the name of a variable
_THIS_MACHINE = frozenset({"127.0.0.1", "::1", "localhost"})
_BUSY_STATES = frozenset({httpx.codes.INTERNAL_SERVER_ERROR, httpx.codes.SERVICE_UNAVAILABLE})
FINISHED_STATES = frozenset({"success", "failed"})
_PAGE = 100
_TIMEOUT_S = 120.0
_MAX_ATTEMPTS = 8


class Login(Model):
    """Who talks to an Airflow that asks for a password."""

    user: str
    """Name of the user."""
    password: SecretStr
    """Shown nowhere."""


def login_from_environment() -> Login | None:
    """Read who talks to Airflow; a password has no place among the arguments of a command.

    Returns
    -------
    Login or None
        ``DSA110_CONTIMG_AIRFLOW_USER`` and ``DSA110_CONTIMG_AIRFLOW_PASSWORD``; None if neither
        is set, which is right for the embedded Airflow.

    Raises
    ------
    InputError
        If only one of them is set.
    """
    user, password = (os.environ.get(name, "") for name in (USER_VARIABLE, PASSWORD_VARIABLE))
    if bool(user) != bool(password):
        raise InputError(
            f"of {USER_VARIABLE} and {PASSWORD_VARIABLE} only one is set",
            reason="incomplete_login",
            remedy="set both, or neither for an Airflow without passwords",
        )
    return Login(user=user, password=SecretStr(password)) if user else None


class _Token(httpx.Auth):
    """Gets a token: for a password, or as the one user of the embedded Airflow for nothing."""

    requires_response_body = True

    def __init__(self, url: str, login: Login | None):
        self._login = login
        # A request that the client did not build has no time-out of its own.
        limits = {"timeout": httpx.Timeout(_TIMEOUT_S).as_dict()}
        address = f"{url}/auth/token"
        if login is None:
            self._request = httpx.Request("GET", address, extensions=limits)
        else:
            _check_is_private(url)
            secret = {"username": login.user, "password": login.password.get_secret_value()}
            self._request = httpx.Request("POST", address, json=secret, extensions=limits)
        self._token = ""

    def auth_flow(self, request: httpx.Request) -> Generator[httpx.Request, httpx.Response, None]:
        """Add the token; get one first, or anew when it has expired."""
        for _ in range(2):
            if not self._token:
                answer = yield self._request
                self._token = self._read(answer)
            request.headers["Authorization"] = f"Bearer {self._token}"
            answer = yield request
            if answer.status_code != httpx.codes.UNAUTHORIZED:
                return
            self._token = ""

    def _read(self, answer: httpx.Response) -> str:
        """Take the token from the answer, or say why there is none."""
        if answer.is_success:
            token: str = answer.json()["access_token"]
            return token
        who = f"the user {self._login.user}" if self._login else "a user without password"
        kind = TransientError if answer.is_server_error else InputError
        raise kind(
            f"Airflow at {answer.url.copy_with(path='/')} gives {who} no token: "
            f"{answer.status_code}",
            reason="login_refused",
            remedy=f"check {USER_VARIABLE} and {PASSWORD_VARIABLE}",
        )


def _check_is_private(url: str) -> None:
    """Refuse to send a password that others on the network could read."""
    address = httpx.URL(url)
    if address.scheme != "https" and address.host not in _THIS_MACHINE:
        raise InputError(
            f"no password is sent to {url}: on its way everyone could read it",
            reason="insecure_address",
            remedy="use https, or a tunnel to the other machine",
        )


def _database_was_busy(response: httpx.Response) -> bool:
    """Whether SQLite did not get its turn: nothing was written, and another try may succeed."""
    return response.status_code in _BUSY_STATES and (
        "Database error" in response.text or "database is locked" in response.text.lower()
    )


class AirflowClient:
    """Triggers DAG runs and reads what becomes of them.

    Parameters
    ----------
    url : str
        Base address of the api-server.
    login : Login, optional
        User and password; none for the embedded Airflow, whose one user has neither.

    Raises
    ------
    InputError
        If a password would go over the network in the clear.
    """

    def __init__(self, url: str, login: Login | None = None):
        self.url = url
        self._http = httpx.Client(
            base_url=f"{url}/api/v2",
            auth=_Token(url, login),
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

    def xcom(self, dag_id: str, run_id: str, task_id: str, key: str) -> Any:
        """Read what a task told Airflow.

        Parameters
        ----------
        dag_id, run_id, task_id : str
            The task.
        key : str
            What it told.

        Returns
        -------
        object
            As JSON; None if it has told nothing.
        """
        path = f"/dags/{dag_id}/dagRuns/{run_id}/taskInstances/{task_id}/xcomEntries/{key}"
        response = self._request("GET", path, missing_ok=True)
        if response.status_code == httpx.codes.NOT_FOUND:
            return None
        return self._json(response)["value"]

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
