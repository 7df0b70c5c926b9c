"""The columns that hold the bulk of an MS, as plain files that any thread may write.

Their space is taken before the work, so that a full file system is a clean error then and
not met in the middle. They stand beside the MS until casacore has made its tables; then
they take the place of the files that it made for the columns.
"""

from __future__ import annotations

import os
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from dsa110_contimg.instrument import N_CHANNELS_PER_SUBBAND, POLARIZATIONS_CASA

_N_CHAN, _N_POL = N_CHANNELS_PER_SUBBAND, len(POLARIZATIONS_CASA)


class Cell(NamedTuple):
    """The cell of a bulk column.

    Attributes
    ----------
    shape : tuple of int
        Its shape in C order.
    n_bytes : int
        Its size in the file.
    """

    shape: tuple[int, ...]
    n_bytes: int


BULK_CELLS = {
    "DATA": Cell((_N_CHAN, _N_POL), 8 * _N_CHAN * _N_POL),
    "FLAG": Cell((_N_CHAN, _N_POL), _N_CHAN * _N_POL // 8),
    "UVW": Cell((3,), 3 * 8),
    "WEIGHT": Cell((_N_POL,), 4 * _N_POL),
    "SIGMA": Cell((_N_POL,), 4 * _N_POL),
}
"""Column to its cell; complex and real numbers in single precision, UVW in double, flags as
bits."""


class BulkFiles:
    """The files of the bulk columns, open for writing.

    Parameters
    ----------
    folder : Path
        Directory to make for them; its file system must be that of the MS.
    """

    def __init__(self, folder: Path):
        self._folder = folder
        self._stack = ExitStack()
        self._handles: dict[str, int] = {}
        folder.mkdir()
        with self._stack:
            for column in BULK_CELLS:
                flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY
                self._handles[column] = os.open(folder / column, flags, 0o666)
                self._stack.callback(os.close, self._handles[column])
            self._stack = self._stack.pop_all()

    def __enter__(self) -> BulkFiles:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stack.close()

    def reserve(self, n_rows: int) -> None:
        """Take the space of all rows.

        Parameters
        ----------
        n_rows : int
            Rows of the MS.

        Raises
        ------
        OSError
            ENOSPC if the file system cannot hold them.
        """
        for column, cell in BULK_CELLS.items():
            os.posix_fallocate(self._handles[column], 0, n_rows * cell.n_bytes)

    def place(self, column: str, row: int) -> tuple[int, int]:
        """Say where a row goes.

        Parameters
        ----------
        column : str
            A bulk column.
        row : int
            Row of the MS.

        Returns
        -------
        descriptor, offset : int
            The open file, and the place in it in bytes.
        """
        return self._handles[column], row * BULK_CELLS[column].n_bytes

    def put(self, column: str, row: int, rows: npt.NDArray[np.generic]) -> None:
        """Write whole rows at their place.

        Parameters
        ----------
        column : str
            A bulk column.
        row : int
            First row of the MS to write.
        rows : ndarray, shape (nrows, ...)
            The rows as they lie in the file, C order.
        """
        descriptor, offset = self.place(column, row)
        view = rows.data.cast("B")
        while view:
            written = os.pwrite(descriptor, view, offset)
            view, offset = view[written:], offset + written

    def move(self, places: dict[str, Path]) -> None:
        """Give the files their place in the MS; they may be written before and after.

        Parameters
        ----------
        places : dict of str to Path
            Column to the name that its file gets.
        """
        for column, place in places.items():
            (self._folder / column).replace(place)
        self._folder.rmdir()
