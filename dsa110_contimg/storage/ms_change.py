"""Changes to a published Measurement Set: what was done to it is on record, or it is refused.

An MS that is killed in the middle of a change opens normally and looks whole. So a change
leaves a mark beside the MS before it begins, takes away the records of all that it makes
void, and writes its own record last. Whoever finds the mark knows that the change has to be
made again, from a state that can be restored. The records say which MS they are about: one
that was converted again has none.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from typing import TypeVar

from pydantic import ValidationError

from dsa110_contimg.errors import InputError, name_os_error
from dsa110_contimg.models import Model
from dsa110_contimg.storage.files import fsync_path, write_text_atomic
from dsa110_contimg.storage.ms_access import canonical_ms
from dsa110_contimg.storage.publish import read_manifest

RecordT = TypeVar("RecordT", bound="ChangeRecord")


class Change(StrEnum):
    """What is done to a published MS, in this order."""

    FLAGGING = "flagging"
    CALIBRATION = "calibration"


_ORDER = {change: place for place, change in enumerate(Change)}


class ChangeRecord(Model):
    """What every record of a change holds."""

    ms_created: str
    """When the MS was published, as its manifest has it: another MS of the same name is not it."""


class ChangeMark(ChangeRecord):
    """What is there while an MS is changed."""

    change: Change
    """What is being done."""


def record_path(ms_path: Path, change: Change) -> Path:
    """Name the record of a change.

    Parameters
    ----------
    ms_path : Path
        The MS.
    change : Change
        What was done.

    Returns
    -------
    Path
        The JSON file beside the MS.
    """
    return ms_path.with_name(f"{ms_path.name}.{change}.json")


def ms_created(ms_path: Path) -> str:
    """Say when an MS was published.

    Parameters
    ----------
    ms_path : Path
        The MS.

    Returns
    -------
    str
        UTC, ISO 8601; empty if it was not made by this pipeline.
    """
    manifest = read_manifest(ms_path)
    return manifest.provenance.created if manifest else ""


def read_change(ms_path: Path, change: Change, model: type[RecordT]) -> RecordT | None:
    """Read what is on record of a change to an MS.

    Parameters
    ----------
    ms_path : Path
        The MS.
    change : Change
        What was done.
    model : type
        Class of the record.

    Returns
    -------
    ChangeRecord or None
        None if it was not done to this MS, or not to its end.
    """
    interrupted = interrupted_change(ms_path)
    if interrupted is not None and _ORDER[interrupted] <= _ORDER[change]:
        return None
    try:
        record = model.model_validate_json(record_path(ms_path, change).read_bytes())
    except (OSError, ValidationError):
        return None
    return record if record.ms_created == ms_created(ms_path) else None


def require_whole(ms_path: Path) -> None:
    """Refuse an MS that was left in the middle of a change.

    Parameters
    ----------
    ms_path : Path
        The MS. Its lock should be held: a change that is under way did not end either.

    Raises
    ------
    InputError
        If a change began and did not end.
    """
    change = interrupted_change(canonical_ms(ms_path))
    if change is not None:
        raise half_changed(ms_path, change)


def half_changed(ms_path: Path, change: Change) -> InputError:
    """Make the error of an MS that was left in the middle of a change.

    Parameters
    ----------
    ms_path : Path
        The MS.
    change : Change
        What began and did not end.

    Returns
    -------
    InputError
        The error.
    """
    return InputError(
        f"{ms_path} was left in the middle of its {change}",
        reason="ms_half_changed",
        remedy=f"run its {change} again: it begins from what was there before",
    )


def interrupted_change(ms_path: Path) -> Change | None:
    """Say which change of an MS began and did not end, or is under way.

    Parameters
    ----------
    ms_path : Path
        The MS.

    Returns
    -------
    Change or None
        None if it is whole; the first of all if the mark is damaged.
    """
    try:
        mark = ChangeMark.model_validate_json(_mark_path(ms_path).read_bytes())
    except FileNotFoundError:
        return None
    except (OSError, ValidationError):
        return next(iter(Change))
    # An MS that was converted again has not been changed; one that lost its manifest was not.
    created = ms_created(ms_path)
    return None if created and mark.ms_created != created else mark.change


@contextmanager
def changing_ms(ms_path: Path, change: Change) -> Iterator[Callable[[ChangeRecord], None]]:
    """Change an MS whose lock the caller holds; only a change that ends well is on record.

    Parameters
    ----------
    ms_path : Path
        The MS.
    change : Change
        What is done. Records of this and of later changes become void.

    Yields
    ------
    callable
        Takes the record, which is written when the body has ended.

    Raises
    ------
    InputError
        If an earlier step was left in the middle, or its directory may not be written.
    TransientError
        If there is no room for the record.
    """
    records: list[ChangeRecord] = []
    if (left := interrupted_change(ms_path)) is not None and _ORDER[left] < _ORDER[change]:
        require_whole(ms_path)
    with _named(ms_path, change):
        mark = ChangeMark(ms_created=ms_created(ms_path), change=change)
        write_text_atomic(_mark_path(ms_path), mark.model_dump_json())
        for void in Change:
            if _ORDER[void] >= _ORDER[change]:
                record_path(ms_path, void).unlink(missing_ok=True)
    yield records.append
    with _named(ms_path, change):
        for record in records:
            write_text_atomic(record_path(ms_path, change), record.model_dump_json(indent=1))
        _mark_path(ms_path).unlink()
        fsync_path(ms_path.parent)


@contextmanager
def _named(ms_path: Path, change: Change) -> Iterator[None]:
    """Name what keeps a change from being put on record."""
    try:
        yield
    except OSError as error:
        deed = f"cannot put the {change} of {ms_path} on record"
        raise name_os_error(error, deed, denied="target_not_writable") from error


def _mark_path(ms_path: Path) -> Path:
    """Name the file that is there while an MS is changed."""
    return ms_path.with_name(f".{ms_path.name}.changing")
