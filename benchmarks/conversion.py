"""Measure the conversion side by side with its peers, in one run on one machine.

    .venv/bin/python benchmarks/conversion.py            # a full-size group, some 10 minutes
    .venv/bin/python benchmarks/conversion.py --antennas 24 --repetitions 2

Inputs and outputs stand in tmpfs, so that the software is measured and not the disk; only the
durable publication goes to a disk. Contestants take turns, so that a neighbour on the machine
disturbs all of them alike; of several runs the medians are compared.
"""

from __future__ import annotations

import argparse
import math
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import psutil
from conversion_results import ConversionResults, Growth, draw
from metering import Cost, Costs, Meter, PeakMemory, sampled_memory
from peers import (
    ConcatOptions,
    PeerOptions,
    classic_concat,
    classic_parts,
    part_path,
    pyuvdata_whole,
    read_raw,
    read_whole,
    remove,
    write_raw,
)
from results import Comparison, describe_machine, show
from running import ROOT, console, say, take_turns, use_only
from same_data import require_same

from dsa110_contimg.casa.door import run_in_casa
from dsa110_contimg.conversion.direct_subband import DirectSubbandWriter
from dsa110_contimg.conversion.write_ms import WriteMsOptions, WriteMsReport, write_ms
from dsa110_contimg.forkserver import fork_server
from dsa110_contimg.processes import run_in_child
from dsa110_contimg.simulation.night import SimulationOptions, simulate
from dsa110_contimg.storage.durable_copy import copy_durably
from dsa110_contimg.storage.files import fsync_path
from dsa110_contimg.storage.publish import list_data_files, manifest_path

TIMEOUT_S = 3600.0
SEQUENCES = (1, 2, 4, 8)

CONVERSION, RAW, RAW_WHOLE = "conversion, warm", "raw limit", "raw limit, whole files in memory"
DURABLE, RAW_DURABLE = "conversion and publication", "raw limit, durable"
RAW_DIRECT = "raw limit, durable, past the page cache"
PYUVDATA, CLASSIC = "pyuvdata", "classic: parts and concat"


class Bench:
    """The contestants, on the files of one group.

    Parameters
    ----------
    files : list of Path
        The subband files.
    ram, disk : Path
        Private directories in tmpfs and on a disk.
    meter : Meter
        Measures.
    """

    def __init__(self, files: list[Path], ram: Path, disk: Path, meter: Meter):
        self.files, self.ram, self.disk, self.meter = files, ram, disk, meter
        self.ms = ram / "conversion.ms"
        self.report: WriteMsReport | None = None
        self.sizes: dict[str, int] = {}

    def convert(self) -> Cost:
        """Convert in a child of the fork server, tmpfs to tmpfs."""
        remove(self.ms)
        options = WriteMsOptions(group_id="bench", files=self.files, ms_path=self.ms, workers=2)

        def work() -> None:
            self.report = run_in_child(
                write_ms, options, timeout_s=TIMEOUT_S, log_path=self.ram / "log", warm=True
            )

        cost = self.meter.measure(work)
        self.sizes = list_data_files(self.ms)
        assert self.report is not None
        return cost.model_copy(update={"parts_s": self.report.stage_seconds})

    def raw(self) -> Cost:
        """Read and write the same bytes in tmpfs, through one small buffer."""
        remove(self.ram / "raw")
        return self.meter.measure(
            lambda: (read_raw(self.files), write_raw(self.sizes, self.ram / "raw", durable=False))
        )

    def raw_whole(self) -> Cost:
        """Read and write the same bytes in tmpfs, each input whole in memory."""
        remove(self.ram / "raw")
        return self.meter.measure(
            lambda: (read_whole(self.files), write_raw(self.sizes, self.ram / "raw", durable=False))
        )

    def convert_durable(self) -> Cost:
        """Convert in tmpfs and publish on the disk, fsynced, with a manifest."""
        target = self.disk / "published.ms"
        remove(target)
        manifest_path(target).unlink(missing_ok=True)
        writer = DirectSubbandWriter(
            self.files, target, sandbox_roots=[self.ram / "sandboxes"], log_dir=self.ram
        )
        self._settle()
        return self.meter.measure(writer.write)

    def raw_durable(self) -> Cost:
        """Read the same bytes from tmpfs and write them to the disk, fsynced."""
        remove(self.disk / "raw")
        self._settle()

        def work() -> None:
            read_raw(self.files)
            write_raw(self.sizes, self.disk / "raw", durable=True)
            fsync_path(self.disk / "raw")

        return self.meter.measure(work)

    def raw_direct(self) -> Cost:
        """Do the same without the page cache: the copy that the publication makes."""
        remove(self.disk / "raw")
        self._settle()
        return self.meter.measure(
            lambda: (read_raw(self.files), copy_durably(self.ms, self.disk / "raw"))
        )

    def pyuvdata(self) -> Cost:
        """Convert with pyuvdata, tmpfs to tmpfs; its own account, without imports."""
        ms = self.ram / "pyuvdata.ms"
        remove(ms)
        cost = run_in_child(
            pyuvdata_whole, self._job(ms), timeout_s=TIMEOUT_S, log_path=self.ram / "log"
        )
        require_same(self.ms, ms)
        remove(ms)
        return cost

    def classic(self) -> Cost:
        """Write parts, concatenate, move; their own accounts, without imports."""
        job = self._job(self.ram / "classic.ms")
        parts = [part_path(job, file) for file in reversed(self.files)]
        for path in (job.ms_path, *parts):
            remove(path)
        first = run_in_child(classic_parts, job, timeout_s=TIMEOUT_S, log_path=self.ram / "log")
        whole = self.ram / "concat.ms"
        second = run_in_casa(
            classic_concat,
            ConcatOptions(parts=parts, whole=whole),
            timeout_s=TIMEOUT_S,
            log_path=self.ram / "log",
            scratch_dir=self.ram,
        )
        start_s = time.perf_counter()
        whole.rename(job.ms_path)
        move_s = time.perf_counter() - start_s
        require_same(self.ms, job.ms_path)
        for path in (job.ms_path, *parts):
            remove(path)
        return Cost(
            wall_s=first.wall_s + second.wall_s + move_s,
            cpu_s=first.cpu_s + second.cpu_s,
            parts_s={**first.parts_s, **second.parts_s, "move": move_s},
        )

    def memory(self) -> PeakMemory:
        """Watch the command that operators use, with its fork server and its child."""
        remove(self.disk / "ms")
        command = [str(Path(sys.executable).with_name("dsa110-contimg")), "convert"]
        folders = [str(self.files[0].parent), str(self.disk / "ms")]
        # Without the server of this process it starts its own, which is to be counted.
        env = {name: value for name, value in os.environ.items() if "FORKSERVER" not in name}
        with (self.ram / "log").open("ab") as log:
            process = subprocess.Popen([*command, *folders], stdout=log, stderr=log, env=env)
            with sampled_memory(process.pid) as peak:
                status = process.wait()
        if status:
            raise RuntimeError(f"convert exited {status}: see {self.ram / 'log'}")
        remove(self.disk / "ms")
        return peak()

    def clean(self) -> None:
        """Remove what the contestants left."""
        for path in (self.ms, self.ram / "raw", self.disk / "raw", self.disk / "published.ms"):
            remove(path)

    def _job(self, ms: Path) -> PeerOptions:
        """Give a peer the same job."""
        assert self.report is not None
        return PeerOptions(
            files=self.files,
            ms_path=ms,
            ra_rad=math.radians(self.report.phase_center_ra_deg),
            dec_rad=math.radians(self.report.phase_center_dec_deg),
        )

    def _settle(self) -> None:
        """Let no earlier write wait for the disk."""
        os.sync()


