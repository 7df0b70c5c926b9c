"""What is said of sources and windows that could not be measured."""

from __future__ import annotations

from collections.abc import Sequence

from dsa110_contimg.catalog.sources import Source
from dsa110_contimg.photometry.models import SourceResult, SpwFailure
from dsa110_contimg.provenance import Provenance


def unmeasured(
    source: Source,
    error: str | None,
    *,
    ms_path: str,
    provenance: Provenance,
    n_spws: int = 0,
    seconds: float = 0.0,
) -> SourceResult:
    """Make the result of a source that could not be measured.

    Parameters
    ----------
    source : Source
        The source.
    error : str or None
        Why, in a sentence.
    ms_path : str
        Absolute path of the MS.
    provenance : Provenance
        What it would have been made from.
    n_spws : int, optional
        Windows asked for, where known.
    seconds : float, optional
        Wall time.

    Returns
    -------
    SourceResult
        Without measurements and products.
    """
    return SourceResult(
        name=source.name,
        ra_deg=source.ra_deg,
        dec_deg=source.dec_deg,
        success=False,
        error=error,
        n_spws=n_spws,
        spws=[],
        detections=[],
        ms_path=ms_path,
        seconds=seconds,
        provenance=provenance,
    )


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
