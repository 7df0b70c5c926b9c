"""Measure the photometry side by side with CASA's way, in one run on one machine.

    .venv/bin/python benchmarks/photometry.py            # a full-size MS, some 30 minutes
    .venv/bin/python benchmarks/photometry.py --antennas 24 --repetitions 1 --sources 10 100

The MSs stand in tmpfs, so that the software is measured and not the disk. The reference is what
the original did: tclean with 200 iterations on the MS itself, one image after the other under
the MS's lock. Fast contestants run several times, between runs of the slow ones; all start from
an empty directory of products and end when the last product is published. What is forked from
a fork server is forked from a warm one, as Airflow has it; CASA is imported anew by each child.
"""

from __future__ import annotations

import argparse
import itertools
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import psutil
from accuracy import compare_accuracy, prove_accuracy
from metering import Cost, Costs, Meter
from peers import remove
from photometry_results import (
    Agreement,
    BlendedSource,
    FieldGrowth,
    PhotometryResults,
    draw,
    show_blend,
)
from results import Comparison, describe_machine, show
from running import ROOT, console, say, take_turns, use_only
from skies import ISOLATED, TRIPLE, make_ms, scattered

from dsa110_contimg.catalog.sources import Source
from dsa110_contimg.forkserver import fork_server
from dsa110_contimg.imaging.models import Backend, CleanOptions
from dsa110_contimg.photometry.measure import MeasureOptions, measure_sources
from dsa110_contimg.photometry.models import Photometry, SourceResult
from dsa110_contimg.storage.publish import list_data_files

REFERENCE = "tclean on the MS, serialized"
UVFIT, DUCC0, TCLEAN = "uvfit", "image, ducc0", "image, tclean on averaged copies"
WSCLEAN = "image, wsclean on averaged copies"
SCENARIO_SPWS = 8
_WORKERS = 2
_IMAGES = {DUCC0: Backend.DUCC0, TCLEAN: Backend.TCLEAN, WSCLEAN: Backend.WSCLEAN}


class Bench:
    """The contestants, on one MS.

    Parameters
    ----------
    ms : Path
        The MS, in tmpfs.
    ram : Path
        Private directory in tmpfs.
    meter : Meter
        Measures.
    clean : CleanOptions
        How images are made.
    """

    def __init__(self, ms: Path, ram: Path, meter: Meter, clean: CleanOptions):
        self.ms, self.meter, self.clean = ms, meter, clean
        self._products = ram / "products"
        self._shared = {"ms_path": ms, "products_dir": self._products, "clean": clean}

    def uvfit(self, sources: Sequence[Source], **options: object) -> tuple[Cost, _Measured]:
        """Fit all sources together in the uv plane."""
        return self._measure(sources, photometry=Photometry.UVFIT, **options)

    def images(
        self, sources: Sequence[Source], backend: Backend, **options: object
    ) -> tuple[Cost, _Measured]:
        """Measure on images of averaged copies, after subtraction of the other sources."""
        return self._measure(sources, photometry=Photometry.IMAGE, backend=backend, **options)

    def reference(self, sources: Sequence[Source], **options: object) -> tuple[Cost, _Measured]:
        """Measure on images of the MS itself, whose lock is held meanwhile."""
        return self._measure(
            sources,
            photometry=Photometry.IMAGE,
            backend=Backend.TCLEAN,
            private_copy=None,
            **options,
        )

    def _measure(self, sources: Sequence[Source], **options: object) -> tuple[Cost, _Measured]:
        """Measure from an empty directory on; nobody may fail."""
        remove(self._products)
        results: list[SourceResult] = []
        given = {**self._shared, "sources": list(sources), "max_workers": _WORKERS, **options}

        def work() -> None:
            results.extend(measure_sources(MeasureOptions.model_validate(given)))

        cost = self.meter.measure(work)
        failed = [f"{result.name}: {result.error}" for result in results if not result.success]
        if failed:
            raise RuntimeError("; ".join(failed))
        return cost.model_copy(update={"parts_s": results[0].stage_seconds}), results


_Measured = list[SourceResult]


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
    record = arguments.output / "photometry.json"
    record.write_text(results.model_dump_json(indent=1) + "\n", encoding="utf-8")
    draw(results, record.with_suffix(".png"))
    show_blend(results, console)
    show(results, console)
    console.print(f"saved as {record} and {record.with_suffix('.png').name}")


