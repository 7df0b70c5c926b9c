"""Put a finished tree under its good name: whole, durable, all at once.

The tree is copied to a hidden name on the target file system, every file and directory is
forced to the disk, and one rename gives it the good name. The manifest is written last; an
MS without a manifest that checks out is not finished, whatever it looks like.
"""

from __future__ import annotations

import re
import shutil
import tempfile
import uuid
from pathlib import Path
from typing import Final

from pydantic import ValidationError

from dsa110_contimg.conversion.models import Manifest
from dsa110_contimg.errors import ContimgError, TransientError, name_os_error
from dsa110_contimg.stages import StageClock
from dsa110_contimg.storage.durable_copy import copy_durably
from dsa110_contimg.storage.files import (
    exchange_paths,
    fsync_path,
    make_read_only,
    remove_for_sure,
    write_text_atomic,
)

LEFTOVER_NAME: Final = re.compile(r"\.(?P<name>.+)\.(partial|replaced|removed)-[0-9a-f]{8}")
"""Hidden trees beside the good name; whoever holds the lock of `name` may remove them."""
_VOLATILE = "table.lock"
"""casacore rewrites it on every open."""


def manifest_path(ms_path: Path) -> Path:
    """Name the manifest of an MS.

    Parameters
    ----------
    ms_path : Path
        The MS.

    Returns
    -------
    Path
        ``<ms>.manifest.json`` beside it.
    """
    return ms_path.with_name(f"{ms_path.name}.manifest.json")


def read_manifest(ms_path: Path) -> Manifest | None:
    """Read the manifest of a published MS, if the MS is what it says.

    Parameters
    ----------
    ms_path : Path
        The MS.

    Returns
    -------
    Manifest or None
        None if the MS or its manifest is absent or damaged, or if a data file is absent or
        shorter than when it was published.
    """
    try:
        manifest = Manifest.model_validate_json(manifest_path(ms_path).read_text("utf-8"))
        intact = all(
            (ms_path / name).stat().st_size >= size for name, size in manifest.files.items()
        )
    except (OSError, ValidationError, UnicodeDecodeError):
        return None
    return manifest if intact else None


def list_data_files(tree: Path) -> dict[str, int]:
    """List the files of an MS that must not change or vanish.

    Parameters
    ----------
    tree : Path
        The MS.

    Returns
    -------
    dict of str to int
        Path inside the MS to size in bytes.
    """
    return {
        str(file.relative_to(tree)): file.stat().st_size
        for file in sorted(tree.rglob("*"))
        if file.is_file() and file.name != _VOLATILE
    }


def check_target(target: Path, need_bytes: int) -> None:
    """Find out, before the work, whether the result can be stored.

    Parameters
    ----------
    target : Path
        The good name.
    need_bytes : int
        Size of what will be stored.

    Raises
    ------
    InputError
        If the directory cannot be made or written.
    TransientError
        If its file system has no room.
    """
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        # Without a name: nothing can be left behind.
        with tempfile.TemporaryFile(dir=target.parent):
            free_bytes = shutil.disk_usage(target.parent).free
    except OSError as error:
        raise _named(error, target) from error
    if free_bytes < need_bytes:
        raise TransientError(
            f"{target.parent} has {free_bytes / 1e9:.2f} GB free, {need_bytes / 1e9:.2f} GB "
            "are needed",
            reason="disk_full",
            remedy="free space there",
        )


def publish_tree(
    source: Path, target: Path, clock: StageClock | None = None, *, read_only: bool = False
) -> list[str]:
    """Store a tree durably under its good name; the caller holds the lock of `target`.

    Parameters
    ----------
    source : Path
        A finished tree, on any file system.
    target : Path
        The good name. A tree that is there is replaced in one step, where the file system can
        do that: its readers find the old one or the new one.
    clock : StageClock, optional
        Notes the stages ``copy`` and ``rename``.
    read_only : bool
        Whether nobody may write the tree once it has its good name, as for an MS, which
        `storage.ms_access.exclusive_ms` alone makes writable again.

    Returns
    -------
    list of str
        What could not be removed beside the target, a sentence each.

    Raises
    ------
    InputError, TransientError
        If the target cannot be written; nothing is left under the good name or beside it.
    """
    clock = clock or StageClock(target.stem)
    remove_leftovers(target)
    staged = _hidden(target, "partial")
    try:
        with clock.stage("copy"):
            copy_durably(source, staged)
        with clock.stage("rename"):
            if read_only:
                make_read_only(staged)
            manifest_path(target).unlink(missing_ok=True)
            _put_in_place(staged, target)
            fsync_path(target.parent)
    except OSError as error:
        raise _named(error, target) from error
    finally:
        problems = remove_leftovers(target)
    return problems


def remove_leftovers(target: Path) -> list[str]:
    """Remove what a killed publication or removal left; the caller holds the lock of `target`.

    Parameters
    ----------
    target : Path
        The good name.

    Returns
    -------
    list of str
        What could not be removed, a sentence each.
    """
    kinds = ("partial-*", "replaced-*", "removed-*", "manifest.json.*")
    leftovers = [path for kind in kinds for path in target.parent.glob(f".{target.name}.{kind}")]
    return [problem for path in leftovers for problem in remove_for_sure(path)]


def write_manifest(ms_path: Path, manifest: Manifest) -> None:
    """Declare an MS finished.

    Parameters
    ----------
    ms_path : Path
        The published MS.
    manifest : Manifest
        What it is.

    Raises
    ------
    InputError, TransientError
        If it cannot be written; the MS is then not finished.
    """
    try:
        write_text_atomic(manifest_path(ms_path), manifest.model_dump_json(indent=1))
    except OSError as error:
        raise _named(error, manifest_path(ms_path)) from error


def _put_in_place(staged: Path, target: Path) -> None:
    """Give a tree its good name; what had it before goes to a hidden one."""
    if target.exists() and exchange_paths(staged, target):
        return
    if target.exists():
        target.rename(_hidden(target, "replaced"))
    staged.rename(target)


def _hidden(target: Path, kind: str) -> Path:
    """Name a hidden neighbour of the target that nobody used before."""
    return target.with_name(f".{target.name}.{kind}-{uuid.uuid4().hex[:8]}")


def _named(error: OSError, target: Path) -> ContimgError:
    """Name what keeps something from being stored."""
    return name_os_error(error, f"cannot write {target}", denied="target_not_writable")
