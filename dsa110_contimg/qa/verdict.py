"""What failed, what was lost, and what the night came to."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from dsa110_contimg.calibration.models import SolveState
from dsa110_contimg.conversion.filenames import parse_subband_name
from dsa110_contimg.conversion.models import GroupState
from dsa110_contimg.photometry.models import SourceResult
from dsa110_contimg.qa.calibration_models import CalibrationReport, TransitState
from dsa110_contimg.qa.models import (
    Failure,
    FailureKind,
    GroupOutcome,
    GroupReport,
    MsCondition,
    MsReport,
    SourceReport,
    Totals,
    Verdict,
)
from dsa110_contimg.qa.reasons import split_reason
from dsa110_contimg.qa.record_models import NightRecord

_NO_REASON = "no reason is on record"
LOST_TASK = "no outcome is on record: its task is still running, or was killed"
"""Why something that was planned has no outcome."""
NOT_LISTED = "nobody has recorded what the input directory holds"
"""Why a night has no groups, nor files that were rejected."""
_NONFINITE = ("non-finite visibility", "non-finite visibilities")
_USABLE = {GroupOutcome.CONVERTED, GroupOutcome.SKIPPED}
_SOLVE_AGAIN = (
    "Look at its plots and at the flags of its Measurement Set. Until it is solved again, other "
    "solutions are borrowed."
)
_FLAGGED_BY_MORE = 0.5
"""Of an MS that is flagged by more than this, less is left than was lost."""
_CLEAR_SOURCE = (
    "Clear its task in the run of image_ms that the night started for its MS in Airflow."
)
_BY_HAND = "Clear its task in Airflow, or withdraw the results of this run and ask anew."
_CLEAR_TASK = "Look at the log of its task, remove the cause, and clear the task in Airflow"


def plural(count: int, noun: str, nouns: str | None = None) -> str:
    """Write a number with its noun.

    Parameters
    ----------
    count : int
        How many.
    noun : str
        In the singular.
    nouns : str, optional
        In the plural, where that is not made with an ``s``.

    Returns
    -------
    str
        E.g. ``"1 group"``, ``"2 groups"``.
    """
    word = noun if count == 1 else nouns or f"{noun}s"
    return f"{count:,} {word}".replace(",", "\N{NARROW NO-BREAK SPACE}")


def find_failures(
    record: NightRecord,
    groups: Sequence[GroupReport],
    sets: Sequence[MsReport],
    calibration: CalibrationReport | None = None,
) -> list[Failure]:
    """List everything that failed, the largest thing first.

    Parameters
    ----------
    record : NightRecord
        All that is on record.
    groups : sequence of GroupReport
        The night's groups.
    sets : sequence of MsReport
        The night's MSs.
    calibration : CalibrationReport, optional
        Its calibrators, if anybody looked.

    Returns
    -------
    list of Failure
        Of the night as a whole, of groups, calibrators, MSs, sources and records, in this order.
    """
    return [
        *_night_failures(record),
        *_group_failures(groups),
        *_calibrator_failures(record, groups, calibration),
        *_ms_failures(record, groups, sets),
        *_source_failures(record),
        *_record_failures(record),
    ]


def find_failures_by_hand(record: NightRecord) -> list[Failure]:
    """List everything that failed in a run by hand.

    Parameters
    ----------
    record : NightRecord
        The records of the run.

    Returns
    -------
    list of Failure
        Of its MS, of sources and of records, in this order.
    """
    sets = [
        _failure(FailureKind.MS, f"{item.group_id}.ms", item.reason, _BY_HAND, item.group_id)
        for item in record.ms_failures
    ]
    return [*sets, *_source_failures(record, _BY_HAND), *_record_failures(record)]


def _failure(
    kind: FailureKind,
    subject: str,
    reason: str | None,
    remedy: str,
    group_id: str | None = None,
) -> Failure:
    """Describe a failure; a reason that starts with an error's slug is split there."""
    code, sentence = split_reason(reason or _NO_REASON)
    return Failure(
        kind=kind,
        subject=subject,
        group_id=group_id,
        code=code,
        reason=sentence,
        remedy=remedy,
    )


