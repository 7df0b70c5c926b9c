"""What a run of `image_ms` is asked for, and where its tasks put what came of it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from dsa110_contimg.calibration.snapshot import MsSnapshot, take_snapshot
from dsa110_contimg.catalog.sources import Source
from dsa110_contimg.errors import ContimgError, InputError, TransientError
from dsa110_contimg.imaging.models import Backend
from dsa110_contimg.models import Model
from dsa110_contimg.orchestration.forms import image_form
from dsa110_contimg.orchestration.pools import run_ms
from dsa110_contimg.orchestration.refusals import check_paths, refuse_unknown
from dsa110_contimg.orchestration.request_paths import allowed_path
from dsa110_contimg.orchestration.spans import task_span
from dsa110_contimg.orchestration.transit_tasks import night_ledger
from dsa110_contimg.photometry.models import Photometry
from dsa110_contimg.qa.by_hand import name_run, products_of_run
from dsa110_contimg.qa.record_models import MsFailure
from dsa110_contimg.qa.records import NightLedger
from dsa110_contimg.settings import get_settings
from dsa110_contimg.storage.locks import hold_existing
from dsa110_contimg.storage.ms_access import ACCESS_LOG, read_holder

_NOT_PUBLISHED = "ms_not_published"
_VANISHED = "ms_vanished"
_REMOVED = "ms_removed"


class ImageRequest(Model):
    """The parameters of a run of `image_ms`."""

    ms: Path
    """The Measurement Set."""
    sources: list[Source] | None = None
    """What to measure, all of it in the field; None: what lies there of `sources_file`."""
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
    by_hand: str | None = None
    """Id of the run, if a person asked for it: its results stand beside the night's."""

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

    def results_of(self, group_id: str) -> NightLedger:
        """Find where the outcome of the MS and its sources is recorded.

        Parameters
        ----------
        group_id : str
            The group.

        Returns
        -------
        NightLedger
            That of the night, or that of the run by hand.
        """
        run = name_run(group_id, self.by_hand) if self.by_hand else None
        return NightLedger(get_settings().nights_dir, self.night_of(group_id), run)

    def products_dir(self, group_id: str) -> Path:
        """Find where the products of the MS go.

        Parameters
        ----------
        group_id : str
            The group.

        Returns
        -------
        Path
            A directory for the night's products of the group, or for those of the run by hand.
        """
        root, night = get_settings().products_dir, self.night_of(group_id)
        if self.by_hand:
            return products_of_run(root, night, name_run(group_id, self.by_hand))
        return root / night / group_id


def read_request(params: Mapping[str, Any], by_hand: str | None = None) -> ImageRequest:
    """Understand the parameters of a run.

    Parameters
    ----------
    params : mapping
        As Airflow has them.
    by_hand : str, optional
        Id of the run, if a person asked for it, not a night.

    Returns
    -------
    ImageRequest
        The request.

    Raises
    ------
    InputError
        If a value makes no sense, or a path leads out of the directories that runs may name, or
        there is no such parameter; the message names it.
    """
    settings = get_settings()
    if params.get("ms") is not None and run_ms(params) is None:
        # Its task may stand in no pool of an MS: the cluster policy goes by the same rule.
        raise InputError(
            f"parameter ms: {str(params['ms'])[:80]!r} is no absolute path of a Measurement Set",
            reason="no_ms",
            remedy="give the absolute path of a published MS",
        )
    refuse_unknown(params.keys(), image_form(settings).keys())
    given = {name: value for name, value in params.items() if value not in (None, "", [])}
    given |= _read_text(given.pop("sources_text", None), given)
    try:
        request = ImageRequest.model_validate(given)
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"])
        raise InputError(
            f"parameter {where}: {first['msg']}, not {repr(first['input'])[:80]}",
            reason="bad_parameter",
            remedy="the form of the DAG says what it may be",
        ) from None
    # Manifest and products go by the true name, whatever link led to the MS.
    paths: dict[str, Any] = {"ms": allowed_path(given["ms"], "the Measurement Set", settings)}
    if "sources_file" in given:
        paths["sources_file"] = allowed_path(
            given["sources_file"], "the source catalogue", settings
        )
    return request.model_copy(update={**paths, "by_hand": by_hand})


