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
from typing import NamedTuple

import h5py
import numpy as np
import numpy.typing as npt

from dsa110_contimg.conversion.hdf5_header import named_errors, open_unlocked

_AXES = [0, -2, -1]
"""Rows, channels and polarizations; in the old shape there is an axis of windows, of length 1,
between the first two."""


class ChunkTable(NamedTuple):
    """A block of rows of one dataset, in the order in which the kernels take it.

    Attributes
    ----------
    samples : ndarray, shape (n,)
        A flat view of memory that holds the chunks.
    starts : ndarray of int64, shape (n_row_chunks, n_channel_chunks, n_pol_chunks)
        Index into `samples` of each chunk's first element.
    chunk : tuple of int
        Rows, channels and polarizations of a chunk.
    first_row : int
        Row of the dataset at which the first chunk begins.
    """

    samples: npt.NDArray[np.generic]
    starts: npt.NDArray[np.int64]
    chunk: tuple[int, int, int]
    first_row: int


class SubbandSamples:
    """The three datasets of one UVH5 file, open for reading by blocks of rows.

    Parameters
    ----------
    path : Path
        The file; its datasets have the shape (Nblts, 1, nchan, npol) or (Nblts, nchan, npol).

    Raises
    ------
    InputError
        If the index of its chunks is damaged.
    """

    names = ("visdata", "flags", "nsamples")

    def __init__(self, path: Path):
        self._path = path
        with named_errors(path):
            self._file = open_unlocked(path)
            self._datasets = {name: self._file[f"Data/{name}"] for name in self.names}
            with path.open("rb") as raw:
                memory = mmap.mmap(raw.fileno(), 0, access=mmap.ACCESS_READ)
            stored = {name: _find_chunks(dataset) for name, dataset in self._datasets.items()}
            _check_apart(list(stored.values()))
            self._tables = {
                name: _mapped(self._datasets[name], chunks, memory)
                for name, chunks in stored.items()
            }

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

    @property
    def is_mapped(self) -> bool:
        """Whether a block of any length is a view of the file, and no copy."""
        return all(table is not None for table in self._tables.values())

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
        with named_errors(self._path):
            rows = self._datasets[name][first:last]
        rows = rows.reshape(len(rows), *rows.shape[-2:])
        return ChunkTable(
            samples=_as_bytes_if_bool(rows.ravel()),
            starts=np.zeros((1, 1, 1), dtype=np.int64),
            chunk=rows.shape,
            first_row=first,
        )


def _as_bytes_if_bool(samples: npt.NDArray[np.generic]) -> npt.NDArray[np.generic]:
    """Give booleans as bytes, so that the kernels see one type for flags."""
    return samples.view(np.uint8) if samples.dtype == np.bool_ else samples


@dataclass(frozen=True)
class _Stored:
    """Where the chunks of one dataset lie: (row, channel, polarization) to bytes of the file."""

    chunk: npt.NDArray[np.int64]
    offsets: npt.NDArray[np.int64]
    sizes: npt.NDArray[np.int64]
    is_plain: bool


def _find_chunks(dataset: h5py.Dataset) -> _Stored:
    """Look up all chunks of a dataset; ValueError unless they cover it once.

    HDF5 itself gives zeros for a chunk that its index does not find, and says nothing.
    """
    shape = np.array(dataset.shape)[_AXES]
    if dataset.chunks is None:
        offset = dataset.id.get_offset()
        return _Stored(
            chunk=shape,
            offsets=np.full((1, 1, 1), -1 if offset is None else offset),
            sizes=np.full((1, 1, 1), 0 if offset is None else dataset.nbytes),
            is_plain=offset is not None,
        )
    found: list[h5py.h5d.StoreInfo] = []
    dataset.id.chunk_iter(found.append)
    chunk = np.array(dataset.chunks)[_AXES]
    grid = -(-shape // chunk)
    starts = np.array([info.chunk_offset for info in found]).reshape(-1, dataset.ndim)[:, _AXES]
    index, rest = np.divmod(starts, chunk)
    places = np.ravel_multi_index(tuple(index.T), tuple(grid), mode="clip")
    order = np.argsort(places, kind="stable")
    covers = np.array_equal(places[order], np.arange(grid.prod()))
    if not covers or rest.any() or np.any(index >= grid):
        raise ValueError(f"the chunks of {dataset.name} do not cover it")
    has_filter = dataset.id.get_create_plist().get_nfilters() > 0
    return _Stored(
        chunk=chunk,
        offsets=np.array([info.byte_offset for info in found])[order].reshape(grid),
        sizes=np.array([info.size for info in found])[order].reshape(grid),
        is_plain=not has_filter and all(info.filter_mask == 0 for info in found),
    )


def _check_apart(stored: list[_Stored]) -> None:
    """Raise ValueError if chunks share bytes of the file: one has a wrong address."""
    starts = np.concatenate([chunks.offsets.ravel() for chunks in stored])
    ends = starts + np.concatenate([chunks.sizes.ravel() for chunks in stored])
    order = np.argsort(starts)
    if np.any(ends[order][:-1] > starts[order][1:]):
        raise ValueError("chunks of its data overlap")


def _mapped(dataset: h5py.Dataset, stored: _Stored, memory: mmap.mmap) -> ChunkTable | None:
    """Give the chunks as they lie in the map; None if any is not a plain, aligned array."""
    item_size = dataset.dtype.itemsize
    chunk_bytes = int(stored.chunk.prod()) * item_size
    if not stored.is_plain or not dataset.dtype.isnative or (stored.offsets % item_size).any():
        return None
    if (stored.sizes != chunk_bytes).any() or stored.offsets.max() + chunk_bytes > len(memory):
        raise ValueError(f"the chunks of {dataset.name} have a wrong size or place")
    kind = np.dtype(np.uint8) if item_size == 1 else dataset.dtype
    return ChunkTable(
        samples=np.frombuffer(memory, dtype=kind, count=len(memory) // item_size),
        starts=stored.offsets // item_size,
        chunk=(int(stored.chunk[0]), int(stored.chunk[1]), int(stored.chunk[2])),
        first_row=0,
    )
