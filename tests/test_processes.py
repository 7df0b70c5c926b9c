"""Children: bounded, named, and never left behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest
from support.child_functions import (
    Request,
    crash,
    die,
    echo,
    hang_with_grandchild,
    kill_parent,
    refuse,
)

from dsa110_contimg.errors import InputError, TransientError
from dsa110_contimg.forkserver import SOCKET_VARIABLE, fork_server
from dsa110_contimg.processes import run_in_child

pytestmark = pytest.mark.unit
ENV = {"PYTHONPATH": str(Path(__file__).parent)}


def gone(pid: int) -> bool:
    """Whether a process has ended, within a few seconds."""
    deadline = time.monotonic() + 5
    while time.monotonic() < deadline:
        if not psutil.pid_exists(pid) or psutil.Process(pid).status() == psutil.STATUS_ZOMBIE:
            return True
        time.sleep(0.02)
    return False


@pytest.fixture(autouse=True)
def nothing_announced(monkeypatch):
    """Each test has a fork server of its own, or none: one of them kills its server."""
    monkeypatch.delenv(SOCKET_VARIABLE, raising=False)


@pytest.fixture(params=["fresh", "forked"])
def call(request, tmp_path, monkeypatch):
    """``call(function, text)`` in a fresh interpreter, or forked by a server."""
    monkeypatch.setenv("PYTHONPATH", ENV["PYTHONPATH"])

    def run(function, text="", timeout_s=60.0):
        return run_in_child(
            function,
            Request(text=text),
            timeout_s=timeout_s,
            log_path=tmp_path / "logs" / "child.log",
            env={"CHILD_VARIABLE": "set"},
            warm=True,
        )

    if request.param == "fresh":
        yield run
        return
    with fork_server(tmp_path / "server.log"):
        yield run


def test_result_comes_back_from_another_process(call, tmp_path):
    answer = call(echo, "a word")
    assert answer.text == "a word"
    assert answer.pid != os.getpid()
    log = (tmp_path / "logs" / "child.log").read_text()
    assert "said on stdout" in log
    assert "said on stderr" in log


def test_named_error_keeps_its_name(call):
    with pytest.raises(InputError, match="thing is bad") as caught:
        call(refuse, "thing")
    assert caught.value.reason == "bad_thing"
    assert caught.value.remedy == "another one"


def test_unknown_error_brings_the_end_of_its_log(call):
    with pytest.raises(TransientError, match="ZeroDivisionError: why") as caught:
        call(crash, "why")
    assert caught.value.reason == "child_crashed"


def test_killed_child_is_named(call):
    with pytest.raises(TransientError, match="SIGKILL") as caught:
        call(die)
    assert caught.value.reason == "child_killed"


def test_timeout_ends_the_child_and_its_children(call, tmp_path):
    pids = tmp_path / "pids"
    with pytest.raises(TransientError, match="did not end within 3 s") as caught:
        call(hang_with_grandchild, str(pids), timeout_s=3)
    assert caught.value.reason == "timeout"
    assert all(gone(int(pid)) for pid in pids.read_text().split())


@pytest.mark.parametrize("kind", ["fresh", "forked"])
def test_child_dies_with_its_parent(tmp_path, kind):
    pids = tmp_path / "pids"
    program = (
        "from contextlib import nullcontext\n"
        "from pathlib import Path\n"
        "from support.child_functions import *\n"
        "from dsa110_contimg.forkserver import fork_server\n"
        "from dsa110_contimg.processes import run_in_child\n"
        f"log = Path({str(tmp_path / 'log')!r})\n"
        f"with fork_server(log) if {kind == 'forked'} else nullcontext():\n"
        f"    run_in_child(hang_with_grandchild, Request(text={str(pids)!r}), timeout_s=60,"
        " log_path=log, warm=True)"
    )
    parent = subprocess.Popen([sys.executable, "-c", program], env={**os.environ, **ENV})
    try:
        deadline = time.monotonic() + 20
        while not (pids.exists() and pids.read_text()) and time.monotonic() < deadline:
            time.sleep(0.05)
        child, grandchild = (int(pid) for pid in pids.read_text().split())
        parent.send_signal(signal.SIGKILL)
        parent.wait()
        assert gone(child)
    finally:
        parent.kill()
        parent.wait()
        os.kill(grandchild, signal.SIGKILL)


def test_children_of_one_server_are_different_processes(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", ENV["PYTHONPATH"])
    with fork_server(tmp_path / "server.log"):
        answers = [
            run_in_child(
                echo, Request(text=str(n)), timeout_s=60, log_path=tmp_path / f"{n}.log", warm=True
            )
            for n in range(3)
        ]
    assert [answer.text for answer in answers] == ["0", "1", "2"]
    assert len({answer.pid for answer in answers}) == 3
    assert len({answer.parent_pid for answer in answers}) == 1, "all forked by one server"
    assert os.getpid() not in {answer.parent_pid for answer in answers}


def test_absent_server_is_no_obstacle(tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", ENV["PYTHONPATH"])
    monkeypatch.setenv(SOCKET_VARIABLE, str(tmp_path / "nobody"))
    log_path = tmp_path / "log"
    answer = run_in_child(echo, Request(text="a"), timeout_s=60, log_path=log_path, warm=True)
    assert answer.parent_pid == os.getpid()
    assert "no fork server at" in log_path.read_text()


def test_killed_server_kills_its_children_and_says_so(tmp_path, monkeypatch):
    """The client learns at once, as of any killed child."""
    monkeypatch.setenv("PYTHONPATH", ENV["PYTHONPATH"])
    with fork_server(tmp_path / "server.log"), pytest.raises(TransientError, match="SIGKILL"):
        run_in_child(kill_parent, Request(), timeout_s=60, log_path=tmp_path / "log", warm=True)
