"""From a directory of subband files to Measurement Sets, one group after the other."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import Field

from dsa110_contimg.conversion.direct_subband import WRITER_NAME, DirectSubbandWriter
from dsa110_contimg.conversion.groups import find_groups, list_lost
from dsa110_contimg.conversion.latecomers import describe_changes
from dsa110_contimg.conversion.models import (
    ConversionResult,
    ConversionState,
    GroupState,
    HeaderContradictions,
    RejectedFile,
    SubbandGroup,
)
from dsa110_contimg.errors import ContimgError, InputError, TransientError, name_os_error
from dsa110_contimg.forkserver import fork_server
from dsa110_contimg.models import Model
from dsa110_contimg.settings import get_settings
from dsa110_contimg.storage.files import write_text_atomic
from dsa110_contimg.storage.ms_access import ACCESS_LOG, exclusive_ms
from dsa110_contimg.storage.publish import read_manifest
from dsa110_contimg.storage.removal import find_removed
from dsa110_contimg.storage.sandbox import FALL_BACK, reap_sandboxes

Progress = Callable[[ConversionResult, int, int], None]
"""Called after each group with its result, the number done and the number in all."""

_WRITERS = (WRITER_NAME, "direct-subband", "auto")


class ConversionOptions(Model):
    """How one group is converted."""

    group: SubbandGroup
    """The group."""
    output_dir: Path
    """Root of the MSs: the MS goes to ``output_dir/YYYY-MM-DD/<group_id>.ms``."""
    sandbox_roots: list[Path]
    """Where the sandbox may stand, in order of preference."""
    workers: int = 2
    """Fill workers."""
    timeout_s: float = 900.0
    """Limit for the child that writes, in seconds."""
    lock_timeout_s: float = 600.0
    """How long to wait for another process that holds the MS, in seconds."""
    log_dir: Path
    """Directory of the logs of the children."""
    header_contradictions: HeaderContradictions = Field(
        default_factory=lambda: get_settings().header_contradictions
    )
    """Refuse headers that contradict themselves, or convert them with a warning."""
    skip_existing: bool = True
    """Skip a group whose MS has a manifest that checks out, or was removed by housekeeping, if it
    was made of what there is now."""

    @property
    def ms_path(self) -> Path:
        """Where the MS goes."""
        group_id = self.group.group_id
        return (self.output_dir / group_id[:10] / f"{group_id}.ms").absolute()


def convert_group(options: ConversionOptions) -> ConversionResult:
    """Convert one group, unless its MS is there already.

    Parameters
    ----------
    options : ConversionOptions
        The group and how to convert it.

    Returns
    -------
    ConversionResult
        ``converted``, ``skipped``, or ``rejected`` for an incomplete group without an MS.

    Raises
    ------
    InputError
        If the inputs are wrong, or the target can never be written.
    TransientError
        If space, time or a process ran out, or another process holds the MS.
    """
    try:
        return _convert(options)
    except OSError as error:
        # What a closer place could have named better; no failure goes without a reason.
        raise name_os_error(error, f"cannot convert {options.group.group_id}") from error


def _convert(options: ConversionOptions) -> ConversionResult:
    """Convert one group, unless its MS is there already."""
    start = time.perf_counter()
    group = options.group

    def result(
        state: ConversionState, reason: str | None, writer: DirectSubbandWriter | None = None
    ) -> ConversionResult:
        has_ms = state is not ConversionState.REJECTED and options.ms_path.exists()
        return ConversionResult(
            group_id=group.group_id,
            state=state,
            ms_path=str(options.ms_path) if has_ms else None,
            reason=reason,
            unusable=group.unusable,
            seconds=round(time.perf_counter() - start, 3),
            warnings=writer.warnings if writer else [],
            cleanup_failures=writer.cleanup_failures if writer else [],
        )

    if group.state is GroupState.INCOMPLETE:
        if options.skip_existing and read_manifest(options.ms_path) is not None:
            # Raw files go in time; what was made of them stays.
            left = f"of its raw files {len(group.present)} are left"
            return result(ConversionState.SKIPPED, f"its MS is there and checks out; {left}")
        return result(
            ConversionState.REJECTED,
            f"incomplete: {len(group.present)} of 16 subbands; missing {', '.join(group.missing)}"
            + _count_unusable(group.unusable),
        )
    with exclusive_ms(
        options.ms_path,
        f"convert {group.group_id}",
        timeout_s=options.lock_timeout_s,
        access_log=options.log_dir.parent / ACCESS_LOG,
    ):
        manifest = read_manifest(options.ms_path) if options.skip_existing else None
        stale = manifest and describe_changes(manifest, group)
        if manifest is not None and not stale:
            return result(ConversionState.SKIPPED, "its MS is there and checks out")
        removed = find_removed(options.ms_path) if options.skip_existing else None
        if removed is not None and not describe_changes(removed.manifest, group):
            return result(ConversionState.SKIPPED, f"its MS {removed.sentence}")
        writer = DirectSubbandWriter(
            group,
            options.ms_path,
            sandbox_roots=options.sandbox_roots,
            max_workers=options.workers,
            timeout_s=options.timeout_s,
            log_dir=options.log_dir,
            header_contradictions=options.header_contradictions,
        )
        writer.write()
    anew = f"made anew: {stale}" if stale else ""
    lacks = f"semi-complete: without {', '.join(group.missing)}" if group.missing else ""
    lacks += _count_unusable(group.unusable)
    return result(ConversionState.CONVERTED, "; ".join(filter(None, (anew, lacks))) or None, writer)


def _count_unusable(files: Sequence[RejectedFile]) -> str:
    """Say how many files cannot be used, and why the first cannot."""
    if not files:
        return ""
    count = "1 file that is there cannot" if len(files) == 1 else f"{len(files)} files cannot"
    first = Path(files[0].file).name
    return f"; {count} be used, the first: {first} {files[0].reason}"


def convert_subband_groups_to_ms(
    input_dir: str | Path,
    output_dir: str | Path,
    start_time: str | datetime | None = None,
    end_time: str | datetime | None = None,
    *,
    scratch_dir: str | Path | None = None,
    max_workers: int | None = None,
    stage_to_tmpfs: bool = True,
    tmpfs_path: str | Path | None = None,
    skip_existing: bool = True,
    checkpoint_file: str | Path | None = None,
    header_contradictions: HeaderContradictions | None = None,
    writer: str = WRITER_NAME,
    progress: Progress | None = None,
    **unknown: Any,
) -> list[ConversionResult]:
    """Convert every complete and semi-complete group of a directory.

    A group that fails does not stop the others: its result says why.

    Parameters
    ----------
    input_dir : path
        Directory of UVH5 subband files; it is only read.
    output_dir : path
        Root of the MSs, one directory per UTC date.
    start_time, end_time : str or datetime, optional
        Half-open range of group starts, ISO 8601, UTC unless it says otherwise.
    scratch_dir : path, optional
        Directory of sandboxes where tmpfs has no room; default a hidden one in `output_dir`.
    max_workers : int, optional
        Fill workers per group; default from the settings.
    stage_to_tmpfs : bool
        Whether to try tmpfs first.
    tmpfs_path : path, optional
        Mount point of the tmpfs; default from the settings.
    skip_existing : bool
        Skip what has a manifest that checks out.
    checkpoint_file : path, optional
        JSON file that is rewritten after every group with all results so far.
    header_contradictions : {"refuse", "warn"}, optional
        Whether a group whose headers contradict themselves fails, or is converted with a
        warning; default from the settings.
    writer : str
        ``"parallel-subband"`` (also ``"direct-subband"``, ``"auto"``): the one there is.
    progress : callable, optional
        Called after each group with its result, the number done and the number in all.
    **unknown
        Anything else is refused by name.

    Returns
    -------
    list of ConversionResult
        One per group, in order of time, and one, rejected, per set of raw files of one time none
        of which can be used. Its ``unusable`` names the files that are there and cannot be used.

    Raises
    ------
    InputError
        If `input_dir` cannot be read, the checkpoint or the logs may not be written, or an
        argument is not understood.
    TransientError
        If there is no space for the checkpoint or the logs.
    """
    _refuse_unknown(writer, unknown)
    settings = get_settings()
    target = Path(output_dir).absolute()
    tmpfs_root = Path(tmpfs_path) / "dsa110-contimg" if tmpfs_path else settings.sandbox_root
    scratch_root = Path(scratch_dir) if scratch_dir else target / FALL_BACK
    sandbox_roots = [*([tmpfs_root] if stage_to_tmpfs else []), scratch_root]
    for root in sandbox_roots:  # also if no group is left to be converted
        reap_sandboxes(root)
    listing = find_groups(Path(input_dir), _as_utc(start_time), _as_utc(end_time))
    lost = list_lost(listing)
    results: list[ConversionResult] = []
    checkpoint = Path(checkpoint_file) if checkpoint_file is not None else None
    if checkpoint is not None:
        _write_checkpoint(checkpoint, results)

    def note(result: ConversionResult) -> None:
        """Keep a result, and tell those who wait for it.

        Parameters
        ----------
        result : ConversionResult
            Of one group.
        """
        results.append(result)
        if checkpoint is not None:
            _try_checkpoint(checkpoint, results)
        if progress is not None:
            progress(results[-1], len(results), len(listing.groups) + len(lost))

    log_dir = settings.logs_dir / "conversion"
    with fork_server(log_dir / "forkserver.log"):
        for group in listing.groups:
            options = ConversionOptions(
                group=group,
                output_dir=target,
                sandbox_roots=sandbox_roots,
                workers=max_workers or settings.conversion_workers,
                timeout_s=settings.conversion_timeout_s,
                lock_timeout_s=settings.ms_lock_timeout_s,
                log_dir=log_dir,
                header_contradictions=header_contradictions or settings.header_contradictions,
                skip_existing=skip_existing,
            )
            note(_convert_or_explain(options))
    for group_id, files in lost.items():
        note(
            ConversionResult(
                group_id=group_id,
                state=ConversionState.REJECTED,
                reason=f"no usable subband{_count_unusable(files)}",
                unusable=files,
            )
        )
    return results


def _convert_or_explain(options: ConversionOptions) -> ConversionResult:
    """Convert a group; a named failure becomes a result."""
    start = time.perf_counter()
    try:
        return convert_group(options)
    except ContimgError as error:
        group = options.group
        seconds = time.perf_counter() - start
        return failed_result(group.group_id, error, seconds, unusable=group.unusable)


def failed_result(
    group_id: str, error: ContimgError, seconds: float, *, unusable: Sequence[RejectedFile] = ()
) -> ConversionResult:
    """Put a failure on record.

    Parameters
    ----------
    group_id : str
        The group.
    error : ContimgError
        Why it failed.
    seconds : float
        Wall time until then.
    unusable : sequence of RejectedFile
        Files of the group that cannot be used.

    Returns
    -------
    ConversionResult
        In the state ``failed``.
    """
    return ConversionResult(
        group_id=group_id,
        state=ConversionState.FAILED,
        reason=f"{error.reason}: {error}",
        unusable=list(unusable),
        is_retried=isinstance(error, TransientError),
        seconds=round(seconds, 3),
    )


def _write_checkpoint(path: Path, results: list[ConversionResult]) -> None:
    """Write all results so far."""
    rows = [result.model_dump(mode="json") for result in results]
    try:
        write_text_atomic(path, json.dumps(rows, indent=1))
    except OSError as error:
        raise name_os_error(error, f"cannot write the checkpoint {path}") from error


def _try_checkpoint(path: Path, results: list[ConversionResult]) -> None:
    """Write all results so far; that it fails is a warning, for the groups are done."""
    try:
        _write_checkpoint(path, results)
    except ContimgError as error:
        warnings = [*results[-1].warnings, error.message]
        results[-1] = results[-1].model_copy(update={"warnings": warnings})


def _as_utc(moment: str | datetime | None) -> datetime | None:
    """Understand a time, as UTC unless it says otherwise."""
    if moment is None:
        return None
    try:
        parsed = moment if isinstance(moment, datetime) else datetime.fromisoformat(moment)
    except ValueError as error:
        raise InputError(
            f"cannot understand the time {moment!r}",
            reason="bad_time",
            remedy="write it as 2026-01-25T00:00:00",
        ) from error
    return parsed.replace(tzinfo=UTC) if parsed.tzinfo is None else parsed.astimezone(UTC)


def _refuse_unknown(writer: str, unknown: dict[str, Any]) -> None:
    """Refuse what has no meaning here, with a sentence why."""
    if writer not in _WRITERS:
        raise InputError(
            f"there is no writer {writer!r}: the direct-subband writer replaced per-subband "
            "parts and concat, which were slower and failed",
            reason="unknown_writer",
            remedy=f"use one of {', '.join(_WRITERS)}",
        )
    if unknown:
        raise InputError(
            f"convert_subband_groups_to_ms does not know {', '.join(sorted(unknown))}",
            reason="unknown_argument",
        )
