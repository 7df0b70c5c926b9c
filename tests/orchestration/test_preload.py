"""What the workers of Airflow are forked from: everything imported, nothing begun."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = pytest.mark.unit

PRELOAD = """
import json, os, sys, threading
before = set(os.listdir("/proc/self/fd"))
import dsa110_contimg.orchestration.preload
opened = {
    fd: os.readlink(f"/proc/self/fd/{fd}")
    for fd in set(os.listdir("/proc/self/fd")) - before
    if os.path.exists(f"/proc/self/fd/{fd}")
}
print("\\n" + json.dumps({
    "loaded": sorted(sys.modules),
    "threads": [thread.name for thread in threading.enumerate()],
    "files": sorted(set(opened.values()) - {"/dev/null"}),
}))
"""


@pytest.fixture(scope="module")
def preloaded(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[str]]:
    """What a fresh interpreter says of itself after it."""
    home = tmp_path_factory.mktemp("home")
    done = subprocess.run(
        [sys.executable, "-P", "-c", PRELOAD],
        env={**os.environ, "AIRFLOW_HOME": str(home), "HOME": str(home)},
        cwd=home,
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    # Multiprocessing passes over what cannot be imported without a word.
    assert done.returncode == 0, done.stderr
    assert not list(Path(home).glob("*.log"))
    said: dict[str, list[str]] = json.loads(done.stdout.splitlines()[-1])
    return said


def test_tasks_start_from_a_clean_state(preloaded: dict[str, list[str]]) -> None:
    assert preloaded["threads"] == ["MainThread"]
    assert preloaded["files"] == []


def test_casa_is_left_to_the_children_of_tasks(preloaded: dict[str, list[str]]) -> None:
    """It starts threads and opens tables, and must die with one step of work."""
    assert {"casatools", "casatasks"}.isdisjoint(preloaded["loaded"])
