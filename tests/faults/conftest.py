"""A warm server, a small night and a place for each test to go wrong in."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from support.fault_tasks import FAULT_FILE_VARIABLE
from support.faults import Site, ms_content, reported_figures

from dsa110_contimg.conversion.groups import find_groups
from dsa110_contimg.forkserver import start_server
from dsa110_contimg.simulation.night import SimulationOptions, simulate

WARM_UP = "from dsa110_contimg.conversion.warmup"
TESTS = Path(__file__).resolve().parents[1]
_TMPFS = Path("/dev/shm")  # noqa: S108


@pytest.fixture(scope="session", autouse=True)
def fork_server_of_faults(tmp_path_factory) -> Iterator[Path]:
    """One server for all tests here; its children know where to look for their fault."""
    folder = Path(tempfile.mkdtemp(prefix="faults-"))
    with pytest.MonkeyPatch.context() as patch, (folder / "server.log").open("ab") as log:
        patch.setenv("PYTHONPATH", str(TESTS), prepend=os.pathsep)
        patch.setenv(FAULT_FILE_VARIABLE, str(folder / "fault"))
        # Machine code differs in the last bit between the process that compiled it and those
        # that find it in the cache; the sweeps compare bit by bit.
        subprocess.run([sys.executable, "-c", f"{WARM_UP} import warm_up; warm_up()"], check=True)
        patch.setenv("DSA110_CONTIMG_FORKSERVER", str(folder / "fork"))
        server = start_server(folder / "fork", log.fileno())
        patch.setenv("FAULT_SERVER_PID", str(server.pid))
        yield folder / "fork"
        server.terminate()
        server.wait()
    shutil.rmtree(folder)


@pytest.fixture(autouse=True)
def no_fault_left() -> Iterator[None]:
    """A fault ends with its test."""
    yield
    Path(os.environ[FAULT_FILE_VARIABLE]).unlink(missing_ok=True)


@pytest.fixture
def tmpfs(tmp_path) -> Iterator[Path]:
    """A private directory in tmpfs, or on disk where there is none."""
    folder = Path(tempfile.mkdtemp(prefix="faults-", dir=_TMPFS if _TMPFS.is_dir() else tmp_path))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="session")
def tiny_night(tmp_path_factory) -> Path:
    """Directory of one group of 4 antennas; not to be modified."""
    night = tmp_path_factory.mktemp("tiny") / "incoming"
    simulate(SimulationOptions(output_dir=night, n_antennas=4, sefd_jy=10.0))
    return night


@pytest.fixture
def make_site(tmp_path, tmpfs, tiny_night) -> Callable[[str], Site]:
    """``make_site(name)`` copies the group to a place of its own."""

    def make(name: str = "site") -> Site:
        root = tmp_path / name
        shutil.copytree(tiny_night, root / "incoming")
        (group,) = find_groups(root / "incoming").groups
        (tmpfs / name).mkdir()
        return Site(root, tmpfs / name, group)

    return make


@pytest.fixture
def site(make_site) -> Site:
    """One group in a place of its own."""
    return make_site()


@pytest.fixture(scope="session")
def reference(tmp_path_factory, tiny_night, fork_server_of_faults) -> dict[str, bytes]:
    """Content of an MS of the tiny group whose conversion nobody disturbed."""
    root = tmp_path_factory.mktemp("reference")
    (group,) = find_groups(tiny_night).groups
    undisturbed = Site(root, root / "sandboxes", group)
    undisturbed.run()
    return ms_content(undisturbed.ms)


def pytest_terminal_summary(terminalreporter) -> None:
    """Print what the sweeps counted."""
    figures = reported_figures()
    if figures:
        terminalreporter.section("figures of the fault sweeps")
        for line in figures:
            terminalreporter.line(line)
