"""A PostgreSQL server of the tests' own, on a socket that nobody else knows."""

from __future__ import annotations

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

import pytest

_NOBODY = 65534
_USER = "contimg"
_LIMIT_S = 60.0


class PostgresServer:
    """A running server; `new_database` gives each test one of its own."""

    def __init__(self, socket_dir: Path):
        self._socket_dir = socket_dir

    def url(self, database: str) -> str:
        """SQLAlchemy URL of a database."""
        return f"postgresql+psycopg://{_USER}@/{database}?host={self._socket_dir}"

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
            host=str(self._socket_dir), user=_USER, dbname=database, autocommit=True
        )


@contextmanager
def running_postgres() -> Iterator[PostgresServer]:
    """Start a server and stop it again; skip the test where there is none to start."""
    pytest.importorskip("psycopg", reason="the driver for PostgreSQL is not installed")
    programs = {name: shutil.which(name) for name in ("initdb", "postgres")}
    if absent := [name for name, path in programs.items() if path is None]:
        pytest.skip(f"no {' and no '.join(absent)} in PATH")
    # Not in pytest's directory: another user could not reach it, and a socket's path is short.
    folder = Path(tempfile.mkdtemp(prefix="contimg-pg-"))
    try:
        if os.geteuid() == 0:
            os.chown(folder, _NOBODY, _NOBODY)
        yield from _serve(programs["initdb"] or "", programs["postgres"] or "", folder)
    finally:
        shutil.rmtree(folder)


def _serve(initdb: str, postgres: str, folder: Path) -> Iterator[PostgresServer]:
    """Make a cluster in the folder and serve it."""
    data = folder / "data"
    make = [
        initdb,
        "-D",
        str(data),
        "-U",
        _USER,
        "--auth=trust",
        "--no-sync",
        "--no-locale",
        "-EUTF8",
    ]
    subprocess.run(
        [*_as_ordinary_user(), *make], check=True, capture_output=True, cwd=folder, timeout=_LIMIT_S
    )
    # -F: a test's database need not survive a power cut.
    serve = [postgres, "-D", str(data), "-k", str(folder), "-c", "listen_addresses=", "-F"]
    with (folder / "log").open("wb") as log:
        server = subprocess.Popen(
            [*_as_ordinary_user(), *serve], cwd=folder, stdout=log, stderr=subprocess.STDOUT
        )
    try:
        handle = PostgresServer(folder)
        _wait_until_ready(handle, server, folder / "log")
        yield handle
    finally:
        server.send_signal(signal.SIGINT)  # fast shutdown
        server.wait(_LIMIT_S)


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
