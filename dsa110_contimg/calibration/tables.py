"""Calibration tables as arrays: read, judged, brought to one reference, joined in time."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from dsa110_contimg.calibration.models import TableKind
from dsa110_contimg.visibilities.ms_info import open_table

_COMPLEX, _REAL = "CPARAM", "FPARAM"


@dataclass(frozen=True)
class Solutions:
    """The rows of a table.

    Attributes
    ----------
    kind : TableKind
        What it corrects.
    time_mjd_s : ndarray of float64, shape (nrow,)
        MJD in seconds.
    window : ndarray of int32, shape (nrow,)
        Spectral window that a row is filed under.
    antenna, reference : ndarray of int32, shape (nrow,)
        Ids of the antenna and of the reference antenna.
    values : ndarray, shape (nrow, nchan, npol)
        Complex gains; delays in nanoseconds as float.
    flagged : ndarray of bool, shape (nrow, nchan, npol)
        Where there is no solution.
    snr : ndarray of float32, shape (nrow, nchan, npol)
        Signal-to-noise ratio.
    """

    kind: TableKind
    time_mjd_s: npt.NDArray[np.float64]
    window: npt.NDArray[np.int32]
    antenna: npt.NDArray[np.int32]
    reference: npt.NDArray[np.int32]
    values: npt.NDArray[Any]
    flagged: npt.NDArray[np.bool_]
    snr: npt.NDArray[np.float32]

    def select(self, rows: npt.NDArray[np.bool_]) -> Solutions:
        """Keep some rows.

        Parameters
        ----------
        rows : ndarray of bool, shape (nrow,)
            Which.

        Returns
        -------
        Solutions
            Those rows.
        """
        columns = ("time_mjd_s", "window", "antenna", "reference", "values", "flagged", "snr")
        return Solutions(self.kind, **{name: getattr(self, name)[rows] for name in columns})


def read_solutions(path: Path, kind: TableKind) -> Solutions:
    """Read a calibration table.

    Parameters
    ----------
    path : Path
        The table.
    kind : TableKind
        What it corrects.

    Returns
    -------
    Solutions
        Its rows.

    Raises
    ------
    RuntimeError
        If casacore cannot read it.
    """
    with open_table(path) as table:
        column = _REAL if kind is TableKind.DELAY else _COMPLEX
        return Solutions(
            kind=kind,
            time_mjd_s=table.getcol("TIME"),
            window=table.getcol("SPECTRAL_WINDOW_ID"),
            antenna=table.getcol("ANTENNA1"),
            reference=table.getcol("ANTENNA2"),
            values=table.getcol(column),
            flagged=table.getcol("FLAG"),
            snr=table.getcol("SNR"),
        )


def read_window_freqs_hz(path: Path) -> list[npt.NDArray[np.float64]]:
    """Read the channel centres of a table's windows.

    Parameters
    ----------
    path : Path
        The table.

    Returns
    -------
    list of ndarray of float64, each of shape (nchan,)
        In Hz, in order of id.
    """
    with open_table(path, "SPECTRAL_WINDOW") as windows:
        return [windows.getcell("CHAN_FREQ", row) for row in range(windows.nrows())]


def complete_antennas(solutions: Solutions) -> set[int]:
    """List the antennas that have a solution wherever another has one.

    Parameters
    ----------
    solutions : Solutions
        Of one table.

    Returns
    -------
    set of int
        Their ids; such an antenna can be the reference of all others.
    """
    group = _group_rows(solutions.time_mjd_s, solutions.window)
    there = ~solutions.flagged
    someone = np.zeros((group.max(initial=-1) + 1, *there.shape[1:]), dtype=bool)
    np.logical_or.at(someone, group, there)
    lacking = someone[group] & ~there
    whole = solutions.antenna[~lacking.reshape(len(lacking), -1).any(axis=1)]
    antennas, count = np.unique(whole, return_counts=True)
    return set(antennas[count == len(someone)].tolist())


def _group_rows(
    time_mjd_s: npt.NDArray[np.float64], window: npt.NDArray[np.int32]
) -> npt.NDArray[np.intp]:
    """Give the rows of one time and window the same number."""
    keys = np.stack([time_mjd_s, window])
    return np.asarray(np.unique(keys, axis=1, return_inverse=True)[1].ravel())


def join_in_time(first: Path, second: Path, kind: TableKind, joined: Path, reference: int) -> None:
    """Put two tables into one, so that CASA interpolates between them.

    Parameters
    ----------
    first, second : Path
        Tables with the same antennas and windows, in order of time.
    kind : TableKind
        What they correct.
    joined : Path
        The table to make.
    reference : int
        Id of the antenna whose phase is zero in both.

    Raises
    ------
    ValueError
        If that antenna has no solution where others have one.
    """
    from casacore.tables import table

    shutil.copytree(first, joined)
    with (
        table(str(joined), readonly=False, ack=False) as target,
        table(str(second), ack=False) as source,
    ):
        source.copyrows(target)
        column = _REAL if kind is TableKind.DELAY else _COMPLEX
        values, flagged = target.getcol(column), target.getcol("FLAG")
        _refer(
            values,
            flagged,
            target.getcol("ANTENNA1"),
            _group_rows(target.getcol("TIME"), target.getcol("SPECTRAL_WINDOW_ID")),
            reference,
        )
        target.putcol(column, values)
        target.putcol("FLAG", flagged)
        target.putcol("ANTENNA2", np.full(target.nrows(), reference, np.int32))


def _refer(
    values: npt.NDArray[Any],
    flagged: npt.NDArray[np.bool_],
    antenna: npt.NDArray[np.int32],
    group: npt.NDArray[np.intp],
    reference: int,
) -> None:
    """Make the phase, or the delay, of one antenna zero in every group of rows, in place."""
    for number in range(group.max() + 1):
        rows = np.flatnonzero(group == number)
        own = rows[antenna[rows] == reference]
        if len(own) != 1 or (flagged[own[0]] & ~flagged[rows]).any():
            raise ValueError(f"antenna {reference} has no solution to refer the others to")
        if np.iscomplexobj(values):
            values[rows] *= np.exp(-1j * np.angle(values[own[0]])).astype(values.dtype)
        else:
            values[rows] -= values[own[0]]
