"""The services of docker-compose.yaml as processes of this machine, two workers among them.

Each worker has what a container would give it: a name, a tmpfs in /dev/shm and processes of its
own, which the kernel ends all at once. Environment and commands are those of the file.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import psutil
import pytest
from cryptography.fernet import Fernet
from pydantic import SecretStr
from support.compose_file import ComposeFile
from support.postgres import running_postgres
from support.programs import need

from dsa110_contimg.orchestration.client import AirflowClient, Login
from dsa110_contimg.orchestration.embedded import choose_port
from dsa110_contimg.storage.ms_access import Holder

WORKERS = ("worker-1", "worker-2")
_QUEUES = "convert,casa,light"
_LOOPBACK = "127.0.0.1"
_GRACE_S = 4.0
_LIMIT_S = 240.0
_NAMESPACES = ["unshare", "--uts", "--pid", "--fork", "--mount-proc", "--kill-child"]
_AS_A_MACHINE = 'mount -t tmpfs -o size=1g tmpfs /dev/shm && hostname "$0" && exec "$@"'


def need_the_programs() -> None:
    """Skip the test where there is no Redis, or no right to make namespaces."""
    need("redis-server", "redis-cli", "psql")
    trial = [*_NAMESPACES, "sh", "-c", _AS_A_MACHINE, "trial", "true"]
    if shutil.which("unshare") is None or subprocess.run(trial, check=False).returncode != 0:
        pytest.skip("a worker that is a machine of its own needs root's namespaces")


class Topology:
    """Starts and kills services; a client for the first user.

    Parameters
    ----------
    root : Path
        Directory for everything, logs of the services in it.
    input_dir : Path
        Raw subband files.
    own : dict of str to str
        Variables that the file does not have: settings of the test, ports.
    """

    def __init__(self, root: Path, input_dir: Path, own: dict[str, str]):
        self.root = root
        self.ports = {name: choose_port() for name in ("postgres", "redis", "api", "health")}
        self.secrets = {
            name: secrets.token_hex(16)
            for name in (
                "POSTGRES_PASSWORD",
                "REGISTRY_PASSWORD",
                "REDIS_PASSWORD",
                "AIRFLOW_API_SECRET_KEY",
                "AIRFLOW_JWT_SECRET",
                "AIRFLOW_ADMIN_PASSWORD",
            )
        } | {"AIRFLOW_FERNET_KEY": Fernet.generate_key().decode()}
        self.url = f"http://{_LOOPBACK}:{self.ports['api']}"
        self.work_dir = root / "work"
        for folder in (self.work_dir, root / "home"):
            folder.mkdir()
        self.compose = ComposeFile(
            self.secrets
            | {
                "POSTGRES_HOST": f"{_LOOPBACK}:{self.ports['postgres']}",
                "REDIS_HOST": f"{_LOOPBACK}:{self.ports['redis']}",
                "APISERVER_URL": self.url,
                "AIRFLOW_BASE_URL": self.url,
                "AIRFLOW_ADMIN_USER": "operator",
                "WORK_DIR": str(self.work_dir),
                "INPUT_DIR": str(input_dir),
                "DSA110_CONTIMG_SCHEDULE": "",
                "CASA_CONCURRENCY": "2",
            }
        )
        # The image's own variables, and the ports that containers need not share.
        self._own = {
            "AIRFLOW_HOME": str(root / "airflow"),
            "HOME": str(root / "home"),
            "PYTHONUNBUFFERED": "1",
            "NUMBA_CACHE_DIR": "",  # beside the modules, where other tests have left the kernels
            "AIRFLOW__DAG_PROCESSOR__DAG_BUNDLE_STORAGE_PATH": str(root / "bundles"),
            "AIRFLOW__API__HOST": _LOOPBACK,
            "AIRFLOW__API__PORT": str(self.ports["api"]),
            "AIRFLOW__SCHEDULER__SCHEDULER_HEALTH_CHECK_SERVER_PORT": str(self.ports["health"]),
            **own,
        }
        self.login = Login(
            user="operator", password=SecretStr(self.secrets["AIRFLOW_ADMIN_PASSWORD"])
        )
        self.client = AirflowClient(self.url, self.login)
        self.home = SimpleNamespace(logs_dir=self.work_dir / "logs" / "airflow")
        self._guards: dict[str, subprocess.Popen[bytes]] = {}

    def environment(self, service: str) -> dict[str, str]:
        """Everything that a service finds in its environment."""
        inherited = {
            name: value
            for name, value in os.environ.items()
            if not name.startswith(("AIRFLOW", "DSA110_CONTIMG", "XDG_", "MPL"))
        }
        path = f"{Path(sys.executable).parent}{os.pathsep}{inherited.get('PATH', '')}"
        return {
            **inherited,
            "PATH": path,
            "HOSTNAME": socket.gethostname(),
            **self.compose.environment(service),
            **self._own,
        }

    def log(self, name: str) -> Path:
        """What a service prints."""
        return self.root / f"{name}.log"

    def start(self, service: str) -> None:
        """Start a service of the file."""
        self._guards[service] = self._guarded(
            service, self.compose.command(service), self.environment(service)
        )

    def start_redis(self) -> None:
        """Start Redis on a port of its own."""
        folder = self.root / "redis"
        folder.mkdir(exist_ok=True)
        *shell, script = self.compose.command("redis")
        options = f"--port {self.ports['redis']} --bind {_LOOPBACK} --dir {folder}"
        self._guards["redis"] = self._guarded(
            "redis", [*shell, f"{script} {options}"], self.environment("redis")
        )

    def start_worker(self, name: str) -> None:
        """Start a worker for all queues, as a machine with that name."""
        *command, queue = self.compose.command("airflow-worker-casa")
        assert queue == "casa"
        environment = self.environment("airflow-worker-casa") | {"HOSTNAME": name}
        machine = [*_NAMESPACES, "sh", "-c", _AS_A_MACHINE, name]
        self._guards[name] = self._guarded(name, [*machine, *command, _QUEUES], environment)

    def kill_machine(self, name: str) -> None:
        """End all processes of a worker at the same instant, as a power cut does."""
        machine, guard = self._machine(name), self._guards.pop(name)
        machine.kill()
        guard.wait(20)
        guard.stdin.close()

    def freeze(self, name: str, holder: Holder) -> psutil.Process:
        """Stop the process of a worker that holds an MS, which knows its number in there only."""
        for process in self._machine(name).children(recursive=True):
            with contextlib.suppress(OSError, psutil.Error):
                if _number_inside(process.pid) == holder.pid:
                    process.send_signal(signal.SIGSTOP)
                    return process
        raise ProcessLookupError(holder.pid)

    def _machine(self, name: str) -> psutil.Process:
        """The first process of a worker's own."""
        [unshare] = psutil.Process(self._guards[name].pid).children()
        return min(unshare.children(), key=psutil.Process.create_time)

    def run(self, command: list[str], environment: dict[str, str]) -> str:
        """Run a command to its end; what it printed."""
        done = subprocess.run(
            command,
            env=environment,
            cwd=self.root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=_LIMIT_S,
            check=False,
            start_new_session=True,
        )
        assert done.returncode == 0, done.stdout[-4000:]
        return done.stdout

    def wait(self, seconds: float) -> None:
        """Wait, and notice a service that ended by itself."""
        time.sleep(seconds)
        for name, guard in self._guards.items():
            if guard.poll() is not None:
                tail = self.log(name).read_text(errors="replace")[-4000:]
                raise AssertionError(f"{name} ended with {guard.returncode}:\n{tail}")

    def wait_until(self, done, what: str) -> None:
        """Wait for something that services do."""
        until = time.monotonic() + _LIMIT_S
        while not done():
            assert time.monotonic() < until, f"{what} has not come within {_LIMIT_S} s"
            self.wait(0.5)

    def stop(self) -> None:
        """End everything."""
        self.client.close()
        for guard in self._guards.values():
            guard.stdin.close()
        for guard in self._guards.values():
            guard.wait(30)

    def _guarded(
        self, name: str, command: list[str], environment: dict[str, str]
    ) -> subprocess.Popen[bytes]:
        """Start a command that cannot outlive the test."""
        with self.log(name).open("ab") as log:
            return subprocess.Popen(
                [
                    *(sys.executable, "-P", "-m", "dsa110_contimg.orchestration.guard"),
                    *(str(_GRACE_S), *command),
                ],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                env=environment,
                cwd=self.root,
                start_new_session=True,
            )


