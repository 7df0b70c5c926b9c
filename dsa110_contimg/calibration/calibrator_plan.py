"""Which calibrators transit in which group of a night."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Collection, Iterable, Sequence
from datetime import UTC, datetime, timedelta
from itertools import groupby
from pathlib import Path

import numpy as np
from pydantic import Field

from dsa110_contimg.calibration.transits import (
    GOOD_QUALITIES,
    MIN_RESPONSE,
    Transit,
    as_utc,
    find_transits,
    to_mjd,
)
from dsa110_contimg.catalog.calibrators import Calibrator
from dsa110_contimg.conversion.models import GroupState, SubbandGroup
from dsa110_contimg.errors import InputError
from dsa110_contimg.instrument import GROUP_DURATION_S
from dsa110_contimg.models import Model

_GROUP_DURATION_D = GROUP_DURATION_S / 86400.0
_SAME_DEC_DEG = 1e-3
"""Pointings nearer than this are one; the beam is 3.2 deg wide."""


class CalibratorPlan(Model):
    """The transits of a night, and what keeps some of them from being used."""

    min_apparent_jy: float
    """Least apparent flux density that was asked for."""
    transits: list[Transit]
    """In order of time; those outside of any group bear no group."""
    problems: list[str] = Field(default_factory=list)
    """What the reader of the night's report should know, a sentence each."""

    @property
    def solvable(self) -> dict[str, Transit]:
        """The transit to solve on of each group that holds one, in order of time."""
        return best_per_group(self.transits)


def plan_calibrators(
    calibrators: Sequence[Calibrator],
    groups: Sequence[SubbandGroup],
    *,
    min_apparent_jy: float,
    start: datetime | None = None,
    end: datetime | None = None,
    min_response: float = MIN_RESPONSE,
    qualities: Collection[str] | None = GOOD_QUALITIES,
) -> CalibratorPlan:
    """Find the transits of a night, each by the pointing of the groups around it.

    Where the dishes were turned during the night, a pointing holds until the first group of
    the next one.

    Parameters
    ----------
    calibrators : sequence of Calibrator
        The catalogue.
    groups : sequence of SubbandGroup
        The groups of the night, in any order; their files are opened for the pointing.
    min_apparent_jy : float
        Least flux density at the middle of the band, through the beam, in Jy.
    start, end : datetime, optional
        The interval ``[start, end)`` of the transits; default from the start of the first
        group to the end of the last.
    min_response : float
        As `find_transits` takes it.
    qualities : collection of str, optional
        As `find_transits` takes it.

    Returns
    -------
    CalibratorPlan
        The transits, and the groups whose pointing is not known.

    Raises
    ------
    InputError
        As `find_transits` raises it.
    TransientError
        If a file could not be read for a reason that lies outside the file.
    """
    pointings, problems = _read_pointings(groups)
    transits: list[Transit] = []
    for span_start, span_end, dec_deg in _spans(pointings, start, end):
        transits += find_transits(
            calibrators,
            dec_deg=dec_deg,
            start=span_start,
            end=span_end,
            min_apparent_jy=min_apparent_jy,
            min_response=min_response,
            qualities=qualities,
        )
    assigned, unsolvable = assign_groups(transits, groups)
    return CalibratorPlan(
        min_apparent_jy=min_apparent_jy, transits=assigned, problems=problems + unsolvable
    )


