"""Full-size groups on paper: measured costs of the steps, and Airflow's on top."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from day_models import Capacity, DayRun, Step

from dsa110_contimg.instrument import GROUP_DURATION_S

SOLVES_A_DAY = 10
"""Transits of calibrators that are solved on."""
_DAY_S = 86400.0
_SOURCES = (10, 100, 1000)
_CONVERT, _FLAG, _SOLVE, _APPLY = "convert", "flag", "solve", "apply"
_AOFLAGGER = "flag, AOFlagger"
_CALIBRATION = {
    _FLAG: "flag: ours",
    _AOFLAGGER: "flag: ours, aoflagger",
    _SOLVE: "solve: ours",
    _APPLY: "apply: ours",
}
"""Step to its name in the benchmark of the calibration."""
_BARE = "conversion alone"
_PIPELINES = (
    (_BARE, "off", (_CONVERT,)),
    ("conversion, photometry", "off", (_CONVERT,)),
    ("with calibration, AOFlagger", "on", (_CONVERT, _AOFLAGGER, _SOLVE, _APPLY)),
    ("with calibration, CASA's flaggers", "on", (_CONVERT, _FLAG, _SOLVE, _APPLY)),
)
"""Name, calibration of the day whose overhead counts, and steps before the photometry."""


def read_steps(folder: Path) -> dict[str, Step]:
    """Read what the steps take on a full-size group.

    Parameters
    ----------
    folder : Path
        Results of the other benchmarks.

    Returns
    -------
    dict of str to Step
        The steps; those that nobody has measured are left out.
    """
    steps = {_CONVERT: _costs(folder, "conversion")["conversion and publication"]}
    uvfit = _costs(folder, "photometry")["uvfit"]
    growth = _read(folder, "photometry")["growth"]
    for n_sources, wall_s in zip(growth["n_sources"], growth["wall_s"], strict=True):
        # The record of many sources has wall times only; the load is the same as for few.
        cpu_s = wall_s * uvfit.cpu_s / uvfit.wall_s
        steps[_measure(n_sources)] = Step(wall_s=wall_s, cpu_s=cpu_s)
    if (folder / "calibration.json").exists():
        calibration = _costs(folder, "calibration")
        steps |= {
            step: calibration[name] for step, name in _CALIBRATION.items() if name in calibration
        }
    return steps


def plan_capacity(steps: Mapping[str, Step], runs: Sequence[DayRun], cores: int) -> list[Capacity]:
    """Put Airflow's measured costs on top of the steps'.

    Parameters
    ----------
    steps : mapping of str to Step
        As `read_steps` gives them.
    runs : sequence of DayRun
        Days with and without calibration.
    cores : int
        Processors of the machine.

    Returns
    -------
    list of Capacity
        Of the pipelines of which all is known.
    """
    by_calibration = {run.calibration: run for run in runs}
    planned = []
    for pipeline, calibration, before in _PIPELINES:
        for n_sources in _SOURCES if pipeline != _BARE else (0,):
            names = [*before, *([_measure(n_sources)] if n_sources else [])]
            run = by_calibration.get(calibration)
            if run is not None and set(names) <= set(steps):
                work = _add({name: steps[name] for name in names})
                planned.append(_plan(pipeline, n_sources, work, run, cores))
    return planned


def _add(steps: Mapping[str, Step]) -> Step:
    """Add up the work on a group; few groups are solved on."""
    shares = dict.fromkeys(steps, 1.0)
    if _SOLVE in steps:
        shares[_SOLVE] = SOLVES_A_DAY * GROUP_DURATION_S / _DAY_S
    return Step(
        wall_s=sum(shares[name] * step.wall_s for name, step in steps.items()),
        cpu_s=sum(shares[name] * step.cpu_s for name, step in steps.items()),
    )


def _plan(pipeline: str, n_sources: int, work: Step, run: DayRun, cores: int) -> Capacity:
    """Put the overhead of a day on top of the work on a full-size group."""
    return Capacity(
        pipeline=pipeline,
        n_sources=n_sources,
        cores=cores,
        work=work,
        group_cpu_s=run.group_cpu_s,
        watch_cpu_s=run.waiting_cores * work.wall_s,
        idle_cores=run.idle_cores,
    )


def _measure(n_sources: int) -> str:
    """Name a step of the photometry."""
    return f"measure, {n_sources} sources"


def _costs(folder: Path, benchmark: str) -> dict[str, Step]:
    """Read the contestants of a benchmark."""
    return {
        costs["name"]: Step(wall_s=costs["wall_s"], cpu_s=costs["cpu_s"])
        for costs in _read(folder, benchmark)["costs"]
    }


def _read(folder: Path, benchmark: str) -> dict[str, Any]:
    """Read the record of a benchmark."""
    record: dict[str, Any] = json.loads((folder / f"{benchmark}.json").read_text("utf-8"))
    return record
