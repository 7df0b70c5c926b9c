"""Ways in which a subband file can be damaged, and what its samples then are."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import h5py
import numpy as np

DATASETS = ("visdata", "flags", "nsamples")


@dataclass(frozen=True)
class IntactFile:
    """A subband file as it should be.

    Parameters
    ----------
    path : Path
        The file.
    """

    path: Path

    @cached_property
    def content(self) -> bytes:
        """All its bytes."""
        return self.path.read_bytes()

    @cached_property
    def places(self) -> dict[str, list[tuple[int, int, tuple[int, ...]]]]:
        """Dataset to offset, size and first element of each of its chunks."""
        found = {}
        with h5py.File(self.path) as file:
            for name in DATASETS:
                chunks: list[h5py.h5d.StoreInfo] = []
                file[f"Data/{name}"].id.chunk_iter(chunks.append)
                found[name] = [(c.byte_offset, c.size, c.chunk_offset) for c in chunks]
        return found

    def moved_chunks(self, path: Path) -> dict[str, list[int]]:
        """Tell which chunks a damaged copy looks for in another place than where they are.

        Parameters
        ----------
        path : Path
            The damaged file, whose index HDF5 can read.

        Returns
        -------
        dict of str to list of int
            Dataset to the distances in bytes, where there are any.
        """
        found = IntactFile(path).places
        moved = {
            name: [new[0] - old[0] for new, old in zip(found[name], chunks, strict=True)]
            for name, chunks in self.places.items()
        }
        return {name: [d for d in distances if d] for name, distances in moved.items()}

    @cached_property
    def shapes(self) -> dict[str, tuple[np.dtype, tuple[int, ...], tuple[int, ...]]]:
        """Dataset to its type, its shape and that of its chunks."""
        with h5py.File(self.path) as file:
            datasets = {name: file[f"Data/{name}"] for name in DATASETS}
            return {name: (d.dtype, d.shape, d.chunks) for name, d in datasets.items()}

    @cached_property
    def is_data(self) -> np.ndarray:
        """For every byte, whether it holds a sample."""
        mask = np.zeros(len(self.content), dtype=bool)
        for chunks in self.places.values():
            for offset, size, _ in chunks:
                mask[offset : offset + size] = True
        return mask

    def samples(self, content: bytes) -> dict[str, np.ndarray]:
        """Read the samples of a damaged copy from where they must be, without HDF5.

        Parameters
        ----------
        content : bytes
            The damaged file.

        Returns
        -------
        dict of str to ndarray
            Dataset to array of shape (rows, channels, polarizations); flags as bytes.
        """
        content = content.ljust(len(self.content), b"\0")
        found = {}
        for name, (dtype, shape, chunk) in self.shapes.items():
            kind = np.dtype(np.uint8) if dtype.kind == "b" else dtype
            whole = np.zeros([-(-n // c) * c for n, c in zip(shape, chunk, strict=True)], kind)
            for offset, size, first in self.places[name]:
                place = tuple(slice(f, f + c) for f, c in zip(first, chunk, strict=True))
                whole[place] = np.frombuffer(content[offset : offset + size], kind).reshape(chunk)
            found[name] = whole[: shape[0], 0, : shape[2], : shape[3]]
        return found


@dataclass(frozen=True)
class Truncation:
    """The end is missing."""

    kept_fraction: float

    def apply(self, path: Path, intact: IntactFile) -> None:
        """Damage the copy at `path`."""
        path.write_bytes(intact.content[: int(self.kept_fraction * len(intact.content))])


@dataclass(frozen=True)
class BitFlips:
    """Some bits are wrong, among the samples or in everything else."""

    in_data: bool
    places: tuple[tuple[float, int], ...]
    """Where, as a fraction of all such bytes, and which bit."""

    def apply(self, path: Path, intact: IntactFile) -> None:
        """Damage the copy at `path`."""
        content = bytearray(intact.content)
        (candidates,) = np.nonzero(intact.is_data == self.in_data)
        for fraction, bit in self.places:
            content[candidates[int(fraction * (len(candidates) - 1))]] ^= 1 << bit
        path.write_bytes(content)


@dataclass(frozen=True)
class Garbage:
    """A stretch was overwritten."""

    at_fraction: float
    length: int
    seed: int
    """0: with zeros."""

    def apply(self, path: Path, intact: IntactFile) -> None:
        """Damage the copy at `path`."""
        content = bytearray(intact.content)
        start = int(self.at_fraction * (len(content) - self.length))
        noise = np.random.default_rng(self.seed).bytes(self.length)
        content[start : start + self.length] = noise if self.seed else bytes(self.length)
        path.write_bytes(content)


@dataclass(frozen=True)
class Shift:
    """An item of the header is off by a constant."""

    item: str
    by: float

    def apply(self, path: Path, intact: IntactFile) -> None:
        """Damage the copy at `path`."""
        path.write_bytes(intact.content)
        with h5py.File(path, "r+") as file:
            file[f"Header/{self.item}"][...] = file[f"Header/{self.item}"][()] + self.by


@dataclass(frozen=True)
class OneElement:
    """One element of an array of the header has another value."""

    item: str
    at_fraction: float
    value: float
    is_added: bool = False

    def apply(self, path: Path, intact: IntactFile) -> None:
        """Damage the copy at `path`."""
        path.write_bytes(intact.content)
        with h5py.File(path, "r+") as file:
            values = file[f"Header/{self.item}"][()]
            index = int(self.at_fraction * (values.size - 1))
            start = values.flat[index] if self.is_added else 0
            values.flat[index] = start + self.value
            file[f"Header/{self.item}"][...] = values


@dataclass(frozen=True)
class Replaced:
    """An item is gone, or is something else."""

    item: str
    value: object = None

    def apply(self, path: Path, intact: IntactFile) -> None:
        """Damage the copy at `path`."""
        path.write_bytes(intact.content)
        with h5py.File(path, "r+") as file:
            del file[self.item]
            if self.value is not None:
                file[self.item] = self.value


@dataclass(frozen=True)
class Stranger:
    """A whole other file has its name: of another subband, array, time or declination."""

    kind: str
    """Directory, beside that of the intact files, with such files under the same names."""

    def apply(self, path: Path, intact: IntactFile) -> None:
        """Damage the copy at `path`."""
        path.write_bytes((intact.path.parents[1] / self.kind / intact.path.name).read_bytes())


Damage = Truncation | BitFlips | Garbage | Shift | OneElement | Replaced | Stranger
