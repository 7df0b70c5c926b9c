"""Times and provenance of the night's stages, in order of the data flow."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from dsa110_contimg.calibration.models import CalibrationRecord
from dsa110_contimg.conversion.models import ConversionState, Manifest
from dsa110_contimg.flagging.models import FlagRecord
from dsa110_contimg.provenance import Provenance
from dsa110_contimg.qa.models import StageProvenance, StageTime
from dsa110_contimg.qa.record_models import NightRecord


def list_stage_times(record: NightRecord, manifests: Sequence[Manifest]) -> list[StageTime]:
    """Add up the wall times of a night.

    Parameters
    ----------
    record : NightRecord
        All that is on record.
    manifests : sequence of Manifest
        Of the night's MSs.

    Returns
    -------
    list of StageTime
        In order of the data flow, parts after their whole. Work that was found done does not
        count.
    """
    conversions = [
        result.seconds
        for result in record.conversions
        if result.state in {ConversionState.CONVERTED, ConversionState.FAILED}
    ]
    imaging = [
        result.seconds
        for results in record.sources.values()
        for result in results
        if not result.skipped
    ]
    solving = [outcome.seconds for outcome in record.solves]
    return [
        *(_stage_time(timing.stage, [timing.seconds]) for timing in record.stage_seconds),
        *_whole_and_parts("conversion", conversions, [m.stage_seconds for m in manifests]),
        *_changes("flagging", record.flaggings),
        *_whole_and_parts("solving", solving, []),
        *_changes("calibration", record.calibrations),
        *_whole_and_parts("imaging", imaging, []),
    ]


def _changes(
    stage: str, records: Sequence[FlagRecord] | Sequence[CalibrationRecord]
) -> list[StageTime]:
    """Add up what changed MSs."""
    done = [made for made in records if not made.skipped]
    return _whole_and_parts(
        stage, [made.seconds for made in done], [made.stage_seconds for made in done]
    )


def _whole_and_parts(
    stage: str, seconds: Sequence[float], steps: Sequence[Mapping[str, float]]
) -> list[StageTime]:
    """Add up a stage and its steps; nothing if it did not run."""
    parts: dict[str, list[float]] = {}
    for taken in steps:
        for step, step_seconds in taken.items():
            parts.setdefault(step, []).append(step_seconds)
    if not (seconds or parts):
        return []
    whole = _stage_time(stage, seconds)
    return [whole, *(_stage_time(step, taken, stage) for step, taken in parts.items())]


def _stage_time(stage: str, seconds: Sequence[float], part_of: str | None = None) -> StageTime:
    """Add up the wall times of one stage."""
    return StageTime(
        stage=stage,
        part_of=part_of,
        count=len(seconds),
        total_s=sum(seconds),
        mean_s=sum(seconds) / len(seconds) if seconds else 0.0,
        max_s=max(seconds, default=0.0),
    )


def list_stage_provenance(
    record: NightRecord, manifests: Sequence[Manifest]
) -> list[StageProvenance]:
    """Say what made the products of each stage, and whether it was one and the same.

    Parameters
    ----------
    record : NightRecord
        All that is on record.
    manifests : sequence of Manifest
        Of the night's MSs.

    Returns
    -------
    list of StageProvenance
        In order of the data flow; stages without products are left out.
    """
    results = [result for results in record.sources.values() for result in results]
    stages = {
        "conversion": [manifest.provenance for manifest in manifests],
        "flagging": [made.provenance for made in record.flaggings],
        "solving": [made.solutions.provenance for made in record.solves if made.solutions],
        "calibration": [made.provenance for made in record.calibrations],
        "imaging": [result.provenance for result in results],
    }
    return [_merge_provenance(stage, records) for stage, records in stages.items() if records]


def _merge_provenance(stage: str, records: Sequence[Provenance]) -> StageProvenance:
    """Merge the provenance of like products into what they share and what varies."""
    created = sorted(record.created for record in records)
    packages = sorted({package for record in records for package in record.versions})
    names = sorted({name for record in records for name in record.options})
    first = records[0].options
    shared = [
        name
        for name in names
        if name in first and all(record.options.get(name) == first[name] for record in records)
    ]
    return StageProvenance(
        stage=stage,
        products=len(records),
        first_created=created[0],
        last_created=created[-1],
        hosts=sorted({record.host for record in records}),
        versions={
            package: sorted({record.versions.get(package, "absent") for record in records})
            for package in packages
        },
        options={name: first[name] for name in shared},
        varying_options=[name for name in names if name not in shared],
    )
