"""Hundreds of small groups converted by one long-lived process, some of them killed.

The process is what a worker of a night is: it runs for long, starts a fork server, and must
end as it began. Groups differ in their data, so that an MS with another's data is seen.
"""

from __future__ import annotations

import os
import random
import shutil
import time
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from functools import partial
from pathlib import Path

import h5py
import numpy as np
import psutil
from support.fault_tasks import TaskOptions, convert_task
from support.faults import killed_after
from support.subband_files import file_name, start_to_jd, write_group

from dsa110_contimg.conversion.groups import find_groups
from dsa110_contimg.conversion.hdf5_orchestrator import ConversionOptions, convert_group
from dsa110_contimg.conversion.models import SubbandGroup
from dsa110_contimg.errors import TransientError
from dsa110_contimg.forkserver import fork_server
from dsa110_contimg.instrument import GROUP_DURATION_S
from dsa110_contimg.models import Model
from dsa110_contimg.processes import run_in_child
from dsa110_contimg.storage.files import remove_for_sure
from dsa110_contimg.storage.publish import read_manifest
from dsa110_contimg.storage.sandbox import reap_sandboxes

FIRST_START = datetime(2026, 1, 25, tzinfo=UTC)
WARM_UP_GROUPS = 4
MAX_ATTEMPTS = 5
TIMEOUT_S = 120.0
MODULUS_TOLERANCE = 1e-5
"""A rotation in single precision keeps the modulus to 6e-8 per operation."""


class SoakOptions(Model):
    """How long, how wide, how hard."""

    groups: list[SubbandGroup]
    """The groups; the first few only warm up."""
    place: Path
    """Where MSs and logs go."""
    sandbox_root: Path
    """Where sandboxes go."""
    at_once: int
    """1: in this process, one after the other; more: each in a task of its own."""
    killed_fraction: float = 0.05
    """Fraction of the groups whose first attempt is killed at a random instant."""


class Footprint(Model):
    """What a process holds."""

    memory_mb: float
    """Private memory."""
    open_files: int
    """Descriptors."""


class SoakReport(Model):
    """What became of it."""

    converted: int
    """Groups that ended converted, with the right data in the MS."""
    kills: int
    """Attempts that a SIGKILL ended."""
    errors: dict[str, int]
    """Reason to number of failed attempts."""
    stale_sandboxes: int
    """Sandboxes and locks left once the janitor has run."""
    reaped: int
    """Sandboxes that it removed."""
    tmpfs_bytes: int
    """Bytes left in the root of the sandboxes."""
    seconds: float
    """Wall time, without the warm-up."""
    before: dict[str, Footprint]
    """This process and its server, after the warm-up."""
    after: dict[str, Footprint]
    """The same at the end."""


class MsToVerify(Model):
    """One MS and what it was made of."""

    ms: Path
    """The MS."""
    group: SubbandGroup
    """The group."""


class Verdict(Model):
    """What is wrong with an MS."""

    problem: str
    """Empty if nothing is."""


def make_groups(folder: Path, count: int) -> list[SubbandGroup]:
    """Make tiny groups that follow one another, each with noise of its own.

    The first is written through HDF5; the others are its bytes with other times and noise.
    """
    patterns = {}
    for subband, path in write_group(folder, FIRST_START).items():
        with h5py.File(path) as file:
            places = {
                name: (file[name].id.get_offset(), file[name][()])
                for name in ("Header/time_array", "Data/visdata")
            }
        patterns[subband] = (path.read_bytes(), places)
    for number in range(count):
        later = number * timedelta(seconds=GROUP_DURATION_S)
        noise = np.random.default_rng(number)
        for subband, (content, places) in patterns.items():
            offset, times_jd = places["Header/time_array"]
            image = _patched(content, offset, times_jd + later / timedelta(days=1))
            offset, visdata = places["Data/visdata"]
            parts = noise.standard_normal(2 * visdata.size).astype(np.float32)
            name = file_name(FIRST_START + later, subband)
            (folder / name).write_bytes(_patched(image, offset, parts))
    return find_groups(folder).groups


def _patched(content: bytes, offset: int, values: np.ndarray) -> bytes:
    """Replace the array at an offset."""
    return content[:offset] + values.tobytes() + content[offset + values.nbytes :]


def verify(options: MsToVerify) -> Verdict:
    """Compare an MS with its inputs by what a rotation leaves alone: moduli, times, windows."""
    from casacore.tables import table

    with table(str(options.ms), ack=False) as ms:
        data, times = ms.getcol("DATA"), ms.getcol("TIME")
    if read_manifest(options.ms) is None:
        return Verdict(problem="no manifest that checks out")
    expected = []
    for path in reversed(options.group.files):
        with h5py.File(path) as file:
            expected.append(np.abs(file["Data/visdata"][:, 0])[:, ::-1])
    if not np.allclose(np.abs(data), np.concatenate(expected), rtol=MODULUS_TOLERANCE, atol=0):
        return Verdict(problem="other data than its inputs")
    start = datetime.fromisoformat(options.group.group_id).replace(tzinfo=UTC)
    first_mjd_s = (start_to_jd(start) - 2400000.5) * 86400
    if abs(times[0] - first_mjd_s) > 1:
        return Verdict(problem=f"begins at {times[0]} instead of {first_mjd_s}")
    return Verdict(problem="")


