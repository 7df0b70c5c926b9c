"""Join what several runs recorded of one night: each has its say about its own interval."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

from dsa110_contimg.calibration.calibrator_plan import CalibratorPlan
from dsa110_contimg.calibration.transits import to_mjd
from dsa110_contimg.conversion.filenames import parse_subband_name
from dsa110_contimg.conversion.models import GroupListing, RejectedFile
from dsa110_contimg.qa.record_models import Looked

Interval = tuple[datetime, datetime]
"""Start, and first moment that is not in it any more."""


def merge_listings(
    earlier: GroupListing | None, latest: GroupListing, interval: Interval
) -> GroupListing:
    """Put what was found in an interval into what is on record of its night.

    Parameters
    ----------
    earlier : GroupListing or None
        What is on record.
    latest : GroupListing
        What was found.
    interval : tuple of datetime
        Where it was looked for.

    Returns
    -------
    GroupListing
        `latest`, with the groups of `earlier` that start outside the interval, and the subband
        files that were rejected there.
    """
    if earlier is None:
        return latest
    found = {file for group in latest.groups for file in group.files}
    found |= {reject.file for reject in latest.rejects}
    groups = [group for group in earlier.groups if not _holds(interval, _as_time(group.group_id))]
    rejects = [
        reject
        for reject in earlier.rejects
        if reject.file not in found and _is_outside(reject, interval)
    ]
    return GroupListing(
        groups=sorted(latest.groups + groups, key=lambda group: group.group_id),
        rejects=sorted(latest.rejects + rejects, key=lambda reject: reject.file),
    )


def merge_plans(
    earlier: CalibratorPlan | None, latest: CalibratorPlan, interval: Interval
) -> CalibratorPlan:
    """Put the transits of an interval into those that are on record of its night.

    Parameters
    ----------
    earlier : CalibratorPlan or None
        What is on record.
    latest : CalibratorPlan
        The plan of the interval.
    interval : tuple of datetime
        The interval.

    Returns
    -------
    CalibratorPlan
        `latest`, with the transits of `earlier` outside the interval and, if there are any, its
        problems.
    """
    start_mjd, end_mjd = map(to_mjd, interval)
    kept = [
        transit
        for transit in (earlier.transits if earlier else [])
        if not start_mjd <= transit.transit_mjd < end_mjd
    ]
    if earlier is None or not kept:
        return latest
    return latest.model_copy(
        update={
            "transits": sorted(latest.transits + kept, key=lambda one: one.transit_mjd),
            "problems": list(dict.fromkeys(latest.problems + earlier.problems)),
        }
    )


def was_looked_for(looked: Looked | None, group_id: str) -> bool:
    """Say whether the last run on a night was about a group.

    Parameters
    ----------
    looked : Looked or None
        Where it looked; None if that is not on record.
    group_id : str
        The group.

    Returns
    -------
    bool
        True if nothing speaks against it.
    """
    return looked is None or _holds((looked.start, looked.end), _as_time(group_id))


def _is_outside(reject: RejectedFile, interval: Interval) -> bool:
    """Whether a subband file belongs to another part of the night; other files do not."""
    name = parse_subband_name(Path(reject.file).name)
    return name is not None and not _holds(interval, name.stamp)


def _holds(interval: Interval, moment: datetime) -> bool:
    """Whether a moment lies in an interval."""
    return interval[0] <= moment < interval[1]


def _as_time(group_id: str) -> datetime:
    """Read the start of a group, which is its id."""
    return datetime.fromisoformat(group_id).replace(tzinfo=UTC)
