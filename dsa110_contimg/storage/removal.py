"""Measurement Sets that were removed on purpose: gone all at once, and on record.

The caller holds the MS's lock. The record is written first and one rename takes the MS away,
so that it is there as a whole or was removed, whenever the work is killed; what is left under
a hidden name belongs to nobody. Manifest and records of changes stay: whoever asks later for
the MS learns what it was, and that nothing was lost by accident.
"""

from __future__ import annotations

import uuid
from datetime import UTC, datetime
from pathlib import Path

from pydantic import ValidationError

from dsa110_contimg.conversion.models import Manifest
from dsa110_contimg.models import Model
from dsa110_contimg.storage.files import fsync_path, remove_for_sure, write_text_atomic
from dsa110_contimg.storage.publish import manifest_path


class Removal(Model):
    """What is on record of an MS that was removed."""

    ms_created: str
    """When the MS was published: a later one of the same name is not it."""
    removed: str
    """UTC, ISO 8601."""
    reason: str
    """Why, in words that follow "it was removed"."""


class RemovedMs(Model):
    """An MS that was removed and not made again."""

    removal: Removal
    """When and why."""
    manifest: Manifest
    """What it was."""

    @property
    def sentence(self) -> str:
        """When and why it was removed, in words that follow the name of the MS."""
        return f"was removed on {self.removal.removed[:10]}: {self.removal.reason}"


def removal_path(ms_path: Path) -> Path:
    """Name the record of a removal.

    Parameters
    ----------
    ms_path : Path
        The MS.

    Returns
    -------
    Path
        ``<ms>.removed.json`` beside it.
    """
    return ms_path.with_name(f"{ms_path.name}.removed.json")


def find_removed(ms_path: Path) -> RemovedMs | None:
    """Read what is known of an MS that was removed on purpose.

    Parameters
    ----------
    ms_path : Path
        The MS.

    Returns
    -------
    RemovedMs or None
        None if the MS is there, was made again since, or went some other way.
    """
    if ms_path.exists():
        return None
    try:
        removal = Removal.model_validate_json(removal_path(ms_path).read_bytes())
        manifest = Manifest.model_validate_json(manifest_path(ms_path).read_bytes())
    except (OSError, ValidationError):
        return None
    if removal.ms_created != manifest.provenance.created:
        return None
    return RemovedMs(removal=removal, manifest=manifest)


def remove_ms(ms_path: Path, manifest: Manifest, reason: str, besides: list[Path]) -> list[str]:
    """Remove a published MS whose lock the caller holds, and put that on record.

    Parameters
    ----------
    ms_path : Path
        The MS.
    manifest : Manifest
        Its manifest; the file stays.
    reason : str
        Why, in words that follow "it was removed".
    besides : list of Path
        Trees beside the MS that are of no use without it; they need not exist.

    Returns
    -------
    list of str
        What could not be removed, a sentence each; the MS has lost its name all the same.

    Raises
    ------
    OSError
        If its directory cannot be written; the MS is there then.
    """
    removal = Removal(
        ms_created=manifest.provenance.created,
        removed=datetime.now(UTC).isoformat(timespec="seconds"),
        reason=reason,
    )
    write_text_atomic(removal_path(ms_path), removal.model_dump_json(indent=1))
    hidden = [hide(ms_path, ms_path), *(hide(p, ms_path) for p in besides if p.exists())]
    fsync_path(ms_path.parent)
    return [problem for path in hidden for problem in remove_for_sure(path)]


def hide(path: Path, owner: Path) -> Path:
    """Take the good name from a file or tree, in one step.

    Parameters
    ----------
    path : Path
        What is to be removed.
    owner : Path
        Whose lock covers it; the caller holds that.

    Returns
    -------
    Path
        Its hidden name, which says that it is rubbish.
    """
    return path.rename(owner.with_name(f".{owner.name}.removed-{uuid.uuid4().hex[:8]}"))
