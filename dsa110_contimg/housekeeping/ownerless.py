"""What nobody owns: its lock is free, whatever its age."""

from __future__ import annotations

import os
import re
import socket
import stat
from collections.abc import Iterator
from pathlib import Path

from dsa110_contimg.flagging.versions import versions_dir
from dsa110_contimg.forkserver import FOLDER_PREFIX, SOCKET_NAME
from dsa110_contimg.housekeeping.broom import Broom, Rubbish
from dsa110_contimg.housekeeping.models import HousekeepingOptions, Kind
from dsa110_contimg.storage.files import TEMPORARY_NAME, remove_for_sure
from dsa110_contimg.storage.ms_access import lock_path
from dsa110_contimg.storage.publish import LEFTOVER_NAME
from dsa110_contimg.storage.removal import hide
from dsa110_contimg.storage.sandbox import FALL_BACK, SANDBOX_NAME, sandbox_lock_path

_MS_NAME = re.compile(r"\.?(?P<ms>[^.].*\.ms)\..+")
_VERSIONS_SUFFIX = versions_dir(Path(".ms")).suffix
_REFUSED = "refused-"
_ANSWER_S = 1.0


def sweep_ownerless(options: HousekeepingOptions, broom: Broom) -> None:
    """Remove sandboxes, unpublished trees, half-written records and sockets of the dead.

    Parameters
    ----------
    options : HousekeepingOptions
        Where to look.
    broom : Broom
        Removes, and takes notes.
    """
    roots = [Path(os.path.realpath(root)) for root in options.sandbox_roots]
    for root in dict.fromkeys(roots):
        _sweep_sandboxes(root, broom)
    for room, depth in (
        (options.ms_dir, 2),
        (options.products_dir, 4),
        (options.calibration_dir, 2),
        (options.nights_dir, 7),
    ):
        for entry in _walk(Path(os.path.realpath(room)), depth, broom):
            path = Path(entry.path)
            if entry.name == FALL_BACK and entry.is_dir(follow_symlinks=False):
                if path not in roots:
                    _sweep_sandboxes(path, broom)
            else:
                _sweep_beside_products(path, entry, broom)
    _sweep_sockets(options.temporary_dir, broom)


def _walk(folder: Path, depth: int, broom: Broom) -> Iterator[os.DirEntry[str]]:
    """List a room down to a depth; hidden directories and MSs are not entered, nor are links."""
    try:
        with os.scandir(folder) as scan:
            entries = sorted(scan, key=lambda entry: entry.name)
    except FileNotFoundError:
        return
    except OSError as error:
        broom.problems.append(f"cannot look into {folder}: {error}")
        return
    for entry in entries:
        if entry.is_symlink():
            continue
        yield entry
        is_room = not entry.name.startswith(".") and not entry.name.endswith(".ms")
        if depth > 1 and is_room and entry.is_dir(follow_symlinks=False):
            yield from _walk(folder / entry.name, depth - 1, broom)


def _sweep_sandboxes(root: Path, broom: Broom) -> None:
    """Remove the sandboxes of a directory whose locks are free."""
    try:
        names = sorted(path.name for path in root.iterdir())
    except FileNotFoundError:
        return
    except OSError as error:
        broom.problems.append(f"cannot look into {root}: {error}")
        return
    # Other programs may have locks there: a directory of a team, or tmpfs itself.
    sandboxes = {name.removesuffix(".lock") for name in names}
    for name in sorted(filter(SANDBOX_NAME.fullmatch, sandboxes)):
        if f"{name}.lock" in names:
            broom.sweep(_sandbox(root / name))
        elif (root / name).is_dir():
            broom.sweep(_sandbox_without_lock(root / name))


def _sandbox(sandbox: Path) -> Rubbish:
    """Describe a sandbox; its lock file goes with it, for its name is never used again."""
    lock = sandbox_lock_path(sandbox)
    return Rubbish(
        kind=Kind.SANDBOX,
        path=sandbox if sandbox.exists() else lock,
        why="its owner has ended",
        own_lock=lock,
        remove=lambda: remove_for_sure(sandbox) or remove_for_sure(lock),
    )


def _sandbox_without_lock(sandbox: Path) -> Rubbish:
    """Describe a sandbox of which nothing tells whether it has an owner."""

    def keep() -> str | None:
        # Its maker makes the lock first and removes it last: it may have come since the look.
        if sandbox_lock_path(sandbox).exists():
            return "it is in use: it has just been made"
        return (
            "somebody removed its lock file, so nobody knows whether it has an owner: see with "
            f"lsof +D {sandbox}, then remove it by hand"
        )

    return Rubbish(kind=Kind.SANDBOX, path=sandbox, why="it has no lock", keep=keep)


def _sweep_beside_products(path: Path, entry: os.DirEntry[str], broom: Broom) -> None:
    """Remove what a killed publication, removal or record left beside the good name."""
    if leftover := LEFTOVER_NAME.fullmatch(entry.name):
        broom.sweep(
            Rubbish(
                kind=Kind.UNPUBLISHED,
                path=path,
                why="the publication or removal that it belongs to has ended",
                locks=_owners(path.with_name(leftover["name"])),
            )
        )
    elif TEMPORARY_NAME.fullmatch(entry.name) and entry.is_file(follow_symlinks=False):
        ms = _MS_NAME.fullmatch(entry.name.removeprefix("."))
        broom.sweep(
            Rubbish(
                kind=Kind.TEMPORARY,
                path=path,
                why="its writer has ended",
                locks=(lock_path(path.with_name(ms["ms"])),) if ms else (),
                own_lock=path,
            )
        )
    elif entry.name.endswith(f".ms{_VERSIONS_SUFFIX}") and not path.with_suffix("").exists():
        broom.sweep(_versions(path))


def _owners(target: Path) -> tuple[Path, ...]:
    """Lock files of those who may publish under a name."""
    # Solutions are refused under the lock of the name that good ones would have had.
    names = dict.fromkeys((target.name.removeprefix(_REFUSED), target.name))
    return tuple(lock_path(target.with_name(name)) for name in names)


def _versions(versions: Path) -> Rubbish:
    """Describe the flag versions of an MS that is not there."""
    ms = versions.with_suffix("")
    return Rubbish(
        kind=Kind.UNPUBLISHED,
        path=versions,
        why="the flag versions of a Measurement Set that is gone",
        locks=(lock_path(ms),),
        keep=lambda: f"{ms.name} is there again" if ms.exists() else None,
        remove=lambda: remove_for_sure(hide(versions, ms)),
    )


def _sweep_sockets(temporary_dir: Path, broom: Broom) -> None:
    """Remove the directories of fork servers that have ended."""
    for folder in sorted(temporary_dir.glob(f"{FOLDER_PREFIX}*")):
        path = folder / SOCKET_NAME
        try:
            is_own = folder.lstat().st_uid == os.geteuid() and not folder.is_symlink()
            # The lock is taken before the socket is made: without one there may be no lock yet.
            if not is_own or not stat.S_ISSOCK(path.lstat().st_mode):
                continue
        except OSError:
            continue
        broom.sweep(
            Rubbish(
                kind=Kind.SOCKET,
                path=folder,
                why="its fork server has ended",
                own_lock=folder,
                keep=lambda path=path: _answer(path),  # type: ignore[misc]
            )
        )


def _answer(path: Path) -> str | None:
    """Why a socket has to be kept: it is listened to."""
    with socket.socket(socket.AF_UNIX) as probe:
        probe.settimeout(_ANSWER_S)
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            return None
        except OSError as error:
            return f"nobody knows whether a server listens: {error}"
    return "a server listens"