def _night_failures(record: NightRecord) -> list[Failure]:
    """List the stages that failed as a whole."""
    failures = [
        _failure(
            FailureKind.NIGHT, item.stage, item.reason, _as_sentence(item.remedy or _CLEAR_TASK)
        )
        for item in record.stage_failures
    ]
    damaged = any(Path(item.file).name == "discovery.json" for item in record.unreadable)
    if record.listing is None and not failures and not damaged:
        remedy = f"{_CLEAR_TASK}; what was there is listed by `dsa110-contimg groups`."
        failures.append(_failure(FailureKind.NIGHT, "discovery", NOT_LISTED, remedy))
    return failures


def _record_failures(record: NightRecord) -> list[Failure]:
    """List the records that are damaged."""
    remedy = "Clear the task that wrote it in Airflow: work that is done is not redone."
    return [
        _failure(FailureKind.RECORD, item.file, item.reason, remedy) for item in record.unreadable
    ]


def _group_failures(groups: Sequence[GroupReport]) -> list[Failure]:
    """List the groups that failed, or whose task left no outcome."""
    reasons = {
        group.group_id: LOST_TASK if group.outcome is GroupOutcome.UNFINISHED else group.reason
        for group in groups
        if group.outcome in {GroupOutcome.FAILED, GroupOutcome.UNFINISHED}
    }
    return [
        _failure(FailureKind.GROUP, group_id, reason, f"{_CLEAR_TASK}.", group_id)
        for group_id, reason in reasons.items()
    ]


def _calibrator_failures(
    record: NightRecord, groups: Sequence[GroupReport], calibration: CalibrationReport | None
) -> list[Failure]:
    """List the solves that gave no good solutions, or whose task left no outcome."""
    remedies = {SolveState.REFUSED: _SOLVE_AGAIN, SolveState.FAILED: f"{_CLEAR_TASK}."}
    failures = [
        _failure(
            FailureKind.CALIBRATOR,
            outcome.calibrator,
            outcome.reason,
            remedies[outcome.state],
            outcome.group_id,
        )
        for outcome in record.solves
        if outcome.state in remedies
    ]
    # What keeps an MS or a group from being solved has its own place in the list.
    ready = {group.group_id for group in groups if group.outcome in _USABLE}
    ready -= {failure.group_id for failure in record.ms_failures}
    failures += [
        _failure(
            FailureKind.CALIBRATOR,
            transit.calibrator,
            LOST_TASK,
            f"{_CLEAR_TASK}.",
            transit.group_id,
        )
        for transit in (calibration.transits if calibration else [])
        if transit.state is TransitState.WAITING and transit.group_id in ready
    ]
    return failures


def _ms_failures(
    record: NightRecord, groups: Sequence[GroupReport], sets: Sequence[MsReport]
) -> list[Failure]:
    """List the MSs that could not be imaged, are not whole, or whose tasks left no outcome."""
    names = {ms.group_id: Path(ms.ms_path).name for ms in sets}
    again = "Clear the run of image_ms that the night started for it in Airflow."
    anew = "Clear the conversion of its group in Airflow: it makes the MS anew."
    failures = [
        _failure(
            FailureKind.MS,
            names.get(item.group_id, f"{item.group_id}.ms"),
            item.reason,
            again,
            item.group_id,
        )
        for item in record.ms_failures
    ]
    failures += [
        _failure(FailureKind.MS, names[ms.group_id], ms.problem, anew, ms.group_id)
        for ms in sets
        if ms.condition is MsCondition.INCOMPLETE
    ]
    told = {plan.group_id for plan in record.plans} | {failure.group_id for failure in failures}
    told |= set(record.sources)
    usable = {group.group_id for group in groups if group.outcome in _USABLE}
    failures += [
        _failure(FailureKind.MS, names[ms.group_id], LOST_TASK, again, ms.group_id)
        for ms in sets
        if ms.condition is MsCondition.SOUND and ms.group_id in usable - told
    ]
    return failures


