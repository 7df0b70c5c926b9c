"""Put a finished tree under its good name: whole, durable, all at once.

The tree is copied to a hidden name on the target file system, every file and directory is
forced to the disk, and one rename gives it the good name. The manifest is written last; an
MS without a manifest that checks out is not finished, whatever it looks like.
"""

from __future__ import annotations

import errno
import os
import shutil
import uuid
from pathlib import Path

from pydantic import ValidationError

from dsa110_contimg.conversion.models import Manifest
from dsa110_contimg.errors import ContimgError, InputError, TransientError
from dsa110_contimg.stages import StageClock
from dsa110_contimg.storage.files import fsync_path, write_text_atomic

_COPY_BUFFER_BYTES = 8 << 20
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
        probe = _hidden(target, "probe")
        probe.touch()
        probe.unlink()
    except OSError as error:
        raise _named(error, target) from error
    free_bytes = shutil.disk_usage(target.parent).free
    if free_bytes < need_bytes:
        raise TransientError(
            f"{target.parent} has {free_bytes / 1e9:.2f} GB free, {need_bytes / 1e9:.2f} GB "
            "are needed",
            reason="disk_full",
            remedy="free space there",
        )


def publish_tree(source: Path, target: Path, clock: StageClock | None = None) -> None:
    """Store a tree durably under its good name; the caller holds the lock of `target`.

    Parameters
    ----------
    source : Path
        A finished tree, on any file system.
    target : Path
        The good name. A tree that is there without a valid manifest is replaced.
    clock : StageClock, optional
        Notes the stages ``copy`` and ``rename``.

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
            shutil.copytree(source, staged, copy_function=_copy_durably)
            for directory, _, _ in os.walk(staged, topdown=False):
                fsync_path(Path(directory))
        with clock.stage("rename"):
            manifest_path(target).unlink(missing_ok=True)
            if target.exists():
                target.rename(_hidden(target, "replaced"))
            staged.rename(target)
            fsync_path(target.parent)
    except (OSError, shutil.Error) as error:
        raise _named(error, target) from error
    finally:
        remove_leftovers(target)


def remove_leftovers(target: Path) -> None:
    """Remove what a killed publication left; the caller holds the lock of `target`.

    Parameters
    ----------
    target : Path
        The good name.
    """
    for kind in ("partial", "replaced", "probe"):
        for leftover in target.parent.glob(f".{target.name}.{kind}-*"):
            if leftover.is_dir():
                shutil.rmtree(leftover)
            else:
                leftover.unlink(missing_ok=True)


def write_manifest(ms_path: Path, manifest: Manifest) -> None:
    """Declare an MS finished.

    Parameters
    ----------
    ms_path : Path
        The published MS.
    manifest : Manifest
        What it is.
    """
    write_text_atomic(manifest_path(ms_path), manifest.model_dump_json(indent=1))


def _hidden(target: Path, kind: str) -> Path:
    """Name a hidden neighbour of the target that nobody used before."""
    return target.with_name(f".{target.name}.{kind}-{uuid.uuid4().hex[:8]}")


def _copy_durably(source: str, target: str) -> str:
    """Copy one file and force it to the disk."""
    with Path(source).open("rb") as reader, Path(target).open("wb") as writer:
        shutil.copyfileobj(reader, writer, _COPY_BUFFER_BYTES)
        writer.flush()
        os.fsync(writer.fileno())
    return target


def _named(error: OSError, target: Path) -> ContimgError:
    """Name what keeps a tree from being stored."""
    code = error.errno
    if code == errno.ENOSPC:
        return TransientError(
            f"no space left while storing {target}", reason="disk_full", remedy="free space there"
        )
    if code in (errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOTDIR):
        return InputError(
            f"cannot write {target}: {error.strerror}",
            reason="target_not_writable",
            remedy="check its owner, its permissions and how its file system is mounted",
        )
    return TransientError(f"cannot store {target}: {error}", reason="publish_failed")