def _arguments() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description="Measure the photometry beside CASA's way.")
    parser.add_argument("--antennas", type=int, default=96, help="antennas of the group")
    parser.add_argument(
        "--agreement-antennas", type=int, default=48, help="antennas for the isolated source"
    )
    parser.add_argument("--repetitions", type=int, default=3, help="runs of the quick contestants")
    parser.add_argument("--slow-repetitions", type=int, default=1, help="runs of the slow ones")
    parser.add_argument("--image-size", type=int, default=256, help="width of stamps in pixels")
    parser.add_argument(
        "--sources",
        type=int,
        nargs="+",
        default=[10, 100, 1000],
        help="numbers of field sources, ascending",
    )
    parser.add_argument("--injected", type=int, default=200, help="sources with a known truth")
    parser.add_argument("--empty", type=int, default=800, help="positions without a source")
    parser.add_argument("--tmpfs", type=Path, default=Path("/dev/shm"), help="a tmpfs")  # noqa: S108
    parser.add_argument("--output", type=Path, default=ROOT / "benchmarks" / "results")
    return parser.parse_args()


def _run(
    arguments: argparse.Namespace, ram: Path, meter: Meter, load_before: float
) -> PhotometryResults:
    """Do the four parts, one MS at a time."""
    clean = CleanOptions(image_size_px=arguments.image_size)
    say(f"simulating the scenario with {arguments.antennas} antennas")
    bench = Bench(make_ms(ram, "scenario", TRIPLE, arguments.antennas), ram, meter, clean)
    bytes_ms = sum(list_data_files(bench.ms).values())
    costs, blend = _scenario(bench, arguments)
    growth = _growth(bench, arguments.sources)
    remove(bench.ms)
    say(f"the isolated source, {arguments.agreement_antennas} antennas")
    truth_jy, agreement = _agree(arguments, ram, meter, clean)
    say(f"{arguments.injected} sources and {arguments.empty} empty positions")
    pulls, empty = prove_accuracy(
        ram,
        n_antennas=arguments.antennas,
        n_injected=arguments.injected,
        n_empty=arguments.empty,
    )
    return PhotometryResults(
        machine=describe_machine(load_before),
        n_antennas=arguments.antennas,
        image_size_px=arguments.image_size,
        bytes_ms=bytes_ms,
        costs=list(costs.values()),
        blend=blend,
        growth=growth,
        agreement_truth_jy=truth_jy,
        agreement=agreement,
        pulls=pulls,
        empty=empty,
        comparisons=[
            *_compare_speed(costs, growth),
            *_compare_agreement(agreement),
            *compare_accuracy(pulls, empty),
        ],
    )


def _scenario(
    bench: Bench, arguments: argparse.Namespace
) -> tuple[dict[str, Costs], list[BlendedSource]]:
    """Let the contestants measure the original's three sources in eight windows."""
    say("warming up")
    _, results = bench.uvfit(TRIPLE, max_spws=SCENARIO_SPWS)
    quick: dict[str, Callable[[], Cost]] = {
        UVFIT: lambda: bench.uvfit(TRIPLE, max_spws=SCENARIO_SPWS)[0]
    }
    for name, backend in _available().items():
        quick[name] = lambda backend=backend: bench.images(TRIPLE, backend, max_spws=SCENARIO_SPWS)[
            0
        ]
    slow = {
        REFERENCE: lambda: bench.reference(TRIPLE, max_spws=SCENARIO_SPWS)[0],
        UVFIT: quick[UVFIT],
    }
    runs: dict[str, list[Cost]] = {name: [] for name in (*quick, REFERENCE)}
    take_turns(runs, quick, arguments.repetitions)
    take_turns(runs, slow, arguments.slow_repetitions)
    costs = {name: Costs(name=name, runs=these) for name, these in runs.items()}
    return costs, [_blended(source, results) for source in TRIPLE]


def _available() -> dict[str, Backend]:
    """Image contestants whose program is installed."""
    installed = shutil.which("wsclean") is not None
    if not installed:
        say("wsclean is not installed: left out")
    return {name: b for name, b in _IMAGES.items() if installed or b is not Backend.WSCLEAN}


def _blended(source: Source, results: Sequence[SourceResult]) -> BlendedSource:
    """Say what can be known of a source of the blend."""
    (result,) = [result for result in results if result.name == source.name]
    weight = np.array([spw.rms_jy for spw in result.spws]) ** -2
    return BlendedSource(
        name=source.name,
        truth_jy=float(
            np.average(source.flux_at([s.freq_hz for s in result.spws]), weights=weight)
        ),
        flux_jy=float(np.average([spw.flux_jy for spw in result.spws], weights=weight)),
        rms_jy=float(weight.sum() ** -0.5),
        inflation=float(np.median([spw.error_inflation or 1.0 for spw in result.spws])),
        correlations={blend.name: blend.correlation for blend in result.blends},
        sums_jy={blend.name: (blend.sum_flux_jy, blend.sum_rms_jy) for blend in result.blends},
    )


