"""Whether the tables of a set still are what was solved and judged."""

from __future__ import annotations

import errno
import hashlib
import stat
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dsa110_contimg.calibration.models import CalTable, Refusal, SolutionSet
from dsa110_contimg.errors import InputError, name_os_error
from dsa110_contimg.visibilities.ms_info import open_table

_VOLATILE_FILE = "table.lock"
"""casacore rewrites it on every open."""

_MIN_FILLED_FRACTION = 0.5
"""Interference can take many channels from all antennas, but hardly half of the band."""

_AGREEMENT = 0.05
"""By how much a table may be emptier than its record, which knows what data each antenna had."""

_OWN_FAULTS = (errno.EACCES, errno.EPERM, errno.EIO, errno.EISDIR, errno.ENOTDIR)
"""Errors of a file itself, rather than of the machine that reads it."""

Flags = npt.NDArray[np.bool_]


def fingerprint(table_dir: Path) -> dict[str, str]:
    """Take the hashes by which a table is known again.

    Parameters
    ----------
    table_dir : Path
        A casacore table, or any other directory.

    Returns
    -------
    dict of str to str
        File below it to its SHA-256 in hexadecimal digits, in order of name; without
        ``table.lock``, which changes whenever the table is opened.

    Raises
    ------
    InputError
        If there is no such directory, or it may not be read.
    TransientError
        If it cannot be read for a reason that may pass.
    """
    try:
        if not table_dir.is_dir():
            raise InputError(f"{table_dir} is not a directory", reason="missing_table")
        return {
            file.relative_to(table_dir).as_posix(): _hash(file)
            for file in sorted(table_dir.rglob("*"))
            if file.is_file() and file.name != _VOLATILE_FILE
        }
    except OSError as error:
        raise name_os_error(error, f"cannot read {table_dir}", denied="not_readable") from error


def verify_tables(solution_set: SolutionSet, min_unflagged: float = 0.8) -> Refusal | None:
    """Find out whether the tables of a set are there, unchanged, and full enough.

    Parameters
    ----------
    solution_set : SolutionSet
        The set.
    min_unflagged : float
        Least fraction of the solutions called for that must be there: in the record, and as
        `unflagged_fraction` reads it from the table.

    Returns
    -------
    Refusal or None
        The first thing that is wrong: ``missing_table``, ``corrupt_table`` or
        ``half_flagged``; None if all is well.

    Raises
    ------
    TransientError
        If the machine cannot read files at the moment, e.g. for want of file descriptors.
    """
    if not solution_set.tables:
        return _refuse(solution_set, "missing_table", "it holds no table")
    for table in solution_set.tables:
        path = Path(solution_set.directory) / table.name
        refusal = (
            _check_files(solution_set, table, path)
            or _check_record(solution_set, table, path, min_unflagged)
            or _check_flags(solution_set, table, path, min_unflagged)
        )
        if refusal:
            return refusal
    return None


def unflagged_fraction(table_dir: Path, antenna_ids: list[int]) -> tuple[float, float]:
    """Read from a calibration table how many of its solutions are there.

    Parameters
    ----------
    table_dir : Path
        A table with the columns ``FLAG``, ``ANTENNA1``, ``SPECTRAL_WINDOW_ID`` and ``TIME``.
    antenna_ids : list of int
        The antennas that should have solutions; rows of others do not count.

    Returns
    -------
    of_called_for : float
        Fraction that is there, of the solutions that were called for: a time, window, channel
        and polarization in which no antenna has a solution had no data to solve.
    of_all : float
        Fraction of all cells of these antennas. Both are zero for a table without their rows,
        and less where some of the antennas have no row.

    Raises
    ------
    RuntimeError
        If casacore cannot read the table.
    """
    with open_table(table_dir) as table:
        antennas = np.asarray(table.getcol("ANTENNA1"))
        windows = np.asarray(table.getcol("SPECTRAL_WINDOW_ID"))
        times_s = np.asarray(table.getcol("TIME"))
        flags = [np.asarray(table.getcell("FLAG", row)) for row in range(table.nrows())]
    n_there = n_called_for = n_cells = 0
    counts = np.isin(antennas, antenna_ids)
    for window in np.unique(windows[counts]):
        rows = np.flatnonzero(counts & (windows == window))
        there, called_for = _solved(np.stack([flags[row] for row in rows]), times_s[rows])
        n_there += int(there.sum())
        n_called_for += int(called_for.sum())
        n_cells += there.size
    if n_there == 0:
        return 0.0, 0.0
    present = len(np.unique(antennas[counts])) / len(antenna_ids)
    return present * n_there / n_called_for, present * n_there / n_cells


