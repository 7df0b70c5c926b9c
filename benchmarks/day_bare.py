"""What the work on a group costs without Airflow: the same functions, one after the other."""

from __future__ import annotations

import multiprocessing
import os
from collections import defaultdict
from collections.abc import Callable
from concurrent.futures import ProcessPoolExecutor
from typing import TypeVar

import psutil
from metering import Cost, Costs, Meter

from dsa110_contimg.forkserver import fork_server
from dsa110_contimg.orchestration import calibration_tasks, ms_tasks, transit_tasks
from dsa110_contimg.orchestration.ms_requests import ImageRequest
from dsa110_contimg.orchestration.runs import plan_night
from dsa110_contimg.settings import Settings, get_settings

ResultT = TypeVar("ResultT")

SOLVE = "solve"
_PURPOSE = "benchmark"


def measure_bare(environment: dict[str, str], date: str, n_groups: int) -> list[Costs]:
    """Do what the tasks of the first groups of a night do, in one warm process of its own.

    Parameters
    ----------
    environment : dict of str to str
        Settings of the project.
    date : str
        The night.
    n_groups : int
        Number of groups. The first pays the imports and is not counted, except for its solve.

    Returns
    -------
    list of Costs
        Of each step, under the name of its task, once a group.
    """
    # A process that was spawned, not forked, has no thread and no import of this one's.
    spawning = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(1, mp_context=spawning) as pool:
        return pool.submit(_measure, environment, date, n_groups).result()


def _measure(environment: dict[str, str], date: str, n_groups: int) -> list[Costs]:
    """Measure in this process."""
    os.environ.update(environment)
    settings = get_settings()
    with fork_server(settings.logs_dir / "forkserver.log"):
        (server,) = psutil.Process().children()
        return _Steps(Meter(server.pid), settings).of_groups(date, n_groups)


class _Steps:
    """The steps, each under the clock."""

    def __init__(self, meter: Meter, settings: Settings):
        self._meter = meter
        self._calibrates = settings.calibration == "on"
        self._runs: dict[str, list[Cost]] = defaultdict(list)

    def of_groups(self, date: str, n_groups: int) -> list[Costs]:
        """Work on the first groups of a night."""
        night = plan_night({"date": date}, None, None, get_settings())
        for group in transit_tasks.discover_groups(night)[:n_groups]:
            result = self._time("convert", lambda group=group: transit_tasks.convert(night, group))
            assert result.ms_path is not None
            self._of_ms(ImageRequest(ms=result.ms_path, night=date))
        return [
            Costs(name=name, runs=runs if name == SOLVE else runs[1:])
            for name, runs in self._runs.items()
        ]

    def _of_ms(self, request: ImageRequest) -> None:
        """Work on one MS; a calibrator transits in the first."""
        if self._calibrates:
            self._time("flag", lambda: calibration_tasks.flag(request, _PURPOSE))
            if SOLVE not in self._runs:
                self._time(SOLVE, lambda: calibration_tasks.solve(request, _PURPOSE))
            self._time("apply", lambda: calibration_tasks.apply(request, _PURPOSE))
        sources = self._time("prepare", lambda: ms_tasks.plan_sources(request, _PURPOSE))
        self._time("measure", lambda: ms_tasks.measure(request, sources, _PURPOSE))

    def _time(self, name: str, work: Callable[[], ResultT]) -> ResultT:
        """Do one step."""
        results: list[ResultT] = []
        self._runs[name].append(self._meter.measure(lambda: results.append(work())))
        return results[0]
