"""Say in a sentence which windows of a source failed."""

from __future__ import annotations

from collections.abc import Sequence

from dsa110_contimg.photometry.models import SpwFailure


def describe_failures(failures: Sequence[SpwFailure], n_spws: int) -> str | None:
    """Say which windows failed, each reason once.

    Parameters
    ----------
    failures : sequence of SpwFailure
        The windows without a measurement.
    n_spws : int
        Windows asked for.

    Returns
    -------
    str or None
        A sentence; None if none failed.
    """
    if not failures:
        return None
    by_reason: dict[str, list[int]] = {}
    for failure in failures:
        by_reason.setdefault(failure.reason, []).append(failure.spw_id)
    return f"{len(failures)} of {n_spws} windows failed: " + "; ".join(
        f"spw {', '.join(map(str, ids))}: {reason}" for reason, ids in by_reason.items()
    )
