"""Flag versions: the flags of an MS as they were at some point, kept by CASA beside it."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Final

from dsa110_contimg.errors import InputError, TransientError
from dsa110_contimg.storage.files import fsync_path, remove_for_sure, write_text_atomic

AS_CONVERTED: Final = "contimg_as_converted"
"""Flag version that flagging begins from, and to which it can be undone."""
AS_FLAGGED: Final = "contimg_as_flagged"
"""Flag version that calibration begins from."""
_MARK: Final = "contimg_ms_created"


def versions_dir(ms_path: Path) -> Path:
    """Name the directory in which CASA keeps the flag versions of an MS.

    Parameters
    ----------
    ms_path : Path
        The MS.

    Returns
    -------
    Path
        ``<ms>.flagversions``.
    """
    return ms_path.with_name(f"{ms_path.name}.flagversions")


def flag_version(ms_path: Path, version: str) -> Path:
    """Name the table that holds a flag version of an MS.

    Parameters
    ----------
    ms_path : Path
        The MS.
    version : str
        `AS_CONVERTED` or `AS_FLAGGED`.

    Returns
    -------
    Path
        A table with the columns FLAG and FLAG_ROW, and the rows of the MS.
    """
    return versions_dir(ms_path) / f"flags.{version}"


def has_flags_as_converted(ms_path: Path, created: str) -> bool:
    """Say whether the flags of this very MS, as converted, are kept as a whole.

    Parameters
    ----------
    ms_path : Path
        The MS.
    created : str
        When it was published, as `storage.ms_change.ms_created` has it.

    Returns
    -------
    bool
        False for versions of an earlier MS of the same name, and of a save that was killed.
    """
    try:
        return (versions_dir(ms_path) / _MARK).read_bytes() == created.encode()
    except OSError:
        return False


def begin_from_converted(casatasks: Any, ms_path: Path, created: str) -> None:
    """Restore the flags as converted; if they are not kept yet, the flags of now are they.

    Parameters
    ----------
    casatasks : module
        As `casa.door.open_casatasks` gives it.
    ms_path : Path
        The MS, held and writable.
    created : str
        When it was published.

    Raises
    ------
    TransientError
        If versions of an earlier MS cannot be removed.
    """
    if has_flags_as_converted(ms_path, created):
        casatasks.flagmanager(vis=str(ms_path), mode="restore", versionname=AS_CONVERTED)
        return
    versions = versions_dir(ms_path)
    if problems := remove_for_sure(versions):
        raise TransientError("; ".join(problems), reason="stale_flag_versions")
    casatasks.flagmanager(vis=str(ms_path), mode="save", versionname=AS_CONVERTED)
    for path in (*versions.rglob("*"), versions):
        fsync_path(path)
    write_text_atomic(versions / _MARK, created)


def save_flagged(casatasks: Any, ms_path: Path) -> None:
    """Keep the flags as flagged, in the place of those of an earlier flagging.

    Parameters
    ----------
    casatasks : module
        As `casa.door.open_casatasks` gives it.
    ms_path : Path
        The MS, held and writable.
    """
    if _is_listed(casatasks, ms_path, AS_FLAGGED):
        casatasks.flagmanager(vis=str(ms_path), mode="delete", versionname=AS_FLAGGED)
    # A save that was killed is not listed.
    remove_for_sure(flag_version(ms_path, AS_FLAGGED))
    casatasks.flagmanager(vis=str(ms_path), mode="save", versionname=AS_FLAGGED)


def restore_flagged(casatasks: Any, ms_path: Path) -> None:
    """Restore the flags as flagged.

    Parameters
    ----------
    casatasks : module
        As `casa.door.open_casatasks` gives it.
    ms_path : Path
        The MS, held and writable.

    Raises
    ------
    InputError
        If they are not there, whatever the record of the flagging says.
    """
    if not _is_listed(casatasks, ms_path, AS_FLAGGED):
        raise InputError(
            f"{versions_dir(ms_path)} has lost the flag version {AS_FLAGGED}",
            reason="flag_version_lost",
            remedy="convert its group again",
        )
    casatasks.flagmanager(vis=str(ms_path), mode="restore", versionname=AS_FLAGGED)


def _is_listed(casatasks: Any, ms_path: Path, version: str) -> bool:
    """Whether CASA knows a flag version."""
    listed = casatasks.flagmanager(vis=str(ms_path), mode="list") or {}
    return any(entry["name"] == version for entry in listed.values() if isinstance(entry, dict))