def _source_failures(record: NightRecord, remedy: str = _CLEAR_SOURCE) -> list[Failure]:
    """List the sources that failed, or whose task left no outcome."""
    reasons = {
        (group_id, result.name): _source_reason(result)
        for group_id, results in sorted(record.sources.items())
        for result in results
        if not result.success
    }
    unimaged = {failure.group_id for failure in record.ms_failures}
    for plan in record.plans:
        done = {result.name for result in record.sources.get(plan.group_id, [])}
        because = "its MS could not be imaged" if plan.group_id in unimaged else LOST_TASK
        reasons |= {
            (plan.group_id, name): because for name in plan.source_names if name not in done
        }
    return [
        _failure(FailureKind.SOURCE, name, reason, remedy, group_id)
        for (group_id, name), reason in reasons.items()
    ]


def _source_reason(result: SourceResult) -> str:
    """Say why a source failed, from its error or from its windows."""
    if result.error:
        return result.error
    windows = [f"SPW {failure.spw_id}: {failure.reason}" for failure in result.failed_spws]
    return "; ".join(windows) or _NO_REASON


def _is_of_night(file: Path, date: str) -> bool:
    """Whether a rejected file is a subband file of a night: a stray one is the loss of none.

    Discovery lists files with a proper name only in the night that their time belongs to.
    """
    is_named = parse_subband_name(file.name) is not None or date in file.name
    return file.suffix == ".hdf5" and is_named


def find_losses(
    record: NightRecord,
    groups: Sequence[GroupReport],
    sets: Sequence[MsReport],
    sources: Sequence[SourceReport],
    calibration: CalibrationReport | None = None,
) -> list[str]:
    """List what was lost without a failure.

    Parameters
    ----------
    record : NightRecord
        All that is on record.
    groups : sequence of GroupReport
        The night's groups.
    sets : sequence of MsReport
        The night's MSs.
    sources : sequence of SourceReport
        The night's sources.
    calibration : CalibrationReport, optional
        Its calibrators, solutions and flags, if anybody looked.

    Returns
    -------
    list of str
        A sentence each.
    """
    rejected = sum(group.outcome is GroupOutcome.REJECTED for group in groups)
    partial = sum(group.completeness is GroupState.SEMI_COMPLETE for group in groups)
    rejects = record.listing.rejects if record.listing else []
    # Other files that lie about, such as a catalogue, are listed but are no loss.
    files = sum(_is_of_night(Path(reject.file), record.date) for reject in rejects)
    nonfinite = sum(ms.nonfinite or 0 for ms in sets)
    gone = sum(ms.condition is MsCondition.GONE for ms in sets)
    left_out = sum(group.outcome is GroupOutcome.LEFT_OUT for group in groups)
    windows = sum(len(source.failed_spws) for source in sources if source.success)
    warnings = sum(len(group.warnings) for group in groups)
    sentences = [
        (rejected, f"{plural(rejected, 'group')} rejected for want of subbands"),
        (left_out, f"{plural(left_out, 'group')} left out, as the run asked"),
        (partial, f"{plural(partial, 'group')} with subbands missing"),
        (files, f"{plural(files, 'subband file')} in no group"),
        (nonfinite, f"{plural(nonfinite, *_NONFINITE)} flagged"),
        (gone, f"{plural(gone, 'Measurement Set')} removed since"),
        (windows, f"{plural(windows, 'spectral window')} of sources without a measurement"),
        (warnings, f"{plural(warnings, 'warning')} from conversions"),
    ]
    early = [one for one in record.arrivals if not one.is_settled]
    sentences += [(1, f"files that came too late: {one.sentence}") for one in early]
    if calibration:
        sentences += _calibration_losses(calibration)
    return [sentence for count, sentence in sentences if count]


