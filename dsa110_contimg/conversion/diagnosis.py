"""What the surroundings allow before the work, and what they tell of a child that failed.

A vanished input, a full tmpfs and a truncated memory map end a child in the same few ways
(SIGABRT, SIGBUS, an exception of a library). Its parent looks at the inputs and at the space
to tell them apart: some are worth another attempt, some are not.
"""

from __future__ import annotations

import resource
import shutil
from collections.abc import Sequence
from pathlib import Path

from dsa110_contimg.errors import ContimgError, InputError, TransientError
from dsa110_contimg.provenance import InputFile, describe_input

_STAT_BLOCK_BYTES = 512
_OPEN_FILES = 64
"""casacore has some 40 files open while it makes an MS."""
_OPEN_FILES_PER_WORKER = 4


def check_open_files(workers: int) -> None:
    """Find out, before the work, whether this process may open the files that it takes.

    Parameters
    ----------
    workers : int
        Fill workers.

    Raises
    ------
    TransientError
        If its limit is too low; another process may have another limit.
    """
    need = _OPEN_FILES + workers * _OPEN_FILES_PER_WORKER
    limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    if limit != resource.RLIM_INFINITY and limit < need:
        raise TransientError(
            f"this process may have {limit} open files, a conversion takes up to {need}",
            reason="too_many_open_files",
            remedy="raise the limit of open files (ulimit -n)",
        )


def find_changed_inputs(inputs: Sequence[InputFile]) -> tuple[list[str], list[str]]:
    """Compare the inputs with what they were before the work.

    Parameters
    ----------
    inputs : sequence of InputFile
        The inputs as they were.

    Returns
    -------
    vanished, changed : list of str
        Paths of those that are gone, and of those with another size or modification time.
    """
    vanished, changed = [], []
    for before in inputs:
        try:
            if describe_input(Path(before.path)) != before:
                changed.append(before.path)
        except FileNotFoundError:
            vanished.append(before.path)
    return vanished, changed


def check_unchanged(inputs: Sequence[InputFile]) -> list[str]:
    """Refuse what was made of inputs that changed meanwhile.

    Parameters
    ----------
    inputs : sequence of InputFile
        The inputs as they were before the work.

    Returns
    -------
    list of str
        A sentence for each input that is gone now; that does no harm to finished work.

    Raises
    ------
    InputError
        If an input changed.
    """
    vanished, changed = find_changed_inputs(inputs)
    if changed:
        raise _changed(changed)
    return [f"{path} vanished during the conversion, after it was read" for path in vanished]


def explain_failure(
    error: TransientError, inputs: Sequence[InputFile], sandbox: Path, need_bytes: int
) -> ContimgError:
    """Find the cause of a failed child in its surroundings.

    Parameters
    ----------
    error : TransientError
        What is known of the child's end.
    inputs : sequence of InputFile
        The inputs as they were before the work.
    sandbox : Path
        Where it worked, as it left it.
    need_bytes : int
        Space that it was promised there.

    Returns
    -------
    ContimgError
        `InputError` ``vanished_input`` or ``changed_input``; `TransientError`
        ``no_sandbox_space``; or `error` itself, if the surroundings are in order.
    """
    vanished, changed = find_changed_inputs(inputs)
    if vanished:
        return InputError(
            f"{', '.join(vanished)} vanished during the conversion; {error.message}",
            reason="vanished_input",
            remedy="bring the input back",
        )
    if changed:
        return _changed(changed, f"; {error.message}")
    used = sum(file.stat().st_blocks for file in sandbox.rglob("*")) * _STAT_BLOCK_BYTES
    left = shutil.disk_usage(sandbox).free
    if used + left < need_bytes:
        return TransientError(
            f"no space left in {sandbox.parent}: of {need_bytes / 1e9:.2f} GB that were free "
            f"others took {(need_bytes - used - left) / 1e9:.2f} GB during the work; "
            f"{error.message}",
            reason="no_sandbox_space",
            remedy="free space there",
        )
    return error


def _changed(paths: Sequence[str], detail: str = "") -> InputError:
    """Name inputs that changed."""
    return InputError(
        f"{', '.join(paths)} changed during the conversion{detail}",
        reason="changed_input",
        remedy="convert again when nobody writes to it any more",
    )
