"""What the tasks of `image_ms` do: call a stage, and put on record what came of it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dsa110_contimg.calibration.snapshot import CalibrationDemand as Demand
from dsa110_contimg.catalog.sources import Source
from dsa110_contimg.errors import ContimgError, InputError, ScienceQualityError, TransientError
from dsa110_contimg.imaging.models import ImageSourceOptions
from dsa110_contimg.models import Model
from dsa110_contimg.orchestration.metrics import count_sources
from dsa110_contimg.orchestration.ms_requests import (
    ImageRequest,
    check_sources,
    known_sources,
    look_at_ms,
    work_on_ms,
)
from dsa110_contimg.photometry.models import BinningOptions, Photometry, SourceResult
from dsa110_contimg.qa.record_models import ImagingPlan
from dsa110_contimg.settings import get_settings
from dsa110_contimg.storage.ms_access import ACCESS_LOG

if TYPE_CHECKING:
    from dsa110_contimg.photometry.measure import MeasureOptions
    from dsa110_contimg.qa.records import NightLedger

_MOST_NAMED = 5
"""Failed sources that an error names."""


class ImagingJob(Model):
    """A source that is left to be imaged."""

    source: Source
    """The source."""
    field_fit: Path | None
    """The field's other sources, to be subtracted."""


def plan_sources(request: ImageRequest, purpose: str) -> list[Source]:
    """Find what is to be imaged in an MS, and put it on record, also if there is no MS.

    Parameters
    ----------
    request : ImageRequest
        What was asked for.
    purpose : str
        The task, in words.

    Returns
    -------
    list of Source
        Empty if no source of the catalogue lies in the field.

    Raises
    ------
    InputError
        If the MS is not published and whole, the catalogue cannot be read, or a source that was
        asked for lies outside the field.
    """
    with work_on_ms(request, purpose, fatal=InputError) as (group_id, _):
        check_sources(request, purpose)
        sources = _select_sources(request, purpose)
    ledger = request.results_of(group_id)
    ledger.clear_ms_failure(group_id)
    if request.by_hand or request.sources is None:
        names = [source.name for source in sources]
        ledger.save_plan(ImagingPlan(group_id=group_id, source_names=names))
    return sources


def _select_sources(request: ImageRequest, purpose: str) -> list[Source]:
    """Take the sources that were asked for, or those of the catalogue in the field."""
    from dsa110_contimg.catalog.sources import read_sources
    from dsa110_contimg.visibilities.primary_beam import select_in_field

    if request.sources is not None:
        return request.sources
    catalogue = read_sources(request.sources_file or get_settings().sources_path)
    return select_in_field(catalogue, look_at_ms(request, purpose).info)


def measure(request: ImageRequest, sources: list[Source], purpose: str) -> list[ImagingJob]:
    """Fit the sources of a field jointly, and put on record what came of each.

    Parameters
    ----------
    request : ImageRequest
        What was asked for; if sources are to be measured on images, the fit is only what they
        subtract.
    sources : list of Source
        What is to be measured.
    purpose : str
        Shown to those who wait for the MS.

    Returns
    -------
    list of ImagingJob
        What is left to be imaged: none, unless images were asked for.

    Raises
    ------
    ContimgError
        If one failed, or not every window could be measured.
    """
    from dsa110_contimg.photometry.measure import (
        failed_measurement,
        fit_for_images,
        measure_sources,
    )

    if not sources:
        return []
    with work_on_ms(request, purpose) as (group_id, _):
        ledger = request.results_of(group_id)
        options = _measure_options(request, group_id, sources, purpose)
        try:
            if request.photometry is Photometry.IMAGE:
                fit = fit_for_images(options)
                return [ImagingJob(source=source, field_fit=fit) for source in sources]
            results = measure_sources(options)
        except ContimgError as error:
            failures = [failed_measurement(options, source, error) for source in sources]
            _record(ledger, group_id, failures)
            raise
        _record(ledger, group_id, results)
        failed = [result for result in results if not result.success]
        if failed:
            raise _incomplete(failed)
    return []


