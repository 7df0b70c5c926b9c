"""Whatever a service starts, and however its owner dies, nothing of it is left."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import psutil
import pytest

pytestmark = [pytest.mark.unit, pytest.mark.fault, pytest.mark.alone]

# A service as bad as they come: deaf to SIGTERM, with a child in a session of its own whose
# parent has gone.
STUBBORN = """
import os, signal, subprocess, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
orphan = ("import os, sys; pid = os.fork();"
          "pid and os._exit(0); os.setsid();"
          "open(sys.argv[1], 'w').write(str(os.getpid())); import time; time.sleep(600)")
subprocess.run([sys.executable, "-c", orphan, sys.argv[1] + ".orphan"])
open(sys.argv[1], "w").write(str(os.getpid()))
time.sleep(600)
"""

OWNER = """
import subprocess, sys, time
guard = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE)
print(guard.pid, flush=True)
time.sleep(600)
"""


def guard_command(*command: str, grace_s: float = 0.5) -> list[str]:
    return [
        *(sys.executable, "-P", "-m", "dsa110_contimg.orchestration.guard"),
        *(str(grace_s), sys.executable, "-c", *command),
    ]


def wait_for_pid(path: Path) -> int:
    until = time.monotonic() + 20
    while not (path.exists() and path.read_text()):
        assert time.monotonic() < until, f"{path} has not appeared"
        time.sleep(0.05)
    return int(path.read_text())


def assert_gone(*pids: int) -> None:
    """All of these processes end within ten seconds."""
    until = time.monotonic() + 10
    for pid in pids:
        while psutil.pid_exists(pid) and psutil.Process(pid).status() != psutil.STATUS_ZOMBIE:
            assert time.monotonic() < until, psutil.Process(pid).cmdline()
            time.sleep(0.05)


def test_the_exit_status_is_handed_on() -> None:
    guard = subprocess.Popen(guard_command("raise SystemExit(7)"), stdin=subprocess.PIPE)
    assert guard.wait(20) == 7
    assert guard.stdin
    guard.stdin.close()


@pytest.mark.parametrize("how", ["stdin", "SIGTERM"])
def test_ends_orphans_of_other_sessions(tmp_path: Path, how: str) -> None:
    file = tmp_path / "service"
    guard = subprocess.Popen(guard_command(STUBBORN, str(file)), stdin=subprocess.PIPE)
    assert guard.stdin
    service, orphan = wait_for_pid(file), wait_for_pid(tmp_path / "service.orphan")
    assert os.getsid(orphan) not in {os.getsid(0), os.getsid(service)}
    if how == "stdin":
        guard.stdin.close()
    else:
        guard.terminate()
    guard.wait(20)
    guard.stdin.close()
    assert_gone(service, orphan)


def test_ends_everything_when_its_owner_is_killed(tmp_path: Path) -> None:
    file = tmp_path / "service"
    owner = subprocess.Popen(
        [sys.executable, "-c", OWNER, *guard_command(STUBBORN, str(file))], stdout=subprocess.PIPE
    )
    assert owner.stdout
    guard = int(owner.stdout.readline())
    service, orphan = wait_for_pid(file), wait_for_pid(tmp_path / "service.orphan")
    owner.send_signal(signal.SIGKILL)
    owner.wait()
    owner.stdout.close()
    assert_gone(guard, service, orphan)


def test_a_service_dies_with_a_killed_guard(tmp_path: Path) -> None:
    file = tmp_path / "service"
    guard = subprocess.Popen(guard_command(STUBBORN, str(file)), stdin=subprocess.PIPE)
    service, orphan = wait_for_pid(file), wait_for_pid(tmp_path / "service.orphan")
    guard.kill()
    guard.wait()
    assert guard.stdin
    guard.stdin.close()
    assert_gone(service)
    os.kill(orphan, signal.SIGKILL)  # only the kernel could have known of it
