"""The direct-subband writer: one table written straight from the subband files, no concat."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from dsa110_contimg.conversion.diagnosis import (
    check_open_files,
    check_unchanged,
    explain_failure,
)
from dsa110_contimg.conversion.filenames import subband_label
from dsa110_contimg.conversion.models import (
    GroupState,
    HeaderContradictions,
    Manifest,
    SubbandGroup,
)
from dsa110_contimg.errors import InputError, TransientError, name_os_error
from dsa110_contimg.instrument import N_SUBBANDS
from dsa110_contimg.models import Model
from dsa110_contimg.processes import run_in_child
from dsa110_contimg.provenance import InputFile, Provenance, make_provenance
from dsa110_contimg.settings import get_settings
from dsa110_contimg.stages import StageClock
from dsa110_contimg.storage.ms_access import canonical_ms
from dsa110_contimg.storage.publish import (
    check_target,
    list_data_files,
    publish_tree,
    write_manifest,
)
from dsa110_contimg.storage.sandbox import FALL_BACK, open_sandbox

if TYPE_CHECKING:
    from pyuvdata import UVData

    from dsa110_contimg.conversion.write_ms import WriteMsReport

WRITER_NAME = "parallel-subband"

_MS_BYTES_PER_INPUT_BYTE = 0.7
"""Measured 0.64 for a full-size group; the raw files hold flags as bytes, the MS as bits."""
_TABLE_OVERHEAD_BYTES = 32 << 20


class WriterOptions(Model):
    """How and where a group is written."""

    sandbox_roots: list[Path]
    """Where the sandbox may stand, in order of preference."""
    workers: int = 2
    """Fill workers."""
    timeout_s: float = 900.0
    """Limit for the child that writes, in seconds."""
    log_dir: Path
    """Directory of the child's log."""
    header_contradictions: HeaderContradictions = "refuse"
    """What to do with headers that contradict themselves."""


