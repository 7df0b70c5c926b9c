"""Run one function in a process of its own, bounded in time, judged by its exit status.

CASA and casacore abort, hang or leak tables; none of that may reach the caller. The child
is a fresh interpreter: it gets a function name and options, and returns a result as JSON.
It dies with its parent, its output goes to a log file, and its errors come back by name.
"""

from __future__ import annotations

import contextlib
import ctypes
import importlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any, TypeVar

from dsa110_contimg.errors import ERROR_CLASSES, ContimgError, TransientError
from dsa110_contimg.models import Model

ResultT = TypeVar("ResultT", bound=Model)

_PR_SET_PDEATHSIG = 1
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


def run_in_child(
    function: Callable[[Any], ResultT],
    options: Model,
    *,
    timeout_s: float,
    log_path: Path,
    env: dict[str, str] | None = None,
) -> ResultT:
    """Call ``function(options)`` in a fresh interpreter and return its result.

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

    Returns
    -------
    Model
        The function's result.

    Raises
    ------
    ContimgError
        As the function raised it; `TransientError` if the child was killed, crashed or ran
        out of time (the message holds the end of its log).
    """
    log_path.parent.mkdir(parents=True, exist_ok=True)
    name = f"{function.__module__}:{function.__name__}"
    with tempfile.TemporaryFile("w+", encoding="utf-8") as answer, log_path.open("ab") as log:
        # -P keeps the current directory off sys.path, -c keeps CASA from parsing our argv.
        child = subprocess.Popen(
            [sys.executable, "-P", "-c", f"from {__name__} import child_main; child_main()"],
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            env={**os.environ, **(env or {})},
            start_new_session=True,
            pass_fds=(answer.fileno(),),
        )
        request = json.dumps(
            {
                "parent_pid": os.getpid(),
                "function": name,
                "options_class": f"{type(options).__module__}:{type(options).__name__}",
                "options": options.model_dump(mode="json"),
                "answer_fd": answer.fileno(),
            }
        )
        try:
            child.communicate(request.encode(), timeout=timeout_s)
        except subprocess.TimeoutExpired:
            raise TransientError(
                f"{name} did not end within {timeout_s:.0f} s and was killed; log: {log_path}",
                reason="timeout",
            ) from None
        finally:
            _kill_group(child)
        answer.seek(0)
        text = answer.read()
    if child.returncode == 0:
        result_class = (
            importlib.import_module(function.__module__)
            .__dict__[function.__name__]
            .__annotations__["return"]
        )
        return _resolve(result_class, function).model_validate_json(text)
    raise _child_error(child.returncode, text, name, log_path)


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
    """Serve one request from standard input, as the child."""
    request = json.loads(sys.stdin.read())
    die_with_parent(request["parent_pid"])
    try:
        options_class = _load(request["options_class"])
        function = _load(request["function"])
        result = function(options_class.model_validate(request["options"]))
        text, status = result.model_dump_json(), 0
    except ContimgError as error:
        traceback.print_exc()
        name = next(cls.__name__ for cls in type(error).__mro__ if cls.__name__ in ERROR_CLASSES)
        text = json.dumps(
            {
                "class": name,
                "message": error.message,
                "reason": error.reason,
                "remedy": error.remedy,
            }
        )
        status = _EXIT_NAMED_ERROR
    with os.fdopen(request["answer_fd"], "w", encoding="utf-8") as answer:
        answer.write(text)
    sys.stdout.flush()
    sys.stderr.flush()
    # Skips the exit handlers of CASA, which can hang on leaked tables.
    os._exit(status)


def _load(reference: str) -> Any:
    """Import ``module:name``."""
    module, name = reference.split(":")
    return getattr(importlib.import_module(module), name)
