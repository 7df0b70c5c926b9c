"""The fork server among clients that crash, talk nonsense or leave at the worst moment."""

from __future__ import annotations

import os
import signal
import socket
import time
from pathlib import Path

import psutil
import pytest
from support.child_functions import Request, echo, leave_grandchild
from support.faults import assert_no_process_left, server_pid

from dsa110_contimg import forkserver
from dsa110_contimg.processes import run_in_child

pytestmark = [pytest.mark.fault, pytest.mark.alone]


@pytest.fixture
def server() -> psutil.Process:
    return psutil.Process(server_pid())


def ask(log_path: Path) -> int:
    """Parent of a child that answers: the server, if it works."""
    return run_in_child(
        echo, Request(text="a"), timeout_s=30, log_path=log_path, warm=True
    ).parent_pid


def request_for(function: str) -> dict[str, object]:
    return {
        "function": f"support.child_functions:{function}",
        "options_class": "support.child_functions:Request",
        "options": {"text": "60"},
        "env": {},
    }


def send(request: dict[str, object], path: Path, log_path: Path) -> socket.socket:
    """Send a request as a client does, and wait for nothing."""
    import json

    connection = socket.socket(socket.AF_UNIX)
    connection.connect(str(path))
    message = json.dumps(request).encode()
    with log_path.open("ab") as log:
        descriptors = [log.fileno(), log.fileno()]
        socket.send_fds(connection, [len(message).to_bytes(8, "big")], descriptors)
    connection.sendall(message)
    return connection


def test_client_that_leaves_at_once_takes_its_child_along(server, fork_server_of_faults, tmp_path):
    """Before the server has even told it the number of its child."""
    for _ in range(20):
        send(request_for("sleep"), fork_server_of_faults, tmp_path / "log").close()
    assert ask(tmp_path / "log") == server.pid
    assert_no_process_left()
    assert server.children() == [], "not even a zombie"


def test_client_and_child_end_at_the_same_moment(server, fork_server_of_faults, tmp_path):
    """The server, stopped meanwhile, sees both at once."""
    clients = [
        send(request_for("sleep"), fork_server_of_faults, tmp_path / "log") for _ in range(3)
    ]
    pids = [int(client.makefile().readline()) for client in clients]
    server.send_signal(signal.SIGSTOP)
    try:
        for pid, client in zip(pids, clients, strict=True):
            os.kill(pid, signal.SIGKILL)
            client.close()
        time.sleep(0.1)
    finally:
        server.send_signal(signal.SIGCONT)
    assert ask(tmp_path / "log") == server.pid
    assert server.children() == []


@pytest.mark.parametrize("message", [b"", b"\0" * 8, b"\xff" * 8, b"\0" * 7 + b"\x05hello"])
def test_nonsense_is_dropped(server, fork_server_of_faults, tmp_path, message):
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(fork_server_of_faults))
        connection.sendall(message)
        connection.shutdown(socket.SHUT_WR)
        connection.settimeout(10)
        assert connection.recv(10) == b""
    assert ask(tmp_path / "log") == server.pid


def test_server_that_does_not_answer_is_no_obstacle(server, tmp_path, monkeypatch):
    monkeypatch.setattr(forkserver, "_START_TIMEOUT_S", 0.5)
    server.send_signal(signal.SIGSTOP)
    try:
        assert ask(tmp_path / "log") == os.getpid(), "a fresh interpreter"
    finally:
        server.send_signal(signal.SIGCONT)
    assert ask(tmp_path / "log") == server.pid
    assert server.children() == [], "the request that nobody waited for is not carried out"


def is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("warm", [False, True])
def test_what_a_child_leaves_running_ends_with_it(tmp_path, warm):
    answer = run_in_child(
        leave_grandchild, Request(), timeout_s=30, log_path=tmp_path / "log", warm=warm
    )
    assert_no_process_left()
    # Killed, but perhaps not gone yet.
    until = time.monotonic() + 5.0
    while is_running(int(answer.text)):
        assert time.monotonic() < until, "the grandchild lives on"
        time.sleep(0.02)
