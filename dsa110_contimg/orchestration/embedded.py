"""Airflow on SQLite with the LocalExecutor, for one user on one machine.

Whoever reaches its port is its administrator: it listens on the loopback interface only and
is no server for several users; ``docker-compose.yaml`` describes that one.
"""

from __future__ import annotations

import contextlib
import fcntl
import logging
import os
import select
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from importlib.metadata import version
from pathlib import Path
from types import TracebackType
from typing import Any, Self

from dsa110_contimg.errors import InputError, TransientError
from dsa110_contimg.forkserver import SOCKET_VARIABLE, fork_server
from dsa110_contimg.orchestration.client import AirflowClient
from dsa110_contimg.orchestration.home import LOOPBACK, AirflowHome
from dsa110_contimg.orchestration.runs import IMAGE_DAG, NIGHT_DAG
from dsa110_contimg.orchestration.sqlite import use_write_ahead_log
from dsa110_contimg.settings import Settings

_log = logging.getLogger(__name__)

_LOG_TAIL_LINES = 20
_POLL_S = 0.25
_GRACE_S = 6.0
_START_TIMEOUT_S = 180.0
_MOST_RESTARTS = 3
_RESTARTS_WITHIN_S = 600.0
"""A service that ends oftener than this in this time has a reason that a restart does not mend."""
_FULL_BYTES = 50e6
"""With less, SQLite and logs fail at some write: what a task gives back at its end counts, too."""

_API_SERVER_CONNECT_ARGS = "dsa110_contimg.orchestration.sqlite.API_SERVER_CONNECT_ARGS"
_OWN_ENVIRONMENT = {
    "api-server": {
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONNECT_ARGS": _API_SERVER_CONNECT_ARGS,
        "AIRFLOW__DATABASE__SQL_ALCHEMY_CONNECT_ARGS_ASYNC": _API_SERVER_CONNECT_ARGS,
    }
}
"""Settings of single services."""
_SERVICES: dict[str, tuple[str, ...]] = {
    "api-server": (),
    "dag-processor": (),
    "triggerer": ("--skip-serve-logs",),
    "scheduler": ("--skip-serve-logs",),
}
"""Options of the services, in the order of their start: the first tasks of the scheduler call the
api-server."""


