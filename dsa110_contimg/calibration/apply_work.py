"""The part of applying that runs in a child of the door to CASA."""

from __future__ import annotations

import shutil
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dsa110_contimg.calibration.models import SolutionSet, TableKind, WindowKey
from dsa110_contimg.calibration.tables import (
    Solutions,
    join_in_time,
    read_solutions,
    read_window_freqs_hz,
)
from dsa110_contimg.calibration.verify import fingerprint
from dsa110_contimg.casa.door import open_casatasks
from dsa110_contimg.errors import ScienceQualityError, TransientError
from dsa110_contimg.flagging.summary import summarize_flags
from dsa110_contimg.flagging.versions import restore_flagged
from dsa110_contimg.models import AbsolutePath, Model
from dsa110_contimg.stages import StageClock
from dsa110_contimg.visibilities.models import MsInfo
from dsa110_contimg.visibilities.ms_info import open_table

_SAMPLED_ROWS = 97
"""Rows per window that are corrected by hand and compared."""
_TOLERANCE = 1e-3
"""Between CASA's correction and ours: both interpolate linearly in time, and single precision
is good to 1e-6; a wrong antenna, window or conjugate is off by order one."""


class ApplyWork(Model):
    """What the child is told."""

    ms_path: AbsolutePath
    """The MS, held and writable."""
    info: MsInfo
    """What it says of itself."""
    windows: list[WindowKey]
    """Its windows, in order of id."""
    sets: list[SolutionSet]
    """One set, or the one before and the one after, in order of time."""
    reference: int | None = None
    """Id of the antenna to which two sets are referred."""
    scratch_dir: AbsolutePath
    """Receives copies of the tables."""


class Applied(Model):
    """What the child did."""

    flagged_after: float
    """Fraction of the cross-correlations that is flagged, those without solutions included."""
    flagged_by_window: list[float]
    """The same of each spectral window, in order of id."""
    worst_error: float
    """Largest departure of a sampled visibility from one that was corrected by hand, relative."""
    stage_seconds: dict[str, float]
    """Wall time per step."""


def apply_in_child(work: ApplyWork) -> Applied:
    """Correct an MS, and see that CORRECTED_DATA is what the tables make of DATA.

    Parameters
    ----------
    work : ApplyWork
        The MS and the sets.

    Returns
    -------
    Applied
        Flags, errors, times.

    Raises
    ------
    ScienceQualityError
        If CORRECTED_DATA is not there or not right.
    TransientError
        If CASA failed, or a table changed while it was copied.
    """
    clock = StageClock(work.ms_path.stem)
    with clock.stage("tables"):
        tables = _copy_tables(work)
    casatasks = open_casatasks()
    try:
        with clock.stage("flag version"):
            restore_flagged(casatasks, work.ms_path)
        with clock.stage("applycal"):
            casatasks.applycal(
                vis=str(work.ms_path),
                gaintable=[str(path) for path in tables.values()],
                spwmap=[_spw_map(work, path, kind) for kind, path in tables.items()],
                interp=["linear,linear"] * len(tables),
                # Weights are those of the data: all antennas have the same noise in Jy.
                calwt=False,
                applymode="calflag",
                flagbackup=False,
                parang=False,
            )
            if lacking := _windows_without(work, tables):
                # CASA lets the data of a window pass that a table knows nothing of.
                casatasks.flagdata(
                    vis=str(work.ms_path),
                    mode="manual",
                    spw=",".join(map(str, lacking)),
                    flagbackup=False,
                )
    except (RuntimeError, OSError, ValueError) as error:  # as casatasks raises them
        raise TransientError(
            f"applycal failed on {work.ms_path}: {error}", reason="applycal_failed"
        ) from error
    with clock.stage("check"):
        worst = _check(work, tables)
        after = summarize_flags(work.ms_path, work.info.spws)
    return Applied(
        flagged_after=after.fraction,
        flagged_by_window=after.by_window,
        worst_error=worst,
        stage_seconds=clock.seconds,
    )


def _copy_tables(work: ApplyWork) -> dict[TableKind, Path]:
    """Copy the tables, those of two sets joined, and see that they are what was verified."""
    for index, solutions in enumerate(work.sets):
        for table in solutions.tables:
            copy = work.scratch_dir / f"{index}_{table.kind}"
            # A tree that is replaced meanwhile is copied in part, or as a mixture.
            with suppress(FileNotFoundError, shutil.Error):
                shutil.copytree(Path(solutions.directory) / table.name, copy)
            if not copy.exists() or fingerprint(copy) != table.files:
                raise TransientError(
                    f"the {table.kind} table of {solutions.set_id} is no longer the one that was "
                    "verified",
                    reason="table_changed",
                    remedy="somebody is solving its transit again",
                )
    paths = {table.kind: work.scratch_dir / f"0_{table.kind}" for table in work.sets[0].tables}
    if work.reference is None:
        return paths
    joined = {kind: work.scratch_dir / f"joined_{kind}" for kind in paths}
    for kind, path in joined.items():
        join_in_time(paths[kind], work.scratch_dir / f"1_{kind}", kind, path, work.reference)
    return joined


def _spw_map(work: ApplyWork, path: Path, kind: TableKind) -> list[int]:
    """Say which window of a table each window of the MS takes its solutions from."""
    of_set = work.sets[0].windows
    own = [
        next(index for index, theirs in enumerate(of_set) if theirs.matches(window))
        for window in work.windows
    ]
    if kind is TableKind.BANDPASS:
        return own
    # What was solved from all windows at once is filed under one of them.
    return [int(read_solutions(path, kind).window.min())] * len(own)


