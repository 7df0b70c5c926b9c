"""Run a Celery worker with a warm fork server at its side.

``python -m dsa110_contimg.orchestration.worker COMMAND ...`` first removes the sandboxes that a
worker before it left in this machine's tmpfs, which no other machine can see; then it starts the
command, whose tasks fork their children from the server instead of importing everything anew.
Signals are handed on, so that a worker that is asked to end may finish its tasks.
"""

from __future__ import annotations

import logging
import os
import signal
import socket
import subprocess
import sys

from dsa110_contimg.errors import SettingsError
from dsa110_contimg.forkserver import fork_server
from dsa110_contimg.processes import die_with_parent
from dsa110_contimg.settings import get_settings
from dsa110_contimg.storage.sandbox import reap_sandboxes

_log = logging.getLogger(__name__)
_HANDED_ON = (signal.SIGTERM, signal.SIGINT, signal.SIGQUIT)


def run_worker(command: list[str]) -> int:
    """Run a command until it ends.

    Parameters
    ----------
    command : list of str
        Program and arguments.

    Returns
    -------
    int
        Its exit status; negative for the signal that ended it.
    """
    settings = get_settings()
    reap_sandboxes(settings.sandbox_root)
    with fork_server(settings.logs_dir / "forkserver" / f"{socket.gethostname()}.log"):
        parent_pid = os.getpid()
        child = subprocess.Popen(
            command,
            # Safe: this process has one thread.
            preexec_fn=lambda: die_with_parent(parent_pid),  # noqa: PLW1509
        )
        for number in _HANDED_ON:
            signal.signal(number, lambda received, _: child.send_signal(received))
        return child.wait()


if __name__ == "__main__":
    logging.basicConfig(format="%(asctime)s %(levelname)s %(message)s")
    try:
        status = run_worker(sys.argv[1:])
    except SettingsError as error:
        _log.error("(%s): %s", error.reason, error)
        sys.exit(2)
    sys.exit(status if status >= 0 else 128 - status)
