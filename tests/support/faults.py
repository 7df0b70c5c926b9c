"""A place where conversions can go wrong, and what must hold afterwards, whatever went wrong."""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

import numpy as np
import psutil
import pytest
from casacore.tables import table
from support.fault_tasks import FAULT_FILE_VARIABLE, TaskOptions, convert_task

from dsa110_contimg.conversion.hdf5_orchestrator import ConversionOptions
from dsa110_contimg.conversion.models import ConversionResult, ConversionState, SubbandGroup
from dsa110_contimg.errors import ContimgError, TransientError
from dsa110_contimg.processes import run_in_child
from dsa110_contimg.storage.publish import manifest_path, read_manifest
from dsa110_contimg.storage.sandbox import reap_sandboxes

LONG_FORM = os.environ.get("FAULT_SWEEP") == "long"
"""``make faults`` runs every sweep at full length; the suite runs a short form of each."""
_FIGURES: list[str] = []
_TIMEOUT_S = 120.0


def report_figures(line: str) -> None:
    """Put a line into the summary at the end of the test run."""
    _FIGURES.append(line)


def reported_figures() -> list[str]:
    """All such lines."""
    return _FIGURES


class Attempt(NamedTuple):
    """How an attempt ended."""

    outcome: str
    """State of the group, or the reason of the failure."""
    message: str
    """What a failure said."""


@dataclass
class Site:
    """Inputs of one group, and a target, sandboxes and logs of its own.

    Parameters
    ----------
    root : Path
        Scratch directory on disk.
    sandbox_root : Path
        Where sandboxes stand, in tmpfs if there is one.
    group : SubbandGroup
        The group.
    """

    root: Path
    sandbox_root: Path
    group: SubbandGroup
    overrides: dict[str, object] = field(default_factory=dict)

    def __post_init__(self) -> None:
        self._inputs_before = self._look_at_inputs()

    @property
    def options(self) -> ConversionOptions:
        """How the group is converted."""
        defaults = {
            "group": self.group,
            "output_dir": self.root / "ms",
            "sandbox_roots": [self.sandbox_root],
            "timeout_s": _TIMEOUT_S,
            "lock_timeout_s": 30.0,
            "log_dir": self.root / "logs" / "conversion",
        }
        return ConversionOptions.model_validate({**defaults, **self.overrides})

    @property
    def ms(self) -> Path:
        """The MS."""
        return self.options.ms_path

    @property
    def pid_file(self) -> Path:
        """Where the task leaves its process id."""
        return self.root / "task.pid"

    def run(self, **task: object) -> ConversionResult:
        """Convert as a task of its own, which may be killed."""
        self.pid_file.unlink(missing_ok=True)
        options = TaskOptions.model_validate(
            {"conversion": self.options, "pid_file": self.pid_file, **task}
        )
        return run_in_child(
            convert_task,
            options,
            timeout_s=_TIMEOUT_S,
            log_path=self.root / "logs" / "task.log",
            warm=True,
        )

    def attempt(self, **task: object) -> Attempt:
        """Convert as a task of its own; a transient failure is an outcome as well."""
        try:
            return Attempt(str(self.run(**task).state), "")
        except TransientError as error:
            return Attempt(error.reason, str(error))

    def logs_of_children(self) -> list[Path]:
        """Logs of the children that write MSs; none if the work never began."""
        return list(self.options.log_dir.glob("*.log"))

    def set_fault(self, step: str, command: str) -> None:
        """Have a command run when a step begins."""
        Path(os.environ[FAULT_FILE_VARIABLE]).write_text(f"{step}\n{command}")

    def assert_nothing_lost(self, reference: dict[str, bytes]) -> ConversionState:
        """Check what must hold after any accident, and that the next attempt mends all.

        Parameters
        ----------
        reference : dict
            From `ms_content` of an undisturbed conversion.

        Returns
        -------
        ConversionState
            What the next attempt did.
        """
        Path(os.environ[FAULT_FILE_VARIABLE]).unlink(missing_ok=True)
        assert_no_process_left()
        self.assert_inputs_untouched()
        if read_manifest(self.ms) is not None:
            assert ms_content(self.ms) == reference, "finished, but not right"
        state = self.run().state
        assert state in {ConversionState.CONVERTED, ConversionState.SKIPPED}
        self.assert_finished(reference)
        reap_sandboxes(self.sandbox_root)
        assert list(self.sandbox_root.iterdir()) == [], "stale sandboxes"
        return state

    def assert_finished(self, reference: dict[str, bytes]) -> None:
        """Check that the MS is right, and that nothing else lies beside it."""
        assert read_manifest(self.ms) is not None
        assert ms_content(self.ms) == reference
        lock = f".{self.ms.name}.lock"
        beside = {entry.name for entry in self.ms.parent.iterdir()}
        assert beside == {self.ms.name, manifest_path(self.ms).name, lock}

    def assert_inputs_untouched(self) -> None:
        """Check that the inputs are what they were, to the byte and the nanosecond."""
        assert self._look_at_inputs() == self._inputs_before

    def _look_at_inputs(self) -> dict[str, tuple[int, str]]:
        paths = sorted(Path(self.group.files[0]).parent.iterdir())
        return {
            path.name: (path.stat().st_mtime_ns, hashlib.sha1(path.read_bytes()).hexdigest())  # noqa: S324
            for path in paths
        }