def _windows_without(work: ApplyWork, tables: dict[TableKind, Path]) -> list[int]:
    """List the windows of the MS, by id, for which a table holds no solution."""
    lacking: set[int] = set()
    for kind, path in tables.items():
        solutions = read_solutions(path, kind)
        there = np.unique(solutions.window[~solutions.flagged.all(axis=(1, 2))])
        lacking |= {
            spw.spw_id
            for spw, window in zip(work.info.spws, _spw_map(work, path, kind), strict=True)
            if window not in there
        }
    return sorted(lacking)


def _check(work: ApplyWork, tables: dict[TableKind, Path]) -> float:
    """Correct some visibilities by hand; return the largest relative difference."""
    with open_table(work.ms_path, "SPECTRAL_WINDOW") as windows:
        freqs_hz = [windows.getcell("CHAN_FREQ", spw.spw_id) for spw in work.info.spws]
    with open_table(work.ms_path) as ms:
        if "CORRECTED_DATA" not in ms.colnames():
            raise ScienceQualityError(
                f"applycal ended without an error, but left no CORRECTED_DATA in {work.ms_path}",
                reason="no_corrected_data",
            )
        description = ms.getcol("DATA_DESC_ID")
        worst = 0.0
        for number, spw in enumerate(work.info.spws):
            of_window = np.flatnonzero(description == spw.data_desc_id)
            step = max(1, len(of_window) // _SAMPLED_ROWS)
            rows = ms.selectrows(of_window[::step])
            gains = np.ones((rows.nrows(), *rows.getcell("DATA", 0).shape), np.complex128)
            for kind, path in tables.items():
                window = _spw_map(work, path, kind)[number]
                table_hz = read_window_freqs_hz(path)[window]
                # Delays turn the phase about the frequency that they are filed under.
                turns_hz = freqs_hz[number] - table_hz[0]
                factor = _baseline_gains(read_solutions(path, kind), window, rows, turns_hz)
                if kind is TableKind.BANDPASS:  # tables ascend, whatever the MS does
                    nearest = np.abs(table_hz[:, None] - freqs_hz[number]).argmin(axis=0)
                    factor = factor[:, nearest]
                gains *= factor
            unflagged = ~rows.getcol("FLAG")
            if (unflagged & np.isnan(gains)).any():
                raise ScienceQualityError(
                    f"applycal left data of window {spw.spw_id} of {work.ms_path} unflagged that "
                    "have no solutions",
                    reason="wrong_corrected_data",
                )
            good = unflagged & (gains != 0.0)
            if not good.any():
                continue
            expected = rows.getcol("DATA")[good] / gains[good]
            difference = np.abs(rows.getcol("CORRECTED_DATA")[good] - expected)
            worst = max(worst, float(np.max(difference / np.maximum(np.abs(expected), 1e-6))))
    if not worst <= _TOLERANCE:
        raise ScienceQualityError(
            f"CORRECTED_DATA of {work.ms_path} differs by up to {worst:.2g} from what the tables "
            f"make of DATA (limit {_TOLERANCE:g})",
            reason="wrong_corrected_data",
        )
    return worst


def _baseline_gains(
    solutions: Solutions, window: int, rows: Any, turns_hz: npt.NDArray[np.float64]
) -> npt.NDArray[Any]:
    """Work out what a table says of some rows, shape (nrow, nchan or 1, npol)."""
    times_s = rows.getcol("TIME")
    solutions = solutions.select(solutions.window == window)
    of_antenna = {
        int(antenna): _at_times(solutions, int(antenna), times_s, turns_hz)
        for antenna in np.union1d(rows.getcol("ANTENNA1"), rows.getcol("ANTENNA2"))
    }
    index = np.arange(len(times_s))
    one = np.array([of_antenna[a][i] for i, a in zip(index, rows.getcol("ANTENNA1"), strict=True)])
    two = np.array([of_antenna[a][i] for i, a in zip(index, rows.getcol("ANTENNA2"), strict=True)])
    return np.asarray(one * two.conj())


def _at_times(
    solutions: Solutions, antenna: int, times_s: npt.NDArray[Any], turns_hz: npt.NDArray[Any]
) -> npt.NDArray[Any]:
    """Interpolate an antenna's solutions in time.

    NaN if it has none at all; 0 in channels that CASA fills from their neighbours.
    """
    mine = np.flatnonzero((solutions.antenna == antenna) & ~solutions.flagged.all(axis=(1, 2)))
    mine = mine[np.argsort(solutions.time_mjd_s[mine])]
    shape = solutions.values.shape[1:]
    if not len(mine):
        return np.full((len(times_s), *shape), np.nan, np.complex128)
    at_s, values = solutions.time_mjd_s[mine], solutions.values[mine].reshape(len(mine), -1)
    if solutions.kind is TableKind.DELAY:
        delays_s = _interpolate(times_s, at_s, values) * 1e-9
        return np.asarray(np.exp(2j * np.pi * delays_s[:, None, :] * turns_hz[None, :, None]))
    phase = np.unwrap(np.angle(values), axis=0)
    gains = _interpolate(times_s, at_s, np.abs(values)) * np.exp(
        1j * _interpolate(times_s, at_s, phase)
    )
    usable = ~solutions.flagged[mine].reshape(len(mine), -1).any(axis=0)
    return np.where(usable, gains, 0.0).reshape(len(times_s), *shape)


def _interpolate(
    times_s: npt.NDArray[Any], at_s: npt.NDArray[Any], values: npt.NDArray[Any]
) -> npt.NDArray[Any]:
    """Interpolate columns linearly in time; the ends hold beyond them."""
    return np.stack([np.interp(times_s, at_s, column) for column in values.T], axis=-1)
