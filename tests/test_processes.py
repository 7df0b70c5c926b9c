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
from support.child_functions import Request, crash, die, echo, hang_with_grandchild, refuse

from dsa110_contimg.errors import InputError, TransientError
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


def call(function, tmp_path, text="", timeout_s=60.0):
    log_path = tmp_path / "logs" / "child.log"
    return run_in_child(
        function, Request(text=text), timeout_s=timeout_s, log_path=log_path, env=ENV
    )


def test_result_comes_back_from_another_process(tmp_path):
    answer = call(echo, tmp_path, "a word")
    assert answer.text == "a word"
    assert answer.pid != os.getpid()
    log = (tmp_path / "logs" / "child.log").read_text()
    assert "said on stdout" in log
    assert "said on stderr" in log


def test_named_error_keeps_its_name(tmp_path):
    with pytest.raises(InputError, match="thing is bad") as caught:
        call(refuse, tmp_path, "thing")
    assert caught.value.reason == "bad_thing"
    assert caught.value.remedy == "another one"


def test_unknown_error_brings_the_end_of_its_log(tmp_path):
    with pytest.raises(TransientError, match="ZeroDivisionError: why") as caught:
        call(crash, tmp_path, "why")
    assert caught.value.reason == "child_crashed"


def test_killed_child_is_named(tmp_path):
    with pytest.raises(TransientError, match="SIGKILL") as caught:
        call(die, tmp_path)
    assert caught.value.reason == "child_killed"


def test_timeout_ends_the_child_and_its_children(tmp_path):
    pids = tmp_path / "pids"
    with pytest.raises(TransientError, match="did not end within 3 s") as caught:
        call(hang_with_grandchild, tmp_path, str(pids), timeout_s=3)
    assert caught.value.reason == "timeout"
    assert all(gone(int(pid)) for pid in pids.read_text().split())


def test_child_dies_with_its_parent(tmp_path):
    pids = tmp_path / "pids"
    program = (
        "from pathlib import Path\n"
        "from support.child_functions import *\n"
        "from dsa110_contimg.processes import run_in_child\n"
        f"run_in_child(hang_with_grandchild, Request(text={str(pids)!r}), timeout_s=60,"
        f" log_path=Path({str(tmp_path / 'log')!r}))"
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
