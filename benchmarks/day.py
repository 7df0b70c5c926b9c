"""Measure what Airflow costs, on a simulated day of small groups, and who keeps up with the sky.

    .venv/bin/python benchmarks/day.py                  # 24 hours: 280 groups
    .venv/bin/python benchmarks/day.py --groups 60      # 5 hours
    .venv/bin/python benchmarks/day.py --groups 4 --calibrated-groups 0    # the short form

A day of consecutive groups is simulated with few antennas, so that nearly all that is left is
Airflow. It then goes through the embedded Airflow as any night does: `nightly_transit` is
triggered once with all groups there at once, which is the hardest case for the scheduler, for
in live operation they come one by one. A second, shorter day is also flagged and calibrated,
which takes more tasks a group. Beforehand the same functions are called for some of the groups
in one warm process, one after the other: what a day takes more than that is Airflow's.

CPU times hold also beside other work on the machine; wall times do not. For full-size groups
the steps' costs are taken from the results of the other benchmarks.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from pathlib import Path

from day_airflow import observe_day
from day_bare import measure_bare
from day_capacity import plan_capacity, read_steps
from day_models import DayResults, DayRun
from day_night import MOST_GROUPS, make_day
from day_results import compare, draw, show_days
from day_summary import summarize
from metering import Costs
from peers import remove
from results import describe_machine, show
from running import ROOT, console, say

from dsa110_contimg.settings import Settings

_RESULTS = ROOT / "benchmarks" / "results"
_LEAST_SOLVED = 12
"""Antennas that can be solved for with ease."""


def main() -> None:
    """Run the days, print the tables, and save them as JSON and PNG."""
    arguments = _arguments()
    load_before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="day-", dir=arguments.scratch) as folder:
        _use_only(Path(folder))
        results = _run(arguments, Path(folder), load_before)
        arguments.output.mkdir(parents=True, exist_ok=True)
        record = arguments.output / "day.json"
        record.write_text(results.model_dump_json(indent=1) + "\n", encoding="utf-8")
        draw(results, record.with_suffix(".png"))
    show_days(results, console)
    show(results, console)
    console.print(f"saved as {record} and {record.with_suffix('.png').name}")


def _arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    add = parser.add_argument
    add("--groups", type=_n_groups, default=MOST_GROUPS, help="groups of the day; 280 are 24 hours")
    add("--calibrated-groups", type=_n_groups, default=12, help="of the second day; 0: none")
    add("--antennas", type=int, default=8, help="of each group; with calibration at least 12")
    add("--sources", type=int, default=1, help="that transit in each group")
    add("--bare", type=int, default=4, help="groups that are also processed without Airflow")
    add("--parallelism", type=int, default=3, help="tasks that Airflow runs at once")
    add("--idle", type=float, default=60.0, help="seconds to look at Airflow with nothing to do")
    add("--scratch", type=Path, default=None, help="directory for everything; default a temporary")
    add("--output", type=Path, default=_RESULTS, help="directory of day.json and day.png")
    return parser.parse_args()


def _n_groups(text: str) -> int:
    """Read a number of groups that fits into a UTC date."""
    if not 0 <= (number := int(text)) <= MOST_GROUPS:
        raise argparse.ArgumentTypeError(f"{number} is not between 0 and {MOST_GROUPS}")
    return number


def _use_only(folder: Path) -> None:
    """Have this process and its children write nowhere else, and read no settings of the user."""
    cache = str(folder / "cache")
    Path(cache).mkdir()
    os.environ |= {
        "DSA110_CONTIMG_CONFIG": os.devnull,
        "MPLCONFIGDIR": cache,
        "NUMBA_CACHE_DIR": cache,
        "XDG_CACHE_HOME": cache,
        "XDG_CONFIG_HOME": cache,
    }


def _run(arguments: argparse.Namespace, folder: Path, load_before: float) -> DayResults:
    """Run the days."""
    runs, costs = [], []
    for calibration, n_groups in (("off", arguments.groups), ("on", arguments.calibrated_groups)):
        if n_groups:
            root = folder / calibration
            root.mkdir()
            run, bare = _run_day(arguments, root, calibration, n_groups)
            runs.append(run)
            costs += bare
            remove(root)
    steps = read_steps(_RESULTS)
    machine = describe_machine(load_before)
    capacity = plan_capacity(steps, runs, machine.cores)
    return DayResults(
        machine=machine,
        n_antennas=arguments.antennas,
        costs=costs,
        comparisons=compare(runs, capacity),
        runs=runs,
        steps=steps,
        capacity=capacity,
    )


def _run_day(
    arguments: argparse.Namespace, root: Path, calibration: str, n_groups: int
) -> tuple[DayRun, list[Costs]]:
    """Simulate a day, measure the bare work, and let Airflow do it all."""
    n_antennas = (
        max(arguments.antennas, _LEAST_SOLVED) if calibration == "on" else arguments.antennas
    )
    say(f"calibration {calibration}: simulating {n_groups} groups of {n_antennas} antennas")
    day = make_day(
        root / "incoming", n_groups, n_antennas, arguments.sources, with_gains=calibration == "on"
    )
    date = day.groups[0].start_utc[:10]
    given = {
        "input_dir": day.output_dir,
        "sources_file": day.sources_path,
        "calibration": calibration,
    }
    if day.calibrators_path:
        given["calibrators_file"] = day.calibrators_path
    environment = {f"DSA110_CONTIMG_{name.upper()}": value for name, value in given.items()} | {
        "DSA110_CONTIMG_WORK_DIR": str(root / "bare" / "work"),
        "AIRFLOW_HOME": str(root / "bare" / "airflow"),
        "AIRFLOW__LOGGING__LOGGING_LEVEL": "WARNING",
    }
    bare = measure_bare(environment, date, min(arguments.bare, n_groups))
    for costs in bare:
        say(f"without Airflow, {costs.name}: {costs.cpu_s:.2f} s CPU")
    settings = Settings.model_validate({**given, "work_dir": root / "work"})
    say("starting Airflow")
    observed = observe_day(settings, date, arguments.parallelism, arguments.idle)
    say(f"{observed.state} after {observed.end_s - observed.start_s:.0f} s")
    run = summarize(
        observed,
        bare,
        settings,
        date=date,
        n_groups=n_groups,
        n_antennas=n_antennas,
        parallelism=arguments.parallelism,
    )
    named = [costs.model_copy(update={"name": f"{calibration}: {costs.name}"}) for costs in bare]
    return run, named


if __name__ == "__main__":
    main()
