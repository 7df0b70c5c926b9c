"""What a run of `image_ms` is asked for, and where its tasks put what came of it."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from dsa110_contimg.catalog.sources import Source
from dsa110_contimg.errors import ContimgError, InputError, TransientError
from dsa110_contimg.imaging.models import Backend
from dsa110_contimg.models import Model
from dsa110_contimg.orchestration.transit_tasks import night_ledger
from dsa110_contimg.photometry.models import Photometry
from dsa110_contimg.qa.record_models import MsFailure
from dsa110_contimg.qa.records import NightLedger
from dsa110_contimg.settings import get_settings
from dsa110_contimg.storage.ms_access import canonical_ms


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
    photometry: Photometry = Field(default_factory=lambda: Photometry(get_settings().photometry))
    """Joint fit in the uv plane, or an image for each source and window."""
    backend: Backend = Field(default_factory=lambda: Backend(get_settings().backend))
    """The program that makes images."""
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

    @property
    def group_id(self) -> str:
        """The group, as the name of the MS has it."""
        return self.ms.name.removesuffix(".ms")

    def night_of(self, group_id: str) -> str:
        """Say which night the results are filed under.

        Parameters
        ----------
        group_id : str
            The group.

        Returns
        -------
        str
            UTC date.
        """
        return self.night or group_id[:10]


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


def read_group_id(ms_path: Path) -> str:
    """Read from the manifest which group an MS was made from.

    Parameters
    ----------
    ms_path : Path
        The MS.

    Returns
    -------
    str
        The group.

    Raises
    ------
    InputError
        If the MS is not published and whole.
    """
    from dsa110_contimg.storage.publish import manifest_path, read_manifest

    manifest = read_manifest(ms_path)
    if manifest is None:
        what = "does not check out" if manifest_path(ms_path).exists() else "is not there"
        raise InputError(
            f"{ms_path} is not a published Measurement Set: its manifest {what}",
            reason="ms_not_published",
            remedy="convert its group again",
        )
    return manifest.group_id


def ledger_of(request: ImageRequest) -> tuple[str, NightLedger]:
    """Find the group of an MS and the record of its night.

    Parameters
    ----------
    request : ImageRequest
        What was asked for.

    Returns
    -------
    group_id : str
        The group.
    ledger : NightLedger
        The record.

    Raises
    ------
    InputError
        If the MS is not published and whole.
    """
    group_id = read_group_id(request.ms)
    return group_id, night_ledger(request.night_of(group_id))


def record_ms_failure(request: ImageRequest, error: ContimgError) -> None:
    """Record that nothing more can come of an MS, if it is known which night it belongs to.

    Parameters
    ----------
    request : ImageRequest
        What was asked for.
    error : ContimgError
        Why.
    """
    try:
        ledger = night_ledger(request.night_of(request.group_id))
    except InputError:
        return
    ledger.save_ms_failure(
        MsFailure(
            group_id=request.group_id,
            reason=f"{error.reason}: {error}",
            is_retried=isinstance(error, TransientError),
        )
    )


def known_sources(request: ImageRequest) -> list[Source]:
    """Read all catalogues that tell what else is in a field.

    Parameters
    ----------
    request : ImageRequest
        What was asked for.

    Returns
    -------
    list of Source
        Sources of the catalogue, the field model, and the calibrators; each name once.

    Raises
    ------
    InputError
        If a catalogue that is named cannot be read.
    """
    from dsa110_contimg.catalog.calibrators import read_calibrators
    from dsa110_contimg.catalog.sources import read_sources

    settings = get_settings()
    known: dict[str, Source] = {}
    if settings.calibrators_path.exists():
        known |= {source.name: source for source in read_calibrators(settings.calibrators_path)}
    catalogues = [path for path in (request.sources_file, settings.field_model_file) if path]
    if request.sources_file is None and settings.sources_path.exists():
        # Sources typed in by hand need no catalogue; one that is named must be there.
        catalogues.append(settings.sources_path)
    known |= {source.name: source for path in catalogues for source in read_sources(path)}
    return list(known.values())


def span_log() -> Path:
    """Name the record of the tasks' work on MSs.

    Returns
    -------
    Path
        A file of JSON lines.
    """
    return get_settings().logs_dir / "ms_tasks.jsonl"
