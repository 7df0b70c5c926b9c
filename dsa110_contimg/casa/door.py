"""The one door to CASA: a child process with its own home, directory, log and time-out.

CASA writes into the current directory, the home and the terminal, reads the user's
configuration, fetches data from the network and can hang. A function that needs it is
started by `run_in_casa` and imports it by `open_casatasks`; nothing else imports it.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Callable
from pathlib import Path
from types import ModuleType
from typing import Any, TypeVar

import psutil

from dsa110_contimg.models import Model
from dsa110_contimg.processes import run_in_child

ResultT = TypeVar("ResultT", bound=Model)

_SCRATCH_VARIABLE = "CONTIMG_CASA_SCRATCH"
_LOG_VARIABLE = "CONTIMG_CASA_LOG"


def run_in_casa(
    function: Callable[[Any], ResultT],
    options: Model,
    *,
    timeout_s: float,
    log_path: Path,
    scratch_dir: Path,
) -> ResultT:
    """Call ``function(options)`` in a child in which `open_casatasks` works.

    Parameters
    ----------
    function : callable
        A module-level function annotated ``options -> result``, both models.
    options : Model
        Its argument.
    timeout_s : float
        The child and its descendants are killed after this time, in seconds.
    log_path : Path
        File that the child's output and CASA's log are appended to.
    scratch_dir : Path
        Existing directory for the child's home, current directory and temporary files; the
        caller removes it.

    Returns
    -------
    Model
        The function's result.

    Raises
    ------
    ContimgError
        As `dsa110_contimg.processes.run_in_child` raises it.
    """
    scratch = scratch_dir.absolute()
    folders = {
        "HOME": scratch / "home",
        "MPLCONFIGDIR": scratch / "home" / "matplotlib",
        "XDG_CACHE_HOME": scratch / "home" / "cache",
        "XDG_CONFIG_HOME": scratch / "home" / "config",
        "TMPDIR": scratch / "tmp",
        _SCRATCH_VARIABLE: scratch / "casa",
    }
    for folder in folders.values():
        folder.mkdir(parents=True, exist_ok=True)
    env = {name: str(folder) for name, folder in folders.items()}
    # Threads buy 10 % of wall time for 70 % more CPU; processes share the machine better.
    env |= {_LOG_VARIABLE: str(log_path.absolute()), "OMP_NUM_THREADS": "1"}
    return run_in_child(function, options, timeout_s=timeout_s, log_path=log_path, env=env)


def open_casatasks() -> ModuleType:
    """Import casatasks, offline and quiet, in a child that `run_in_casa` started.

    Returns
    -------
    module
        ``casatasks``; ``casatools`` can be imported from now on.

    Raises
    ------
    RuntimeError
        In any other process: CASA would write wherever that process happens to stand.
    """
    if _SCRATCH_VARIABLE not in os.environ:
        raise RuntimeError("CASA was asked for outside its door: use casa.door.run_in_casa")
    os.chdir(os.environ[_SCRATCH_VARIABLE])
    _configure(Path(os.environ[_LOG_VARIABLE]), Path(os.environ["HOME"]))
    inherited = _listening_sockets()
    import casatools  # noqa: F401 - before casatasks, to keep short the time that it listens

    _shut(_listening_sockets() - inherited)
    import casatasks

    module: ModuleType = casatasks
    return module


def _listening_sockets() -> set[int]:
    """Find the open files of this process that are TCP sockets waiting for connections."""
    listening = psutil.Process().net_connections("tcp")
    return {found.fd for found in listening if found.status == psutil.CONN_LISTEN}


def _shut(sockets: set[int]) -> None:
    """Take no more connections.

    casatools starts a registrar for other programs of CASA, which listens on every interface and
    serves all callers. Tasks and tools do not use it. The sockets stay open, for casatools closes
    them at its end.
    """
    for number in sockets:
        with socket.socket(fileno=os.dup(number)) as listening:
            listening.shutdown(socket.SHUT_RDWR)


def _configure(log_path: Path, home: Path) -> None:
    """Set what casatools reads when it is first imported."""
    import casadata
    from casaconfig import config

    config.measurespath = casadata.datapath
    config.datapath = [casadata.datapath]
    # With updates on, the import itself goes to the network and fails without it.
    config.measures_auto_update = config.data_auto_update = False
    config.logfile = str(log_path)
    config.cachedir = str(home)
    config.nogui = config.agg = True