def ms_content(ms: Path) -> dict[str, bytes]:
    """Digest every column of every table of an MS; only the time in HISTORY is left out."""
    content = {}
    for part in ("", *sorted(entry.name for entry in ms.iterdir() if entry.is_dir())):
        with table(f"{ms}::{part}" if part else str(ms), ack=False) as part_table:
            for column in part_table.colnames():
                if (part, column) != ("HISTORY", "TIME"):
                    content[f"{part}/{column}"] = _digest(part_table, column)
    return content


def _digest(part: table, column: str) -> bytes:
    """Digest one column; cells without a value count as such."""
    digest = hashlib.sha1(f"{part.nrows()}".encode())  # noqa: S324
    if part.nrows() and part.iscelldefined(column, 0):
        values = part.getcol(column)
        if isinstance(values, np.ndarray):
            digest.update(f"{values.dtype}{values.shape}".encode())
            digest.update(np.ascontiguousarray(values).tobytes())
        else:
            digest.update(repr(values).encode())
    return digest.digest()


def server_pid() -> int:
    """The fork server of the tests."""
    return int(os.environ["FAULT_SERVER_PID"])


def assert_no_process_left(within_s: float = 5.0) -> None:
    """Check that all tasks and children of the tests have ended, forked or fresh."""
    deadline = time.monotonic() + within_s
    while left := _tagged_processes():
        assert time.monotonic() < deadline, f"left behind: {left}"
        time.sleep(0.02)


def _tagged_processes() -> list[psutil.Process]:
    """Tasks, their children and orphans of them: what this process did not start itself."""
    own = {os.getpid(), server_pid()}
    tagged = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            tag = process.environ().get(FAULT_FILE_VARIABLE)
            is_ours = tag == os.environ[FAULT_FILE_VARIABLE]
            is_own = process.pid in own or process.ppid() == os.getpid()
            if is_ours and not is_own and process.status() != psutil.STATUS_ZOMBIE:
                tagged.append(process)
    return tagged


def find_child() -> int | None:
    """Process id of the fresh interpreter that `run_in_child` runs for this process, if any.

    Read from /proc: psutil looks at all processes of the machine, which takes longer than some
    children live. Other children, such as the resource tracker of multiprocessing, are not its.
    """
    for task in Path("/proc/self/task").iterdir():
        for pid in _read_proc(task / "children").split():
            if b"child_main" in _read_proc(Path(f"/proc/{int(pid)}/cmdline")):
                return int(pid)
    return None


def _read_proc(path: Path) -> bytes:
    """Read what the kernel says of a process, or nothing of one that has just ended."""
    try:
        return path.read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return b""


@contextmanager
def killed_after(delay_s: float, find: Callable[[], int | None]) -> Iterator[list[int]]:
    """Kill a process some time after it is found; yields a list that gets its id."""
    killed: list[int] = []
    is_over = threading.Event()

    def kill() -> None:
        while (pid := find()) is None and not is_over.wait(0.002):
            pass
        if pid is not None and not is_over.wait(delay_s):
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
                killed.append(pid)

    thread = threading.Thread(target=kill)
    thread.start()
    try:
        yield killed
    finally:
        is_over.set()
        thread.join()


@contextmanager
def at_step(step: str, act: Callable[[], object]) -> Iterator[None]:
    """Do something when a step begins in this process."""

    class Watcher(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            if record.args[1] == step:
                act()

    logger, watcher = logging.getLogger("dsa110_contimg.stages"), Watcher()
    level = logger.level
    logger.setLevel(logging.INFO)
    logger.addHandler(watcher)
    try:
        yield
    finally:
        logger.removeHandler(watcher)
        logger.setLevel(level)


def failure_of(convert: Callable[[], ConversionResult]) -> ContimgError:
    """The named failure of a conversion that must fail; any other exception fails the test."""
    with pytest.raises(ContimgError) as caught:
        convert()
    return caught.value


@contextmanager
def small_disk(place: Path, size_bytes: int) -> Iterator[Path]:
    """A real file system of a few megabytes, or a skipped test."""
    place.mkdir(parents=True)
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size_bytes}", "tmpfs", str(place)],
        capture_output=True,
        check=False,
    )
    if mounted.returncode:
        pytest.skip(f"cannot mount a small disk here: {mounted.stderr.decode().strip()}")
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=True)
