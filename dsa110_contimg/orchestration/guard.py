"""Keep watch over one service: it, and all that it started, ends with whoever asked for it.

``python -m dsa110_contimg.orchestration.guard SECONDS COMMAND ...`` runs a command until the
guard's standard input closes, which happens however its parent dies. Airflow's workers start
sessions of their own, so a process group is not enough: the guard is the *subreaper* of
everything below it, and nothing that was orphaned on the way escapes its last sweep.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time

from dsa110_contimg.processes import die_with_parent

_PR_SET_CHILD_SUBREAPER = 36
_POLL_S = 0.2


def run_guarded(command: list[str], *, grace_s: float) -> int:
    """Run a command until it ends, standard input closes, or SIGTERM or SIGINT comes.

    Parameters
    ----------
    command : list of str
        Program and arguments.
    grace_s : float
        How long the command may take to end by itself after SIGTERM, in seconds.

    Returns
    -------
    int
        Its exit status; negative for the signal that ended it.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    stopping, stop = os.pipe()
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda *_: os.write(stop, b"."))
    guard_pid = os.getpid()
    child = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        # Safe: the guard has one thread. Covers a guard that is itself killed outright.
        preexec_fn=lambda: die_with_parent(guard_pid),  # noqa: PLW1509
    )
    while child.poll() is None:
        if select.select([sys.stdin.fileno(), stopping], [], [], _POLL_S)[0]:
            _ask_to_end(child, grace_s)
            break
    kill_descendants(grace_s=2.0)
    return child.wait()


def _ask_to_end(child: subprocess.Popen[bytes], grace_s: float) -> None:
    """Send SIGTERM, and again after half the time: Airflow's services hurry at the second."""
    for _ in range(2):
        child.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(grace_s / 2)
            return


def kill_descendants(*, grace_s: float) -> None:
    """Kill every process below this one, also those that were orphaned.

    Parameters
    ----------
    grace_s : float
        How long to wait for the killed to be gone, in seconds.
    """
    import psutil

    me = psutil.Process()
    until = time.monotonic() + grace_s
    # A process may fork between the look and the kill: look again until there is none.
    while (below := me.children(recursive=True)) and time.monotonic() < until:
        for process in below:
            with contextlib.suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(below, timeout=0.5)


if __name__ == "__main__":
    status = run_guarded(sys.argv[2:], grace_s=float(sys.argv[1]))
    sys.exit(status if status >= 0 else 128 - status)