def _read_text(text: Any, given: Mapping[str, Any]) -> dict[str, Any]:
    """Read sources that were typed in, if they were."""
    from dsa110_contimg.catalog.source_text import parse_sources

    if text is None:
        return {}
    if "sources" in given:
        raise InputError(
            "sources are given twice, as text and as JSON",
            reason="sources_twice",
            remedy="leave one of sources_text and sources empty",
        )
    return {"sources": parse_sources(str(text))}


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
    TransientError
        If it is not, but somebody who may be publishing it holds it.
    """
    from dsa110_contimg.storage.publish import manifest_path, read_manifest
    from dsa110_contimg.storage.removal import find_removed

    manifest = read_manifest(ms_path)
    if manifest is None:
        if (removed := find_removed(ms_path)) is not None:
            raise InputError(
                f"{ms_path} {removed.sentence}",
                reason=_REMOVED,
                remedy="reprocess its night: its group is converted again",
            )
        if (holder := read_holder(ms_path)) is not None:
            raise TransientError(
                f"{ms_path} is not whole, and held: {holder.purpose}",
                reason="ms_held",
                remedy="wait until it is published",
            )
        # The holder may have published it between the two looks.
        manifest = read_manifest(ms_path)
    if manifest is None:
        what = "does not check out" if manifest_path(ms_path).exists() else "is not there"
        raise InputError(
            f"{ms_path} is not a published Measurement Set: its manifest {what}",
            reason=_NOT_PUBLISHED,
            remedy="convert its group again",
        )
    return manifest.group_id


def check_sources(request: ImageRequest, purpose: str) -> None:
    """Find out before the work whether the sources that the run names can be measured.

    Parameters
    ----------
    request : ImageRequest
        What was asked for.
    purpose : str
        Shown to those who wait for the MS.

    Raises
    ------
    InputError
        If the catalogue cannot be read, or one of its own sources lies outside the field. The
        catalogue of the settings is not looked at here: without it an MS is still worth
        calibrating.
    """
    from dsa110_contimg.visibilities.primary_beam import check_in_field

    if request.sources is not None:
        info = look_at_ms(request, purpose).info
        for source in request.sources:
            check_in_field(source, info)
    elif request.sources_file != get_settings().sources_path:
        check_paths(None, request.sources_file)


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


def look_at_ms(request: ImageRequest, purpose: str) -> MsSnapshot:
    """Wait for an MS, and read what it holds.

    Parameters
    ----------
    request : ImageRequest
        What was asked for.
    purpose : str
        Shown to those who wait for the MS.

    Returns
    -------
    MsSnapshot
        What it holds.

    Raises
    ------
    InputError, TransientError
        As `calibration.snapshot.hold_ms` raises them.
    """
    settings = get_settings()
    return take_snapshot(
        request.ms,
        purpose,
        timeout_s=settings.ms_lock_timeout_s,
        access_log=settings.logs_dir / ACCESS_LOG,
    )


@contextmanager
def work_on_ms(
    request: ImageRequest, purpose: str, *, fatal: type[ContimgError] | None = None
) -> Iterator[tuple[str, NightLedger]]:
    """Log the span of a task's work on an MS, and put on record what became of the MS itself.

    Parameters
    ----------
    request : ImageRequest
        What was asked for.
    purpose : str
        The task, in words.
    fatal : type of ContimgError, optional
        Errors after which nothing more can come of the MS. That it is not there, or not any
        more, always is one.

    Yields
    ------
    group_id : str
        The group.
    ledger : NightLedger
        The record.

    Raises
    ------
    InputError
        If the MS is not published and whole, or vanished or was damaged during the work.
    ContimgError
        As the body raises it.
    """
    try:
        with task_span(request.ms, purpose, span_log()):
            group_id, ledger = ledger_of(request)
            with _kept_from_withdrawal(request, group_id), _loss_named(request.ms):
                yield group_id, ledger
    except ContimgError as error:
        is_lost = error.reason in {_NOT_PUBLISHED, _VANISHED}
        if is_lost or (fatal is not None and isinstance(error, fatal)):
            record_ms_failure(request, error)
        raise


@contextmanager
def _kept_from_withdrawal(request: ImageRequest, group_id: str) -> Iterator[None]:
    """Hold the directory of a run by hand: what its tasks still write cannot be withdrawn."""
    results = request.results_of(group_id)
    # A request that is refused never has any.
    if request.by_hand is None or not results.exists():
        yield
        return
    with hold_existing(results.night_dir):
        yield


@contextmanager
def _loss_named(ms_path: Path) -> Iterator[None]:
    """Tell the loss of an MS from what it leads to: whatever reads it then fails somehow."""
    from dsa110_contimg.storage.publish import read_manifest

    try:
        yield
    except (ContimgError, OSError, RuntimeError) as error:  # the last is casacore's only one
        # Who holds it may be publishing it anew.
        if read_manifest(ms_path) is not None or read_holder(ms_path) is not None:
            raise
        raise InputError(
            f"{ms_path} was deleted or damaged while a task worked on it",
            reason=_VANISHED,
            remedy="run its night again: it is converted anew",
        ) from error


def record_ms_failure(request: ImageRequest, error: ContimgError) -> None:
    """Record that nothing more can come of an MS, if it is known which night it belongs to.

    Of a request by hand that is refused nothing is recorded.

    Parameters
    ----------
    request : ImageRequest
        What was asked for.
    error : ContimgError
        Why.
    """
    if error.reason == _REMOVED:
        # That is no failure of its night, which was done with it.
        return
    try:
        ledger = request.results_of(request.group_id)
    except InputError:
        return
    if request.by_hand and isinstance(error, InputError) and not ledger.exists():
        # The request is refused: nothing was done yet.
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
    from dsa110_contimg.catalog.known import read_known_sources

    return read_known_sources(get_settings(), sources_file=request.sources_file)


def span_log() -> Path:
    """Name the record of the tasks' work on MSs.

    Returns
    -------
    Path
        A file of JSON lines.
    """
    return get_settings().logs_dir / "ms_tasks.jsonl"