class DirectSubbandWriter:
    """Writes the MS of one group: in a sandbox, by a child process, published whole.

    Parameters
    ----------
    uv : SubbandGroup or sequence of path or UVData or None
        The group, or its files. A `pyuvdata.UVData` (or None) is accepted with `file_list`:
        the files are read directly, never through the object.
    ms_path : path
        The MS to publish.
    **kwargs
        file_list : sequence of path
            The subband files, if `uv` does not name them.
        sandbox_roots : list of Path
            Where the sandbox may stand; default the tmpfs of the settings, then a hidden
            directory beside the MS.
        max_workers : int
            Fill workers; default from the settings.
        timeout_s : float
            Limit for the child that writes, in seconds; default from the settings.
        log_dir : Path
            Directory of the child's log; default from the settings.
        header_contradictions : {"refuse", "warn"}
            What to do with headers that contradict themselves; default from the settings.

    Raises
    ------
    InputError
        If no files are named, or an argument is unknown.
    """

    def __init__(
        self,
        uv: SubbandGroup | Sequence[str | Path] | UVData | None,
        ms_path: str | Path,
        **kwargs: Any,
    ):
        settings = get_settings()
        self.ms_path = canonical_ms(ms_path)
        self._files = _named_files(uv, kwargs.pop("file_list", None))
        self.options = WriterOptions(
            sandbox_roots=kwargs.pop(
                "sandbox_roots", [settings.sandbox_root, self.ms_path.parent / FALL_BACK]
            ),
            workers=kwargs.pop("max_workers", None) or settings.conversion_workers,
            timeout_s=kwargs.pop("timeout_s", None) or settings.conversion_timeout_s,
            log_dir=kwargs.pop("log_dir", None) or settings.logs_dir / "conversion",
            header_contradictions=kwargs.pop("header_contradictions", None)
            or settings.header_contradictions,
        )
        if kwargs:
            raise InputError(
                f"DirectSubbandWriter does not know {', '.join(sorted(kwargs))}",
                reason="unknown_argument",
            )
        self.warnings: list[str] = []
        """What went wrong without harm to the MS; filled by `write`."""
        self.cleanup_failures: list[str] = []
        """Those of the warnings that say what could not be removed."""

    def write(self) -> str:
        """Write and publish the MS.

        The caller holds the lock of the MS (`storage.ms_access.exclusive_ms`) if others may
        want the same path.

        Returns
        -------
        str
            ``"parallel-subband"``, the name of the method.

        Raises
        ------
        InputError
            If a file is damaged, vanishes or changes, or the target can never be written.
        TransientError
            If space, time or the child ran out; nothing is left under the good name.
        """
        check_open_files(self.options.workers)
        provenance = self._describe_inputs()
        size = sum(file.size_bytes for file in provenance.inputs)
        need_bytes = int(size * _MS_BYTES_PER_INPUT_BYTE) + _TABLE_OVERHEAD_BYTES
        check_target(self.ms_path, need_bytes)
        clock = StageClock(self.ms_path.stem)
        with open_sandbox(self.ms_path.stem, self.options.sandbox_roots, need_bytes) as sandbox:
            if sandbox.path.stat().st_dev == self.ms_path.parent.stat().st_dev:
                check_target(self.ms_path, 2 * need_bytes)
            written = sandbox.path / self.ms_path.name
            with clock.stage("write"):
                report = self._write_in_child(written, provenance.inputs, need_bytes)
            sandbox.warnings += report.warnings
            sandbox.warnings += check_unchanged(provenance.inputs)
            data_files = list_data_files(written)
            sandbox.warnings += publish_tree(written, self.ms_path, clock, read_only=True)
            with clock.stage("manifest"):
                write_manifest(
                    self.ms_path,
                    _make_manifest(self.ms_path.stem, report, clock, data_files, provenance),
                )
        self.warnings = sandbox.warnings
        self.cleanup_failures = sandbox.cleanup_failures
        return WRITER_NAME

    def _describe_inputs(self) -> Provenance:
        """Record the inputs as they are before the work."""
        try:
            return make_provenance(self.options, self._files)
        except FileNotFoundError as error:
            raise InputError(f"{error.filename} is not there", reason="vanished_input") from error
        except OSError as error:
            raise name_os_error(error, "cannot read an input", denied="unreadable_input") from error

    def _write_in_child(
        self, written: Path, inputs: list[InputFile], need_bytes: int
    ) -> WriteMsReport:
        """Have a child write the MS into the sandbox."""
        # Imported here: it brings h5py and numba, which only a conversion needs.
        from dsa110_contimg.conversion.write_ms import WriteMsOptions, write_ms

        try:
            return run_in_child(
                write_ms,
                WriteMsOptions(
                    group_id=self.ms_path.stem,
                    files=self._files,
                    ms_path=written,
                    workers=self.options.workers,
                    header_contradictions=self.options.header_contradictions,
                ),
                timeout_s=self.options.timeout_s,
                log_path=self.options.log_dir / f"{written.parent.name}.log",
                warm=True,
            )
        except TransientError as error:
            raise explain_failure(error, inputs, written.parent, need_bytes) from error


def _make_manifest(
    group_id: str,
    report: WriteMsReport,
    clock: StageClock,
    data_files: dict[str, int],
    provenance: Provenance,
) -> Manifest:
    """State what was published."""
    present = [window.subband for window in report.spectral_windows]
    seconds = {**report.stage_seconds, **clock.seconds}
    # What the child took beyond its own stages: to start, and to end.
    seconds["child"] = round(seconds.pop("write") - sum(report.stage_seconds.values()), 3)
    return Manifest(
        group_id=group_id,
        state=GroupState.of(len(present)),
        missing=[sb for sb in map(subband_label, range(N_SUBBANDS)) if sb not in present],
        files=data_files,
        provenance=provenance,
        **{**report.model_dump(), "stage_seconds": seconds},
    )


def _named_files(
    uv: SubbandGroup | Sequence[str | Path] | UVData | None,
    file_list: Sequence[str | Path] | None,
) -> list[Path]:
    """Find out which files are meant."""
    if isinstance(uv, SubbandGroup):
        file_list = uv.files
    elif isinstance(uv, (list, tuple)):
        file_list = uv
    if not file_list:
        raise InputError(
            "DirectSubbandWriter needs the subband files",
            reason="no_files",
            remedy="pass a SubbandGroup, a list of paths, or file_list=[...]",
        )
    return [Path(file).absolute() for file in file_list]
