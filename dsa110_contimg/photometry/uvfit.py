"""Measure all sources of a field in the uv plane: each window is read once for all of them."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import ExitStack
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
from pydantic import Field

from dsa110_contimg.calibration.snapshot import MsSnapshot, hold_ms
from dsa110_contimg.catalog.sources import Source
from dsa110_contimg.errors import ScienceQualityError
from dsa110_contimg.imaging.field_fits import write_field_image
from dsa110_contimg.imaging.field_image import FieldImager
from dsa110_contimg.imaging.field_products import FieldImage, FieldImageOptions
from dsa110_contimg.models import Model
from dsa110_contimg.photometry.blends import MAX_INFLATION
from dsa110_contimg.photometry.joint_fit import JointFit, fit_jointly
from dsa110_contimg.photometry.models import SpwFailure
from dsa110_contimg.stages import StageClock
from dsa110_contimg.storage.ms_access import canonical_ms
from dsa110_contimg.visibilities.cells import Cells, make_cells
from dsa110_contimg.visibilities.directions import source_directions
from dsa110_contimg.visibilities.models import MsInfo, SpwInfo
from dsa110_contimg.visibilities.subtract import subtract_from_cells
from dsa110_contimg.visibilities.window import Window, read_window

_log = logging.getLogger(__name__)

_FITTING_THREADS = 2
"""For the matrices, which BLAS forms with a thread each."""
REPORTED_CORRELATION = 0.2
"""Flux densities that depend on each other at least so much are reported as a blend."""
_ONE_BEAM = 0.5
"""Overlap of sources within a beam of each other: the half of its peak."""


class UvfitWork(Model):
    """A field to fit, with all that was found out beforehand."""

    ms_path: Path
    """The MS."""
    snapshot: MsSnapshot
    """What it held when the work was planned, and has to hold when it is read."""
    spws: list[SpwInfo]
    """The windows to fit."""
    sources: list[Source]
    """All sources of the model."""
    serialize_ms_access: bool
    """Hold the MS's lock while the MS is read."""
    lock_timeout_s: float
    """How long to wait for another holder of the MS, in seconds."""
    access_log: Path | None
    """Records who held the MS when."""
    purpose: str
    """Shown to those who wait for the MS."""
    image: FieldImageOptions | None = None
    """Image the field as well; None: do not."""

    @property
    def info(self) -> MsInfo:
        """What the MS says of itself."""
        return self.snapshot.info


class PairFit(Model):
    """Two sources whose flux densities depend on each other."""

    first: int
    """Place of one in the list of sources."""
    second: int
    """Place of the other."""
    correlation: float
    """Of their flux densities."""
    members: list[int]
    """The two, or the group of more that cannot be told apart."""
    sum_rms_jy: float
    """Error of the sum of the members' flux densities in Jy."""


class WindowFit(Model):
    """All sources in one window, in the order of the list of sources."""

    spw_id: int
    """The window."""
    flagged_fraction: float
    """Fraction of its cross-correlations that are flagged or not finite."""
    reduced_chi2: float
    """Of the joint fit."""
    flux_jy: list[float]
    """Flux densities in Jy, corrected for the primary beam."""
    rms_jy: list[float]
    """Their errors in Jy."""
    inflation: list[float]
    """How many times larger the errors are for the neighbours."""
    pairs: list[PairFit]
    """Sources that depend on each other."""


class FieldMeasurement(Model):
    """All sources in all windows."""

    windows: list[WindowFit]
    """The windows that were fitted, in the order asked for."""
    failures: list[SpwFailure]
    """The others."""
    image: FieldImage | None = None
    """The image of the field with what the model left in it, if one was asked for and made."""
    notes: list[str] = Field(default_factory=list)
    """What a reader must know."""
    stage_seconds: dict[str, float]
    """Step to its wall time."""


class _Averaged(NamedTuple):
    """A window after averaging."""

    cells: Cells
    flagged_fraction: float


def fit_field(work: UvfitWork) -> FieldMeasurement:
    """Fit all sources of a field in all windows.

    While a window is read, those before are fitted; the MS is held for no longer than the
    reading takes.

    Parameters
    ----------
    work : UvfitWork
        The MS and the sources.

    Returns
    -------
    FieldMeasurement
        Flux densities; a window that failed stands in ``failures``.

    Raises
    ------
    TransientError
        If the MS is held by another process for too long, or has changed since the work was
        planned.
    """
    clock = StageClock(work.purpose)
    windows: list[WindowFit] = []
    failures: list[SpwFailure] = []
    pending: list[tuple[SpwInfo, Future[WindowFit]]] = []
    imager = None if work.image is None else FieldImager(work.info)
    with ThreadPoolExecutor(1) as averager, ThreadPoolExecutor(_FITTING_THREADS) as fitter:
        for spw, cells in _read_cells(work, averager, failures, clock):
            pending.append((spw, fitter.submit(_fit_window, work, spw, cells, imager)))
        with clock.stage("fit what is left"):
            for spw, fitted in pending:
                try:
                    windows.append(fitted.result())
                except ScienceQualityError as error:
                    failures.append(SpwFailure(spw_id=spw.spw_id, reason=str(error)))
    image: FieldImage | None = None
    notes: list[str] = []
    if work.image is not None and imager is not None and windows:
        with clock.stage("image"):
            image, notes = _make_image(imager, work.sources, work.image)
    return FieldMeasurement(
        windows=windows, failures=failures, image=image, notes=notes, stage_seconds=clock.seconds
    )