def _growth(bench: Bench, numbers: Sequence[int]) -> FieldGrowth:
    """Measure more and more sources in all windows."""
    wall_s, fit_s = [], []
    for number in numbers:
        cost, _ = bench.uvfit(scattered(number), plots=False)
        say(f"{number} sources in 16 windows: {cost.wall_s:.2f} s wall, {cost.cpu_s:.2f} s CPU")
        wall_s.append(cost.wall_s)
        fit_s.append(sum(cost.parts_s.values()))
    return FieldGrowth(n_sources=list(numbers), wall_s=wall_s, fit_s=fit_s)


def _agree(
    arguments: argparse.Namespace, ram: Path, meter: Meter, clean: CleanOptions
) -> tuple[list[float], list[Agreement]]:
    """Measure one isolated source by all methods."""
    ms = make_ms(ram, "isolated", [ISOLATED], arguments.agreement_antennas)
    bench = Bench(ms, ram, meter, clean)
    measured = {
        UVFIT: bench.uvfit([ISOLATED])[1],
        **{name: bench.images([ISOLATED], b)[1] for name, b in _available().items()},
        REFERENCE: bench.reference([ISOLATED])[1],
    }
    remove(ms)
    freqs_hz = [spw.freq_hz for spw in measured[UVFIT][0].spws]
    return ISOLATED.flux_at(freqs_hz).tolist(), [
        Agreement(
            name=name,
            flux_jy=[spw.flux_jy for spw in result.spws],
            rms_jy=[spw.rms_jy for spw in result.spws],
        )
        for name, (result,) in measured.items()
    ]


def _compare_speed(costs: dict[str, Costs], growth: FieldGrowth) -> list[Comparison]:
    """Form the ratios of the scenario and judge the growth."""
    reference_s = costs[REFERENCE].wall_s

    def ratio(what: str, name: str, goal: float) -> Comparison:
        wall_s = costs[name].wall_s
        return Comparison(
            what=f"{what} against tclean on the MS",
            measured=reference_s / wall_s,
            goal=goal,
            at_least=True,
            detail=f"{reference_s:.1f} s / {wall_s:.2f} s",
        )

    per_source_s = growth.per_source_s()
    falls = max((b / a for a, b in itertools.pairwise(per_source_s)), default=1.0)
    return [
        ratio("uvfit", UVFIT, 50),
        ratio("ducc0 images", DUCC0, 10),
        ratio("tclean on averaged copies", TCLEAN, 3),
        Comparison(
            what="time per source, most against the number before",
            measured=falls,
            goal=1.0,
            at_least=False,
            detail=", ".join(
                f"{n}: {1e3 * s:.1f} ms"
                for n, s in zip(growth.n_sources, per_source_s, strict=True)
            ),
        ),
        Comparison(
            what=f"{growth.n_sources[-1]} sources x 16 windows",
            measured=growth.wall_s[-1],
            goal=60.0,
            at_least=False,
            unit="s",
            detail=f"of it reading and fitting {growth.fit_s[-1]:.1f} s",
        ),
    ]


def _compare_agreement(agreement: Sequence[Agreement]) -> list[Comparison]:
    """Compare every method with the joint fit, window by window."""
    (uvfit,) = [method for method in agreement if method.name == UVFIT]
    uvfit_jy = np.array(uvfit.flux_jy)
    lines = []
    for method in agreement:
        if method is uvfit:
            continue
        off_jy = np.array(method.flux_jy) - uvfit_jy
        # Either bound will do, so that what counts is the smaller excess of the two.
        bound_jy = np.maximum(0.01 * uvfit_jy, 0.3 * np.array(method.rms_jy))
        lines.append(
            Comparison(
                what=f"{method.name} against uvfit, worst window",
                measured=float(np.abs(off_jy / bound_jy).max()),
                goal=1.0,
                at_least=False,
                unit="bounds",
                detail="bound: 1 % or 0.3 errors; mean of the windows "
                f"{100 * off_jy.mean() / uvfit_jy.mean():+.2f} %",
            )
        )
    return lines


if __name__ == "__main__":
    main()