class EmbeddedAirflow:
    """Real Airflow services that live as long as the ``with`` block.

    Parameters
    ----------
    settings : Settings
        Where to work; the tasks see the same settings.
    port : int, optional
        Port of the api-server; a free one by default.
    parallelism : int, optional
        Number of tasks that run at once; the number of cores, but at least 3, by default.
    schedule : bool, optional
        Whether `nightly_transit` has a schedule; without one, nights are started by hand only.
    clock : bool, optional
        Whether runs are started by the clock, as their schedules say; a backfill needs a
        schedule, but no clock.
    """

    def __init__(
        self,
        settings: Settings,
        *,
        port: int | None = None,
        parallelism: int | None = None,
        schedule: bool = True,
        clock: bool = True,
    ):
        self.home = AirflowHome(settings)
        self._port = port or choose_port()
        self._environment: dict[str, str] = {}
        self._parallelism = parallelism or max(3, os.cpu_count() or 1)
        self._schedule, self._clock = schedule, clock
        self._services: dict[str, subprocess.Popen[bytes]] = {}
        self._ended_s: defaultdict[str, list[float]] = defaultdict(list)
        self._is_up = False
        self._cleanup = contextlib.ExitStack()
        self.url = f"http://{LOOPBACK}:{self._port}"
        self.client = AirflowClient(self.url)

    def __enter__(self) -> Self:
        with contextlib.ExitStack() as cleanup:
            self._check_port()
            self.home.prepare()
            self._lock = cleanup.enter_context(_home_lock(self.home))
            cleanup.enter_context(_sigterm_as_exit())
            cleanup.callback(self.client.close)
            self._environment = self.home.environment(
                port=self._port,
                parallelism=self._parallelism,
                schedule=self._schedule,
                clock=self._clock,
            )
            self._migrate()
            self._forget()
            # Pays the imports of conversions once per Airflow, not once per group.
            server = cleanup.enter_context(
                fork_server(self.service_log("forkserver"), self._environment)
            )
            self._environment[SOCKET_VARIABLE] = str(server)
            cleanup.callback(self._stop)
            self._start_services()
            self._is_up = True
            self._cleanup = cleanup.pop_all()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._cleanup.close()

    def wait(self, seconds: float) -> None:
        """Wait, but no longer than all services live; one that ended is started again.

        Parameters
        ----------
        seconds : float
            How long.

        Raises
        ------
        TransientError
            If a service ended before all were ready, or for the fourth time in ten minutes; the
            message holds the end of its log.
        """
        descriptors = {os.pidfd_open(guard.pid): name for name, guard in self._services.items()}
        try:
            ended, _, _ = select.select(list(descriptors), [], [], seconds)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        for descriptor in ended:
            self._restart(descriptors[descriptor])

    def service_log(self, name: str) -> Path:
        """Name the log of a service.

        Parameters
        ----------
        name : str
            ``api-server``, ``scheduler``, ``dag-processor``, ``triggerer``, ``forkserver`` or
            ``db``.

        Returns
        -------
        Path
            The file.
        """
        return self.home.logs_dir / f"{name}.log"

    def _check_port(self) -> None:
        """Find out before the work whether the api-server can listen."""
        if choose_port(self._port) != self._port:
            raise InputError(
                f"port {self._port} of {LOOPBACK} is taken",
                reason="port_taken",
                remedy="choose another --port, or none",
            )

    def _migrate(self) -> None:
        """Make or update the database, unless this version of Airflow did so before."""
        stamp = self.home.path / "migrated"
        current = version("apache-airflow")
        if self.home.database.exists() and stamp.exists() and stamp.read_text() == current:
            return
        if not self._change_database("db", "migrate"):
            raise self._service_error("db", "could not be migrated")
        use_write_ahead_log(self.home.database)
        stamp.write_text(current)

    def _forget(self) -> None:
        """Remove what the database holds of runs that are old enough, once a day."""
        days, stamp = self.home.settings.retain_airflow_days, self.home.path / "cleaned"
        today = datetime.now(UTC)
        if days is None or (stamp.exists() and stamp.read_text() == f"{today:%Y-%m-%d}"):
            return
        before = (today - timedelta(days=days)).isoformat(timespec="seconds")
        command = ("db", "clean", "--clean-before-timestamp", before, "--skip-archive", "--yes")
        if self._change_database(*command):
            stamp.write_text(f"{today:%Y-%m-%d}")
        else:
            # A night does not wait for that.
            _log.warning("old runs could not be forgotten; log: %s", self.service_log("db"))

    def _change_database(self, *command: str) -> bool:
        """Run a command on the database while no service uses it; whether it succeeded."""
        change = self._start("db", *command)
        try:
            return change.wait(_START_TIMEOUT_S) == 0
        finally:
            _stop_all([change])

    def _start_services(self) -> None:
        """Start everything; the scheduler last, for its first tasks call the api-server."""
        started = time.time()
        for name, options in _SERVICES.items():
            if name == "scheduler":
                self._wait_until(self._api_answers, "api-server")
            self._services[name] = self._start(name, name, *options)
        self._wait_until(lambda: self._is_healthy("scheduler", started), "scheduler")
        self._wait_until(lambda: self._is_healthy("triggerer", started), "triggerer")
        self._wait_until(
            lambda: all(self._is_parsed(d, started) for d in (NIGHT_DAG, IMAGE_DAG)),
            "dag-processor",
        )

    def _restart(self, name: str) -> None:
        """Start a service that ended again, as a supervisor would, unless it ends all the time."""
        guard = self._services[name]
        status = guard.wait()
        if guard.stdin:
            guard.stdin.close()
        now_s = time.monotonic()
        recent = [then_s for then_s in self._ended_s[name] if now_s - then_s < _RESTARTS_WITHIN_S]
        if not self._is_up or len(recent) >= _MOST_RESTARTS:
            raise self._service_error(name, f"ended with status {status}")
        _log.warning(
            "%s UTC: Airflow's %s ended with status %d and is started again%s",
            datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S"),
            name,
            status,
            self._full_disk(),
        )
        self._ended_s[name] = [*recent, now_s]
        self._services[name] = self._start(name, name, *_SERVICES[name])

    def _environment_of(self, name: str) -> dict[str, str]:
        """Make the environment of one service."""
        return self._environment | _OWN_ENVIRONMENT.get(name, {})

    def _start(self, name: str, *command: str) -> subprocess.Popen[bytes]:
        """Start one Airflow command under a guard; its log begins anew with this Airflow."""
        with self.service_log(name).open("ab" if self._is_up else "wb") as log:
            return subprocess.Popen(
                [
                    *(sys.executable, "-P", "-m", "dsa110_contimg.orchestration.guard"),
                    *(str(_GRACE_S), sys.executable, "-P", "-m", "airflow", *command),
                ],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=self._environment_of(name),
                cwd=self.home.path,
                # Ctrl-C reaches this process alone, which then ends the services in order.
                start_new_session=True,
                # The lock lasts until the last guard has cleaned up.
                pass_fds=(self._lock,),
            )

    def _wait_until(self, ready: Callable[[], bool], name: str) -> None:
        """Wait for a service, and name it with the end of its log if it takes too long."""
        until = time.monotonic() + _START_TIMEOUT_S
        while not _now(ready):
            if time.monotonic() > until:
                raise self._service_error(name, f"was not ready within {_START_TIMEOUT_S:.0f} s")
            self.wait(_POLL_S)

    def _api_answers(self) -> bool:
        """Whether the api-server takes requests."""
        return bool(self.client.health()["metadatabase"]["status"] == "healthy")

    def _is_healthy(self, component: str, started: float) -> bool:
        """Whether a component has given a sign of life since `started`."""
        health: dict[str, Any] = self.client.health()[component]
        beat = health[f"latest_{component}_heartbeat"]
        return health["status"] == "healthy" and _timestamp(beat) > started

    def _is_parsed(self, dag_id: str, started: float) -> bool:
        """Whether a DAG file has been read since `started`."""
        errors = self.client.import_errors()
        if errors:
            file, trace = next(iter(errors.items()))
            raise InputError(f"Airflow cannot import {file}:\n{trace}", reason="dag_import")
        dag = self.client.dag(dag_id)
        return dag is not None and _timestamp(dag["last_parsed_time"]) > started

    def _service_error(self, name: str, what: str) -> TransientError:
        """Describe what became of a service."""
        log, disk = self.service_log(name), self._full_disk()
        tail = "\n".join(log.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:])
        return TransientError(
            f"Airflow's {name} {what}{disk}; log: {log}\n{tail}",
            reason="disk_full" if disk else "airflow_service",
            remedy="make room there and start it again: it goes on where it was" if disk else None,
        )

    def _full_disk(self) -> str:
        """Say that a disk is full which Airflow writes to, if one is; its logs cannot any more."""
        for place in (self.home.path, self.home.logs_dir):
            free_bytes = shutil.disk_usage(place).free
            if free_bytes < _FULL_BYTES:
                return f": the disk of {place} is full ({free_bytes / 1e6:.0f} MB are free)"
        return ""

    def _stop(self) -> None:
        """End all services and all that they started."""
        _stop_all(list(self._services.values()))
        self._services.clear()