def _make_image(
    imager: FieldImager, sources: list[Source], options: FieldImageOptions
) -> tuple[FieldImage | None, list[str]]:
    """Write the image of the field, and say what a reader of the fluxes must know of it."""
    try:
        maps = imager.make(sources)
    except ScienceQualityError as error:
        return None, [f"The field was not imaged: {error}."]
    write_field_image(options.path, maps, options.provenance)
    return maps.about, maps.about.notes


def _read_cells(
    work: UvfitWork, averager: ThreadPoolExecutor, failures: list[SpwFailure], clock: StageClock
) -> Iterator[tuple[SpwInfo, Future[_Averaged]]]:
    """Read the windows under the MS's lock; each is averaged while the next is read."""
    ms_path = canonical_ms(work.ms_path)
    directions = source_directions(work.sources, work.info)
    averaged: Future[_Averaged] | None = None
    with ExitStack() as hold:
        with clock.stage("wait for the MS"):
            hold.enter_context(
                hold_ms(
                    ms_path,
                    work.purpose,
                    timeout_s=work.lock_timeout_s,
                    access_log=work.access_log,
                    locked=work.serialize_ms_access,
                    planned=work.snapshot,
                )
            )
        with clock.stage("read"):
            for number, spw in enumerate(work.spws, start=1):
                try:
                    window = read_window(ms_path, work.info, spw)
                except ScienceQualityError as error:
                    failures.append(SpwFailure(spw_id=spw.spw_id, reason=str(error)))
                except RuntimeError as error:  # casacore's only exception
                    reason = f"cannot be read from {ms_path}: {error}"
                    failures.append(SpwFailure(spw_id=spw.spw_id, reason=reason, retryable=True))
                else:
                    if averaged is not None:
                        wait([averaged])  # no more than two windows are in memory as a whole
                    averaged = averager.submit(_average, window, directions)
                    yield spw, averaged
                _log.info("%s: window %d of %d read", work.purpose, number, len(work.spws))


def _average(window: Window, directions: npt.NDArray[np.float64]) -> _Averaged:
    """Average a window, and look how much of it is flagged."""
    return _Averaged(make_cells(window, directions), window.flagged_fraction)


def _fit_window(
    work: UvfitWork,
    spw: SpwInfo,
    averaged: Future[_Averaged],
    imager: FieldImager | None,
) -> WindowFit:
    """Fit one window, and keep what matters of the covariances."""
    cells, flagged_fraction = averaged.result()
    fit = fit_jointly(cells, work.info, spw, work.sources)
    if imager is not None:
        left = subtract_from_cells(cells, work.info, spw, work.sources, fit.flux_jy)
        imager.add(spw, cells, left)
    return WindowFit(
        spw_id=spw.spw_id,
        flagged_fraction=flagged_fraction,
        reduced_chi2=fit.reduced_chi2,
        flux_jy=fit.flux_jy.tolist(),
        rms_jy=fit.rms_jy.tolist(),
        inflation=fit.inflation.tolist(),
        pairs=list(_dependent_pairs(fit)),
    )


def _dependent_pairs(fit: JointFit) -> Iterator[PairFit]:
    """Find the sources that depend on each other, or are of one group."""
    correlation, group = fit.correlation, _number_groups(fit)
    together = (group[:, None] == group) & (group >= 0)
    strong = np.triu((np.abs(correlation) >= REPORTED_CORRELATION) | together, 1)
    for first, second in np.argwhere(strong):
        members = [int(first), int(second)]
        if together[first, second]:
            members = np.flatnonzero(group == group[first]).tolist()
        yield PairFit(
            first=int(first),
            second=int(second),
            correlation=float(correlation[first, second]),
            members=members,
            sum_rms_jy=float(np.sqrt(fit.covariance_jy2[np.ix_(members, members)].sum())),
        )


def _number_groups(fit: JointFit) -> npt.NDArray[np.int64]:
    """Give the sources that cannot be told apart one number per group, the others -1."""
    from scipy.sparse.csgraph import connected_components

    lost = np.flatnonzero(~(fit.inflation <= MAX_INFLATION))
    group = np.full(len(fit.inflation), -1)
    if lost.size:
        group[lost] = connected_components(fit.overlap[np.ix_(lost, lost)] >= _ONE_BEAM)[1]
    return group
