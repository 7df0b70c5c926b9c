"""What the tasks of `image_ms` do: call a stage, and put on record what came of it."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from dsa110_contimg.catalog.sources import Source
from dsa110_contimg.conversion.models import Manifest
from dsa110_contimg.errors import ContimgError, InputError, ScienceQualityError, TransientError
from dsa110_contimg.imaging.models import ImageSourceOptions
from dsa110_contimg.models import Model
from dsa110_contimg.orchestration.spans import task_span
from dsa110_contimg.orchestration.transit_tasks import night_ledger
from dsa110_contimg.photometry.models import BinningOptions, SourceResult
from dsa110_contimg.qa.records import ImagingPlan, MsFailure
from dsa110_contimg.settings import get_settings
from dsa110_contimg.storage.ms_access import canonical_ms
from dsa110_contimg.visibilities.models import MsInfo


class ImageRequest(Model):
    """The parameters of a run of `image_ms`."""

    ms: Path
    """The Measurement Set."""
    sources: list[Source] | None = None
    """What to image, whether the beam saw it or not; None: what it saw of `sources_file`."""
    sources_file: Path | None = None
    """Catalogue; None: the one of the settings."""
    night: str | None = None
    """Night that the results are filed under; None: the date of the MS."""
    target_snr: float = Field(5.0, gt=0.0)
    """A run of windows at or above it is a detection."""
    min_width: int = Field(1, ge=1)
    """Smallest number of windows in a detection."""
    max_width: int = Field(16, ge=1)
    """Largest number of windows in a detection."""
    max_spws: int | None = None
    """Image only the first so many windows."""
    reprocess: bool = False
    """Do the work again even if the products are there."""


def read_request(params: Mapping[str, Any]) -> ImageRequest:
    """Understand the parameters of a run.

    Parameters
    ----------
    params : mapping
        As Airflow has them.

    Returns
    -------
    ImageRequest
        The request.

    Raises
    ------
    InputError
        If a value makes no sense; the message names it.
    """
    given = {name: value for name, value in params.items() if value not in (None, "", [])}
    try:
        request = ImageRequest.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(
            f"parameter {where}: {first['msg']}, not {first['input']!r}", reason="bad_parameter"
        ) from None
    # Manifest and products go by the true name, whatever link led to the MS.
    return request.model_copy(update={"ms": canonical_ms(request.ms)})


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
        If the MS is not published and whole, or the catalogue cannot be read.
    """
    group_id = request.ms.name.removesuffix(".ms")
    try:
        with task_span(request.ms, purpose, _span_log()):
            manifest = _read_manifest(request.ms)
            group_id = manifest.group_id
            sources = _select_sources(request)
        ledger = night_ledger(_night(request, group_id))
    except InputError as error:
        _record_ms_failure(request, group_id, error)
        raise
    ledger.clear_ms_failure(group_id)
    if request.sources is None:
        # A few sources by hand do not change what the night owes.
        names = [source.name for source in sources]
        ledger.save_plan(ImagingPlan(group_id=group_id, source_names=names))
    return sources


def _select_sources(request: ImageRequest) -> list[Source]:
    """Take the sources that were asked for, or those of the catalogue in the field."""
    from dsa110_contimg.catalog.sources import read_sources
    from dsa110_contimg.visibilities.ms_info import read_ms_info

    if request.sources is not None:
        return request.sources
    catalogue = read_sources(request.sources_file or get_settings().sources_path)
    info = read_ms_info(request.ms)
    return [source for source in catalogue if _is_in_field(source, info)]


def _is_in_field(source: Source, info: MsInfo) -> bool:
    """Whether the primary beam reached a source."""
    from dsa110_contimg.visibilities.primary_beam import check_in_field

    try:
        check_in_field(source, info)
    except InputError:
        return False
    return True


def image(request: ImageRequest, source: Source, purpose: str) -> SourceResult:
    """Image a source and put on record what came of it, also if it fails.

    Parameters
    ----------
    request : ImageRequest
        What was asked for.
    source : Source
        The source.
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

    settings = get_settings()
    group_id = _read_manifest(request.ms).group_id
    night = _night(request, group_id)
    options = ImageSourceOptions(
        ms_path=request.ms,
        products_dir=settings.products_dir / night / group_id,
        source=source,
        binning=BinningOptions(
            target_snr=request.target_snr,
            min_width=request.min_width,
            max_width=request.max_width,
        ),
        max_spws=request.max_spws,
        reprocess=request.reprocess,
        access_log=settings.logs_dir / "ms_access.jsonl",
        log_dir=settings.logs_dir / "imaging" / group_id,
        purpose=purpose,
    )
    ledger = night_ledger(night)
    start = time.perf_counter()
    try:
        with task_span(request.ms, purpose, _span_log()):
            result = image_source(options)
    except ContimgError as error:
        failed = failed_result(
            options, f"{error.reason}: {error}", seconds=time.perf_counter() - start
        )
        ledger.save_source(group_id, failed)
        raise
    ledger.save_source(group_id, result)
    if not result.success:
        raise _incomplete(result)
    return result


def judge_sources(planned: Sequence[Mapping[str, Any]] | None, done: Sequence[str]) -> str:
    """Say in a sentence what became of the sources of an MS.

    Parameters
    ----------
    planned : sequence of mapping or None
        The sources that were to be imaged, as JSON; None if they could not be found out.
    done : sequence of str
        Names of those that succeeded.

    Returns
    -------
    str
        For the log and the UI.

    Raises
    ------
    ScienceQualityError
        If one is missing.
    """
    if planned is None:
        raise InputError("the MS could not be prepared", reason="not_prepared")
    lost = [source["name"] for source in planned if source["name"] not in set(done)]
    if lost:
        raise ScienceQualityError(
            f"{len(lost)} of {len(planned)} sources failed: {', '.join(lost)}",
            reason="sources_failed",
            remedy="the logs of their tasks say why; clear the tasks to try again",
        )
    return f"{len(planned)} sources imaged" if planned else "no source lies in the field"


def _read_manifest(ms_path: Path) -> Manifest:
    """Read the manifest of an MS that must be published and whole."""
    from dsa110_contimg.storage.publish import manifest_path, read_manifest

    manifest = read_manifest(ms_path)
    if manifest is None:
        what = "does not check out" if manifest_path(ms_path).exists() else "is not there"
        raise InputError(
            f"{ms_path} is not a published Measurement Set: its manifest {what}",
            reason="ms_not_published",
            remedy="convert its group again",
        )
    return manifest


def _span_log() -> Path:
    """Record of the tasks' work on MSs."""
    return get_settings().logs_dir / "ms_tasks.jsonl"


def _night(request: ImageRequest, group_id: str) -> str:
    """Night that the results are filed under."""
    return request.night or group_id[:10]


def _record_ms_failure(request: ImageRequest, group_id: str, error: InputError) -> None:
    """Record that an MS cannot be imaged, if it is known which night it belongs to."""
    try:
        ledger = night_ledger(_night(request, group_id))
    except InputError:
        return
    ledger.save_ms_failure(MsFailure(group_id=group_id, reason=f"{error.reason}: {error}"))


def _incomplete(result: SourceResult) -> ContimgError:
    """Name the error of a source some of whose windows were not measured."""
    retryable = any(window.retryable for window in result.failed_spws)
    kind = TransientError if retryable else ScienceQualityError
    return kind(f"{result.name}: {result.error}", reason="windows_failed")
