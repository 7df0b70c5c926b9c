"""How long a night, or a backfill, still takes, from the pace measured so far."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from dsa110_contimg.models import Model
from dsa110_contimg.orchestration.runs import FAILED_STATES

OVER_STATES = frozenset({"success", "skipped", *FAILED_STATES})
"""Of a task that will not run again."""
_STARTED_STATES = OVER_STATES | {"running", "deferred", "up_for_retry"}
"""Of a task whose start is that of this run, not of an earlier one that was cleared."""


class Pace(Model):
    """How much of a night is done, and since when it is worked on."""

    groups: int = 0
    """Groups of the night; 0 until they are found."""
    finished: int = 0
    """Of these converted and measured, or failed."""
    began: datetime | None = None
    """Start of the first conversion."""

    @property
    def fraction(self) -> float:
        """Part of the night that is done."""
        return self.finished / self.groups if self.groups else 0.0

    def remaining_s(self, now: datetime) -> float | None:
        """Estimate how long the night still takes.

        Parameters
        ----------
        now : datetime
            The present time.

        Returns
        -------
        float or None
            In seconds; None while no group is done.
        """
        if self.began is None:
            return None
        return extrapolate((now - self.began).total_seconds(), self.fraction)

    def describe(self, now: datetime) -> str:
        """Say how long the night still takes.

        Parameters
        ----------
        now : datetime
            The present time.

        Returns
        -------
        str
            In words; empty while its groups are not found.
        """
        if not self.groups:
            return ""
        if self.finished == self.groups:
            return f"all {self.groups} groups are done"
        remaining_s = self.remaining_s(now)
        if remaining_s is None:
            return f"remaining time not known yet: none of {self.groups} groups is done"
        return f"{about(remaining_s)} left: {self.finished} of {self.groups} groups are done"


def measure_pace(
    converts: Iterable[tuple[str | None, datetime | None]], images: Iterable[str | None]
) -> Pace:
    """Measure the pace of a night from the tasks of its run.

    Parameters
    ----------
    converts : iterable of (str or None, datetime or None)
        State and start of the conversion of each group.
    images : iterable of str or None
        State of the task of each group that waits for the run on its Measurement Set.

    Returns
    -------
    Pace
        The pace.
    """
    listed = list(converts)
    starts = [start for state, start in listed if start and state in _STARTED_STATES]
    return Pace(
        groups=len(listed),
        finished=sum(state in OVER_STATES for state in images),
        began=min(starts, default=None),
    )


def extrapolate(elapsed_s: float, fraction: float) -> float | None:
    """Estimate how long the rest of a work takes, if it goes on as it did.

    Parameters
    ----------
    elapsed_s : float
        How long the work has taken, in seconds.
    fraction : float
        Part of it that is done.

    Returns
    -------
    float or None
        ``elapsed (1 - fraction) / fraction`` in seconds; None while nothing is done.
    """
    return elapsed_s * (1.0 - fraction) / fraction if fraction > 0.0 else None


def about(seconds: float) -> str:
    """Write an estimated duration no finer than it is known.

    Parameters
    ----------
    seconds : float
        In seconds.

    Returns
    -------
    str
        E.g. ``about 14 min``.
    """
    minutes = round(seconds / 60.0)
    if minutes < 1:
        return "less than a minute"
    if minutes < 60:
        return f"about {minutes} min"
    return f"about {minutes // 60} h {minutes % 60:02d} min"