def main() -> None:
    """Run everything, print the tables, and save them as JSON and PNG."""
    arguments = _arguments()
    load_before = os.getloadavg()[0]
    arguments.disk.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix="bench-", dir=arguments.tmpfs) as ram,
        tempfile.TemporaryDirectory(prefix="bench-", dir=arguments.disk) as disk,
    ):
        use_only(Path(ram))
        with fork_server(Path(ram) / "forkserver.log"):
            (server,) = psutil.Process().children()
            results = _measure(arguments, Path(ram), Path(disk), Meter(server.pid), load_before)
        arguments.output.mkdir(parents=True, exist_ok=True)
        record = arguments.output / "conversion.json"
        record.write_text(results.model_dump_json(indent=1) + "\n", encoding="utf-8")
        draw(results, record.with_suffix(".png"))
    show(results, console)
    console.print(f"saved as {record} and {record.with_suffix('.png').name}")


def _arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Measure the conversion beside its peers.")
    parser.add_argument("--antennas", type=int, default=96, help="antennas of the group")
    parser.add_argument("--repetitions", type=int, default=5, help="runs of the quick contestants")
    parser.add_argument("--peer-repetitions", type=int, default=1, help="runs of the slow ones")
    parser.add_argument("--tmpfs", type=Path, default=Path("/dev/shm"), help="a tmpfs")  # noqa: S108
    parser.add_argument("--disk", type=Path, default=ROOT / "work", help="directory on a disk")
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results")
    return parser.parse_args()


def _measure(
    arguments: argparse.Namespace, ram: Path, disk: Path, meter: Meter, load_before: float
) -> ConversionResults:
    """Let the contestants take turns."""
    bench = Bench(_simulated(ram, arguments.antennas), ram, disk, meter)
    say("warming up")
    bench.convert()
    quick: dict[str, Callable[[], Cost]] = {
        CONVERSION: bench.convert,
        RAW: bench.raw,
        RAW_WHOLE: bench.raw_whole,
        DURABLE: bench.convert_durable,
        RAW_DURABLE: bench.raw_durable,
        RAW_DIRECT: bench.raw_direct,
    }
    runs: dict[str, list[Cost]] = {name: [] for name in (*quick, PYUVDATA, CLASSIC)}
    take_turns(runs, quick, arguments.repetitions)
    slow: dict[str, Callable[[], Cost]] = {
        PYUVDATA: bench.pyuvdata,
        CLASSIC: bench.classic,
        CONVERSION: bench.convert,
    }
    take_turns(runs, slow, arguments.peer_repetitions)
    say("memory")
    memory = bench.memory()
    growth = _growth(bench, arguments)
    bench.clean()
    costs = {name: Costs(name=name, runs=these) for name, these in runs.items()}
    return ConversionResults(
        machine=describe_machine(load_before),
        n_antennas=arguments.antennas,
        bytes_in=sum(file.stat().st_size for file in bench.files),
        bytes_out=sum(bench.sizes.values()),
        costs=list(costs.values()),
        memory=memory,
        growth=growth,
        comparisons=_compare(costs, memory, growth),
    )


