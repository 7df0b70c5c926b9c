"""The part of solving that runs in a child of the door to CASA."""

from __future__ import annotations

import logging
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from dsa110_contimg.calibration.models import TableKind
from dsa110_contimg.calibration.normalise import normalise_window
from dsa110_contimg.casa.door import open_casatasks
from dsa110_contimg.catalog.sources import Source
from dsa110_contimg.errors import ScienceQualityError, TransientError
from dsa110_contimg.flagging.versions import AS_FLAGGED, flag_version
from dsa110_contimg.imaging.private_copy import PrivateCopy
from dsa110_contimg.models import AbsolutePath, Model
from dsa110_contimg.stages import StageClock
from dsa110_contimg.visibilities.models import MsInfo, SpwInfo
from dsa110_contimg.visibilities.ms_info import (
    antenna_label,
    label_antennas,
    open_table,
    read_station_names,
)
from dsa110_contimg.visibilities.subtract import predict_window
from dsa110_contimg.visibilities.window import Window, read_window

_log = logging.getLogger(__name__)

_N_REFERENCES = 6
"""Reference antennas that CASA is given to choose from, best first."""
_NEARLY_WHOLE = 0.9
"""A reference antenna has this share of the data of the one with most."""


class SolveStrategy(Model):
    """How solutions are found; they depend on nothing else but data and model."""

    integrations: int = Field(6, ge=1)
    """Integrations averaged into one gain solution."""
    solve_delay: bool = False
    """Solve a delay for each antenna first. The bandpass holds delays of up to microseconds by
    itself; a delay of its own helps to bridge flagged channels."""
    min_snr: float = Field(3.0, gt=0.0)
    """Solutions below are flagged."""
    min_baseline_m: float = Field(0.0, ge=0.0)
    """Shorter baselines are left out: they see the Galaxy."""
    bridged_channels: int = Field(3, ge=0)
    """Gaps in the bandpass up to so many channels are interpolated."""
    refant: str | None = None
    """Reference antenna by name; None: the one with most data near the centre of the array."""


class SolveWork(Model):
    """What the child is told."""

    ms_path: AbsolutePath
    """The MS, held."""
    info: MsInfo
    """What it says of itself, with the column to solve on."""
    calibrator: Source
    """The calibrator, with its flux density and spectral index."""
    others: list[Source]
    """Other known sources of the field."""
    strategy: SolveStrategy
    """How."""
    scratch_dir: AbsolutePath
    """Receives the averaged MS."""
    tables_dir: AbsolutePath
    """Receives the tables, each named after its `TableKind`."""


class Solved(Model):
    """What the child did."""

    kinds: list[TableKind]
    """Tables, in the order in which they were solved."""
    references: list[str]
    """Reference antennas that CASA could choose from, by name, best first."""
    antennas: list[int]
    """Ids of the antennas with data."""
    windows: list[int]
    """Ids of the windows that could be solved."""
    failures: dict[int, str]
    """Id to sentence of those that could not."""
    stage_seconds: dict[str, float]
    """Wall time per step."""


def solve_in_child(work: SolveWork) -> Solved:
    """Average a calibrator's visibilities, divided by their model, and solve for gains.

    Parameters
    ----------
    work : SolveWork
        The MS, the model and how to solve.

    Returns
    -------
    Solved
        What was made.

    Raises
    ------
    ScienceQualityError
        If no window could be used.
    TransientError
        If CASA failed, or returned without a table.
    """
    clock = StageClock(work.ms_path.stem)
    copy = PrivateCopy(
        work.scratch_dir / "normalised.ms", original=work.ms_path, source=work.calibrator
    )
    failures: dict[int, str] = {}
    windows: list[int] = []
    share = np.zeros(0)
    with clock.stage("divide by the model"):
        for number, spw in enumerate(work.info.spws, start=1):
            _log.info("%s: divide window %d of %d", work.ms_path.stem, number, len(work.info.spws))
            try:
                window = _normalise(work, spw)
            except ScienceQualityError as error:
                failures[spw.spw_id] = error.message
                continue
            copy.append(window)
            windows.append(spw.spw_id)
            share = _add(share, _data_share(window))
    if not windows:
        raise ScienceQualityError(
            f"no window of {work.ms_path} can be solved: {next(iter(failures.values()))}",
            reason="nothing_to_solve",
        )
    names = read_station_names(work.ms_path)
    references = choose_references(work, share)
    kinds = _solve(work, copy.path, references, windows, clock)
    for kind in kinds:
        label_antennas(work.tables_dir / kind, names)
    return Solved(
        kinds=kinds,
        references=[names[antenna] for antenna in references],
        antennas=np.flatnonzero(share).tolist(),
        windows=windows,
        failures=failures,
        stage_seconds=clock.seconds,
    )


