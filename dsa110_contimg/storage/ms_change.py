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

from dsa110_contimg.errors import InputError
from dsa110_contimg.models import Model
from dsa110_contimg.storage.files import fsync_path, write_text_atomic
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
    interrupted = _interrupted(ms_path)
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
        The MS.

    Raises
    ------
    InputError
        If a change began and did not end.
    """
    change = _interrupted(ms_path)
    if change is not None:
        raise InputError(
            f"{ms_path} was left in the middle of its {change}",
            reason="ms_half_changed",
            remedy=f"run its {change} again: it begins from what was there before",
        )


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
    """
    records: list[ChangeRecord] = []
    mark = _mark(ms_path)
    write_text_atomic(mark, change.value)
    for void in Change:
        if _ORDER[void] >= _ORDER[change]:
            record_path(ms_path, void).unlink(missing_ok=True)
    yield records.append
    for record in records:
        write_text_atomic(record_path(ms_path, change), record.model_dump_json(indent=1))
    mark.unlink()
    fsync_path(mark.parent)


def _interrupted(ms_path: Path) -> Change | None:
    """Say which change began and did not end; the first of all if the mark is damaged."""
    try:
        text = _mark(ms_path).read_text(encoding="utf-8")
    except FileNotFoundError:
        return None
    return Change(text) if text in _ORDER else next(iter(Change))


def _mark(ms_path: Path) -> Path:
    """Name the file that is there while an MS is changed."""
    return ms_path.with_name(f".{ms_path.name}.changing")
