"""Draw the night report from the records: each thing once, each total once."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from dsa110_contimg.calibration.models import SolveState
from dsa110_contimg.conversion.models import (
    ConversionResult,
    GroupState,
    Manifest,
    SubbandGroup,
)
from dsa110_contimg.imaging.field_products import (
    FIELD_DIR,
    FIELD_PICTURE_FILE,
    FIELD_SUMMARY_FILE,
    FieldImage,
)
from dsa110_contimg.imaging.products import (
    DETECTIONS_FILE,
    RESULT_FILE,
    SPECTRUM_FILE,
    STAMP_FILE,
)
from dsa110_contimg.photometry.models import SourceResult
from dsa110_contimg.provenance import Provenance
from dsa110_contimg.qa.by_hand import group_of_run
from dsa110_contimg.qa.calibration_models import CalibrationReport
from dsa110_contimg.qa.calibration_summary import report_calibration
from dsa110_contimg.qa.flags_in_force import drop_stale, show_flags_in_force
from dsa110_contimg.qa.models import (
    ByHandReport,
    FieldReport,
    GroupOutcome,
    GroupReport,
    MsCondition,
    MsReport,
    NightReport,
    SourceReport,
    Totals,
    Verdict,
)
from dsa110_contimg.qa.record_models import NightRecord
from dsa110_contimg.qa.stages import list_stage_provenance, list_stage_times
from dsa110_contimg.qa.verdict import (
    find_failures,
    find_failures_by_hand,
    find_losses,
    judge,
    plural,
)
from dsa110_contimg.storage.publish import manifest_path, read_manifest
from dsa110_contimg.storage.removal import find_removed

_PRODUCT_FILES = {
    "stamp": STAMP_FILE,
    "spectrum": SPECTRUM_FILE,
    "detections": DETECTIONS_FILE,
    "result": RESULT_FILE,
}


def summarize_night(record: NightRecord, night_dir: Path, provenance: Provenance) -> NightReport:
    """Turn the records of a night, and the manifests of its MSs, into its report.

    Parameters
    ----------
    record : NightRecord
        All that is on record.
    night_dir : Path
        Where the report will stand; paths of products are relative to it.
    provenance : Provenance
        What makes this report.

    Returns
    -------
    NightReport
        The report.
    """
    groups = _report_groups(record)
    manifests, sets = _report_measurement_sets(record)
    record = drop_stale(record, manifests)
    sets = show_flags_in_force(record, sets)
    sources = _report_sources(record, night_dir)
    calibration = report_calibration(record, groups, sets, night_dir)
    failures = find_failures(record, groups, sets, calibration)
    losses = find_losses(record, groups, sets, sources, calibration)
    totals = _count(record, groups, sets, sources, len(failures)).model_copy(
        update=_count_calibration(calibration) if calibration else {}
    )
    verdict, headline = judge(totals, failures, losses)
    return NightReport(
        date=record.date,
        verdict=verdict,
        headline=headline,
        totals=totals,
        failures=failures,
        losses=losses,
        groups=groups,
        calibration=calibration,
        measurement_sets=sets,
        sources=sources,
        fields=_report_fields(record, night_dir),
        rejected_files=record.listing.rejects if record.listing else [],
        stage_times=list_stage_times(record, manifests),
        stage_provenance=list_stage_provenance(record, manifests),
        provenance=provenance,
        by_hand=[
            report_by_hand(run, results, night_dir) for run, results in record.by_hand.items()
        ],
    )


def report_by_hand(run: str, record: NightRecord, night_dir: Path) -> ByHandReport:
    """Describe the results of a run by hand.

    Parameters
    ----------
    run : str
        Its name in the records.
    record : NightRecord
        Its records.
    night_dir : Path
        Where the night's report stands; paths of products are relative to it.

    Returns
    -------
    ByHandReport
        With a verdict of its own.
    """
    sources = _report_sources(record, night_dir)
    failures = find_failures_by_hand(record)
    n_good = sum(source.success for source in sources)
    verdict = Verdict.COMPLETE
    if failures:
        verdict = Verdict.PARTIAL if n_good else Verdict.FAILED
    elif not n_good:
        verdict = Verdict.EMPTY
    n_failed = f", {len(failures)} failed or without an outcome" if failures else ""
    return ByHandReport(
        run=run,
        group_id=group_of_run(run),
        verdict=verdict,
        headline=f"{plural(n_good, 'source')} measured{n_failed}.",
        failures=failures,
        sources=sources,
    )


def _report_sources(record: NightRecord, night_dir: Path) -> list[SourceReport]:
    """Describe all sources, in order of group."""
    return [
        _report_source(group_id, result, night_dir)
        for group_id, results in sorted(record.sources.items())
        for result in results
    ]


def _report_groups(record: NightRecord) -> list[GroupReport]:
    """Join what discovery listed with what became of it."""
    listed = {group.group_id: group for group in record.listing.groups} if record.listing else {}
    results = {result.group_id: result for result in record.conversions}
    return [
        _report_group(group_id, listed.get(group_id), results.get(group_id))
        for group_id in sorted(listed.keys() | results.keys())
    ]


def _report_group(
    group_id: str, listed: SubbandGroup | None, result: ConversionResult | None
) -> GroupReport:
    """Describe one group; either side may be missing, not both."""
    outcome = GroupOutcome(result.state.value) if result else GroupOutcome.UNFINISHED
    if result is None and listed and listed.state is GroupState.INCOMPLETE:
        outcome = GroupOutcome.REJECTED
    return GroupReport(
        group_id=group_id,
        completeness=listed.state if listed else None,
        present=listed.present if listed else [],
        missing=listed.missing if listed else [],
        problems=listed.problems if listed else [],
        outcome=outcome,
        reason=result.reason if result else None,
        warnings=result.warnings if result else [],
        ms_path=result.ms_path if result else None,
        seconds=result.seconds if result else 0.0,
    )


def _report_measurement_sets(record: NightRecord) -> tuple[list[Manifest], list[MsReport]]:
    """Read the manifests of all MSs that the records name."""
    paths = {result.group_id: result.ms_path for result in record.conversions if result.ms_path}
    for group_id, results in record.sources.items():
        if results:
            paths.setdefault(group_id, results[0].ms_path)
    plans = {plan.group_id: len(plan.source_names) for plan in record.plans}
    manifests, reports = [], []
    for group_id, ms_path in sorted(paths.items()):
        manifest, fields = _read_manifest(Path(ms_path))
        if manifest:
            manifests.append(manifest)
        results = record.sources.get(group_id, [])
        report = MsReport(
            group_id=group_id,
            ms_path=ms_path,
            sources_planned=plans.get(group_id),
            sources=len(results),
            detections=sum(len(result.detections) for result in results),
            **fields,
        )
        reports.append(report)
    return manifests, reports


def _read_manifest(ms_path: Path) -> tuple[Manifest | None, dict[str, Any]]:
    """Return the manifest, if it holds, and the fields of `MsReport` that come from it."""
    manifest = read_manifest(ms_path)
    condition: dict[str, Any] = {"condition": MsCondition.SOUND}
    if manifest is None and (removed := find_removed(ms_path)) is not None:
        manifest = removed.manifest
        problem = f"{ms_path} {removed.sentence}"
        condition = {"condition": MsCondition.REMOVED, "problem": problem}
    if manifest is None:
        return None, _unsound(ms_path)
    windows = manifest.spectral_windows
    return manifest, {
        **condition,
        "spectral_windows": windows,
        "missing": manifest.missing,
        "phase_center_ra_deg": manifest.phase_center_ra_deg,
        "phase_center_dec_deg": manifest.phase_center_dec_deg,
        "start_utc": manifest.start_utc,
        "duration_s": manifest.duration_s,
        # All windows of an MS have the same shape, so that the mean is the whole.
        "flagged_fraction": _mean([window.flagged_fraction for window in windows]),
        "nonfinite": sum(window.nonfinite for window in windows),
        "size_bytes": sum(manifest.files.values()),
        "stage_seconds": manifest.stage_seconds,
    }


def _unsound(ms_path: Path) -> dict[str, Any]:
    """Say what is wrong with an MS whose manifest does not check out."""
    manifest = manifest_path(ms_path)
    match ms_path.exists(), manifest.exists():
        case False, False:
            problem = f"{ms_path} is no longer there, nor its manifest"
            return {"condition": MsCondition.GONE, "problem": problem}
        case False, True:
            problem = f"{ms_path} is no longer there, though its manifest is"
        case True, False:
            problem = f"{manifest} is missing: the MS was never published whole"
        case _:
            problem = f"{manifest} is damaged, or the MS has lost data since it was written"
    return {"condition": MsCondition.INCOMPLETE, "problem": problem}


def _report_source(group_id: str, result: SourceResult, night_dir: Path) -> SourceReport:
    """Describe one source in one MS, with the products that are there."""
    products, n_images = {}, 0
    if result.products_dir:
        folder = Path(result.products_dir)
        names = {path.name for path in folder.iterdir()} if folder.is_dir() else set()
        products = {
            kind: os.path.relpath(folder / name, night_dir.absolute())
            for kind, name in _PRODUCT_FILES.items()
            if name in names
        }
        n_images = sum(name.endswith(".fits") for name in names)
    return SourceReport(
        group_id=group_id,
        best_snr=max((detection.snr for detection in result.detections), default=None),
        products=products,
        n_images=n_images,
        error_inflation=_largest([spw.error_inflation for spw in result.spws]),
        reduced_chi2=_largest([spw.reduced_chi2 for spw in result.spws]),
        **{name: getattr(result, name) for name in _COPIED_FIELDS},
    )


def _largest(values: Sequence[float | None]) -> float | None:
    """Largest of the values that are there."""
    return max((value for value in values if value is not None), default=None)


def _report_fields(record: NightRecord, night_dir: Path) -> list[FieldReport]:
    """Describe the fields that have a picture, or what it tells, beside their sources."""
    reports = []
    for group_id, results in sorted(record.sources.items()):
        folders = [Path(result.products_dir).parent for result in results if result.products_dir]
        if not folders:
            continue
        folder = folders[0] / FIELD_DIR
        picture = folder / FIELD_PICTURE_FILE
        image = _read_field_image(folder / FIELD_SUMMARY_FILE)
        has_picture = picture.is_file()
        if image is None and not has_picture:
            continue
        relative = os.path.relpath(picture, night_dir.absolute()) if has_picture else None
        reports.append(
            FieldReport(
                group_id=group_id,
                sources=len(results),
                image=image,
                picture=relative,
                products_dir=str(folder.absolute()),
            )
        )
    return reports


def _read_field_image(path: Path) -> FieldImage | None:
    """Read what is known of the image of a field; nothing if that is damaged."""
    try:
        return FieldImage.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


_COPIED_FIELDS = sorted(
    (SourceResult.model_fields.keys() & SourceReport.model_fields.keys()) - {"products"}
)


def _count(
    record: NightRecord,
    groups: Sequence[GroupReport],
    sets: Sequence[MsReport],
    sources: Sequence[SourceReport],
    n_failures: int,
) -> Totals:
    """Count everything once."""
    outcomes = Counter(group.outcome for group in groups)
    states = Counter(group.completeness for group in groups)
    done = {(source.group_id, source.name) for source in sources}
    planned = {(plan.group_id, name) for plan in record.plans for name in plan.source_names}
    return Totals(
        groups=len(groups),
        groups_by_outcome={outcome: outcomes[outcome] for outcome in GroupOutcome},
        groups_by_completeness={state: states[state] for state in GroupState},
        subband_files=sum(len(group.files) for group in record.listing.groups)
        if record.listing
        else 0,
        rejected_files=len(record.listing.rejects) if record.listing else 0,
        measurement_sets=sum(ms.condition is MsCondition.SOUND for ms in sets),
        source_measurements=len(done | planned),
        sources=len({name for _, name in done | planned}),
        sources_failed=sum(not source.success for source in sources) + len(planned - done),
        detections=sum(len(source.detections) for source in sources),
        sources_detected=sum(bool(source.detections) for source in sources),
        failures=n_failures,
    )


def _count_calibration(calibration: CalibrationReport) -> dict[str, Any]:
    """Fields of `Totals` that come from calibration."""
    sets = calibration.measurement_sets
    return {
        "solution_sets": sum(
            one.is_own and one.state is SolveState.SOLVED for one in calibration.sets
        ),
        "calibrated_sets": sum(bool(ms.applied) for ms in sets),
        "mean_flagged_fraction": _mean([ms.flagged for ms in sets if ms.flagged is not None]),
    }


def _mean(values: Sequence[float]) -> float | None:
    """Mean, or None of nothing."""
    return sum(values) / len(values) if values else None