def _calibration_losses(calibration: CalibrationReport) -> list[tuple[int, str]]:
    """Count what calibration had to do without."""
    sets = calibration.measurement_sets
    # A transit holds for its night; solutions of another night alone are a second choice.
    own = {solutions.set_id for solutions in calibration.sets if solutions.is_own}
    borrowed = sum(bool(ms.applied) and own.isdisjoint(a.set_id for a in ms.applied) for ms in sets)
    flagged = sum(ms.flagged is not None and ms.flagged > _FLAGGED_BY_MORE for ms in sets)
    unseen = sum(one.state is TransitState.UNRECORDED for one in calibration.transits)
    problems = len(calibration.problems)
    first = calibration.problems[0] if problems else ""
    return [
        (borrowed, f"{plural(borrowed, 'Measurement Set')} with solutions of another night"),
        (flagged, f"{plural(flagged, 'Measurement Set')} flagged by more than half"),
        (unseen, f"{plural(unseen, 'calibrator transit')} that no group recorded"),
        (problems, f"{plural(problems, 'problem')} with calibrators, the first: {first}"),
    ]


def judge(
    totals: Totals, failures: Sequence[Failure], losses: Sequence[str]
) -> tuple[Verdict, str]:
    """Say what the night came to.

    Parameters
    ----------
    totals : Totals
        The night in numbers.
    failures : sequence of Failure
        Everything that failed.
    losses : sequence of str
        What was lost without a failure.

    Returns
    -------
    verdict : Verdict
        In a word.
    headline : str
        In a sentence.
    """
    outcomes = totals.groups_by_outcome
    usable = outcomes[GroupOutcome.CONVERTED] + outcomes[GroupOutcome.SKIPPED]
    if failures:
        verdict = Verdict.PARTIAL if usable or totals.source_measurements else Verdict.FAILED
        return verdict, _failure_headline(totals, failures)
    if not usable and not totals.source_measurements:
        if not totals.groups and not losses:
            return Verdict.EMPTY, "No subband file was found for this night."
        if not totals.groups:
            return Verdict.FAILED, "No group was found, only files that had to be rejected."
        nothing_asked = (Verdict.LOSSES, "No group was what the run asked for.")
        nothing_whole = (Verdict.FAILED, "No group was complete enough to convert.")
        return nothing_asked if outcomes[GroupOutcome.LEFT_OUT] else nothing_whole
    done = f"{plural(usable, 'group')} converted, {_all_measured(totals)}"
    if losses:
        return Verdict.LOSSES, f"Nothing failed: {done}."
    return Verdict.COMPLETE, f"Everything was done: {done}."


def _all_measured(totals: Totals) -> str:
    """Say what was imaged, in a night without failures."""
    if not totals.source_measurements:
        return "no source to image"
    return f"{plural(totals.source_measurements, 'source measurement')} made"


def _failure_headline(totals: Totals, failures: Sequence[Failure]) -> str:
    """Say in a sentence what failed, with its share of the whole."""
    kinds = Counter(item.kind for item in failures)
    lost = totals.groups_by_outcome[GroupOutcome.UNFINISHED]
    groups = totals.groups_by_outcome[GroupOutcome.FAILED] + lost
    subjects = [item.subject for item in failures if item.kind is FailureKind.NIGHT]
    if groups:
        subjects.append(f"{groups} of {plural(totals.groups, 'group')}")
    if kinds[FailureKind.CALIBRATOR]:
        subjects.append(plural(kinds[FailureKind.CALIBRATOR], "calibrator"))
    if kinds[FailureKind.MS]:
        subjects.append(plural(kinds[FailureKind.MS], "Measurement Set"))
    if totals.sources_failed:
        whole = plural(totals.source_measurements, "source measurement")
        subjects.append(f"{totals.sources_failed} of {whole}")
    if kinds[FailureKind.RECORD]:
        subjects.append(plural(kinds[FailureKind.RECORD], "record"))
    listed = " and ".join([", ".join(subjects[:-1]), subjects[-1]] if subjects[1:] else subjects)
    return _as_sentence(f"{listed} {'failed or left no outcome' if lost else 'failed'}")


def _as_sentence(text: str) -> str:
    """Begin with a capital and end with a full stop."""
    return f"{text[:1].upper()}{text[1:].rstrip('.')}."
