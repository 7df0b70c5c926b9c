"""Programs that tests need and Python's packages do not bring: one list, one way to do without."""

from __future__ import annotations

import os
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

import pytest

_LIST = Path(__file__).resolve().parents[2] / ".ci" / "programs"
_SERVERS = Path("/usr/lib/postgresql")
"""Where Debian keeps the programs of PostgreSQL's server, outside of PATH."""


@dataclass(frozen=True)
class Program:
    """A line of the list."""

    name: str
    package: str
    purpose: str


def list_programs() -> dict[str, Program]:
    """All programs that a test may need, by name."""
    lines = [line for line in _LIST.read_text().splitlines() if not line.startswith("#")]
    programs = [Program(*line.split("\t")) for line in lines]
    return {program.name: program for program in programs}


def find_program(name: str) -> str | None:
    """Path of a program of the list, if it is installed."""
    assert name in list_programs(), f"{name} is not listed in {_LIST}"
    places = [os.environ.get("PATH", os.defpath), *map(str, sorted(_SERVERS.glob("*/bin")))]
    return shutil.which(name, path=os.pathsep.join(places))


def need(*names: str) -> None:
    """Skip the test that lacks a program; fail it where CI is set, which installs them all."""
    absent = [name for name in names if find_program(name) is None]
    if not absent:
        return
    why = f"{' and '.join(absent)} not installed: make test-programs"
    if os.environ.get("CI"):
        pytest.fail(why)
    pytest.skip(why)


def describe_untried() -> str:
    """One line about what was not tried for want of programs; empty if nothing lacks."""
    absent = [program for name, program in list_programs().items() if find_program(name) is None]
    purposes = dict.fromkeys(program.purpose for program in absent)
    if not absent:
        return ""
    names = ", ".join(program.name for program in absent)
    return f"not tried, without {names}: {', '.join(purposes)}; make test-programs installs them\n"


if __name__ == "__main__":
    sys.stdout.write(describe_untried())
