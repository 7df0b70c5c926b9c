"""Functions that tests run in child processes."""

from __future__ import annotations

import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

from dsa110_contimg.errors import InputError
from dsa110_contimg.models import Model
from dsa110_contimg.stages import StageClock


class Request(Model):
    """What a child is told."""

    text: str = ""
    """Anything."""


class Answer(Model):
    """What a child says."""

    text: str
    """Anything."""
    pid: int
    """Its process id."""
    parent_pid: int = 0
    """Its parent's."""


def echo(options: Request) -> Answer:
    sys.stdout.write("said on stdout\n")
    sys.stderr.write("said on stderr\n")
    return Answer(text=options.text, pid=os.getpid(), parent_pid=os.getppid())


def refuse(options: Request) -> Answer:
    raise InputError(f"{options.text} is bad", reason="bad_thing", remedy="another one")


def crash(options: Request) -> Answer:
    raise ZeroDivisionError(options.text)


def die(options: Request) -> Answer:
    os.kill(os.getpid(), signal.SIGKILL)
    return Answer(text="", pid=0)


def hang_with_grandchild(options: Request) -> Answer:
    grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    Path(options.text).write_text(f"{os.getpid()} {grandchild.pid}")
    time.sleep(600)
    return Answer(text="", pid=0)


def kill_parent(options: Request) -> Answer:
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(600)
    return Answer(text="", pid=0)


def sleep(options: Request) -> Answer:
    time.sleep(float(options.text))
    return Answer(text="", pid=os.getpid())


def leave_grandchild(options: Request) -> Answer:
    grandchild = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
    return Answer(text=str(grandchild.pid), pid=os.getpid())


def work_and_tell(options: Request) -> Answer:
    logging.getLogger("another.library").info("of another library")
    with StageClock("the MS").stage("a step"):
        sys.stderr.write(f"{options.text}\n")
        sys.stderr.flush()
        time.sleep(1.0)
    return Answer(text="", pid=os.getpid())