def _normalise(work: SolveWork, spw: SpwInfo) -> Window:
    """Read a window, divide it by the model and average it."""
    window = read_window(work.ms_path, work.info, spw, flag_version(work.ms_path, AS_FLAGGED))
    sources = [work.calibrator, *work.others]
    flux_jy = [float(source.flux_at(spw.freq_hz)) for source in sources]
    model = predict_window(window, work.info, sources, flux_jy)
    return normalise_window(window, model, work.strategy.integrations)


def _data_share(window: Window) -> npt.NDArray[np.float64]:
    """Count the visibilities with weight of each antenna."""
    count = np.count_nonzero(window.weight, axis=(1, 2))
    n_antennas = 1 + int(max(window.antenna1.max(), window.antenna2.max()))
    share = sum(
        np.bincount(antenna, count, n_antennas) for antenna in (window.antenna1, window.antenna2)
    )
    return np.asarray(share)


def _add(one: npt.NDArray[np.float64], other: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Add arrays, of which one may be shorter."""
    total = np.zeros(max(len(one), len(other)))
    total[: len(one)] += one
    total[: len(other)] += other
    return total


def choose_references(work: SolveWork, share: npt.NDArray[np.float64]) -> list[int]:
    """Rank reference antennas: nearly all of their data there, and near the array's centre.

    Parameters
    ----------
    work : SolveWork
        The MS, and the antenna that was asked for.
    share : ndarray of float64, shape (nant,)
        Number of visibilities with weight of each antenna, by id.

    Returns
    -------
    list of int
        Ids, best first; the antenna that was asked for is the first.
    """
    with open_table(work.ms_path, "ANTENNA") as antennas:
        position_m = antennas.getcol("POSITION")
    present = np.flatnonzero(share)
    center_m = np.median(position_m[present], axis=0)
    good = present[share[present] >= _NEARLY_WHOLE * share.max()]
    distance_m = np.linalg.norm(position_m[good] - center_m, axis=1)
    ranked: list[int] = good[np.argsort(distance_m, kind="stable")].tolist()
    if work.strategy.refant is not None:
        wanted = read_station_names(work.ms_path).index(work.strategy.refant)
        ranked = [wanted, *(antenna for antenna in ranked if antenna != wanted)]
    return ranked[:_N_REFERENCES]


def _solve(
    work: SolveWork, ms_path: Path, references: list[int], windows: list[int], clock: StageClock
) -> list[TableKind]:
    """Solve for delay, bandpass and gain, each on top of the ones before."""
    casatasks = open_casatasks()
    strategy = work.strategy
    n_spws = 1 + max(windows)
    shared: dict[str, Any] = {
        "vis": str(ms_path),
        "refant": ",".join(map(antenna_label, references)),
        "minsnr": strategy.min_snr,
        "uvrange": f">{strategy.min_baseline_m}m" if strategy.min_baseline_m else "",
        "parang": False,
    }
    kinds: list[TableKind] = []

    def run(kind: TableKind, task: Any, **parameters: Any) -> None:
        """Run one task with the tables that are there, and see that it made one."""
        path = work.tables_dir / kind
        with clock.stage(kind):
            try:
                task(
                    **shared,
                    **parameters,
                    caltable=str(path),
                    gaintable=[str(work.tables_dir / earlier) for earlier in kinds],
                    spwmap=[_spw_map(earlier, windows, n_spws) for earlier in kinds],
                )
            except (RuntimeError, OSError, ValueError) as error:  # as casatasks raises them
                raise TransientError(
                    f"{kind} of {work.ms_path}: {error}", reason="solve_failed"
                ) from error
        # All data flagged, or a reference antenna without data: CASA returns as if all were well.
        if not (path / "table.dat").is_file():
            raise ScienceQualityError(
                f"CASA ended without an error, but left no {kind} for {work.ms_path}",
                reason="no_table",
                remedy="its log says why: all flagged, or no reference antenna",
            )
        kinds.append(kind)

    if strategy.solve_delay:
        run(TableKind.DELAY, casatasks.gaincal, gaintype="K", solint="inf", combine="spw")
    run(
        TableKind.BANDPASS,
        casatasks.bandpass,
        bandtype="B",
        solint="inf",
        fillgaps=strategy.bridged_channels,
    )
    run(
        TableKind.GAIN,
        casatasks.gaincal,
        gaintype="G",
        calmode="ap",
        solint="int",
        combine="spw",
    )
    return kinds


def _spw_map(kind: TableKind, windows: list[int], n_spws: int) -> list[int]:
    """Say which window of a table each window of the MS takes its solutions from."""
    # What is solved from all windows at once is filed under the first.
    return [] if kind is TableKind.BANDPASS else [windows[0]] * n_spws