def assign_groups(
    transits: Iterable[Transit], groups: Iterable[SubbandGroup]
) -> tuple[list[Transit], list[str]]:
    """Say of each transit in which group it falls.

    A group lasts from its start for 309.24 s; the end belongs to the next. An incomplete group
    makes no MS, so that a transit in it cannot be solved.

    Parameters
    ----------
    transits : iterable of Transit
        The transits.
    groups : iterable of SubbandGroup
        The groups of the night.

    Returns
    -------
    transits : list of Transit
        The same, with ``group_id`` where a group will make an MS of it, else None.
    problems : list of str
        The transits that fall in incomplete groups, a sentence each.
    """
    ordered = sorted(groups, key=_start)
    starts_mjd = [to_mjd(_start(group)) for group in ordered]
    assigned, problems = [], []
    for transit in transits:
        at = bisect_right(starts_mjd, transit.transit_mjd) - 1
        group_id = None
        if at >= 0 and transit.transit_mjd < starts_mjd[at] + _GROUP_DURATION_D:
            group = ordered[at]
            if group.state is GroupState.INCOMPLETE:
                problems.append(
                    f"{transit.calibrator.name} transits at {transit.transit_utc} in the group "
                    f"{group.group_id}, which is incomplete: it cannot be solved"
                )
            else:
                group_id = group.group_id
        assigned.append(transit.model_copy(update={"group_id": group_id}))
    return assigned, problems


def best_per_group(transits: Iterable[Transit]) -> dict[str, Transit]:
    """Choose the calibrator to solve on in each group.

    Parameters
    ----------
    transits : iterable of Transit
        With their groups.

    Returns
    -------
    dict of str to Transit
        The transit of the greatest apparent flux density by group id, in order of time.
    """
    best: dict[str, Transit] = {}
    for transit in transits:
        if transit.group_id is not None:
            rival = best.setdefault(transit.group_id, transit)
            best[transit.group_id] = max(rival, transit, key=lambda one: one.apparent_flux_jy)
    return dict(sorted(best.items()))


def pointing_dec_deg(group: SubbandGroup) -> float:
    """Read where the dishes pointed during a group, from the first file that can be read.

    Parameters
    ----------
    group : SubbandGroup
        The group.

    Returns
    -------
    float
        Declination of date in degrees.

    Raises
    ------
    InputError
        If none of its files can be read.
    TransientError
        If a file could not be read for a reason that lies outside the file.
    """
    from dsa110_contimg.conversion.uvh5 import read_quick_header

    first_problem: InputError | None = None
    for file in group.files:
        try:
            return float(np.rad2deg(read_quick_header(Path(file)).pointing_dec_rad))
        except InputError as error:
            first_problem = first_problem or error
    raise InputError(
        f"the pointing of the group {group.group_id} is not known: none of its "
        f"{len(group.files)} files can be read",
        reason="unknown_pointing",
        remedy=f"the first: {first_problem}" if first_problem else None,
    ) from first_problem


def _read_pointings(
    groups: Iterable[SubbandGroup],
) -> tuple[list[tuple[datetime, float]], list[str]]:
    """Start and declination (deg) of each group in order of time, and what could not be read."""
    pointings, problems = [], []
    for group in sorted(groups, key=_start):
        try:
            pointings.append((_start(group), pointing_dec_deg(group)))
        except InputError as error:
            problems.append(str(error))
    return pointings, problems


def _spans(
    pointings: list[tuple[datetime, float]], start: datetime | None, end: datetime | None
) -> list[tuple[datetime, datetime, float]]:
    """Cut an interval into parts of one pointing: start, end, declination in degrees."""
    if not pointings:
        return []
    first = as_utc(start) if start else pointings[0][0]
    last = as_utc(end) if end else pointings[-1][0] + timedelta(seconds=GROUP_DURATION_S)
    runs = [next(run) for _, run in groupby(pointings, lambda one: round(one[1] / _SAME_DEC_DEG))]
    limits = [first, *(time for time, _ in runs[1:]), last]
    return [
        (max(since, first), min(until, last), dec_deg)
        for since, until, (_, dec_deg) in zip(limits[:-1], limits[1:], runs, strict=True)
        if max(since, first) < min(until, last)
    ]


def _start(group: SubbandGroup) -> datetime:
    """Start of a group, which is its id."""
    return datetime.fromisoformat(group.group_id).replace(tzinfo=UTC)
