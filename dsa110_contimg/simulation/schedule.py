"""When each group starts, and what its files are called."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Final

import numpy as np
import numpy.typing as npt

from dsa110_contimg.instrument import (
    GROUP_DURATION_S,
    INTEGRATION_TIME_S,
    N_SUBBANDS,
    N_TIMES,
)
from dsa110_contimg.models import Model

_UNIX_EPOCH_JD: Final = 2440587.5
_SECONDS_PER_DAY: Final = 86400.0

_SPANS_S: Final = (
    (0, 0.015),
    (1, 0.849),
    (2, 0.051),
    (14, 0.009),
    (15, 0.012),
    (16, 0.041),
    (17, 0.016),
    (18, 0.007),
)
"""Span of the time stamps of one group, and how often real groups bear it."""
_FIRST_STRAGGLER_S: Final = 3


class PlannedGroup(Model):
    """One group to be written."""

    index: int
    """0 is the first of the night."""
    start_utc: str
    """Start of the first integration, ISO 8601."""
    start_jd: float
    """The same as a Julian date (UTC)."""
    file_names: dict[str, str]
    """Subband (``sb00`` .. ``sb15``) to file name, without the missing ones."""

    def times_jd(self) -> npt.NDArray[np.float64]:
        """Bin centres, as the header bears them.

        Returns
        -------
        ndarray of float64, shape (24,)
            Julian dates (UTC).
        """
        steps_d = (np.arange(N_TIMES) + 0.5) * (INTEGRATION_TIME_S / _SECONDS_PER_DAY)
        return np.asarray(self.start_jd + steps_d, dtype=np.float64)

    @property
    def mid_jd(self) -> float:
        """Middle of the group, a Julian date (UTC)."""
        return float(self.times_jd().mean())


def plan_groups(
    start: datetime, n_groups: int, *, jitter: bool, missing: tuple[str, ...], seed: int
) -> list[PlannedGroup]:
    """Lay out a night: consecutive groups and the names of their files.

    Parameters
    ----------
    start : datetime
        Start of the first integration, with its time zone.
    n_groups : int
        Number of groups, each starting when the one before ends.
    jitter : bool
        Let the time stamps of a group's files differ as real ones do.
    missing : tuple of str
        Subbands that are left out of every group.
    seed : int
        Seed of the jitter.

    Returns
    -------
    list of PlannedGroup
        The groups in order of time.
    """
    groups = []
    for index in range(n_groups):
        when = start.astimezone(UTC) + timedelta(seconds=index * GROUP_DURATION_S)
        offsets_s = _jitter_s(seed, index) if jitter else np.zeros(N_SUBBANDS, dtype=int)
        names = {
            f"sb{subband:02d}": _file_name(when, int(offset_s), subband)
            for subband, offset_s in enumerate(offsets_s)
        }
        groups.append(
            PlannedGroup(
                index=index,
                start_utc=when.replace(tzinfo=None).isoformat(timespec="milliseconds"),
                start_jd=_UNIX_EPOCH_JD + when.timestamp() / _SECONDS_PER_DAY,
                file_names={sb: name for sb, name in names.items() if sb not in missing},
            )
        )
    return groups


def incomplete_name(name: str) -> str:
    """Name that a file bears while it is being written.

    Parameters
    ----------
    name : str
        Its good name, ``<time>_sbNN.hdf5``.

    Returns
    -------
    str
        ``<time>_sbNN_incomplete.hdf5``.
    """
    path = Path(name)
    return f"{path.stem}_incomplete{path.suffix}"


def _file_name(start: datetime, offset_s: int, subband: int) -> str:
    """Time at which the subband's host opened its file, to the second, and the subband."""
    opened = start + timedelta(seconds=offset_s)
    return f"{opened:%Y-%m-%dT%H:%M:%S}_sb{subband:02d}.hdf5"


def _jitter_s(seed: int, group: int) -> npt.NDArray[np.int64]:
    """Draw whole-second offsets of the 16 hosts, as they scatter in real groups.

    Ordinarily all hosts open their files within a second or two. In the first group after a
    restart one host is early and the others straggle.
    """
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(0, group)))
    spans, weights = zip(*_SPANS_S, strict=True)
    span = int(rng.choice(spans, p=np.asarray(weights)))
    hosts = rng.permutation(N_SUBBANDS)
    offsets = np.zeros(N_SUBBANDS, dtype=np.int64)
    if span <= 1:
        offsets[hosts[: int(rng.integers(1, N_SUBBANDS))]] = span
    elif span == 2:
        offsets[hosts] = 1
        offsets[hosts[0]], offsets[hosts[1]] = 0, span
    else:
        offsets[hosts[1:-1]] = rng.integers(_FIRST_STRAGGLER_S, span, N_SUBBANDS - 2)
        offsets[hosts[-1]] = span
    return offsets
