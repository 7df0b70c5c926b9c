"""Draw from the records what the report says of calibrators, solutions and flags."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

from dsa110_contimg.calibration.models import (
    AppliedSet,
    CalibrationRecord,
    SolutionSet,
    SolveOutcome,
    SolveState,
)
from dsa110_contimg.calibration.set_files import read_set
from dsa110_contimg.calibration.transits import Transit
from dsa110_contimg.flagging.models import FlagRecord
from dsa110_contimg.qa.calibration_models import (
    AppliedReport,
    CalibrationReport,
    MsCalibrationReport,
    MsCalibrationState,
    SetReport,
    TableReport,
    TransitReport,
    TransitState,
)
from dsa110_contimg.qa.flags_in_force import find_flags
from dsa110_contimg.qa.models import GroupOutcome, GroupReport, MsReport
from dsa110_contimg.qa.reasons import split_reason
from dsa110_contimg.qa.record_models import NightRecord

_NO_MS = {
    GroupOutcome.FAILED: "not converted",
    GroupOutcome.REJECTED: "rejected",
    GroupOutcome.LEFT_OUT: "left out",
}
_UNREADABLE = "its description cannot be read: the set was moved, removed or damaged"


def report_calibration(
    record: NightRecord,
    groups: Sequence[GroupReport],
    sets: Sequence[MsReport],
    night_dir: Path,
) -> CalibrationReport | None:
    """Say which calibrators there were, what came of them, and which MS used which solutions.

    Parameters
    ----------
    record : NightRecord
        All that is on record.
    groups : sequence of GroupReport
        The night's groups.
    sets : sequence of MsReport
        The night's MSs.
    night_dir : Path
        Where the report will stand; paths of plots are relative to it.

    Returns
    -------
    CalibrationReport or None
        None for a night in which nobody flagged or calibrated, or nothing was observed.
    """
    plan = record.calibrators
    planned = plan is not None and groups
    if not (planned or record.flaggings or record.solves or record.calibrations):
        return None
    return CalibrationReport(
        min_apparent_jy=plan.min_apparent_jy if plan else None,
        transits=_report_transits(record, groups),
        problems=plan.problems if plan else [],
        sets=_report_sets(record, night_dir),
        measurement_sets=_report_measurement_sets(record, sets, night_dir),
    )


def _report_transits(record: NightRecord, groups: Sequence[GroupReport]) -> list[TransitReport]:
    """Join the transits with what became of them."""
    if record.calibrators is None:
        return []
    solves = {outcome.group_id: outcome for outcome in record.solves}
    solvable = record.calibrators.solvable
    unusable = _unusable_groups(record, groups)
    reports = []
    for transit in record.calibrators.transits:
        state, reason, solutions = TransitState.UNRECORDED, None, None
        if transit.group_id is not None:
            best = solvable[transit.group_id]
            solve = solves.get(transit.group_id)
            state, reason = _judge_transit(transit, best, solve, unusable.get(transit.group_id))
            if solve and state is not TransitState.OUTSHONE:
                solutions = solve.solutions
        reports.append(
            TransitReport(
                calibrator=transit.calibrator.name,
                transit_utc=transit.transit_utc,
                offset_deg=transit.offset_deg,
                beam=transit.beam,
                flux_jy=transit.flux_jy,
                apparent_flux_jy=transit.apparent_flux_jy,
                group_id=transit.group_id,
                set_id=solutions.set_id if solutions else None,
                state=state,
                reason=reason,
            )
        )
    return reports


def _judge_transit(
    transit: Transit, best: Transit, solve: SolveOutcome | None, unusable: str | None
) -> tuple[TransitState, str | None]:
    """Say what became of a transit that a group recorded, and why."""
    chosen = solve.calibrator if solve else best.calibrator.name
    if transit.calibrator.name != chosen:
        return TransitState.OUTSHONE, f"its group is solved on {chosen}"
    if solve is not None:
        return TransitState(solve.state.value), solve.reason and split_reason(solve.reason)[1]
    if unusable is not None:
        return TransitState.FAILED, unusable
    return TransitState.WAITING, None


def _unusable_groups(record: NightRecord, groups: Sequence[GroupReport]) -> dict[str, str]:
    """Say of the groups that will never be solved why."""
    reasons = {
        group.group_id: f"its group was {_NO_MS[group.outcome]}"
        for group in groups
        if group.outcome in _NO_MS
    }
    for failure in record.ms_failures:
        if not failure.is_retried:
            reasons[failure.group_id] = f"its MS failed: {split_reason(failure.reason)[1]}"
    return reasons


def _report_sets(record: NightRecord, night_dir: Path) -> list[SetReport]:
    """Describe the sets that the night made, then those that it borrowed."""
    uses = Counter(one.set_id for made in record.calibrations for one in made.applied)
    reports = [
        _report_own_set(outcome, outcome.solutions, uses, night_dir)
        for outcome in record.solves
        if outcome.solutions is not None
    ]
    own = {report.set_id for report in reports}
    borrowed = {
        one.set_id: one
        for made in record.calibrations
        for one in made.applied
        if one.set_id not in own
    }
    reports += [_report_borrowed_set(one, uses, night_dir) for _, one in sorted(borrowed.items())]
    return reports


def _report_own_set(
    outcome: SolveOutcome, solutions: SolutionSet, uses: Counter[str], night_dir: Path
) -> SetReport:
    """Describe a set that the night made."""
    described = _describe_set(solutions, uses, night_dir)
    # The faults of a refused set stand among its notes too.
    notes = [note for note in described.notes if note not in (outcome.reason or "")]
    reason = outcome.reason and split_reason(outcome.reason)[1]
    return described.model_copy(
        update={"state": outcome.state, "reason": reason, "is_own": True, "notes": notes}
    )


def _report_borrowed_set(one: AppliedSet, uses: Counter[str], night_dir: Path) -> SetReport:
    """Describe a set of another night, as far as it can still be read."""
    solutions = read_set(Path(one.directory))
    if solutions is not None and solutions.set_id == one.set_id:
        return _describe_set(solutions, uses, night_dir)
    return SetReport(
        set_id=one.set_id,
        calibrator=one.calibrator,
        state=SolveState.SOLVED,
        reason=None,
        is_own=False,
        group_id=None,
        flux_jy=None,
        refant=None,
        n_antennas=None,
        n_stations=None,
        n_windows=None,
        tables=[],
        notes=[_UNREADABLE],
        directory=one.directory,
        applied_to=uses[one.set_id],
    )


def _describe_set(solutions: SolutionSet, uses: Counter[str], night_dir: Path) -> SetReport:
    """Describe a good set of another night."""
    directory = Path(solutions.directory)
    return SetReport(
        set_id=solutions.set_id,
        calibrator=solutions.calibrator,
        state=SolveState.SOLVED,
        reason=None,
        is_own=False,
        group_id=solutions.group_id,
        flux_jy=solutions.calibrator_flux_jy,
        refant=solutions.refant,
        n_antennas=len(solutions.antennas),
        n_stations=len(solutions.array),
        n_windows=len(solutions.windows),
        tables=[
            TableReport(
                kind=table.kind,
                quality=table.quality,
                plot=_relative(directory, table.plot, night_dir),
            )
            for table in solutions.tables
        ],
        notes=solutions.notes,
        directory=solutions.directory,
        applied_to=uses[solutions.set_id],
    )


def _relative(folder: Path, name: str | None, night_dir: Path) -> str | None:
    """Path of a picture relative to the report, if it is there."""
    if name is None or not (folder / name).is_file():
        return None
    return os.path.relpath(folder / name, night_dir.absolute())


def _report_measurement_sets(
    record: NightRecord, sets: Sequence[MsReport], night_dir: Path
) -> list[MsCalibrationReport]:
    """Say of each MS how it was flagged and calibrated."""
    flags = {made.group_id: made for made in record.flaggings}
    calibrations = {made.group_id: made for made in record.calibrations}
    paths = {ms.group_id: ms.ms_path for ms in sets}
    paths = {made.group_id: made.ms_path for made in calibrations.values()} | paths
    paths = {made.group_id: made.ms_path for made in record.flaggings} | paths
    problems = {failure.group_id: failure.reason for failure in record.ms_failures}
    return [
        _report_ms(
            group_id,
            ms_path,
            flags.get(group_id),
            calibrations.get(group_id),
            problems.get(group_id),
            night_dir,
        )
        for group_id, ms_path in sorted(paths.items())
    ]


def _report_ms(
    group_id: str,
    ms_path: str,
    flags: FlagRecord | None,
    calibration: CalibrationRecord | None,
    problem: str | None,
    night_dir: Path,
) -> MsCalibrationReport:
    """Describe one MS; any of its records may be missing."""
    state = _ms_state(calibration, problem)
    by_flagging = calibration.flagged_before if calibration else None
    plot = _relative(Path(ms_path).parent, flags.plot, night_dir) if flags else None
    in_force = find_flags(flags, calibration)
    return MsCalibrationReport(
        group_id=group_id,
        ms_path=ms_path,
        state=state,
        problem=split_reason(problem)[1]
        if problem and state is MsCalibrationState.FAILED
        else None,
        applied=_report_applied(calibration.applied) if calibration else [],
        sentence=calibration.sentence if calibration else None,
        refused=calibration.refused if calibration else [],
        flagged_as_converted=flags.before.fraction if flags else None,
        flagged_by_flagging=flags.after.fraction if flags else by_flagging,
        flagged_by_calibration=calibration.flagged_after if calibration else None,
        flagged_by_window=in_force.by_window if in_force else [],
        dead=flags.dead if flags else [],
        flag_plot=plot,
        worst_error=calibration.worst_error if calibration else None,
        notes=calibration.notes if calibration else [],
    )


def _ms_state(calibration: CalibrationRecord | None, problem: str | None) -> MsCalibrationState:
    """Say how an MS was calibrated."""
    if calibration is None:
        return MsCalibrationState.FAILED if problem else MsCalibrationState.MISSING
    if not calibration.borrowed:
        return MsCalibrationState.OWN
    if len(calibration.applied) > 1:
        return MsCalibrationState.INTERPOLATED
    return MsCalibrationState.BORROWED


def _report_applied(applied: Iterable[AppliedSet]) -> list[AppliedReport]:
    """Say which sets were applied, without the fingerprints of their tables."""
    return [
        AppliedReport(set_id=one.set_id, calibrator=one.calibrator, hours=one.hours)
        for one in applied
    ]
