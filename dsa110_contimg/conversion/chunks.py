"""Where the samples of an HDF5 dataset lie in its file.

Uncompressed chunks are plain arrays inside the file: with their offsets a compiled kernel
reads them through a memory map, without HDF5's chunk cache and its copies. Whatever does
not fit that pattern (a filter, an absent chunk, odd alignment) is read through h5py.
"""

from __future__ import annotations

import mmap
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType

import h5py
import numpy as np
import numpy.typing as npt

from dsa110_contimg.errors import InputError

_AXES = 4


@dataclass(frozen=True)
class ChunkTable:
    """A block of rows of one dataset, as the kernels take it.

    Attributes
    ----------
    samples : ndarray, shape (n,)
        A flat view of memory that holds the chunks.
    starts : ndarray of int64, shape (n_row_chunks, n_channel_chunks, n_pol_chunks)
        Index into `samples` of each chunk's first element.
    chunk : ndarray of int64, shape (3,)
        Rows, channels and polarizations of a chunk.
    first_row : int
        Row of the dataset at which the first chunk begins.
    """

    samples: npt.NDArray[np.generic]
    starts: npt.NDArray[np.int64]
    chunk: npt.NDArray[np.int64]
    first_row: int


class SubbandSamples:
    """The three datasets of one UVH5 file, open for reading by blocks of rows.

    Parameters
    ----------
    path : Path
        The file; its datasets have the shape (Nblts, 1, nchan, npol).
    """

    names = ("visdata", "flags", "nsamples")

    def __init__(self, path: Path):
        self._path = path
        self._file = h5py.File(path, "r")
        self._datasets = {name: self._file[f"Data/{name}"] for name in self.names}
        with path.open("rb") as raw:
            memory = mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_READ)
        self._tables = {name: _mapped(dataset, memory) for name, dataset in self._datasets.items()}

    def __enter__(self) -> SubbandSamples:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._datasets.clear()
        # The map itself goes with the last view of it.
        self._tables.clear()
        self._file.close()

    def block(self, name: str, first: int, last: int) -> ChunkTable:
        """Give rows ``first`` to ``last`` of a dataset to a kernel.

        Parameters
        ----------
        name : str
            ``visdata``, ``flags`` or ``nsamples``.
        first, last : int
            Half-open range of rows.

        Returns
        -------
        ChunkTable
            Mapped where the file allows it, else a copy read by h5py.

        Raises
        ------
        InputError
            If HDF5 cannot read the rows.
        """
        table = self._tables[name]
        if table is not None:
            return table
        try:
            rows = self._datasets[name][first:last, 0]
        except (OSError, RuntimeError) as error:
            raise InputError(
                f"{self._path}: cannot read rows {first} to {last} of {name}: {error}",
                reason="unreadable_data",
                remedy="the file is damaged: fetch it again",
            ) from error
        return ChunkTable(
            samples=_as_bytes_if_bool(rows.ravel()),
            starts=np.zeros((1, 1, 1), dtype=np.int64),
            chunk=np.array(rows.shape, dtype=np.int64),
            first_row=first,
        )


def _as_bytes_if_bool(samples: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """Give booleans as bytes, so that the kernels see one type for flags."""
    return samples.view(np.uint8) if samples.dtype == np.bool_ else samples


def _mapped(dataset: h5py.Dataset, memory: mmap.mmap) -> ChunkTable | None:
    """Find all chunks of a dataset in the map; None if any is not a plain, aligned array."""
    item_size = dataset.dtype.itemsize
    if len(dataset.shape) != _AXES or not dataset.dtype.isnative:
        return None
    found = _chunk_offsets(dataset)
    if found is None:
        return None
    offsets, chunk = found
    chunk_bytes = int(np.prod(chunk)) * item_size
    if (offsets % item_size).any() or offsets.max() + chunk_bytes > len(memory):
        return None
    kind = np.dtype(np.uint8) if item_size == 1 else dataset.dtype
    return ChunkTable(
        samples=np.frombuffer(memory, dtype=kind, count=len(memory) // item_size),
        starts=offsets // item_size,
        chunk=chunk,
        first_row=0,
    )


def _chunk_offsets(
    dataset: h5py.Dataset,
) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]] | None:
    """Byte offset of each chunk by (row, channel, polarization), and the chunk's shape."""
    shape = np.array(dataset.shape)[[0, 2, 3]]
    if dataset.chunks is None:
        offset = dataset.id.get_offset()
        if offset is None:
            return None
        return np.array([[[offset]]], dtype=np.int64), shape
    if dataset.id.get_create_plist().get_nfilters():
        return None
    chunk = np.array(dataset.chunks)[[0, 2, 3]]
    offsets = np.full(-(-shape // chunk), -1, dtype=np.int64)
    plain = True

    def note(info: h5py.h5d.StoreInfo) -> None:
        nonlocal plain
        row, _, channel, pol = info.chunk_offset
        plain = plain and info.filter_mask == 0
        offsets[row // chunk[0], channel // chunk[1], pol // chunk[2]] = info.byte_offset

    dataset.id.chunk_iter(note)
    return (offsets, chunk) if plain and (offsets >= 0).all() else None
