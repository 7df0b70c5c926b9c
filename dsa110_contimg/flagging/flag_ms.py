"""Flag a Measurement Set: the stage that Python, the command and the DAG call."""

from __future__ import annotations

import logging
import time
from pathlib import Path
from typing import Final

from dsa110_contimg.calibration.snapshot import MsSnapshot, hold_ms
from dsa110_contimg.casa.door import run_in_casa
from dsa110_contimg.errors import InputError
from dsa110_contimg.flagging.aoflagger import find_aoflagger
from dsa110_contimg.flagging.models import Flagger, FlagOptions, FlagRecord
from dsa110_contimg.flagging.plots import plot_flags
from dsa110_contimg.flagging.versions import has_flags_as_converted, versions_dir
from dsa110_contimg.flagging.work import FlagWork, flag_in_child, restore_in_child
from dsa110_contimg.provenance import make_provenance
from dsa110_contimg.storage.files import remove_for_sure
from dsa110_contimg.storage.ms_access import canonical_ms
from dsa110_contimg.storage.ms_change import Change, changing_ms, read_change
from dsa110_contimg.storage.sandbox import open_sandbox

_SCRATCH_BYTES: Final = 64 << 20
_log = logging.getLogger(__name__)


def flag_ms(options: FlagOptions) -> FlagRecord:
    """Flag interference, dead antennas and what is no measurement in a published MS.

    It begins from the flags as converted, which are kept as a flag version, so that it can be
    done again with another strategy, and undone (`unflag_ms`).

    Parameters
    ----------
    options : FlagOptions
        The MS, what to flag, how to wait.

    Returns
    -------
    FlagRecord
        What was flagged; ``skipped`` if the MS had been flagged so before. It is also kept
        beside the MS.

    Raises
    ------
    InputError
        If the MS cannot be read or written, or has lost the flags as converted; or the program
        is not installed.
    ScienceQualityError
        If what was to be flagged is not.
    TransientError
        If time, space or the child ran out, or the MS was held for too long. The MS is then
        refused by all that measure, until it is flagged again.
    """
    start = time.perf_counter()
    if options.strategy.flagger is Flagger.AOFLAGGER:
        find_aoflagger()
    ms_path = canonical_ms(options.ms_path)
    purpose = options.purpose or f"flagging {ms_path.name}"
    with hold_ms(
        ms_path,
        purpose,
        timeout_s=options.lock_timeout_s,
        access_log=options.access_log,
        writable=True,
    ) as snapshot:
        earlier = read_flags(options)
        if earlier is not None and not options.reprocess:
            return earlier.model_copy(
                update={"skipped": True, "seconds": time.perf_counter() - start}
            )
        return _flag(options, snapshot, start)


def plot_path(ms_path: Path) -> Path:
    """Name the picture of the flags of an MS.

    Parameters
    ----------
    ms_path : Path
        The MS.

    Returns
    -------
    Path
        The PNG beside the MS.
    """
    return ms_path.with_name(f"{ms_path.name}.flagging.png")


def read_flags(options: FlagOptions) -> FlagRecord | None:
    """Read what is on record of an earlier flagging of the same MS in the same way.

    Parameters
    ----------
    options : FlagOptions
        The MS and what is to be flagged.

    Returns
    -------
    FlagRecord or None
        None if there is none.
    """
    record = read_change(canonical_ms(options.ms_path), Change.FLAGGING, FlagRecord)
    return record if record is not None and record.strategy == options.strategy else None


def unflag_ms(options: FlagOptions) -> None:
    """Restore the flags of an MS as converted; a calibration becomes void.

    Parameters
    ----------
    options : FlagOptions
        The MS and how to wait.

    Raises
    ------
    InputError
        If the MS has not been flagged, or cannot be written.
    TransientError
        If time, space or the child ran out, or the MS was held for too long.
    """
    ms_path = canonical_ms(options.ms_path)
    roots = options.find_sandbox_roots(ms_path.parent)
    with (
        hold_ms(
            ms_path,
            options.purpose or f"undoing the flags of {ms_path.name}",
            timeout_s=options.lock_timeout_s,
            access_log=options.access_log,
            writable=True,
        ) as snapshot,
        open_sandbox(f"unflag_{ms_path.stem}", roots, _SCRATCH_BYTES) as sandbox,
    ):
        _require_beginning(snapshot)
        if not has_flags_as_converted(ms_path, snapshot.created) and not snapshot.interrupted:
            raise InputError(f"{ms_path} has no flags to be undone", reason="not_flagged")
        with changing_ms(ms_path, Change.FLAGGING):
            remove_for_sure(plot_path(ms_path))
            run_in_casa(
                restore_in_child,
                _describe_work(options, snapshot),
                timeout_s=options.timeout_s,
                log_path=options.find_log(ms_path.parent, ms_path.stem),
                scratch_dir=sandbox.path,
            )


def _flag(options: FlagOptions, snapshot: MsSnapshot, start: float) -> FlagRecord:
    """Flag an MS that is held, and put it on record."""
    ms_path = snapshot.path
    _require_beginning(snapshot)
    provenance = make_provenance(options.strategy, [snapshot.file])
    roots = options.find_sandbox_roots(ms_path.parent)
    with (
        open_sandbox(f"flag_{ms_path.stem}", roots, _SCRATCH_BYTES) as sandbox,
        changing_ms(ms_path, Change.FLAGGING) as save,
    ):
        remove_for_sure(plot_path(ms_path))
        done = run_in_casa(
            flag_in_child,
            _describe_work(options, snapshot),
            timeout_s=options.timeout_s,
            log_path=options.find_log(ms_path.parent, ms_path.stem),
            scratch_dir=sandbox.path,
        )
        record = _draw(
            FlagRecord(
                ms_created=snapshot.created,
                group_id=ms_path.stem,
                ms_path=str(ms_path),
                strategy=options.strategy,
                spws=snapshot.info.spws,
                **dict(done),
                seconds=time.perf_counter() - start,
                provenance=provenance,
            )
        )
        save(record)
    return record


def _describe_work(options: FlagOptions, snapshot: MsSnapshot) -> FlagWork:
    """Say what the child has to do."""
    return FlagWork(
        ms_path=snapshot.path,
        ms_created=snapshot.created,
        spws=snapshot.info.spws,
        strategy=options.strategy,
    )


def _require_beginning(snapshot: MsSnapshot) -> None:
    """Refuse an MS that was flagged, but whose flags as converted are gone."""
    ms_path = snapshot.path
    if snapshot.flagging is not None and not has_flags_as_converted(ms_path, snapshot.created):
        raise InputError(
            f"{ms_path} has been flagged, but {versions_dir(ms_path)} does not hold its flags as "
            "converted any more",
            reason="flag_version_lost",
            remedy="convert its group again",
        )


def _draw(record: FlagRecord) -> FlagRecord:
    """Draw what was flagged; the flags are worth keeping without a picture."""
    path = plot_path(Path(record.ms_path))
    try:
        plot_flags(path, record)
    except OSError as error:
        _log.warning("cannot write %s: %s", path, error)
        return record
    return record.model_copy(update={"plot": str(path)})
