"""Fixtures that several parts of the test suite share."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:
    from support.calibrator_transits import Transits

    from dsa110_contimg.calibration.models import SolutionSet

# Libraries that keep caches in the home directory are sent elsewhere before they are imported.
_CACHES = Path(tempfile.gettempdir()) / f"dsa110-contimg-tests-{os.getuid()}"
_CACHES.mkdir(mode=0o700, exist_ok=True)
if _CACHES.is_symlink() or _CACHES.stat().st_uid != os.getuid():
    raise pytest.UsageError(f"{_CACHES} is not this user's: remove it, or set TMPDIR")
for _variable, _folder in {
    "AIRFLOW_HOME": "airflow",
    "MPLCONFIGDIR": "matplotlib",
    "XDG_CACHE_HOME": "xdg-cache",
    "XDG_CONFIG_HOME": "xdg-config",
    "HYPOTHESIS_STORAGE_DIRECTORY": "hypothesis",
}.items():
    (_CACHES / _folder).mkdir(parents=True, exist_ok=True)
    os.environ.setdefault(_variable, str(_CACHES / _folder))

import hypothesis  # noqa: E402 - after the environment is set
from hypothesis.configuration import set_hypothesis_home_dir  # noqa: E402
from support import programs  # noqa: E402
from support.point_source import make_point_source_ms  # noqa: E402

from dsa110_contimg.catalog.sources import Source  # noqa: E402
from dsa110_contimg.settings import get_settings  # noqa: E402
from dsa110_contimg.simulation.night import (  # noqa: E402
    SimulationOptions,
    SimulationResult,
    simulate,
)
from dsa110_contimg.storage.files import make_writable  # noqa: E402

# Else it would keep its examples in the current directory.
set_hypothesis_home_dir(_CACHES / "hypothesis")
# Machines differ in speed; the tests say nothing of it.
hypothesis.settings.register_profile("suite", database=None, deadline=None, derandomize=True)
hypothesis.settings.load_profile("suite")

SHARED_DATA = Path(__file__).resolve().parents[2] / "shared" / "data"
"""Real lists that some tests compare with; such a test is skipped where they are absent."""

SimulateNight = Callable[..., SimulationResult]

SMALL_NIGHT_SEFD_JY = 10.0
"""Noise small enough to see a 1 Jy source in a single visibility."""


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Look for the programs that a test says it needs."""
    for marker in item.iter_markers("needs"):
        programs.need(*marker.args)


@pytest.fixture(scope="session", autouse=True)
def _offline_astropy() -> None:
    """Let no test wait for, or depend on, a download of Earth orientation tables."""
    from astropy.utils import iers

    iers.conf.auto_download = False


@pytest.fixture
def shared_data() -> Path:
    """Directory of the real lists, or a skipped test."""
    if not SHARED_DATA.is_dir():
        pytest.skip(f"no real data at {SHARED_DATA}")
    return SHARED_DATA


@pytest.fixture
def simulate_night(tmp_path: Path) -> SimulateNight:
    """Factory of small nights: 1 group, 6 antennas, default sky, unless told otherwise.

    ``simulate_night(**options)`` takes the fields of `SimulationOptions`; each call gets a
    directory of its own unless ``output_dir`` is given.
    """
    count = 0

    def make(**options: Any) -> SimulationResult:
        nonlocal count
        count += 1
        defaults = {
            "output_dir": tmp_path / f"night{count}",
            "n_antennas": 6,
            "sefd_jy": SMALL_NIGHT_SEFD_JY,
        }
        return simulate(SimulationOptions.model_validate({**defaults, **options}))

    return make


@pytest.fixture(scope="session")
def small_night(tmp_path_factory: pytest.TempPathFactory) -> SimulationResult:
    """Two complete groups of 8 antennas with 2 sources and little noise; not to be modified.

    The sources (1.0 Jy flat, 0.5 Jy steep) lie in the beam of both groups; what was simulated
    stands in ``truth_path``.
    """
    return simulate(
        SimulationOptions(
            output_dir=tmp_path_factory.mktemp("small_night") / "incoming",
            n_groups=2,
            n_antennas=8,
            sefd_jy=SMALL_NIGHT_SEFD_JY,
            sources=(
                Source(name="flat", ra_deg=128.55, dec_deg=54.80, flux_jy=1.0),
                Source(
                    name="steep", ra_deg=128.95, dec_deg=54.45, flux_jy=0.5, spectral_index=-0.8
                ),
            ),
        )
    )


@pytest.fixture
def private_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Work directory and sandboxes of the settings, away from the machine's own."""
    monkeypatch.setenv("DSA110_CONTIMG_WORK_DIR", str(tmp_path / "work"))
    monkeypatch.setenv("DSA110_CONTIMG_SANDBOX_ROOT", str(tmp_path / "sandboxes"))
    get_settings.cache_clear()
    yield
    get_settings.cache_clear()


@pytest.fixture(scope="session")
def point_source_ms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An MS with one source; not to be modified."""
    return make_point_source_ms(tmp_path_factory.mktemp("point_source"))


@pytest.fixture
def own_ms(point_source_ms: Path, tmp_path: Path) -> Path:
    """A copy of it that a test may change."""
    ms = Path(shutil.copytree(point_source_ms, tmp_path / "own.ms"))
    make_writable(ms)
    return ms


@pytest.fixture(scope="session")
def transits(tmp_path_factory: pytest.TempPathFactory) -> Transits:
    """Two solved transits of calibrators and a field between them; not to be modified."""
    from support.calibrator_transits import make_transits

    return make_transits(tmp_path_factory.mktemp("transits"))


@pytest.fixture(scope="session")
def solved_by_command(
    transits: Transits, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, subprocess.CompletedProcess[str]]:
    """A work directory, and what ``solve`` said that put other solutions of a transit there.

    With delays, a reference antenna that was asked for, and the work directory's two sources, one
    without flux.
    """
    from astropy.table import Table
    from support.calibrator_transits import run_command

    work_dir = tmp_path_factory.mktemp("solved_by_command")
    near_deg = transits.calibrators[transits.before].ra_deg + 0.5
    text = f"name,ra_deg,dec_deg,flux_jy\nnear,{near_deg},54.6,0.001\nunknown,120.0,54.0,\n"
    Table.read(text, format="csv").write(work_dir / "sources.ecsv", format="ascii.ecsv")
    return work_dir, run_command(
        transits,
        work_dir,
        *("solve", transits.before, "--calibrators", transits.catalogue, "--work-dir", work_dir),
        *("--refant", "33", "--solve-delay", "--json"),
    )


@pytest.fixture(scope="session")
def delayed(solved_by_command: tuple[Path, subprocess.CompletedProcess[str]]) -> SolutionSet:
    """The solutions that it made."""
    from dsa110_contimg.calibration.models import SolutionSet

    _, done = solved_by_command
    return SolutionSet.model_validate_json(done.stdout)
