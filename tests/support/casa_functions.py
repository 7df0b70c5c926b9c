"""Functions that the tests of CASA's door run behind it."""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path

import psutil

from dsa110_contimg.casa.door import open_casatasks
from dsa110_contimg.errors import ScienceQualityError
from dsa110_contimg.models import Model


class Question(Model):
    """What a child is told."""

    text: str = ""
    """Anything."""


class Place(Model):
    """Where a child stands, and what it found there."""

    cwd: str
    """Current directory."""
    home: str
    """Home directory."""
    tmp: str
    """Temporary directory."""
    argv: list[str]
    """Arguments that CASA could parse."""
    updates: list[bool]
    """Whether measures and data are updated over the network."""
    data: list[str]
    """Where CASA looks for its data."""
    knows_telescope: bool
    """Whether CASA's data hold the observatory."""
    listens: list[str]
    """Addresses at which the process takes connections."""


def look_around(question: Question) -> Place:
    casatasks = open_casatasks()
    import tempfile

    from casaconfig import config
    from casatools import measures

    casatasks.casalog.post(f"posted {question.text}")
    Path("rubbish").write_text("as CASA leaves it")
    sys.stdout.write("printed\n")
    return Place(
        cwd=str(Path.cwd()),
        home=str(Path.home()),
        tmp=tempfile.gettempdir(),
        argv=sys.argv,
        updates=[config.measures_auto_update, config.data_auto_update],
        data=list(config.datapath),
        knows_telescope="m0" in (measures().observatory("OVRO_MMA") or {}),
        listens=[
            f"{found.laddr.ip}:{found.laddr.port}"
            for found in psutil.Process().net_connections("inet")
            if found.status == psutil.CONN_LISTEN
        ],
    )


def fail_in_casa(question: Question) -> Place:
    open_casatasks()
    raise ScienceQualityError(question.text, reason="bad_solution")


def abort_in_casa(question: Question) -> Place:
    open_casatasks()
    sys.stderr.write(f"{question.text}\n")
    os.abort()


def hang_in_casa(question: Question) -> Place:
    Path(question.text).write_text(str(os.getpid()))
    open_casatasks()
    time.sleep(600)
    raise AssertionError
