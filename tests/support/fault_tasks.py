"""What the processes of fault tests run: a task that converts a group, with a fault in it.

A fault is a shell command that runs when a named step begins, in whichever process the step
is; it stands in the file that ``FAULT_FILE`` names. The product knows nothing of it: the
steps are announced through logging.
"""

from __future__ import annotations

import itertools
import logging
import os
import resource
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

from dsa110_contimg.conversion import hdf5_orchestrator, write_ms
from dsa110_contimg.conversion.chunks import SubbandSamples
from dsa110_contimg.conversion.hdf5_orchestrator import ConversionOptions
from dsa110_contimg.conversion.models import ConversionResult
from dsa110_contimg.conversion.write_ms import WriteMsOptions, WriteMsReport
from dsa110_contimg.models import Model

FAULT_FILE_VARIABLE = "FAULT_FILE"
TRUNCATE_WHILE_MAPPED = "truncate while mapped"
_CHANGES = ("os.rename", "os.remove", "os.mkdir", "os.rmdir", "os.link")
_STAGES = "dsa110_contimg.stages"
_plain_write_ms = write_ms.write_ms


class TaskOptions(Model):
    """A conversion, and what shall happen to its task."""

    conversion: ConversionOptions
    """The conversion."""
    pid_file: Path
    """Gets the process id of the task."""
    fresh_children: bool = False
    """Whether the MS is written by a fresh interpreter instead of a fork."""
    kill_at_change: int | None = None
    """The task kills itself as it is about to change a file system for the n-th time."""
    max_open_files: int | None = None
    """Limit for the task and its fresh children."""


def convert_task(options: TaskOptions) -> ConversionResult:
    """Convert a group as a task does."""
    _prepare(options)
    if options.kill_at_change is not None:
        _die_at_change(options.kill_at_change)
    return hdf5_orchestrator.convert_group(options.conversion)


def faulty_write_ms(options: WriteMsOptions) -> WriteMsReport:
    """Write an MS as the child does, with the fault."""
    watch_steps()
    fault = _read_fault()
    if fault is not None and fault[0] == TRUNCATE_WHILE_MAPPED:
        _truncate_when_read(Path(fault[1]))
    return _plain_write_ms(options)


def watch_steps() -> None:
    """Run the fault when its step begins in this process."""
    logger = logging.getLogger(_STAGES)
    logger.setLevel(logging.INFO)
    logger.addHandler(_FaultHandler())


class _FaultHandler(logging.Handler):
    """Runs the fault; the command finds the process id in ``SELF``."""

    def emit(self, record: logging.LogRecord) -> None:
        fault = _read_fault()
        if fault is not None and isinstance(record.args, tuple) and record.args[1] == fault[0]:
            environment = {**os.environ, "SELF": str(os.getpid())}
            subprocess.run(fault[1], shell=True, check=True, env=environment)  # noqa: S602


def _prepare(options: TaskOptions) -> None:
    """Make this process the task."""
    options.pid_file.write_text(str(os.getpid()))
    if options.fresh_children:
        os.environ.pop("DSA110_CONTIMG_FORKSERVER", None)
    if options.max_open_files is not None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (options.max_open_files,) * 2)
    write_ms.write_ms = faulty_write_ms
    watch_steps()


def _read_fault() -> tuple[str, str] | None:
    """Look up the step and the command."""
    file = Path(os.environ[FAULT_FILE_VARIABLE])
    if not file.exists():
        return None
    step, _, command = file.read_text().partition("\n")
    return step, command


def _die_at_change(number: int) -> None:
    """Have this process killed as it is about to change a file system for the n-th time."""
    changes = itertools.count()

    def watch(event: str, args: tuple[Any, ...]) -> None:
        is_write = event == "open" and (args[2] or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
        if (is_write or event in _CHANGES) and next(changes) == number:
            os.kill(os.getpid(), signal.SIGKILL)

    sys.addaudithook(watch)


def _truncate_when_read(path: Path) -> None:
    """Truncate a file at the moment when its mapped chunks are about to be read."""
    block = SubbandSamples.block

    def truncate_and_read(samples: SubbandSamples, *arguments: Any) -> Any:
        if samples._path == path:
            os.truncate(path, 1000)
        return block(samples, *arguments)

    SubbandSamples.block = truncate_and_read  # type: ignore[method-assign]