def soak(options: SoakOptions) -> SoakReport:
    """Convert all groups, retry what is transient, and look what is left."""
    with fork_server(options.place / "server.log"):
        return _Soak(options).report()


class _Soak:
    """One long-lived process with its fork server."""

    def __init__(self, options: SoakOptions):
        self._options = options
        self._server = psutil.Process().children()[0]
        self._lot = random.Random(len(options.groups))  # noqa: S311
        self._errors: Counter[str] = Counter()
        self._kills = 0

    def report(self) -> SoakReport:
        """Warm up, convert, look."""
        warm_up = self._options.groups[:WARM_UP_GROUPS]
        groups = self._options.groups[WARM_UP_GROUPS:]
        # Drawn before there are threads: the same groups are killed in every run.
        kill_after_s = {
            group.group_id: self._lot.uniform(0.0, 0.3)
            for group in groups
            if self._lot.random() < self._options.killed_fraction
        }
        with ThreadPoolExecutor(self._options.at_once) as pool:
            list(pool.map(self._convert, warm_up, [None] * len(warm_up)))
            before = self._footprints()
            start = time.perf_counter()
            delays = [kill_after_s.get(group.group_id) for group in groups]
            converted = sum(pool.map(self._convert, groups, delays))
            seconds = time.perf_counter() - start
        root = self._options.sandbox_root
        reaped, _ = reap_sandboxes(root)
        left = list(root.rglob("*"))
        return SoakReport(
            converted=converted,
            kills=self._kills,
            errors=dict(self._errors),
            stale_sandboxes=len(left),
            reaped=len(reaped),
            tmpfs_bytes=sum(entry.stat().st_blocks * 512 for entry in left),
            seconds=round(seconds, 1),
            before=before,
            after=self._footprints(),
        )

    def _convert(self, group: SubbandGroup, kill_after_s: float | None) -> bool:
        """Convert one group as Airflow would, with its first attempt killed, and verify it."""
        options = ConversionOptions(
            group=group,
            output_dir=self._options.place / "ms",
            sandbox_roots=[self._options.sandbox_root],
            timeout_s=TIMEOUT_S,
            log_dir=self._options.place / "logs" / group.group_id,
        )
        pid_file = self._options.place / f"{group.group_id}.pid"
        for attempt in range(MAX_ATTEMPTS):
            try:
                self._attempt(options, pid_file, kill_after_s if attempt == 0 else None)
            except TransientError as error:
                self._errors[error.reason] += 1
                continue
            break
        else:
            return False
        verdict = run_in_child(
            verify,
            MsToVerify(ms=options.ms_path, group=group),
            timeout_s=TIMEOUT_S,
            log_path=options.log_dir / "verify.log",
            warm=True,
        )
        if verdict.problem:
            self._errors[verdict.problem] += 1
        remove_for_sure(options.ms_path)
        shutil.rmtree(options.log_dir)
        return not verdict.problem

    def _attempt(
        self, options: ConversionOptions, pid_file: Path, kill_after_s: float | None
    ) -> None:
        """Convert; the task, or the child where the task is this process, may be killed."""
        if kill_after_s is None:
            self._run(options, pid_file)
            return
        killed: list[int] = []
        try:
            with killed_after(kill_after_s, partial(self._victim, pid_file)) as killed:
                self._run(options, pid_file)
        finally:
            self._kills += len(killed)

    def _run(self, options: ConversionOptions, pid_file: Path) -> None:
        """Convert, here or in a task."""
        if self._options.at_once == 1:
            convert_group(options)
            return
        run_in_child(
            convert_task,
            TaskOptions(conversion=options, pid_file=pid_file),
            timeout_s=TIMEOUT_S,
            log_path=options.log_dir / "task.log",
            env={"DSA110_CONTIMG_FORKSERVER": os.environ["DSA110_CONTIMG_FORKSERVER"]},
            warm=True,
        )

    def _victim(self, pid_file: Path) -> int | None:
        """Process id of the task, or of the only child."""
        if self._options.at_once > 1:
            return int(pid_file.read_text() or 0) or None if pid_file.exists() else None
        return next((child.pid for child in self._server.children()), None)

    def _footprints(self) -> dict[str, Footprint]:
        """Measure this process and its server."""
        return {
            name: Footprint(
                memory_mb=round(process.memory_full_info().uss / 2**20, 1),
                open_files=process.num_fds(),
            )
            for name, process in {"driver": psutil.Process(), "server": self._server}.items()
        }