def _number_inside(pid: int) -> int:
    """A process's number in the innermost namespace that it is in."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("NSpid:"):
            return int(line.split()[-1])
    raise ProcessLookupError(pid)


@contextlib.contextmanager
def running_topology(topology: Topology) -> Iterator[Topology]:
    """Start everything in the order of the file, and end it."""
    with running_postgres(topology.ports["postgres"]) as postgres:
        with postgres.connect("postgres") as connection:
            password = topology.secrets["POSTGRES_PASSWORD"]
            # As the image makes POSTGRES_USER.
            connection.execute(f"CREATE ROLE airflow SUPERUSER LOGIN PASSWORD '{password}'")
            connection.execute("CREATE DATABASE airflow OWNER airflow")
        try:
            topology.start_redis()
            for name in ("registry-init", "airflow-init"):
                topology.run(topology.compose.command(name), topology.environment(name))
            for name in ("apiserver", "dag-processor"):
                topology.start(f"airflow-{name}")
            topology.wait_until(lambda: _answers(topology.client), "an answer of the api-server")
            for name in ("scheduler", "triggerer"):
                topology.start(f"airflow-{name}")
            for name in WORKERS:
                topology.start_worker(name)
                ready = f"celery@{name} ready"
                topology.wait_until(
                    lambda name=name, ready=ready: ready in topology.log(name).read_text(),
                    f"the worker {name}",
                )
            yield topology
        finally:
            topology.stop()


def _answers(client: AirflowClient) -> bool:
    """Whether the api-server takes requests."""
    from dsa110_contimg.errors import TransientError

    try:
        return bool(client.health()["metadatabase"]["status"] == "healthy")
    except TransientError:
        return False
