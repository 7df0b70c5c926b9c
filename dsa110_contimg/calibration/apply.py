"""Apply solutions to a Measurement Set: the stage that Python, the command and the DAG call."""

from __future__ import annotations

import time
from collections.abc import Sequence

from pydantic import Field

from dsa110_contimg.calibration.apply_work import ApplyWork, apply_in_child
from dsa110_contimg.calibration.choice import choose_sets
from dsa110_contimg.calibration.interpolation import Plan, plan_application
from dsa110_contimg.calibration.models import (
    CALIBRATOR_ALONE,
    AppliedSet,
    CalibrationNeed,
    CalibrationRecord,
    Choice,
    SolutionSet,
    ValidityRules,
)
from dsa110_contimg.calibration.need import describe_need
from dsa110_contimg.calibration.registry import Registry
from dsa110_contimg.calibration.selection import choose_verified
from dsa110_contimg.calibration.snapshot import MsSnapshot, hold_ms
from dsa110_contimg.calibration.verify import verify_tables
from dsa110_contimg.casa.door import run_in_casa
from dsa110_contimg.errors import InputError, ScienceQualityError
from dsa110_contimg.provenance import make_provenance
from dsa110_contimg.settings import get_settings
from dsa110_contimg.storage.ms_access import canonical_ms
from dsa110_contimg.storage.ms_change import Change, changing_ms
from dsa110_contimg.storage.ms_work import MsWorkOptions
from dsa110_contimg.storage.sandbox import open_sandbox

_SCRATCH_BYTES = 128 << 20


class ApplyOptions(MsWorkOptions):
    """How an MS is calibrated."""

    set_id: str | None = None
    """Apply this very set, if it is valid; None: the best valid one, or two."""
    registry_url: str = Field(default_factory=lambda: get_settings().registry_url)
    """SQLAlchemy URL of the registry."""
    rules: ValidityRules = Field(
        default_factory=lambda: ValidityRules(
            max_hours=get_settings().calibration_max_hours,
            max_dec_deg=get_settings().calibration_max_dec_deg,
        )
    )
    """How far a set may be borrowed."""
    timeout_s: float = Field(default_factory=lambda: get_settings().calibration_timeout_s, gt=0)
    """Limit in seconds, not counting the wait for the MS."""


def apply_calibration(options: ApplyOptions) -> CalibrationRecord:
    """Correct an MS with the best valid solutions there are.

    CORRECTED_DATA is written from DATA and from the flags as flagged, however often; what has
    no solutions is flagged. A sample is corrected by hand and compared.

    Parameters
    ----------
    options : ApplyOptions
        The MS, the registry, the rules.

    Returns
    -------
    CalibrationRecord
        What was applied; ``skipped`` if it had been before. It is also kept beside the MS.

    Raises
    ------
    InputError
        If the MS cannot be read or written, or has not been flagged.
    ScienceQualityError
        If there are no valid solutions (``no_valid_calibration``), the set that was asked for
        is not valid (``set_not_valid``), or CORRECTED_DATA is not what it should be.
    TransientError
        If time, space or the child ran out, or the MS was held for too long.
    """
    start = time.perf_counter()
    ms_path = canonical_ms(options.ms_path)
    with hold_ms(
        ms_path,
        options.purpose or f"calibrating {ms_path.name}",
        timeout_s=options.lock_timeout_s,
        access_log=options.access_log,
        writable=True,
    ) as snapshot:
        need = describe_need(snapshot)
        # This may wait for a set that is solved anew: its solve has its own MS by then.
        plan = plan_application(_choose(options, need))
        applied = [
            _remember(solutions, hours)
            for solutions, hours in zip(plan.choice.sets, plan.choice.hours, strict=True)
        ]
        record = None if options.reprocess else snapshot.calibration
        skipped = record is not None and record.applied == applied
        if record is None or not skipped:
            record = _apply(options, snapshot, need, plan, applied)
    return record.model_copy(update={"skipped": skipped, "seconds": time.perf_counter() - start})


def _apply(
    options: ApplyOptions,
    snapshot: MsSnapshot,
    need: CalibrationNeed,
    plan: Plan,
    applied: list[AppliedSet],
) -> CalibrationRecord:
    """Correct an MS that is held, in a child, and put it on record."""
    start = time.perf_counter()
    ms_path, flags, choice = snapshot.path, snapshot.flagging, plan.choice
    if flags is None:
        raise InputError(
            f"{ms_path} has not been flagged", reason="not_flagged", remedy="flag it first"
        )
    provenance = make_provenance(options.rules, [snapshot.file])
    roots = options.find_sandbox_roots(ms_path.parent)
    with (
        open_sandbox(f"apply_{ms_path.stem}", roots, _SCRATCH_BYTES) as sandbox,
        changing_ms(ms_path, Change.CALIBRATION) as save,
    ):
        scratch = sandbox.path / "tables"
        scratch.mkdir()
        done = run_in_casa(
            apply_in_child,
            ApplyWork(
                ms_path=ms_path,
                info=snapshot.info,
                windows=need.windows,
                sets=choice.sets,
                reference=plan.reference,
                scratch_dir=scratch,
            ),
            timeout_s=options.timeout_s,
            log_path=options.find_log(ms_path.parent, ms_path.stem),
            scratch_dir=sandbox.path,
        )
        record = CalibrationRecord(
            ms_created=snapshot.created,
            group_id=ms_path.stem,
            ms_path=str(ms_path),
            applied=applied,
            borrowed=choice.borrowed,
            sentence=choice.sentence,
            refused=choice.refused,
            # Applying begins from the flags as flagged.
            flagged_before=flags.after.fraction,
            **dict(done),
            notes=plan.notes + _note_models(choice.sets) + sandbox.warnings,
            seconds=time.perf_counter() - start,
            provenance=provenance,
        )
        save(record)
    return record


def _note_models(sets: Sequence[SolutionSet]) -> list[str]:
    """Pass on what a set says of its model where that biases the flux scale."""
    return [
        f"{one.set_id}: {note}"
        for one in sets
        for note in one.notes
        if note.startswith(CALIBRATOR_ALONE)
    ]


def _choose(options: ApplyOptions, need: CalibrationNeed) -> Choice:
    """Choose from the registry, or judge the set that was asked for."""
    registry = Registry(options.registry_url)
    if options.set_id is None:
        return choose_verified(registry, need, options.rules)
    found = registry.get(options.set_id)
    if found is None:
        raise InputError(
            f"the registry {registry.name} has no set {options.set_id}", reason="unknown_set"
        )
    if found.solution_set is None or found.reason is not None:
        raise ScienceQualityError(
            f"{options.set_id} may not be applied: it is {found.state}: "
            f"{found.reason or found.problem}",
            reason="set_not_valid",
        )
    choice = choose_sets([found.solution_set], need, options.rules)
    refusal = verify_tables(found.solution_set)
    if refusal is not None:
        raise ScienceQualityError(
            f"{options.set_id} may not be applied: {refusal.sentence}", reason="set_not_valid"
        )
    return choice


def _remember(solutions: SolutionSet, hours: float) -> AppliedSet:
    """Describe a set for the records."""
    return AppliedSet(
        set_id=solutions.set_id,
        calibrator=solutions.calibrator,
        hours=hours,
        directory=solutions.directory,
        tables={table.kind: table.files for table in solutions.tables},
    )