def _now(ready: Callable[[], bool]) -> bool:
    """Ask the api-server, which does not answer yet, or is slow on a busy machine."""
    try:
        return ready()
    except TransientError:
        return False


def _stop_all(guards: list[subprocess.Popen[bytes]]) -> None:
    """Ask all guards at once to end their services, and wait until they have."""
    for guard in guards:
        if guard.stdin:
            guard.stdin.close()
    for guard in guards:
        guard.wait()


@contextlib.contextmanager
def _home_lock(home: AirflowHome) -> Iterator[int]:
    """Hold the home; the descriptor is handed to the guards, so the lock outlives a crash."""
    descriptor = os.open(home.lock_file, os.O_RDWR | os.O_CREAT, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = home.lock_file.read_text() or "?"
            raise InputError(
                f"an embedded Airflow is already running in {home.path} (pid {holder})",
                reason="airflow_running",
                remedy="end it, or choose another --work-dir",
            ) from None
        os.ftruncate(descriptor, 0)
        os.write(descriptor, str(os.getpid()).encode())
        yield descriptor
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def _sigterm_as_exit() -> Iterator[None]:
    """Let SIGTERM unwind the stack, as Ctrl-C does."""

    def leave(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    previous = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, previous)


def choose_port(preferred: int = 0) -> int:
    """Find a port on the loopback interface that nobody listens on.

    Parameters
    ----------
    preferred : int, optional
        Taken if it is free.

    Returns
    -------
    int
        The port.
    """
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((LOOPBACK, preferred))
        except OSError:
            probe.bind((LOOPBACK, 0))
        port: int = probe.getsockname()[1]
        return port


def _timestamp(moment: str | None) -> float:
    """Read an ISO 8601 moment as seconds since 1970; 0 for none."""
    return datetime.fromisoformat(moment).timestamp() if moment else 0.0
