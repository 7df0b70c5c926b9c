"""Which sets of solutions may be applied to an MS, and which of them are.

The rules are functions of what is on record and of nothing else: no file is looked at here
(see `verify` and `selection`).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from dsa110_contimg.calibration.models import (
    CalibrationNeed,
    Choice,
    Refusal,
    SolutionSet,
    ValidityRules,
    WindowKey,
)
from dsa110_contimg.errors import ScienceQualityError

_HOURS_PER_DAY = 24.0
_MAX_NAMED = 3


@dataclass(frozen=True)
class Candidate:
    """A set as it looks from one MS.

    Attributes
    ----------
    set_id : str
        The set.
    hours : float
        Distance in time from the MS, positive if the set is later.
    solution_set : SolutionSet or None
        The solutions, where there are any.
    refusal : Refusal or None
        Why it may not be applied; None if it may.
    """

    set_id: str
    hours: float
    solution_set: SolutionSet | None
    refusal: Refusal | None

    @property
    def rank(self) -> tuple[float, str]:
        """The nearest in time comes first; of two as near, the one whose name does."""
        distance = math.inf if math.isnan(self.hours) else abs(self.hours)
        return distance, self.set_id


@dataclass(frozen=True)
class _Valid:
    """A candidate that may be applied."""

    rank: tuple[float, str]
    hours: float
    solution_set: SolutionSet


def hours_from(mid_mjd: float, need: CalibrationNeed) -> float:
    """Distance in time of a set from an MS.

    Parameters
    ----------
    mid_mjd : float
        Middle of the set's observation, MJD (UTC).
    need : CalibrationNeed
        What the MS needs.

    Returns
    -------
    float
        Hours, positive if the set is later.
    """
    return (mid_mjd - need.mid_mjd) * _HOURS_PER_DAY


def check_set(
    solution_set: SolutionSet, need: CalibrationNeed, rules: ValidityRules
) -> Refusal | None:
    """Find out whether a set may be applied to an MS.

    Parameters
    ----------
    solution_set : SolutionSet
        The set.
    need : CalibrationNeed
        What it must match.
    rules : ValidityRules
        How far it may be borrowed.

    Returns
    -------
    Refusal or None
        The first thing that speaks against it: ``too_old``, ``declination``, ``array``,
        ``antennas`` or ``windows``; None if nothing does.
    """
    faults = {
        "too_old": _fault_of_age(solution_set, need, rules),
        "declination": _fault_of_declination(solution_set, need, rules),
        "array": _fault_of_array(solution_set, need),
        "antennas": _fault_of_antennas(solution_set, need, rules),
        "windows": _fault_of_windows(solution_set, need),
    }
    for reason, sentence in faults.items():
        if sentence:
            return Refusal(set_id=solution_set.set_id, reason=reason, sentence=sentence)
    return None


def choose_sets(sets: Sequence[SolutionSet], need: CalibrationNeed, rules: ValidityRules) -> Choice:
    """Choose the sets that are applied to an MS, by what is on record of them.

    Parameters
    ----------
    sets : sequence of SolutionSet
        All there are, in any order.
    need : CalibrationNeed
        What a set must match.
    rules : ValidityRules
        How far a set may be borrowed.

    Returns
    -------
    Choice
        The nearest valid set; or the nearest before and the nearest after the MS, if the rules
        say to interpolate, neither is of the MS's own group, and both have the same windows.

    Raises
    ------
    ScienceQualityError
        If no set is valid: ``no_valid_calibration``.
    """
    return choose_candidates([judge(one, need, rules) for one in sets], need, rules)


def judge(solution_set: SolutionSet, need: CalibrationNeed, rules: ValidityRules) -> Candidate:
    """Judge a set by the rules.

    Parameters
    ----------
    solution_set : SolutionSet
        The set.
    need : CalibrationNeed
        What it must match.
    rules : ValidityRules
        How far it may be borrowed.

    Returns
    -------
    Candidate
        The set with what speaks against it.
    """
    return Candidate(
        set_id=solution_set.set_id,
        hours=hours_from(solution_set.mid_mjd, need),
        solution_set=solution_set,
        refusal=check_set(solution_set, need, rules),
    )


def choose_candidates(
    candidates: Sequence[Candidate], need: CalibrationNeed, rules: ValidityRules
) -> Choice:
    """Choose among sets that were judged already.

    Parameters
    ----------
    candidates : sequence of Candidate
        In any order.
    need : CalibrationNeed
        What a set must match.
    rules : ValidityRules
        Whether to interpolate, and which sets count as the MS's own.

    Returns
    -------
    Choice
        As `choose_sets` describes it.

    Raises
    ------
    ScienceQualityError
        If no candidate is valid: ``no_valid_calibration``.
    """
    ordered = sorted(candidates, key=lambda candidate: candidate.rank)
    valid = [
        _Valid(candidate.rank, candidate.hours, candidate.solution_set)
        for candidate in ordered
        if candidate.solution_set is not None and candidate.refusal is None
    ]
    if not valid:
        raise _no_valid_set(ordered, need)
    is_own = _is_own(valid[0], need, rules)
    chosen = [valid[0]] if is_own or not rules.interpolate else _bracket(valid)
    return Choice(
        sets=[one.solution_set for one in chosen],
        hours=[one.hours for one in chosen],
        borrowed=not is_own,
        refused=[
            candidate.refusal
            for candidate in ordered
            if candidate.refusal and _was_passed_over(candidate, chosen)
        ],
    )


def _bracket(valid: Sequence[_Valid]) -> list[_Valid]:
    """Take the nearest on either side, if one can go over into the other; else the nearest."""
    before = next((one for one in valid if one.hours <= 0), None)
    after = next((one for one in valid if one.hours > 0), None)
    if before and after and _share_ids(before.solution_set, after.solution_set):
        return [before, after]
    return [valid[0]]


def _share_ids(first: SolutionSet, second: SolutionSet) -> bool:
    """Whether the tables of two sets mean the same antennas and windows by the same ids."""
    return (
        first.array == second.array
        and len(first.windows) == len(second.windows)
        and all(map(WindowKey.matches, first.windows, second.windows))
    )


def _is_own(nearest: _Valid, need: CalibrationNeed, rules: ValidityRules) -> bool:
    """Whether a set was solved on the group that the MS was made from."""
    same_group = nearest.solution_set.group_id == Path(need.ms_path).stem
    return same_group or abs(nearest.hours) <= rules.own_hours


def _was_passed_over(candidate: Candidate, chosen: Sequence[_Valid]) -> bool:
    """Whether a refused set would have stood in the place of a chosen one."""
    if len(chosen) == 1:
        return candidate.rank < chosen[0].rank
    before, after = chosen
    return candidate.rank < (before if candidate.hours <= 0 else after).rank


def _no_valid_set(ordered: Sequence[Candidate], need: CalibrationNeed) -> ScienceQualityError:
    """Say that an MS cannot be calibrated, and what speaks against the nearest sets."""
    refusals = [candidate.refusal for candidate in ordered if candidate.refusal]
    words = [f"{refusal.set_id}: {refusal.sentence}" for refusal in refusals[:_MAX_NAMED]]
    if (more := len(refusals) - _MAX_NAMED) > 0:
        words.append(f"and {more} more, further away")
    why = "; ".join(words) or "no set of solutions is on record"
    return ScienceQualityError(
        f"{need.ms_path} has no valid calibration: {why}",
        reason="no_valid_calibration",
        remedy="solve a calibrator transit near it in time, with the same pointing and array, or "
        "allow sets to be borrowed further: calibration_max_hours, calibration_max_dec_deg",
    )


def _fault_of_age(
    solution_set: SolutionSet, need: CalibrationNeed, rules: ValidityRules
) -> str | None:
    """Say that a set is too far in time, if it is."""
    hours = hours_from(solution_set.mid_mjd, need)
    # What is not a number must not pass: each comparison here asks for what is allowed.
    if abs(hours) <= rules.max_hours:
        return None
    return (
        f"it was observed {abs(hours):.1f} h {'later' if hours > 0 else 'earlier'}; at most "
        f"{rules.max_hours:g} h are allowed"
    )


def _fault_of_declination(
    solution_set: SolutionSet, need: CalibrationNeed, rules: ValidityRules
) -> str | None:
    """Say that a set is of another pointing, if it is."""
    offset_deg = abs(solution_set.dec_deg - need.dec_deg)
    if offset_deg <= rules.max_dec_deg:
        return None
    return (
        f"it was solved at declination {solution_set.dec_deg:+.3f} deg, {offset_deg:.3f} deg from "
        f"the {need.dec_deg:+.3f} deg of the MS; at most {rules.max_dec_deg:g} deg are allowed"
    )


def _fault_of_array(solution_set: SolutionSet, need: CalibrationNeed) -> str | None:
    """Say that the ids of a set name other antennas, if they do."""
    if solution_set.array == need.array:
        return None
    pairs = zip(solution_set.array, need.array, strict=False)
    for number, (theirs, ours) in enumerate(pairs):
        if theirs != ours:
            return (
                f"its ids name other antennas: id {number} is {theirs} in the set and {ours} in "
                "the MS"
            )
    return f"it is of {len(solution_set.array)} stations, the MS of {len(need.array)}"


def _fault_of_antennas(
    solution_set: SolutionSet, need: CalibrationNeed, rules: ValidityRules
) -> str | None:
    """Say that a set leaves too many antennas of the MS without solutions, if it does."""
    solved = set(solution_set.antennas)
    lacking = [name for name in need.antennas if name not in solved]
    if not lacking:
        return None
    n_solved = len(need.antennas) - len(lacking)
    fraction = n_solved / len(need.antennas)
    if fraction >= rules.min_antenna_fraction:
        return None
    shown = ", ".join(lacking[:_MAX_NAMED]) + (", ..." if len(lacking) > _MAX_NAMED else "")
    return (
        f"it has solutions for {n_solved} of the {len(need.antennas)} antennas of the MS "
        f"({fraction:.1%}; at least {rules.min_antenna_fraction:.1%} are needed) and lacks {shown}"
    )


def _fault_of_windows(solution_set: SolutionSet, need: CalibrationNeed) -> str | None:
    """Say that a set lacks windows of the MS, if it does; it may have more, in any order."""
    lacking = [
        window
        for window in need.windows
        if not any(window.matches(other) for other in solution_set.windows)
    ]
    if not lacking:
        return None
    first = lacking[0]
    return (
        f"it lacks {len(lacking)} of the {len(need.windows)} spectral windows of the MS; the first "
        f"is at {first.freq_hz / 1e6:.3f} MHz, {first.bandwidth_hz / 1e6:.3f} MHz wide, with "
        f"{first.n_channels} channels"
    )
