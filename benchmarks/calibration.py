"""Measure flagging, solving and applying side by side with bare casatasks, in one run.

    .venv/bin/python benchmarks/calibration.py           # two full-size groups, some 30 minutes
    .venv/bin/python benchmarks/calibration.py --antennas 16

A night of two groups is simulated with gain errors that drift, interference, a dead antenna and
a calibrator that transits in the first group; the second borrows its solutions. The MSs stand
in tmpfs (12 GB at full size), so that the software is measured and not the disk. Bare casatasks
do the same on a copy of the first group's MS. Both begin each step in a new process; CASA's
import counts in our time and not in theirs. Accuracy is that of the same run.
"""

from __future__ import annotations

import argparse
import os
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import psutil
from calibrated_field import CalibratedField, look_at_field
from calibration_bench import WITH_AOFLAGGER, WITH_CASA, Bench
from calibration_results import (
    AOFLAGGER,
    BARE,
    OURS,
    STEPS,
    SUM,
    CalibrationResults,
    compare_fields,
    compare_flags,
    compare_speed,
    contestant,
    draw,
    judge_gains,
    show_details,
)
from calibration_truth import FlagScore, GainErrors, compare_with_truth, score_flags
from casa_peers import BANDPASS, GAIN, IMPORT
from metering import Cost, Costs, Meter
from nights import Night, copy_ms, make_night
from peers import remove
from results import describe_machine, show
from running import ROOT, console, say, take_turns, use_only
from same_data import require_same_corrected

from dsa110_contimg.calibration.apply import ApplyOptions, apply_calibration
from dsa110_contimg.calibration.models import CalibrationRecord, TableKind
from dsa110_contimg.flagging.flag_ms import flag_ms
from dsa110_contimg.flagging.models import FlagOptions
from dsa110_contimg.forkserver import fork_server
from dsa110_contimg.storage.publish import list_data_files


def main() -> None:
    """Run everything, print the tables, and save them as JSON and PNG."""
    arguments = _arguments()
    load_before = os.getloadavg()[0]
    with tempfile.TemporaryDirectory(prefix="bench-", dir=arguments.tmpfs) as folder:
        ram = Path(folder)
        use_only(ram)
        with fork_server(ram / "forkserver.log"):
            (server,) = psutil.Process().children()
            results = _run(arguments, ram, Meter(server.pid), load_before)
    arguments.output.mkdir(parents=True, exist_ok=True)
    record = arguments.output / "calibration.json"
    record.write_text(results.model_dump_json(indent=1) + "\n", encoding="utf-8")
    draw(results, record.with_suffix(".png"))
    show_details(results, console)
    show(results, console)
    console.print(f"saved as {record} and {record.with_suffix('.png').name}")


def _arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Measure the calibration beside casatasks.")
    parser.add_argument("--antennas", type=int, default=96, help="antennas of the groups")
    parser.add_argument("--repetitions", type=int, default=1, help="runs of each contestant")
    parser.add_argument("--tmpfs", type=Path, default=Path("/dev/shm"), help="a tmpfs")  # noqa: S108
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results")
    return parser.parse_args()


def _run(
    arguments: argparse.Namespace, ram: Path, meter: Meter, load_before: float
) -> CalibrationResults:
    """Measure the steps on the first group, then look at both groups."""
    say(f"simulating two groups of {arguments.antennas} antennas, with interference and without")
    night = make_night(ram, arguments.antennas)
    bytes_ms = sum(list_data_files(night.ms[0]).values())
    bench = Bench(night, ram, meter)
    runs: dict[str, list[Cost]] = {}
    flaggers = {OURS: bench.flag, BARE: bench.flag_bare}
    if bench.aoflagger_ms is None:
        say("aoflagger is not installed: left out")
    else:
        flaggers[AOFLAGGER] = bench.flag_aoflagger
    _take_turns(runs, "flag", flaggers, arguments.repetitions)
    second = _flag_second(bench, ram)
    flags = [_score(bench.flagged_ms, night, 0), _score(second, night, 1)]
    for done in (night.clean[0], bench.aoflagger_ms):
        if done is not None:
            remove(done)
    # What is left of the noise then is what borrowed gains make.
    flag_ms(FlagOptions(ms_path=night.clean[1], strategy=WITH_CASA))
    second["without interference"] = night.clean[1]
    solvers = {OURS: bench.solve, BARE: bench.solve_bare}
    _take_turns(runs, "solve", solvers, arguments.repetitions)
    gains = _compare_gains(bench)
    appliers = {OURS: bench.apply, BARE: bench.apply_bare}
    _take_turns(runs, "apply", appliers, arguments.repetitions)
    difference = require_same_corrected(night.ms[0], bench.bare_ms)
    remove(bench.bare_ms)
    fields = _look_at_fields(bench, second, ram)
    costs = {name: Costs(name=name, runs=these) for name, these in runs.items()}
    costs |= {costs.name: costs for costs in (_sum(costs, who) for who in (OURS, BARE))}
    return CalibrationResults(
        machine=describe_machine(load_before),
        n_antennas=arguments.antennas,
        bytes_ms=bytes_ms,
        costs=list(costs.values()),
        memory=bench.memory,
        flags=flags,
        gains=gains,
        corrected_difference=difference,
        fields=fields,
        comparisons=[
            *compare_speed(costs),
            *compare_flags(flags),
            *judge_gains(gains),
            *compare_fields(fields),
        ],
    )