def image(request: ImageRequest, job: ImagingJob, purpose: str) -> SourceResult:
    """Image a source and put on record what came of it, also if it fails.

    Parameters
    ----------
    request : ImageRequest
        What was asked for.
    job : ImagingJob
        The source, and what is subtracted around it.
    purpose : str
        Shown to those who wait for the MS.

    Returns
    -------
    SourceResult
        A success.

    Raises
    ------
    ContimgError
        If it failed, or not every window could be measured.
    """
    from dsa110_contimg.imaging.image_source import failed_result, image_source

    start = time.perf_counter()
    with work_on_ms(request, purpose) as (group_id, _):
        ledger = request.results_of(group_id)
        measured = _measure_options(request, group_id, [job.source], purpose)
        shared = measured.model_dump(include=set(ImageSourceOptions.model_fields))
        options = ImageSourceOptions.model_validate(
            {**shared, "source": job.source, "field_fit": job.field_fit}
        )
        try:
            result = image_source(options)
        except ContimgError as error:
            failed = failed_result(
                options, f"{error.reason}: {error}", seconds=time.perf_counter() - start
            )
            _record(ledger, group_id, [failed])
            raise
        _record(ledger, group_id, [result])
        if not result.success:
            raise _incomplete([result])
    return result


def _record(ledger: NightLedger, group_id: str, results: Sequence[SourceResult]) -> None:
    """Put on record what came of sources, and count them."""
    for result in results:
        ledger.save_source(group_id, result)
    count_sources(results)


def _measure_options(
    request: ImageRequest, group_id: str, sources: list[Source], purpose: str
) -> MeasureOptions:
    """Say how sources are measured."""
    from dsa110_contimg.photometry.measure import MeasureOptions

    settings = get_settings()
    return MeasureOptions(
        ms_path=request.ms,
        products_dir=request.products_dir(group_id),
        sources=sources,
        field_model=known_sources(request),
        photometry=request.photometry,
        # Another run may flag the MS again after this one has calibrated it.
        calibration=Demand.APPLIED if settings.calibration == "on" else Demand.ASSUMED,
        backend=request.backend,
        binning=BinningOptions(
            target_snr=request.target_snr,
            min_width=request.min_width,
            max_width=request.max_width,
        ),
        max_spws=request.max_spws,
        reprocess=request.reprocess,
        access_log=settings.logs_dir / ACCESS_LOG,
        log_dir=settings.logs_dir / "imaging" / group_id,
        purpose=purpose,
    )


def judge_sources(
    planned: Sequence[Mapping[str, Any]] | None,
    left: Sequence[Mapping[str, Any]] | None,
    imaged: Sequence[str],
) -> str:
    """Say in a sentence what became of the sources of an MS.

    Parameters
    ----------
    planned : sequence of mapping or None
        The sources that were to be measured, as JSON; None if they could not be found out.
    left : sequence of mapping or None
        The `ImagingJob` of those that were left to be imaged; None if the joint fit failed.
    imaged : sequence of str
        Names of those that were.

    Returns
    -------
    str
        For the log and the UI.

    Raises
    ------
    InputError
        If the MS could not be prepared.
    ScienceQualityError
        If a source is missing.
    """
    remedy = "the logs of their tasks say why; clear the tasks to try again"
    if planned is None:
        raise InputError("the MS could not be prepared", reason="not_prepared")
    if left is None:
        raise ScienceQualityError(
            f"of {len(planned)} sources not all could be measured",
            reason="sources_failed",
            remedy=remedy,
        )
    names = [job["source"]["name"] for job in left]
    lost = [name for name in names if name not in set(imaged)]
    if lost:
        raise ScienceQualityError(
            f"{len(lost)} of {len(planned)} sources failed: {', '.join(lost)}",
            reason="sources_failed",
            remedy=remedy,
        )
    return f"{len(planned)} sources measured" if planned else "no source lies in the field"


def _incomplete(failed: Sequence[SourceResult]) -> ContimgError:
    """Name the error of sources some of whose windows were not measured."""
    retryable = any(window.retryable for result in failed for window in result.failed_spws)
    kind = TransientError if retryable else ScienceQualityError
    sentences = [f"{result.name}: {result.error}" for result in failed[:_MOST_NAMED]]
    if len(failed) > _MOST_NAMED:
        sentences.append(f"and {len(failed) - _MOST_NAMED} more")
    return kind("\n".join(sentences), reason="windows_failed")
