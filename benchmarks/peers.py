"""What the conversion is measured against; each function does the same job in its own way.

All of them are called in a child process and report their own cost; the time of their
imports is not counted, as a night keeps its workers warm.
"""

from __future__ import annotations

import os
import time
import warnings
from collections.abc import Sequence
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import TYPE_CHECKING

from metering import Cost, own_cpu_s

from dsa110_contimg.models import Model
from dsa110_contimg.storage.files import remove_for_sure

if TYPE_CHECKING:
    from pyuvdata import UVData

_BUFFER_BYTES = 1 << 20
"""Fits a core's cache: a larger one made the raw copy slower, a smaller one no faster."""


class PeerOptions(Model):
    """The job."""

    files: list[Path]
    """The subband files, sb00 first."""
    ms_path: Path
    """The MS to make."""
    ra_rad: float
    """Right ascension of the phase centre (ICRS) in radians."""
    dec_rad: float
    """Declination of the phase centre (ICRS) in radians."""
    workers: int = 2
    """Processes that write parts."""


class ConcatOptions(Model):
    """Parts of an MS, and the whole."""

    parts: list[Path]
    """MSs of one subband each, lowest frequency first."""
    whole: Path
    """The MS to make."""


class Clock:
    """Notes the parts of a run; it starts when it is made."""

    def __init__(self) -> None:
        self._start = self._last = time.perf_counter()
        self._cpu_s = own_cpu_s()
        self.parts_s: dict[str, float] = {}

    def note(self, part: str) -> None:
        """End a part."""
        now = time.perf_counter()
        self.parts_s[part] = now - self._last
        self._last = now

    def cost(self) -> Cost:
        """Say what all parts took."""
        wall_s = time.perf_counter() - self._start
        return Cost(wall_s=wall_s, cpu_s=own_cpu_s() - self._cpu_s, parts_s=self.parts_s)


def pyuvdata_whole(options: PeerOptions) -> Cost:
    """Read all subbands, combine, phase, and write the MS, all with pyuvdata.

    Checks are off and the subbands are joined by `fast_concat`: the fastest way it knows.
    """
    from support.pyuvdata_oracle import phase_to, put_on_meridian, read_as_labelled

    clock = Clock()
    parts = [read_as_labelled(path) for path in options.files]
    clock.note("read")
    whole, rest = parts[0], parts[1:]
    del parts
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        whole.fast_concat(rest, axis="freq", inplace=True, run_check=False)
    del rest
    clock.note("combine")
    phase_to(put_on_meridian(whole), options.ra_rad, options.dec_rad)
    clock.note("phase")
    _write(whole, options.ms_path)
    clock.note("write")
    return clock.cost()


def classic_parts(options: PeerOptions) -> Cost:
    """Write one MS per subband, by processes that share the subbands."""
    import support.pyuvdata_oracle  # noqa: F401 - before the fork, not to be counted

    clock = Clock()
    jobs = [options.model_copy(update={"files": [path]}) for path in options.files]
    with ProcessPoolExecutor(options.workers, mp_context=get_context("fork")) as pool:
        list(pool.map(_write_part, jobs))
    clock.note("parts")
    return clock.cost()


def classic_concat(options: ConcatOptions) -> Cost:
    """Join the parts with CASA; called through the door to CASA."""
    from dsa110_contimg.casa.door import open_casatasks

    casatasks = open_casatasks()
    clock = Clock()
    casatasks.concat(
        vis=[str(part) for part in options.parts],
        concatvis=str(options.whole),
        copypointing=False,
    )
    clock.note("concat")
    return clock.cost()


def part_path(options: PeerOptions, path: Path) -> Path:
    """Name the part that holds a subband."""
    return options.ms_path.with_name(f"part_{path.stem[-4:]}.ms")


def read_raw(files: Sequence[Path]) -> None:
    """Read files once, with one thread and a reused buffer."""
    buffer = bytearray(_BUFFER_BYTES)
    for path in files:
        with path.open("rb", buffering=0) as reader:
            while reader.readinto(buffer):
                pass


def read_whole(files: Sequence[Path]) -> None:
    """Read files once, each whole into fresh memory."""
    for path in files:
        path.read_bytes()


def write_raw(sizes: dict[str, int], folder: Path, *, durable: bool) -> None:
    """Write as many files of as many bytes, with one thread; to the disk if durable."""
    buffer = memoryview(os.urandom(_BUFFER_BYTES))
    folder.mkdir()
    for number, size in enumerate(sizes.values()):
        with (folder / str(number)).open("wb", buffering=0) as writer:
            left = size
            while left:
                left -= writer.write(buffer[: min(left, _BUFFER_BYTES)])
            if durable:
                os.fsync(writer.fileno())


def remove(path: Path) -> None:
    """Remove a tree, if it is there; a published MS is read-only."""
    if path.exists():
        remove_for_sure(path)


def _write_part(options: PeerOptions) -> None:
    """Convert one subband."""
    from support.pyuvdata_oracle import phase_to, put_on_meridian, read_as_labelled

    (path,) = options.files
    uvd = put_on_meridian(read_as_labelled(path))
    phase_to(uvd, options.ra_rad, options.dec_rad)
    _write(uvd, part_path(options, path))


def _write(uvd: UVData, path: Path) -> None:
    """Write an MS, lowest frequency first."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        uvd.write_ms(str(path), run_check=False, clobber=True)
