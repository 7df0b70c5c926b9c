"""Solutions that several tests of calibration look at."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.calibrator_transits import Transits, copy_ms, flag_rows, registry_url, station_ids

from dsa110_contimg.calibration.models import SolutionSet
from dsa110_contimg.calibration.solve import solve_ms
from dsa110_contimg.calibration.solve_work import SolveStrategy


@pytest.fixture(scope="session")
def gappy(transits: Transits, tmp_path_factory: pytest.TempPathFactory) -> tuple[SolutionSet, Path]:
    """The first transit without the best reference antenna, nor window 5; and its MS."""
    root = tmp_path_factory.mktemp("gappy")
    ms = copy_ms(transits.before, root)
    lost = transits.sets[transits.before].refant
    [number] = station_ids(ms, lost)
    flag_rows(
        ms,
        lambda one, two, window: ((one == number) | (two == number) | (window == 5))[:, None, None],
    )
    solutions = solve_ms(
        transits.solve_options(
            ms,
            calibrator=transits.calibrators[transits.before],
            solutions_dir=root / "calibration",
            registry_url=registry_url(root),
            strategy=SolveStrategy(refant=lost),
        )
    )
    return solutions, ms
