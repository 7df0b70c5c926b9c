"""Choose sets from the registry for an MS, and only such whose tables check out."""

from __future__ import annotations

from dataclasses import replace

from dsa110_contimg.calibration.choice import (
    Candidate,
    choose_candidates,
    hours_from,
    judge,
)
from dsa110_contimg.calibration.models import (
    CalibrationNeed,
    Choice,
    Refusal,
    SolutionSet,
    ValidityRules,
)
from dsa110_contimg.calibration.registry import RegisteredSet, Registry, SetState
from dsa110_contimg.calibration.verify import verify_tables
from dsa110_contimg.errors import TransientError
from dsa110_contimg.settings import get_settings
from dsa110_contimg.storage.ms_access import exclusive_ms, read_holder

_MIN_LOOKED_AT = 4
"""Where nothing is in reach, the error names what is nearest beyond it."""


def choose_verified(
    registry: Registry,
    need: CalibrationNeed,
    rules: ValidityRules,
    min_unflagged: float = 0.8,
) -> Choice:
    """Choose the best valid sets whose tables are there, unchanged and full enough.

    Parameters
    ----------
    registry : Registry
        Where the sets are on record.
    need : CalibrationNeed
        What a set must match.
    rules : ValidityRules
        How far a set may be borrowed.
    min_unflagged : float
        As `verify_tables` takes it.

    Returns
    -------
    Choice
        As `choice.choose_sets` describes it. Among the refused are also sets that were
        withdrawn, whose solve was refused, or whose tables do not check out.

    Raises
    ------
    ScienceQualityError
        If no set is valid: ``no_valid_calibration``.
    InputError, TransientError
        If the registry, or the machine, cannot be read from; or a set that would have been
        chosen is being replaced.
    """
    records = registry.near(need.mid_mjd, rules.max_hours)
    if len(records) < _MIN_LOOKED_AT:
        known = {record.set_id for record in records}
        beyond = registry.nearest(need.mid_mjd, _MIN_LOOKED_AT)
        records += [record for record in beyond if record.set_id not in known]
    candidates = {record.set_id: _judge(record, need, rules) for record in records}
    verified: set[str] = set()
    while True:
        choice = choose_candidates(list(candidates.values()), need, rules)
        unknown = [chosen for chosen in choice.sets if chosen.set_id not in verified]
        if not unknown:
            return choice
        for chosen in unknown:
            refusal = _verify(registry, chosen, min_unflagged)
            verified.add(chosen.set_id)
            candidates[chosen.set_id] = replace(candidates[chosen.set_id], refusal=refusal)


def _verify(registry: Registry, chosen: SolutionSet, min_unflagged: float) -> Refusal | None:
    """Verify a set; one that is replaced just now is no reason to take a worse one."""
    refusal = verify_tables(chosen, min_unflagged)
    if refusal is None:
        return None
    purpose = f"waiting until {chosen.set_id} is solved"
    if read_holder(chosen.directory) is not None:
        with exclusive_ms(chosen.directory, purpose, timeout_s=get_settings().ms_lock_timeout_s):
            pass
    now = registry.get(chosen.set_id)
    solved = now.solution_set if now is not None else None
    if solved is not None and solved.provenance.created == chosen.provenance.created:
        return refusal
    raise TransientError(
        f"{chosen.set_id} was replaced while it was looked at",
        reason="table_changed",
        remedy="its transit was solved again: choose anew",
    )


def _judge(record: RegisteredSet, need: CalibrationNeed, rules: ValidityRules) -> Candidate:
    """Judge a set by its state, then by the rules."""
    refusal = _refuse_state(record)
    if record.solution_set is not None and refusal is None:
        return judge(record.solution_set, need, rules)
    return Candidate(record.set_id, hours_from(record.mid_mjd, need), record.solution_set, refusal)


def _refuse_state(record: RegisteredSet) -> Refusal | None:
    """Refuse what is on record but not good, or not readable."""
    if record.state is SetState.WITHDRAWN:
        reason, sentence = "withdrawn", f"it was withdrawn: {record.reason}"
    elif record.state is SetState.REFUSED:
        reason, sentence = "refused", f"its solve was refused: {record.reason}"
    elif record.solution_set is None:
        reason, sentence = "corrupt_record", record.problem or "its record holds no solutions"
    else:
        return None
    return Refusal(set_id=record.set_id, reason=reason, sentence=sentence)