def _take_turns(
    runs: dict[str, list[Cost]], step: str, who: dict[str, Callable[[], Cost]], times: int
) -> None:
    """Let the contestants of a step take turns."""
    contestants = {contestant(step, name): run for name, run in who.items()}
    runs.update({name: [] for name in contestants})
    take_turns(runs, contestants, times)


def _flag_second(bench: Bench, ram: Path) -> dict[str, Path]:
    """Flag the second group, and a copy of it with AOFlagger where it is installed."""
    say("flagging the second group")
    ms = bench.night.ms[1]
    flagged = {OURS: ms}
    if bench.aoflagger_ms is not None:
        flagged[AOFLAGGER] = copy_ms(ms, ram / "aoflagger" / ms.name)
        flag_ms(FlagOptions(ms_path=flagged[AOFLAGGER], strategy=WITH_AOFLAGGER))
    flag_ms(FlagOptions(ms_path=ms, strategy=WITH_CASA))
    return flagged


def _score(flagged: dict[str, Path], night: Night, group: int) -> dict[str, FlagScore]:
    """Score the flags of a group."""
    return {who: score_flags(ms, night.clean[group], night.dead) for who, ms in flagged.items()}


def _compare_gains(bench: Bench) -> dict[str, GainErrors]:
    """Compare our tables and those of bare casatasks with the truth."""
    night, ours = bench.night, bench.our_tables()
    tables = {
        OURS: (ours[TableKind.BANDPASS], ours[TableKind.GAIN]),
        BARE: (bench.tables_dir / BANDPASS, bench.tables_dir / GAIN),
    }
    return {
        who: compare_with_truth(*pair, night.gains, night.dead, night.groups[0].mid_jd)
        for who, pair in tables.items()
    }


def _look_at_fields(bench: Bench, second: dict[str, Path], ram: Path) -> list[CalibratedField]:
    """Look at the first group, and calibrate and look at the second in each of its forms."""
    assert bench.applied is not None
    fields = [_look("group 1", bench.night, bench.applied, ram)]
    for form, ms in second.items():
        record = apply_calibration(ApplyOptions(ms_path=ms))
        fields.append(_look(f"group 2, {form}", bench.night, record, ram))
        remove(ms)
    return fields


def _look(name: str, night: Night, record: CalibrationRecord, ram: Path) -> CalibratedField:
    """Look at a calibrated group."""
    say(f"measuring {name}: {record.sentence}")
    return look_at_field(
        name,
        Path(record.ms_path),
        ram / "products" / name.replace(" ", "_"),
        [night.calibrator, *night.sources],
        calibrator=night.calibrator.name,
        choice=record.sentence,
        flagged_fraction=record.flagged_after,
    )


def _sum(costs: dict[str, Costs], who: str) -> Costs:
    """Add the medians of the steps."""
    steps = [costs[contestant(step, who)] for step in STEPS]
    import_s = [float(np.median([run.parts_s.get(IMPORT, 0.0) for run in s.runs])) for s in steps]
    total = Cost(
        wall_s=sum(step.wall_s for step in steps),
        cpu_s=sum(step.cpu_s for step in steps),
        parts_s={IMPORT: sum(import_s)} if who == BARE else {},
    )
    return Costs(name=contestant(SUM, who), runs=[total])


if __name__ == "__main__":
    main()
