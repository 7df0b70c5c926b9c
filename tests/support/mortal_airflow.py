"""An Airflow of which every part can be killed, on SQLite or on a PostgreSQL that can be, too."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Mapping
from typing import Any

import psutil
from support.fragile_airflow import FragileAirflow, is_worker
from support.live_airflow import LiveAirflow, seconds
from support.postgres import PostgresServer

from dsa110_contimg.errors import TransientError
from dsa110_contimg.orchestration.home import AirflowHome
from dsa110_contimg.orchestration.runs import IMAGE_DAG, NIGHT_DAG
from dsa110_contimg.settings import Settings

HASTE = {
    "SCHEDULER__SCHEDULER_HEALTH_CHECK_THRESHOLD": "12",
    "SCHEDULER__ORPHANED_TASKS_CHECK_INTERVAL": "3",
    # An api-server must come back sooner, or all tasks count as dead.
    "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT": "25",
    "SCHEDULER__TASK_INSTANCE_HEARTBEAT_TIMEOUT_DETECTION_INTERVAL": "3",
    "TRIGGERER__TRIGGERER_HEALTH_CHECK_THRESHOLD": "10",
}
"""How soon the dead are noticed where a test is in a hurry."""
_PATIENCE_S = 60.0
_LEAVE_S = 15.0
"""For a task that has lost its supervisor, and learns of it when it has something to say."""

Task = Mapping[str, Any]
"""Airflow's record of a task instance."""


class _Home(AirflowHome):
    """A home with other options; None takes one away."""

    def __init__(self, settings: Settings, options: Mapping[str, str | None]):
        super().__init__(settings)
        self._options = {f"AIRFLOW__{name}": value for name, value in options.items()}

    def environment(self, **about: Any) -> dict[str, str]:
        merged = {**super().environment(**about), **self._options}
        return {name: value for name, value in merged.items() if value is not None}


class MortalAirflow(FragileAirflow):
    """The embedded Airflow, with means to kill whatever there is."""

    def __init__(
        self,
        settings: Settings,
        *,
        haste: bool,
        database: PostgresServer | None = None,
        **options: Any,
    ):
        super().__init__(settings, **options)
        self.database = database
        options_of_home: dict[str, str | None] = dict(HASTE) if haste else {}
        if database is not None:
            url = database.new_database()
            options_of_home |= {
                "DATABASE__SQL_ALCHEMY_CONN": url,
                "DATABASE__SQL_ALCHEMY_CONN_ASYNC": url,
                "DATABASE__SQL_ALCHEMY_CONNECT_ARGS": None,
                "DATABASE__SQL_ALCHEMY_CONNECT_ARGS_ASYNC": None,
            }
        self.home = _Home(settings, options_of_home)

    def _environment_of(self, name: str) -> dict[str, str]:
        return super()._environment_of(name) if self.database is None else self._environment

    def kill(self, victim: str, task: Task | None = None) -> None:
        """SIGKILL a service, or a task, or its supervisor; who restarts it is not said here."""
        if victim == "database":
            assert self.database is not None
            self.database.kill()
        elif task is None:
            self._service(victim).kill()
        else:
            process = psutil.Process(task["pid"])
            supervisor = process.parent()
            assert supervisor is not None
            assert is_worker(supervisor)
            (process if victim == "task" else supervisor).kill()

    def is_back(self, victim: str, since_s: float) -> bool:
        """Whether a service that was killed has done something since."""
        if victim in {"scheduler", "triggerer"}:
            return self._is_healthy(victim, since_s)
        if victim == "dag-processor":
            return self._is_parsed(NIGHT_DAG, since_s)
        return self._api_answers()

    def strays(self) -> list[str]:
        """Processes of this Airflow that none of its services asked for."""
        guards = {guard.pid for guard in self._services.values()}
        wanted = {self._service(name).pid for name in self._services}
        own = {child.pid for child in psutil.Process().children(recursive=True)}
        found = []
        for process in self.processes():
            with contextlib.suppress(psutil.NoSuchProcess):
                is_adopted = process.ppid() in guards and process.pid not in wanted
                is_dead = process.status() == psutil.STATUS_ZOMBIE
                if not is_dead and (is_adopted or process.pid not in own):
                    found.append(f"{process.pid}: {process.cmdline()}")
        return found

    def _service(self, name: str) -> psutil.Process:
        """Find the process of a service; its guard also adopts what lost its parent."""
        guard = psutil.Process(self._services[name].pid)
        return min(guard.children(), key=psutil.Process.create_time)


class LiveMortal(LiveAirflow):
    """It is asked again when it does not answer, which is not news here."""

    airflow: MortalAirflow

    def wait_until(self, done: Callable[[], Any], what: str, timeout_s: float) -> None:
        def asked() -> Any:
            try:
                return done()
            except TransientError:
                return False

        super().wait_until(asked, what, timeout_s)

    def await_back(self, victim: str, since_s: float) -> float:
        """Wait until a service that was killed is at work again; seconds since its end."""
        self.wait_until(
            lambda: self.airflow.is_back(victim, since_s), f"the {victim}", 2 * _PATIENCE_S
        )
        return time.time() - since_s

    def next_start(self, run_id: str, since_s: float, task: Task | None = None) -> float:
        """Say when a task was tried again, or any task of a night began, since a moment."""
        tasks = [
            found
            for dag_id in (NIGHT_DAG, IMAGE_DAG)
            for found in self.client.task_instances(dag_id, containing=run_id)
            if found["start_date"]
        ]
        if task is not None:
            key = ("dag_id", "dag_run_id", "task_id", "map_index")
            tasks = [found for found in tasks if all(found[k] == task[k] for k in key)]
        starts = [seconds(found["start_date"]) for found in tasks]
        return min(start_s for start_s in starts if start_s > since_s) - since_s

    def assert_no_strays(self) -> None:
        """Check that no process has outlived what it was for."""
        until = time.monotonic() + _LEAVE_S
        while strays := self.airflow.strays():
            assert time.monotonic() < until, strays
            self.airflow.wait(0.25)