def _growth(bench: Bench, arguments: argparse.Namespace) -> Growth:
    """Convert more groups, and groups of fewer antennas."""
    means = []
    for n_groups in SEQUENCES:
        say(f"{n_groups} groups in sequence")
        means.append(_mean([bench.convert() for _ in range(n_groups)]))
    antennas = [arguments.antennas // 4, arguments.antennas // 2, arguments.antennas]
    benches = [
        Bench(_simulated(bench.ram, n), bench.ram, bench.disk, bench.meter) for n in antennas[:-1]
    ]
    by_antennas: list[list[Cost]] = [[] for _ in antennas]
    for _ in range(arguments.repetitions):
        say(f"{', '.join(map(str, antennas))} antennas")
        for these, runs in zip([*benches, bench], by_antennas, strict=True):
            runs.append(these.convert())
    return Growth(
        groups=list(SEQUENCES),
        wall_s_per_group=[mean.wall_s for mean in means],
        cpu_s_per_group=[mean.cpu_s for mean in means],
        baselines=[n * (n + 1) // 2 for n in antennas],
        wall_s_by_baselines=[Costs(name="", runs=runs).wall_s for runs in by_antennas],
        cpu_s_by_baselines=[Costs(name="", runs=runs).cpu_s for runs in by_antennas],
    )


def _compare(costs: dict[str, Costs], memory: PeakMemory, growth: Growth) -> list[Comparison]:
    """Form the ratios."""
    gigabytes = {name: size / 1e9 for name, size in memory.model_dump().items()}

    def ratio(what: str, above: str, below: str, goal: float, kind: str = "wall") -> Comparison:
        over, under = (getattr(costs[name], f"{kind}_s") for name in (above, below))
        return Comparison(
            what=what,
            measured=over / under,
            goal=goal,
            at_least=above in (PYUVDATA, CLASSIC),
            detail=f"{over:.2f} s / {under:.2f} s",
        )

    def flat(what: str, values: list[float]) -> Comparison:
        return Comparison(
            what=what,
            measured=100 * (max(values) / min(values) - 1),
            goal=10,
            at_least=False,
            unit="%",
            detail=", ".join(f"{value:.2f} s" for value in values),
        )

    intercept, slope = growth.line()
    return [
        ratio("wall against pyuvdata", PYUVDATA, CONVERSION, 10),
        ratio("CPU against pyuvdata", PYUVDATA, CONVERSION, 8, "cpu"),
        ratio("wall against the classic", CLASSIC, CONVERSION, 20),
        ratio("wall against the raw limit", CONVERSION, RAW, 2.0),
        ratio("the same, stretch", CONVERSION, RAW, 1.5),
        ratio("wall against whole files read and written", CONVERSION, RAW_WHOLE, 2.0),
        ratio("durable, against the durable raw limit", DURABLE, RAW_DURABLE, 1.5),
        ratio("the same, past the page cache", DURABLE, RAW_DIRECT, 1.5),
        Comparison(
            what="peak memory, every page once (PSS)",
            measured=gigabytes["pss_bytes"],
            goal=1.0,
            at_least=False,
            unit="GB",
            detail="RSS {rss_bytes:.2f} GB, private {private_bytes:.2f} GB".format(**gigabytes),
        ),
        flat("wall per group, 1, 2, 4, 8 groups", growth.wall_s_per_group),
        flat("CPU per group, 1, 2, 4, 8 groups", growth.cpu_s_per_group),
        Comparison(
            what="CPU linear in baselines, largest departure",
            measured=100 * growth.departure(),
            goal=10,
            at_least=False,
            unit="%",
            detail=f"{intercept:.2f} s + {slope * 1e3:.3f} ms per baseline",
        ),
    ]


def _mean(runs: list[Cost]) -> Cost:
    """Average runs."""
    return Cost(
        wall_s=statistics.fmean(run.wall_s for run in runs),
        cpu_s=statistics.fmean(run.cpu_s for run in runs),
    )


def _simulated(ram: Path, n_antennas: int) -> list[Path]:
    """Simulate one group, sb00 first."""
    folder = ram / f"incoming{n_antennas}"
    say(f"simulating a group of {n_antennas} antennas")
    night = simulate(SimulationOptions(output_dir=folder, n_antennas=n_antennas))
    return sorted((Path(file) for file in night.files), key=lambda file: file.stem[-4:])


if __name__ == "__main__":
    main()
