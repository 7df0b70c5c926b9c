"""Run one function in a process of its own, bounded in time, judged by its exit status.

CASA and casacore abort, hang or leak tables; none of that may reach the caller. The child
gets a function name and options, and returns a result as JSON. It dies with its parent, its
output goes to a log file, and its errors come back by name.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import logging
import os
import shutil
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from dsa110_contimg import forkserver
from dsa110_contimg.errors import (
    ERROR_CLASSES,
    ContimgError,
    InputError,
    TransientError,
    name_os_error,
)
from dsa110_contimg.models import Model
from dsa110_contimg.progress import LOG_FORMAT, told_progress

ResultT = TypeVar("ResultT", bound=Model)

_PR_SET_PDEATHSIG = 1
_EXIT_CRASHED = 1
_EXIT_NAMED_ERROR = 3
_LOG_TAIL_LINES = 15


def die_with_parent(parent_pid: int) -> None:
    """Ask the kernel to kill this process when its parent ends.

    Parameters
    ----------
    parent_pid : int
        The parent's process id; if it is gone already, this process ends at once.
    """
    ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent_pid:
        os._exit(1)


def find_program(name: str, otherwise: str) -> str:
    """Find a program that need not be installed.

    Parameters
    ----------
    name : str
        Name of the program and of its Debian package.
    otherwise : str
        What to do without it.

    Returns
    -------
    str
        Its path.

    Raises
    ------
    InputError
        If it is not installed.
    """
    found = shutil.which(name)
    if found is None:
        raise InputError(
            f"the program {name} is not installed on this machine, or not in the PATH",
            reason=f"no_{name}",
            remedy=f"apt-get install {name}, or {otherwise}",
        )
    return found


def run_program(arguments: list[str], env: dict[str, str] | None = None) -> str | None:
    """Run a program that ends with this process; its output goes where this one's does.

    Parameters
    ----------
    arguments : list of str
        The program and its arguments.
    env : dict of str to str, optional
        Additions to the environment.

    Returns
    -------
    str or None
        How it failed, in words that follow its name; None if it did not.
    """
    parent_pid = os.getpid()
    status = subprocess.run(
        arguments,
        stdin=subprocess.DEVNULL,
        env={**os.environ, **(env or {})},
        check=False,
        # Else it would outlive a parent that is killed alone.
        preexec_fn=lambda: die_with_parent(parent_pid),
    ).returncode
    if status < 0:
        return f"was killed by {signal.Signals(-status).name}"
    return f"gave {status}" if status else None


def run_in_child(
    function: Callable[[Any], ResultT],
    options: Model,
    *,
    timeout_s: float,
    log_path: Path,
    env: dict[str, str] | None = None,
    warm: bool = False,
) -> ResultT:
    """Call ``function(options)`` in a process of its own and return its result.

    Parameters
    ----------
    function : callable
        A module-level function annotated ``options -> result``, both models.
    options : Model
        Its argument.
    timeout_s : float
        The child and its descendants are killed after this time, in seconds.
    log_path : Path
        File that receives the child's standard output and error.
    env : dict of str to str, optional
        Additions to the environment.
    warm : bool
        Whether the child may be forked by the announced fork server (`forkserver`), which
        saves the imports; else, or without a server, it is a fresh interpreter.

    Returns
    -------
    Model
        The function's result.

    Raises
    ------
    ContimgError
        As the function raised it; `TransientError` if the child was killed, crashed or ran
        out of time (the message holds the end of its log), or if this process has no more
        open files; `InputError` if the log may not be written.
    """
    name = f"{function.__module__}:{function.__name__}"
    request = {
        "function": name,
        "options_class": f"{type(options).__module__}:{type(options).__name__}",
        "options": options.model_dump(mode="json"),
        "env": env or {},
    }
    try:
        log_path.parent.mkdir(parents=True, exist_ok=True)
        # In memory: a full disk does not keep a child from answering.
        answer_fd = os.memfd_create("answer")
        with os.fdopen(answer_fd, encoding="utf-8") as answer, log_path.open("ab") as log:
            # Tells those who remove old logs that this one is in use, if the child says nothing.
            os.utime(log.fileno())
            with told_progress(log_path):
                status = _run(request, timeout_s, log.fileno(), answer_fd, warm=warm)
            answer.seek(0)
            text = answer.read()
    except TimeoutError:
        raise TransientError(
            f"{name} did not end within {timeout_s:.0f} s and was killed; log: {log_path}",
            reason="timeout",
        ) from None
    except OSError as error:
        raise name_os_error(error, f"cannot run {name} with its log {log_path}") from error
    if status == 0:
        result_class = (
            importlib.import_module(function.__module__)
            .__dict__[function.__name__]
            .__annotations__["return"]
        )
        return _resolve(result_class, function).model_validate_json(text)
    raise _child_error(status, text, name, log_path)


def _run(
    request: dict[str, Any], timeout_s: float, log_fd: int, answer_fd: int, *, warm: bool
) -> int:
    """Have a child handle a request; its exit status, or TimeoutError."""
    server = forkserver.server_socket() if warm else None
    if server is not None:
        try:
            return forkserver.submit(
                server, request, timeout_s=timeout_s, log_fd=log_fd, answer_fd=answer_fd
            )
        except (ConnectionRefusedError, FileNotFoundError):
            os.write(log_fd, f"no fork server at {server}: a fresh interpreter\n".encode())
        except ConnectionError:
            os.write(log_fd, b"the fork server went away; its own log says why\n")
            return -signal.SIGKILL  # the child died with its server
    return _run_fresh(request, timeout_s, log_fd, answer_fd)


def _run_fresh(request: dict[str, Any], timeout_s: float, log_fd: int, answer_fd: int) -> int:
    """Have a fresh interpreter handle a request."""
    # -P keeps the current directory off sys.path, -c keeps CASA from parsing our argv.
    child = subprocess.Popen(
        [sys.executable, "-P", "-c", f"from {__name__} import child_main; child_main()"],
        stdin=subprocess.PIPE,
        stdout=log_fd,
        stderr=log_fd,
        env={**os.environ, **request["env"]},
        start_new_session=True,
        pass_fds=(answer_fd,),
    )
    message = json.dumps({**request, "parent_pid": os.getpid(), "answer_fd": answer_fd})
    try:
        child.communicate(message.encode(), timeout=timeout_s)
    except subprocess.TimeoutExpired:
        raise TimeoutError from None
    finally:
        _kill_group(child)
    return child.returncode


def _resolve(annotation: Any, function: Callable[[Any], ResultT]) -> type[ResultT]:
    """Turn a postponed annotation into the class it names."""
    if isinstance(annotation, str):
        annotation = vars(sys.modules[function.__module__])[annotation]
    resolved: type[ResultT] = annotation
    return resolved


def _kill_group(child: subprocess.Popen[bytes]) -> None:
    """End what is left of the child's session, then reap the child."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(child.pid, signal.SIGKILL)
    child.wait()


