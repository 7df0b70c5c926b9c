"""Read the windows of an MS for one source: free of its neighbours, rotated and averaged."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from dsa110_contimg.calibration.snapshot import MsSnapshot, hold_ms
from dsa110_contimg.errors import ScienceQualityError
from dsa110_contimg.imaging.models import Backend, ImageSourceOptions
from dsa110_contimg.imaging.neighbours import Neighbours, find_neighbours
from dsa110_contimg.imaging.private_copy import PrivateCopy
from dsa110_contimg.models import Model
from dsa110_contimg.photometry.models import SpwFailure
from dsa110_contimg.provenance import Provenance
from dsa110_contimg.stages import StageClock
from dsa110_contimg.storage.ms_access import canonical_ms
from dsa110_contimg.visibilities.directions import uvw_rotation
from dsa110_contimg.visibilities.models import MsInfo, SpwInfo
from dsa110_contimg.visibilities.window import Window, average_window, read_window


class StampWork(Model):
    """One source to image, with all that was found out beforehand."""

    options: ImageSourceOptions
    """What to do."""
    snapshot: MsSnapshot
    """What the MS held when the work was planned, and has to hold when it is read."""
    spws: list[SpwInfo]
    """The windows to image."""
    provenance: Provenance
    """Goes into every product."""
    scratch_dir: Path
    """Directory for temporary files."""
    tree_dir: Path
    """Directory for the products."""

    @property
    def info(self) -> MsInfo:
        """What the MS says of itself."""
        return self.snapshot.info


@dataclass
class Visibilities:
    """What is to be imaged, in an MS or in memory.

    Attributes
    ----------
    ms_path : Path
        The MS, or the private copy of it.
    data_column : str
        Its column.
    windows : dict of int to Window
        Windows by id, for the backend that takes them from memory; averaged, and with the
        source at their phase centre.
    flagged_fractions : dict of int to float
        Of each window that holds data, by id.
    n_antennas : int
        Number of antennas with data.
    longest_baseline_wavelengths : float
        Greatest distance in the uv plane, in wavelengths.
    failures : list of SpwFailure
        The windows that cannot be imaged.
    neighbours : Neighbours or None
        What the field fit says of the source and of those around it.
    """

    ms_path: Path
    data_column: str
    windows: dict[int, Window] = field(default_factory=dict)
    flagged_fractions: dict[int, float] = field(default_factory=dict)
    n_antennas: int = 0
    longest_baseline_wavelengths: float = 0.0
    failures: list[SpwFailure] = field(default_factory=list)
    neighbours: Neighbours | None = None

    def note(self, window: Window) -> None:
        """Remember what a window tells about the images to come.

        Parameters
        ----------
        window : Window
            As read.
        """
        self.flagged_fractions[window.spw.spw_id] = window.flagged_fraction
        self.n_antennas = max(self.n_antennas, window.n_antennas)
        self.longest_baseline_wavelengths = max(
            self.longest_baseline_wavelengths, window.longest_baseline_wavelengths
        )


@contextmanager
def open_visibilities(work: StampWork, clock: StageClock) -> Iterator[Visibilities]:
    """Read the windows under the MS's lock; keep it only if the MS itself is imaged.

    Parameters
    ----------
    work : StampWork
        The source, the MS and where to write.
    clock : StageClock
        Times the steps.

    Yields
    ------
    Visibilities
        What is to be imaged.

    Raises
    ------
    InputError
        If the field fit cannot be used.
    TransientError
        If the MS is held by another process for too long, or has changed since the work was
        planned, or the field fitted.
    """
    options = work.options
    with ExitStack() as hold:
        ms_path = canonical_ms(options.ms_path)
        with clock.stage("wait for the MS"):
            snapshot = hold.enter_context(
                hold_ms(
                    ms_path,
                    options.purpose or f"imaging {options.source.name}",
                    timeout_s=options.lock_timeout_s,
                    access_log=options.access_log,
                    locked=options.serialize_ms_access,
                    planned=work.snapshot,
                )
            )
        neighbours = find_neighbours(options, options.source, snapshot)
        with clock.stage("read"):
            visibilities = _read(work, ms_path, neighbours)
        if options.private_copy is not None:
            hold.close()
        yield visibilities


def spw_failure(spw: SpwInfo, reason: str, *, retryable: bool = False) -> SpwFailure:
    """Say why a window gave no measurement.

    Parameters
    ----------
    spw : SpwInfo
        The window.
    reason : str
        Why, in a sentence.
    retryable : bool
        Whether it may succeed when it is run again.

    Returns
    -------
    SpwFailure
        The record.
    """
    return SpwFailure(spw_id=spw.spw_id, reason=reason, retryable=retryable)


def _read(work: StampWork, ms_path: Path, neighbours: Neighbours | None) -> Visibilities:
    """Look at every window; subtract, average and keep it where that is wanted."""
    visibilities = Visibilities(ms_path, work.info.data_column, neighbours=neighbours)
    store = _Store(work, ms_path, visibilities)
    for spw in work.spws:
        try:
            if neighbours is not None:
                neighbours.require_apart(spw.spw_id)
            window = read_window(ms_path, work.info, spw)
            if neighbours is not None:
                window = neighbours.subtract_from(window, work.info)
        except ScienceQualityError as error:
            visibilities.failures.append(spw_failure(spw, str(error)))
        except RuntimeError as error:  # casacore's only exception
            reason = f"cannot be read from {ms_path}: {error}"
            visibilities.failures.append(spw_failure(spw, reason, retryable=True))
        else:
            visibilities.note(window)
            store.put(window)
    return visibilities


class _Store:
    """Keeps averaged windows where the backend takes them from: an MS or memory."""

    def __init__(self, work: StampWork, ms_path: Path, visibilities: Visibilities):
        info, options = work.info, work.options
        self._averaging = options.private_copy
        self._visibilities = visibilities
        self._copy: PrivateCopy | None = None
        self._rotation = uvw_rotation(info, options.source)
        if self._averaging is not None and options.backend is not Backend.DUCC0:
            path = work.scratch_dir / "private.ms"
            self._copy = PrivateCopy(path, original=ms_path, source=options.source)
            visibilities.ms_path, visibilities.data_column = path, "DATA"

    def put(self, window: Window) -> None:
        """Rotate, average and keep a window, unless the MS itself is imaged."""
        if self._averaging is None:
            return
        averaged = average_window(window, self._rotation, self._averaging)
        if self._copy is not None:
            self._copy.append(averaged)
        else:
            self._visibilities.windows[window.spw.spw_id] = averaged
