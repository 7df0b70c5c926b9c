"""Whether solutions of two transits can be interpolated, and what they are referred to."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dsa110_contimg.calibration.models import Choice, SolutionSet
from dsa110_contimg.calibration.tables import complete_antennas, read_solutions


@dataclass(frozen=True)
class Plan:
    """What is applied, and how.

    Attributes
    ----------
    choice : Choice
        One set, or two that can be interpolated.
    reference : int or None
        Id of the antenna to which both sets are referred; None for one set.
    notes : list of str
        Why less is applied than was chosen, a sentence each.
    """

    choice: Choice
    reference: int | None
    notes: list[str]


def plan_application(choice: Choice) -> Plan:
    """Keep both sets of a choice if they can be interpolated, else the nearest one.

    Parameters
    ----------
    choice : Choice
        Sets whose tables are there and whole.

    Returns
    -------
    Plan
        What is applied.
    """
    if len(choice.sets) == 1:
        return Plan(choice, None, [])
    first, second = choice.sets
    try:
        return Plan(choice, find_common_reference(first, second), [])
    except (ValueError, RuntimeError) as error:  # ours and casacore's
        why = " ".join(str(error).split())
    nearest = min(range(2), key=lambda index: abs(choice.hours[index]))
    alone = choice.model_copy(
        update={"sets": [choice.sets[nearest]], "hours": [choice.hours[nearest]]}
    )
    note = (
        f"{first.set_id} and {second.set_id} cannot be interpolated: {why}; the nearer of the two "
        "is applied alone"
    )
    return Plan(alone, None, [note])


def find_common_reference(first: SolutionSet, second: SolutionSet) -> int:
    """Find an antenna whose phase, or delay, can be made zero throughout two sets.

    Between solutions that are referred to different antennas nothing can be interpolated.

    Parameters
    ----------
    first, second : SolutionSet
        Sets whose ids mean the same antennas and windows.

    Returns
    -------
    int
        Its id: the reference antenna of one of them, if it can be.

    Raises
    ------
    ValueError
        If there is none, or the sets do not hold the same tables of the same windows.
    RuntimeError
        If casacore cannot read a table.
    """
    kinds = [[table.kind.value for table in one.tables] for one in (first, second)]
    if kinds[0] != kinds[1]:
        raise ValueError(f"one holds {', '.join(kinds[0])}, the other {', '.join(kinds[1])}")
    complete = set(range(len(first.array)))
    for one, other in zip(first.tables, second.tables, strict=True):
        pair = [
            read_solutions(Path(solutions.directory) / table.name, table.kind)
            for solutions, table in ((first, one), (second, other))
        ]
        windows = [np.unique(solutions.window).tolist() for solutions in pair]
        if windows[0] != windows[1]:
            raise ValueError(f"their {one.kind} tables are not of the same spectral windows")
        for solutions in pair:
            complete &= complete_antennas(solutions)
    wanted = [first.array.index(first.refant), first.array.index(second.refant)]
    found = next((antenna for antenna in [*wanted, *sorted(complete)] if antenna in complete), None)
    if found is None:
        raise ValueError("no antenna has all its solutions in both")
    return found
