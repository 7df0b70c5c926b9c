"""The compiled kernel against plain numpy, for chunks of many shapes."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import numpy as np
import pytest

from dsa110_contimg.conversion.chunks import ChunkTable
from dsa110_contimg.conversion.kernel import LARGEST_VISIBILITY, fill_rows

pytestmark = pytest.mark.unit

N_TIMES, N_CHAN, N_POL = 24, 48, 2
N_ANT = 14
BASELINES = np.array(
    [(p, q, (p + q) % 2) for p in range(N_ANT) for q in range(p, N_ANT)], dtype=np.int32
)
N_ROWS = N_TIMES * len(BASELINES)
"""2520: more than two of the kernel's blocks."""
PLACE = 64
"""Bytes of the file before row 0."""
ROTATION_TOLERANCE = 1e-6
"""A few units in the last place of single precision, relative to the largest visibility."""


def chunked(values: np.ndarray, chunk: tuple[int, int, int], seed: int) -> ChunkTable:
    """Store an array as HDF5 does: whole chunks, those at the edges padded, in any order."""
    grid = [-(-length // size) for length, size in zip(values.shape, chunk, strict=True)]
    places = np.random.default_rng(seed).permutation(int(np.prod(grid)))
    samples = np.full((len(places), *chunk), 99, dtype=values.dtype)
    for index, place in zip(np.ndindex(*grid), places, strict=True):
        corner = [i * size for i, size in zip(index, chunk, strict=True)]
        block = values[tuple(slice(c, c + size) for c, size in zip(corner, chunk, strict=True))]
        samples[(place, *(slice(length) for length in block.shape))] = block
    starts = (places * int(np.prod(chunk))).reshape(grid)
    return ChunkTable(samples.ravel(), starts, chunk, 0)


def make_data() -> dict[str, np.ndarray]:
    """Visibilities, flags and counts of one subband, all in the order of the file."""
    generator = np.random.default_rng(1)
    shape = (N_ROWS, N_CHAN, N_POL)
    vis = generator.standard_normal((*shape, 2), np.float32).view(np.complex64)[..., 0]
    bad = generator.random(shape) < 0.001
    vis[bad] = generator.choice(
        np.array([np.nan, np.inf, 1j * np.inf, 2 * LARGEST_VISIBILITY], np.complex64), bad.sum()
    )
    flags = (generator.random(shape) < 0.002).astype(np.uint8)
    flags[100, 5, 0] = 255  # a damaged boolean
    counts = generator.choice(np.array([96.0, 0.5, 0.0, -1.0, np.nan, np.inf], np.float32), shape)
    counts[7] = 0.0
    return {"vis": vis, "flags": flags, "counts": counts}


DATA = make_data()
PHASORS = np.exp(2j * np.pi * np.random.default_rng(2).random((N_TIMES, N_ANT, N_CHAN))).astype(
    np.complex64
)


def expected() -> dict[str, np.ndarray]:
    """The same by the formulas of the documentation, in double precision."""
    time, baseline = np.divmod(np.arange(N_ROWS), len(BASELINES))
    p, q, in_order = BASELINES[baseline].T
    factor = PHASORS[time, q].astype(np.complex128) * np.conj(PHASORS[time, p])
    vis = DATA["vis"].astype(np.complex128)
    bad = ~(np.abs(vis.real) + np.abs(vis.imag) < LARGEST_VISIBILITY)
    vis[bad] = 0
    vis = np.where(in_order[:, None, None] == 1, np.conj(vis), vis) * factor[..., None]
    counts = np.where(np.isfinite(DATA["counts"]) & (DATA["counts"] > 0), DATA["counts"], 0)
    weight = counts.mean(axis=1, dtype=np.float64)
    with np.errstate(divide="ignore"):
        sigma = np.where(weight > 0, weight**-0.5, 0)
    flags = (DATA["flags"] != 0) | bad
    return {
        "data": vis[:, ::-1],
        "packed": np.packbits(flags[:, ::-1].reshape(N_ROWS, -1), axis=1, bitorder="little"),
        "weight": weight,
        "sigma": sigma,
        "flagged": flags.sum(),
        "nonfinite": bad.sum(),
    }


class Filled:
    """Arrays and a file that the kernel fills, span by span."""

    def __init__(self, tables: Iterable[ChunkTable], descriptor: int):
        self._tables, self._descriptor = list(tables), descriptor
        self.packed = np.full((N_ROWS, N_CHAN * N_POL // 8), 255, dtype=np.uint8)
        self.weight, self.sigma = np.full((2, N_ROWS, N_POL), np.nan, dtype=np.float32)
        self.flagged = self.nonfinite = 0

    def fill(self, first: int, last: int) -> int:
        done, flagged, nonfinite = fill_rows(
            *(first, last, BASELINES, PHASORS, *self._tables, self._descriptor, PLACE),
            *(self.packed, self.weight, self.sigma),
        )
        self.flagged, self.nonfinite = self.flagged + flagged, self.nonfinite + nonfinite
        return done


@pytest.fixture
def data_file(tmp_path) -> Iterator[tuple[Path, int]]:
    """The file of DATA and a descriptor to write it."""
    path = tmp_path / "DATA"
    descriptor = os.open(path, os.O_CREAT | os.O_WRONLY)
    yield path, descriptor
    os.close(descriptor)


def assert_rotated(path: Path, wanted: np.ndarray, first: int = 0) -> None:
    data = np.fromfile(path, np.complex64, offset=PLACE).reshape(-1, N_CHAN, N_POL)[first:]
    assert np.abs(data - wanted).max() < ROTATION_TOLERANCE * np.abs(wanted).max()


@pytest.mark.parametrize("step", [N_ROWS, 700], ids=["whole", "steps"])
@pytest.mark.parametrize(
    "chunk", [(128, 12, 1), (256, 24, 1), (100, 48, 2), (37, 10, 1), (37, 7, 2), (N_ROWS, 48, 2)]
)
def test_kernel_equals_numpy(data_file, chunk, step):
    path, descriptor = data_file
    tables = (chunked(values, chunk, seed) for seed, values in enumerate(DATA.values()))
    filled = Filled(tables, descriptor)
    for first in range(0, N_ROWS, step):
        last = min(first + step, N_ROWS)
        assert filled.fill(first, last) == last
    wanted = expected()
    assert_rotated(path, wanted["data"])
    np.testing.assert_array_equal(filled.packed, wanted["packed"])
    np.testing.assert_allclose(filled.weight, wanted["weight"], rtol=1e-6)
    np.testing.assert_allclose(filled.sigma, wanted["sigma"], rtol=1e-6)
    assert (filled.flagged, filled.nonfinite) == (wanted["flagged"], wanted["nonfinite"])


def test_rows_of_a_copy_begin_at_their_own_row(data_file):
    """A block read by h5py knows the row at which it begins."""
    path, descriptor = data_file
    first, last = 1200, 1900
    start = np.zeros((1, 1, 1), np.int64)
    filled = Filled(
        (
            ChunkTable(v[first:last].ravel(), start, (last - first, N_CHAN, N_POL), first)
            for v in DATA.values()
        ),
        descriptor,
    )
    assert filled.fill(first, last) == last
    assert_rotated(path, expected()["data"][first:last], first)
    np.testing.assert_array_equal(filled.packed[first:last], expected()["packed"][first:last])


def test_kernel_says_where_a_write_failed(data_file):
    """A descriptor that may not be written: no row is done."""
    descriptor = os.open(data_file[0], os.O_RDONLY)
    try:
        filled = Filled((chunked(v, (128, 12, 1), 0) for v in DATA.values()), descriptor)
        assert filled.fill(0, N_ROWS) == 0
    finally:
        os.close(descriptor)