def _solved(flags: Flags, times_s: npt.NDArray[np.float64]) -> tuple[Flags, Flags]:
    """Tell the solutions of a window that are there from those called for; (row, chan, pol)."""
    there = ~flags
    _, step = np.unique(times_s, return_inverse=True)
    someone = np.zeros((step.max() + 1, *flags.shape[1:]), dtype=bool)
    np.logical_or.at(someone, step, there)
    return there, someone[step]


def _check_files(solution_set: SolutionSet, table: CalTable, path: Path) -> Refusal | None:
    """Refuse a table that is absent, or a file of it that is not what it was."""
    if _is_absent(path):
        sentence = f"its {table.kind} table {path} does not exist"
        return _refuse(solution_set, "missing_table", sentence)
    if not table.files:
        sentence = f"no file of its {table.kind} table {path} is on record"
        return _refuse(solution_set, "corrupt_table", sentence)
    for name, recorded in table.files.items():
        if problem := _find_problem(path / name, recorded):
            sentence = f"the file {path / name} of its {table.kind} table {problem}"
            return _refuse(solution_set, "corrupt_table", sentence)
    return None


def _is_absent(path: Path) -> bool:
    """Whether there is no such directory, as far as can be seen."""
    try:
        return not stat.S_ISDIR(path.stat().st_mode)
    except (FileNotFoundError, NotADirectoryError):
        return True
    except OSError:
        return False  # its files will say what is wrong


def _find_problem(file: Path, recorded: str) -> str | None:
    """Compare a file with the hash on record."""
    try:
        return None if _hash(file) == recorded else "is not what was published: hashes differ"
    except FileNotFoundError:
        return "is missing"
    except OSError as error:
        if error.errno not in _OWN_FAULTS:
            raise name_os_error(error, f"cannot read {file}") from error
        return f"cannot be read: {error.strerror}"


def _check_record(
    solution_set: SolutionSet, table: CalTable, path: Path, min_unflagged: float
) -> Refusal | None:
    """Refuse a table of which too few solutions were there when it was judged."""
    fraction = table.quality.unflagged_fraction
    if fraction >= min_unflagged:
        return None
    sentence = (
        f"{fraction:.0%} of the solutions in its {table.kind} table {path} were there when it was "
        f"solved; at least {min_unflagged:.0%} are needed"
    )
    return _refuse(solution_set, "half_flagged", sentence)


def _check_flags(
    solution_set: SolutionSet, table: CalTable, path: Path, min_unflagged: float
) -> Refusal | None:
    """Refuse a table that is emptier than its record says, or that casacore cannot read."""
    antennas = set(solution_set.antennas)
    ids = [number for number, name in enumerate(solution_set.array) if name in antennas]
    try:
        of_called_for, of_all = unflagged_fraction(path, ids)
    except (RuntimeError, ValueError) as error:  # casacore's; and cells that do not fit together
        words = " ".join(str(error).split())
        return _refuse(solution_set, "corrupt_table", f"its table {path} cannot be read: {words}")
    recorded = table.quality.unflagged_fraction
    limits = (
        (of_called_for, min_unflagged, "of the solutions called for are needed"),
        (of_called_for, recorded - _AGREEMENT, f"were expected, as {recorded:.0%} are on record"),
        (of_all, _MIN_FILLED_FRACTION, "of its cells are needed"),
    )
    for found, least, what in limits:
        if found < least:
            sentence = f"{found:.0%} of its table {path} is unflagged; at least {least:.0%} {what}"
            return _refuse(solution_set, "half_flagged", sentence)
    return None


def _hash(file: Path) -> str:
    """Compute the SHA-256 of a file."""
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _refuse(solution_set: SolutionSet, reason: str, sentence: str) -> Refusal:
    """Refuse a set."""
    return Refusal(set_id=solution_set.set_id, reason=reason, sentence=sentence)
