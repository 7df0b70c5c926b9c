"""A PostgreSQL server of the tests' own, on a socket that nobody else knows.

It can also listen on a port of the loopback interface, where it asks for a password.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import tempfile
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from support.programs import find_program, need

_NOBODY = 65534
_USER = "contimg"
_LIMIT_S = 60.0


class PostgresServer:
    """A running server; `new_database` gives each test one of its own."""

    def __init__(self, socket_dir: Path, port: int | None, command: list[str]):
        self._socket_dir = socket_dir
        self._port = port or 5432  # also part of the socket's name
        self._command = command
        self._process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Serve, also again after `kill`."""
        log = self._socket_dir / "log"
        with log.open("ab") as file:
            self._process = subprocess.Popen(
                self._command, cwd=self._socket_dir, stdout=file, stderr=subprocess.STDOUT
            )
        try:
            _wait_until_ready(self, self._process, log)
        except BaseException:
            self.stop()
            raise

    def stop(self) -> None:
        """End the server, and wait until it has ended."""
        assert self._process is not None
        self._process.send_signal(signal.SIGINT)  # fast shutdown
        self._process.wait(_LIMIT_S)

    def kill(self) -> None:
        """SIGKILL the server and its children: nobody has the time to say goodbye."""
        assert self._process is not None
        server = psutil.Process(self._process.pid)
        server.suspend()  # else it replaces the children that it loses
        processes = [*server.children(recursive=True), server]
        for process in processes:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        self._process.wait(_LIMIT_S)
        psutil.wait_procs(processes, _LIMIT_S)

    def url(self, database: str) -> str:
        """SQLAlchemy URL of a database."""
        where = f"host={self._socket_dir}&port={self._port}"
        return f"postgresql+psycopg://{_USER}@/{database}?{where}"

    def new_database(self) -> str:
        """Make an empty database; its URL."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        with self.connect("postgres") as connection:
            connection.execute(f"CREATE DATABASE {name}")
        return self.url(name)

    def connect(self, database: str):
        """Open a connection without transactions, around SQLAlchemy."""
        import psycopg

        return psycopg.connect(
            host=str(self._socket_dir),
            port=self._port,
            user=_USER,
            dbname=database,
            autocommit=True,
        )


@contextmanager
def running_postgres(port: int | None = None) -> Iterator[PostgresServer]:
    """Start a server and stop it again; skip the test where there is none to start."""
    need("initdb", "postgres")
    initdb, postgres = (find_program(name) or "" for name in ("initdb", "postgres"))
    # Not in pytest's directory: another user could not reach it, and a socket's path is short.
    folder = Path(tempfile.mkdtemp(prefix="contimg-pg-"))
    try:
        if os.geteuid() == 0:
            os.chown(folder, _NOBODY, _NOBODY)
        yield from _serve(initdb, postgres, folder, port)
    finally:
        shutil.rmtree(folder)


def _serve(initdb: str, postgres: str, folder: Path, port: int | None) -> Iterator[PostgresServer]:
    """Make a cluster in the folder and serve it."""
    data = folder / "data"
    make = [
        initdb,
        "-D",
        str(data),
        "-U",
        _USER,
        "--auth-local=trust",
        "--auth-host=scram-sha-256",
        "--no-sync",
        "--no-locale",
        "-EUTF8",
    ]
    subprocess.run(
        [*_as_ordinary_user(), *make], check=True, capture_output=True, cwd=folder, timeout=_LIMIT_S
    )
    # -F: a test's database need not survive a power cut.
    listen = ["-c", f"listen_addresses={'127.0.0.1' if port else ''}"]
    if port:
        listen += ["-p", str(port)]
    serve = [postgres, "-D", str(data), "-k", str(folder), *listen, "-F"]
    server = PostgresServer(folder, port, [*_as_ordinary_user(), *serve])
    server.start()
    try:
        yield server
    finally:
        server.stop()


def _as_ordinary_user() -> list[str]:
    """PostgreSQL does not run as root."""
    if os.geteuid() != 0:
        return []
    if shutil.which("setpriv") is None:
        pytest.skip("root runs the tests, and there is no setpriv to become somebody else")
    user = [f"--reuid={_NOBODY}", f"--regid={_NOBODY}", "--clear-groups"]
    return ["setpriv", *user, "--pdeathsig=INT", "--"]


def _wait_until_ready(server: PostgresServer, process: subprocess.Popen[bytes], log: Path) -> None:
    """Wait until the server takes connections."""
    import psycopg

    end = time.monotonic() + _LIMIT_S
    while True:
        try:
            server.connect("postgres").close()
        except psycopg.OperationalError:
            assert process.poll() is None, log.read_text(errors="replace")
            assert time.monotonic() < end, log.read_text(errors="replace")
            time.sleep(0.05)
        else:
            return
