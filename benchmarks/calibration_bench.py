"""The contestants of the benchmark of the calibration: the pipeline's stages, and casatasks."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from calibration_results import AOFLAGGER, BARE, OURS, contestant
from casa_peers import (
    ApplyJob,
    FlagJob,
    SolveJob,
    apply_with_tasks,
    flag_with_tasks,
    solve_with_tasks,
)
from metering import Cost, Meter, PeakMemory, sampled_memory
from nights import Night, copy_ms
from peers import remove

from dsa110_contimg.calibration.apply import ApplyOptions, apply_calibration
from dsa110_contimg.calibration.models import CalibrationRecord, SolutionSet, TableKind
from dsa110_contimg.calibration.solve import SolveOptions, solve_ms
from dsa110_contimg.casa.door import run_in_casa
from dsa110_contimg.flagging.clip import find_clip_limit
from dsa110_contimg.flagging.flag_ms import flag_ms
from dsa110_contimg.flagging.models import Flagger, FlagOptions, FlagRecord, FlagStrategy
from dsa110_contimg.instrument import INTEGRATION_TIME_S
from dsa110_contimg.models import Model
from dsa110_contimg.visibilities.ms_info import list_spws

WITH_CASA = FlagStrategy(flagger=Flagger.CASA)
WITH_AOFLAGGER = FlagStrategy(flagger=Flagger.AOFLAGGER)
_TIMEOUT_S = 3600.0
_MEMORY_INTERVAL_S = 0.5
"""A look takes some milliseconds: less than a hundredth of the time between two."""


class Bench:
    """The contestants, on the MS of one group each.

    Parameters
    ----------
    night : Night
        MSs and truth.
    ram : Path
        Private directory in tmpfs.
    meter : Meter
        Measures.
    """

    def __init__(self, night: Night, ram: Path, meter: Meter):
        self.night, self.meter = night, meter
        self.bare_ms, self.tables_dir = ram / "bare" / night.ms[0].name, ram / "bare" / "tables"
        self.memory: dict[str, PeakMemory] = {}
        self.flagged: FlagRecord | None = None
        self.solutions: SolutionSet | None = None
        self.applied: CalibrationRecord | None = None
        self._scratch = ram / "bare" / "scratch"
        self._clip_jy = find_clip_limit(
            night.ms[0], list_spws(night.ms[0]), sigma=WITH_CASA.clip_sigma
        )
        self.tables_dir.mkdir(parents=True)
        # Before anything has changed it.
        copy_ms(night.ms[0], self.bare_ms)
        self.aoflagger_ms: Path | None = None
        if shutil.which("aoflagger") is not None:
            self.aoflagger_ms = ram / "aoflagger" / night.ms[0].name
            copy_ms(night.ms[0], self.aoflagger_ms)

    @property
    def flagged_ms(self) -> dict[str, Path]:
        """The contestants' MSs of the first group."""
        flagged = {OURS: self.night.ms[0], BARE: self.bare_ms}
        return flagged if self.aoflagger_ms is None else {**flagged, AOFLAGGER: self.aoflagger_ms}

    def flag(self) -> Cost:
        """Flag as the pipeline does."""

        def work() -> None:
            self.flagged = flag_ms(
                FlagOptions(ms_path=self.night.ms[0], strategy=WITH_CASA, reprocess=True)
            )

        cost = self._measure("flag", OURS, work)
        assert self.flagged is not None
        return cost.model_copy(update={"parts_s": self.flagged.stage_seconds})

    def flag_bare(self) -> Cost:
        """Flag with one call of `flagdata` after the other."""
        assert self.flagged is not None
        job = FlagJob(
            ms_path=self.bare_ms,
            strategy=WITH_CASA,
            clip_jy=self._clip_jy,
            dead=[antenna.name for antenna in self.flagged.dead],
        )
        return self._measure_bare("flag", flag_with_tasks, job)

    def flag_aoflagger(self) -> Cost:
        """Flag a copy as the pipeline does where it is told to use AOFlagger."""
        assert self.aoflagger_ms is not None
        records = []
        options = FlagOptions(ms_path=self.aoflagger_ms, strategy=WITH_AOFLAGGER, reprocess=True)
        cost = self._measure("flag", AOFLAGGER, lambda: records.append(flag_ms(options)))
        return cost.model_copy(update={"parts_s": records[0].stage_seconds})

    def solve(self) -> Cost:
        """Solve as the pipeline does."""

        def work() -> None:
            self.solutions = solve_ms(
                SolveOptions(
                    ms_path=self.night.ms[0],
                    calibrator=self.night.calibrator,
                    known_sources=self.night.sources,
                    reprocess=True,
                )
            )

        return self._measure("solve", OURS, work)

    def solve_bare(self) -> Cost:
        """Solve with `ft`, `bandpass` and `gaincal`."""
        assert self.solutions is not None
        strategy = SolveOptions(ms_path=self.bare_ms, calibrator=self.night.calibrator).strategy
        job = SolveJob(
            ms_path=self.bare_ms,
            calibrator=self.night.calibrator,
            refant=self.solutions.refant,
            gain_interval_s=strategy.integrations * INTEGRATION_TIME_S,
            min_snr=strategy.min_snr,
            bridged_channels=strategy.bridged_channels,
            tables_dir=self.tables_dir,
        )
        return self._measure_bare("solve", solve_with_tasks, job)

    def apply(self) -> Cost:
        """Apply as the pipeline does."""

        def work() -> None:
            self.applied = apply_calibration(ApplyOptions(ms_path=self.night.ms[0], reprocess=True))

        cost = self._measure("apply", OURS, work)
        assert self.applied is not None
        return cost.model_copy(update={"parts_s": self.applied.stage_seconds})

    def apply_bare(self) -> Cost:
        """Apply the very same tables with `applycal`."""
        tables = {}
        for kind, path in self.our_tables().items():
            tables[kind] = self.tables_dir / f"ours_{kind}"
            remove(tables[kind])
            copy_ms(path, tables[kind])
        job = ApplyJob(
            ms_path=self.bare_ms,
            bandpass=tables[TableKind.BANDPASS],
            gain=tables[TableKind.GAIN],
            n_windows=len(list_spws(self.bare_ms)),
        )
        return self._measure_bare("apply", apply_with_tasks, job)

    def our_tables(self) -> dict[TableKind, Path]:
        """Find the tables that the pipeline made."""
        assert self.solutions is not None
        folder = Path(self.solutions.directory)
        return {table.kind: folder / table.name for table in self.solutions.tables}

    def _measure(self, step: str, who: str, work: Callable[[], object]) -> Cost:
        """Measure time and memory."""
        with sampled_memory(os.getpid(), _MEMORY_INTERVAL_S) as peak:
            cost = self.meter.measure(work)
            self.memory[contestant(step, who)] = peak()
        return cost

    def _measure_bare(self, step: str, function: Callable[[Any], Cost], job: Model) -> Cost:
        """Run bare casatasks in a child, which reports its cost itself."""
        remove(self._scratch)
        self._scratch.mkdir()
        costs = []

        def work() -> None:
            costs.append(
                run_in_casa(
                    function,
                    job,
                    timeout_s=_TIMEOUT_S,
                    log_path=self._scratch.with_name("casa.log"),
                    scratch_dir=self._scratch,
                )
            )

        self._measure(step, BARE, work)
        return costs[0]
