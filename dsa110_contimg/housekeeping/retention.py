"""What has been kept for as long as the settings say, and is not wanted any more."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from dsa110_contimg.conversion.models import Manifest
from dsa110_contimg.flagging.versions import versions_dir
from dsa110_contimg.housekeeping.broom import Broom, Rubbish
from dsa110_contimg.housekeeping.models import HousekeepingOptions, Kind
from dsa110_contimg.housekeeping.processed import Processed
from dsa110_contimg.models import Model
from dsa110_contimg.qa.by_hand import group_of_run
from dsa110_contimg.qa.records import BY_HAND
from dsa110_contimg.storage.files import fsync_path, remove_for_sure
from dsa110_contimg.storage.ms_access import lock_path
from dsa110_contimg.storage.ms_change import Change, interrupted_change, record_path
from dsa110_contimg.storage.publish import manifest_path, read_manifest
from dsa110_contimg.storage.removal import hide, remove_ms

_DAY_S = 86400.0


class MsFacts(Model):
    """What decides about an MS that nobody holds."""

    idle_s: float
    """Time since anybody held, made or changed it."""
    is_published: bool
    """Whether its manifest checks out."""
    interrupted: Change | None = None
    """Change that began and did not end."""
    wanted_by: str | None = None
    """Who is going to use it."""
    unfinished: str | None = None
    """What its night still owes."""


def find_reason_to_keep(facts: MsFacts, days: float) -> str | None:
    """Decide whether an MS has to be kept.

    Parameters
    ----------
    facts : MsFacts
        What is known of it while its lock is held.
    days : float
        For how long it is kept.

    Returns
    -------
    str or None
        Why it is kept; None if it may go.
    """
    if facts.idle_s < days * _DAY_S:
        return f"it was used less than {days:g} days ago"
    if not facts.is_published:
        return "it was not published whole: convert its group again, or remove it by hand"
    if facts.interrupted is not None:
        return f"it was left in the middle of its {facts.interrupted}"
    if facts.wanted_by is not None:
        return f"{facts.wanted_by} is going to use it"
    return facts.unfinished


def sweep_old(options: HousekeepingOptions, broom: Broom) -> set[str]:
    """Remove what was kept for long enough.

    Parameters
    ----------
    options : HousekeepingOptions
        Where to look, and how long is enough.
    broom : Broom
        Removes, and takes notes.

    Returns
    -------
    set of str
        Nights whose MSs were removed.
    """
    book = Processed(options.nights_dir)
    nights: set[str] = set()
    if options.retention.ms_days is not None:
        for ms in _list_sets(options.ms_dir):
            with _noting(ms, broom):
                _sweep_ms(options, broom, book, ms, options.retention.ms_days)
            if options.apply and not ms.exists():
                nights |= set(book.nights_of(ms.name.removesuffix(".ms")))
    if options.retention.products_days is not None:
        for products in _list_folders(options.products_dir, 3):
            # products/DATE/GROUP/SOURCE, and products/DATE/by_hand/RUN.
            with _noting(products, broom):
                _sweep_products(options, broom, book, products, options.retention.products_days)
    return nights


@contextmanager
def _noting(path: Path, broom: Broom) -> Iterator[None]:
    """Note that something cannot be looked at, and go on."""
    try:
        yield
    except FileNotFoundError:
        # Somebody came first.
        return
    except OSError as error:
        broom.problems.append(f"cannot look into {path}: {error}")


def _list_folders(root: Path, depth: int) -> Iterator[Path]:
    """List the directories at a depth below a root; hidden ones and links are left out."""
    try:
        with os.scandir(os.path.realpath(root)) as scan:
            folders = sorted(
                entry.path
                for entry in scan
                if entry.is_dir(follow_symlinks=False) and not entry.name.startswith(".")
            )
    except OSError:
        # Whoever looked for what has no owner has said so.
        return
    for folder in map(Path, folders):
        if depth == 1:
            yield folder
        elif folder.suffix != ".ms":
            yield from _list_folders(folder, depth - 1)


def _list_sets(ms_dir: Path) -> Iterator[Path]:
    """List the MSs of all dates."""
    return (folder for folder in _list_folders(ms_dir, 2) if folder.suffix == ".ms")


def last_use_s(ms: Path) -> float:
    """Say when anybody held, made or changed an MS.

    Parameters
    ----------
    ms : Path
        The MS. Whoever takes its lock leaves his name in the lock file, and whoever gives it
        back takes it out: the file tells when.

    Returns
    -------
    float
        Seconds since 1970.
    """
    beside = [lock_path(ms), manifest_path(ms), *(record_path(ms, change) for change in Change)]
    return max(_changed_s(path) for path in (ms, *beside))


def _written_s(products: Path) -> float:
    """When something in a directory was last written, in seconds since 1970."""
    return max(map(_changed_s, (products, *products.rglob("*"))))


def _changed_s(path: Path) -> float:
    """When something was changed, in seconds since 1970; 0 if it is not there."""
    try:
        return path.lstat().st_mtime
    except FileNotFoundError:
        return 0.0


def _sweep_ms(
    options: HousekeepingOptions, broom: Broom, book: Processed, ms: Path, days: float
) -> None:
    """Remove an MS if nobody used it for long and its night is done with it."""
    group_id = ms.name.removesuffix(".ms")
    used_s = last_use_s(ms)
    if time.time() - used_s < days * _DAY_S:
        return
    why = f"nobody has used it for {days:g} days, and its night is processed and reported"
    manifests: list[Manifest] = []

    def keep() -> str | None:
        manifest = read_manifest(ms)
        manifests[:] = [manifest] if manifest else []
        facts = MsFacts(
            idle_s=time.time() - last_use_s(ms),
            is_published=manifest is not None,
            interrupted=interrupted_change(ms),
            wanted_by=options.wanted.get(group_id) or options.wanted_by,
            unfinished=book.find_problem(group_id),
        )
        return find_reason_to_keep(facts, days)

    def remove() -> list[str]:
        reason = (
            f"nobody had used it for {days:g} days, and its night was processed and reported "
            "(retain_ms_days)"
        )
        return remove_ms(ms, manifests[0], reason, besides=[versions_dir(ms)])

    broom.sweep(
        Rubbish(
            kind=Kind.MS,
            path=ms,
            why=why,
            locks=(lock_path(ms),),
            keep=keep,
            remove=remove,
            used_s=used_s,
        )
    )


def _sweep_products(
    options: HousekeepingOptions, broom: Broom, book: Processed, products: Path, days: float
) -> None:
    """Remove the products of a source whose MS has gone before them."""
    group_id = products.parent.name
    if group_id == BY_HAND:
        group_id = group_of_run(products.name)
    ms = options.ms_dir / group_id[:10] / f"{group_id}.ms"
    used_s = _written_s(products)
    if time.time() - used_s < days * _DAY_S:
        return

    def keep() -> str | None:
        if time.time() - _written_s(products) < days * _DAY_S:
            return "they have just been made again"
        if ms.exists():
            return "its Measurement Set is there: a rerun would make them again"
        return book.find_problem(group_id)

    def remove() -> list[str]:
        hidden = hide(products, products)
        fsync_path(products.parent)
        return remove_for_sure(hidden)

    broom.sweep(
        Rubbish(
            kind=Kind.PRODUCTS,
            path=products,
            why=f"nobody has written them for {days:g} days, and the results are on record",
            locks=(lock_path(products),),
            keep=keep,
            remove=remove,
            used_s=used_s,
        )
    )