def _child_error(status: int, text: str, name: str, log_path: Path) -> ContimgError:
    """Name the error of a child that did not return a result."""
    if status == _EXIT_NAMED_ERROR:
        error = json.loads(text)
        return ERROR_CLASSES[error["class"]](
            error["message"], reason=error["reason"], remedy=error["remedy"]
        )
    how = f"was killed by {signal.Signals(-status).name}" if status < 0 else f"exited {status}"
    tail = "\n".join(log_path.read_text(errors="replace").splitlines()[-_LOG_TAIL_LINES:])
    return TransientError(
        f"{name} {how}; log: {log_path}\n{tail}",
        reason="child_killed" if status < 0 else "child_crashed",
    )


def child_main() -> None:
    """Serve one request from standard input, as a fresh interpreter."""
    request = json.loads(sys.stdin.read())
    die_with_parent(request["parent_pid"])
    handle_request(request, request["answer_fd"])


def handle_request(request: dict[str, Any], answer_fd: int) -> NoReturn:
    """Do what a request asks for, answer, and end this process.

    Parameters
    ----------
    request : dict
        The names of a function and of the class of its options, the options, additions to
        the environment.
    answer_fd : int
        Descriptor that gets the result, or the named error, as JSON.
    """
    status = _EXIT_CRASHED
    try:
        os.environ.update(request["env"])
        logging.basicConfig(level=logging.INFO, format=LOG_FORMAT, force=True)
        status, text = _call(request)
        with os.fdopen(answer_fd, "w", encoding="utf-8") as answer:
            answer.write(text)
    except BaseException:  # noqa: BLE001 - the one boundary of this process; its parent judges
        traceback.print_exc()
    finally:
        with contextlib.suppress(OSError):  # a log on a full disk
            sys.stdout.flush()
            sys.stderr.flush()
        # Skips the exit handlers of CASA, which can hang on leaked tables.
        os._exit(status)


def _call(request: dict[str, Any]) -> tuple[int, str]:
    """Call the function; exit status and answer, for a result or a named error."""
    try:
        options = _load(request["options_class"]).model_validate(request["options"])
        return 0, _load(request["function"])(options).model_dump_json()
    except ContimgError as error:
        traceback.print_exc()
        name = next(cls.__name__ for cls in type(error).__mro__ if cls.__name__ in ERROR_CLASSES)
        facts = {"message": error.message, "reason": error.reason, "remedy": error.remedy}
        return _EXIT_NAMED_ERROR, json.dumps({"class": name, **facts})


def _load(reference: str) -> Any:
    """Import ``module:name``."""
    module, name = reference.split(":")
    return getattr(importlib.import_module(module), name)
