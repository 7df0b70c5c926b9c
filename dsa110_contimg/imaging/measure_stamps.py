"""What happens inside the CASA child: every window of one source, from MS to products."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from dsa110_contimg.casa.door import open_casatasks
from dsa110_contimg.errors import ScienceQualityError
from dsa110_contimg.imaging import products
from dsa110_contimg.imaging.models import ImageSourceOptions
from dsa110_contimg.imaging.plots import Thumbnail, plot_stamp, png_metadata
from dsa110_contimg.imaging.private_copy import PrivateCopy
from dsa110_contimg.imaging.tclean import Stamp, TcleanImager, choose_cell_arcsec
from dsa110_contimg.models import Model
from dsa110_contimg.photometry.binning import find_detections
from dsa110_contimg.photometry.forced import central_value, robust_rms
from dsa110_contimg.photometry.models import SourceResult, SpwFailure, SpwMeasurement
from dsa110_contimg.photometry.plots import plot_spectrum
from dsa110_contimg.provenance import Provenance
from dsa110_contimg.stages import StageClock
from dsa110_contimg.storage.ms_access import canonical_ms, exclusive_ms
from dsa110_contimg.visibilities.models import MsInfo, SpwInfo
from dsa110_contimg.visibilities.primary_beam import source_response, stamp_response
from dsa110_contimg.visibilities.window import Window, read_window

if TYPE_CHECKING:
    from astropy.io.fits import Header

_log = logging.getLogger(__name__)

_BIAS_NOTE = (
    "Forced photometry on a stamp: each flux density carries the side lobes of the field's "
    "other sources, typically 0.6 per cent of theirs per window with Briggs weighting at "
    "robust 0.5 (2.2 per cent with natural); CLEANing the stamp does not remove them."
)


class CasaWork(Model):
    """One source to image, with all that was found out beforehand."""

    options: ImageSourceOptions
    """What to do."""
    info: MsInfo
    """What the MS says of itself."""
    spws: list[SpwInfo]
    """The windows to image."""
    provenance: Provenance
    """Goes into every product."""
    scratch_dir: Path
    """Directory for temporary files."""
    tree_dir: Path
    """Directory for the products."""


@dataclass
class _Visibilities:
    """What tclean is to image."""

    ms_path: Path
    data_column: str
    flagged_fractions: dict[int, float] = field(default_factory=dict)
    longest_baseline_wavelengths: float = 0.0
    failures: list[SpwFailure] = field(default_factory=list)

    def note(self, window: Window) -> None:
        """Remember what a window tells about the images to come."""
        self.flagged_fractions[window.spw.spw_id] = window.flagged_fraction
        self.longest_baseline_wavelengths = max(
            self.longest_baseline_wavelengths, window.longest_baseline_wavelengths
        )


@dataclass(frozen=True)
class _Measured:
    """One window's result, corrected for the primary beam."""

    measurement: SpwMeasurement
    image: npt.NDArray[np.float64]
    header: Header
    response: float


def image_in_casa(work: CasaWork) -> SourceResult:
    """Image and measure one source, and write its products.

    Parameters
    ----------
    work : CasaWork
        The source, the MS and where to write.

    Returns
    -------
    SourceResult
        What was measured; a window that failed stands in ``failed_spws``.

    Raises
    ------
    TransientError
        If the MS is held by somebody else for too long.
    """
    clock = StageClock(work.options.source.name)
    with _open_visibilities(work, clock) as visibilities:
        measured, failures = _measure_windows(work, visibilities, clock)
    failures = sorted(visibilities.failures + failures, key=lambda failure: failure.spw_id)
    result = _make_result(work, [m.measurement for m in measured], failures)
    with clock.stage("products"):
        names = _write_products(work, measured, result)
    return result.model_copy(update={"products": names, "stage_seconds": clock.seconds})


@contextmanager
def _open_visibilities(work: CasaWork, clock: StageClock) -> Iterator[_Visibilities]:
    """Read the windows under the MS's lock; keep it only if the MS itself is imaged."""
    options = work.options
    with ExitStack() as hold:
        ms_path = canonical_ms(options.ms_path)
        if options.serialize_ms_access:
            with clock.stage("wait for the MS"):
                hold.enter_context(
                    exclusive_ms(
                        ms_path,
                        options.purpose or f"imaging {options.source.name}",
                        timeout_s=options.lock_timeout_s,
                        access_log=options.access_log,
                    )
                )
        with clock.stage("read"):
            visibilities = _prepare(work, ms_path)
        if options.private_copy is not None:
            hold.close()
        yield visibilities


def _prepare(work: CasaWork, ms_path: Path) -> _Visibilities:
    """Look at every window, and copy it where a private copy is wanted."""
    copy = _start_copy(work, ms_path)
    visibilities = _Visibilities(ms_path, work.info.data_column)
    if copy is not None:
        visibilities = _Visibilities(copy.path, "DATA")
    for spw in work.spws:
        try:
            window = read_window(ms_path, work.info, spw)
        except ScienceQualityError as error:
            visibilities.failures.append(_failure(spw, str(error)))
        except RuntimeError as error:  # casacore's only exception
            reason = f"cannot be read from {ms_path}: {error}"
            visibilities.failures.append(_failure(spw, reason, retryable=True))
        else:
            visibilities.note(window)
            if copy is not None:
                copy.append(window)
    return visibilities


def _start_copy(work: CasaWork, ms_path: Path) -> PrivateCopy | None:
    """Make an empty private copy, if one is wanted."""
    options = work.options
    if options.private_copy is None:
        return None
    return PrivateCopy(
        work.scratch_dir / "private.ms",
        original=ms_path,
        info=work.info,
        source=options.source,
        options=options.private_copy,
    )


def _measure_windows(
    work: CasaWork, visibilities: _Visibilities, clock: StageClock
) -> tuple[list[_Measured], list[SpwFailure]]:
    """Image and measure the windows that hold data, each on its own."""
    usable = [spw for spw in work.spws if spw.spw_id in visibilities.flagged_fractions]
    if not usable:
        return [], []
    with clock.stage("import CASA"):
        open_casatasks()
    options = work.options
    imager = TcleanImager(
        visibilities.ms_path,
        data_column=visibilities.data_column,
        source=options.source,
        info=work.info,
        cell_arcsec=choose_cell_arcsec(options.clean, visibilities.longest_baseline_wavelengths),
        options=options.clean,
        scratch_dir=work.scratch_dir,
    )
    measured, failures = [], []
    with clock.stage("image"):
        for spw in usable:
            _log.info("%s: image spw %d", options.source.name, spw.spw_id)
            try:
                stamp = imager.image(spw.spw_id)
            except ScienceQualityError as error:
                failures.append(_failure(spw, str(error)))
            except (RuntimeError, OSError, ValueError) as error:  # as casatasks raises them
                failures.append(_failure(spw, f"tclean failed: {error}", retryable=True))
            else:
                fraction = visibilities.flagged_fractions[spw.spw_id]
                measured.append(_measure(work, spw, stamp, fraction))
    return measured, failures


def _measure(work: CasaWork, spw: SpwInfo, stamp: Stamp, flagged_fraction: float) -> _Measured:
    """Measure a source in its stamp, and correct both for the primary beam."""
    from astropy.wcs import WCS

    response = source_response(work.options.source, work.info, spw.freq_hz)
    rms_jy = robust_rms(stamp.residual, beam_px=stamp.beam_major_px) / response
    flux_jy = central_value(stamp.image) / response
    beam = stamp_response(WCS(stamp.header).celestial, stamp.image.shape, work.info, spw.freq_hz)
    measurement = SpwMeasurement(
        spw_id=spw.spw_id,
        freq_hz=spw.freq_hz,
        bandwidth_hz=spw.bandwidth_hz,
        flux_jy=flux_jy,
        rms_jy=rms_jy,
        snr=flux_jy / rms_jy,
        flagged_fraction=flagged_fraction,
    )
    return _Measured(measurement, stamp.image / beam, stamp.header, response)


def _make_result(
    work: CasaWork, spws: list[SpwMeasurement], failures: list[SpwFailure]
) -> SourceResult:
    """Search the measurements for detections, and say what failed."""
    options, source = work.options, work.options.source
    error = None
    if failures:
        error = f"{len(failures)} of {len(work.spws)} windows failed: " + "; ".join(
            f"spw {failure.spw_id}: {failure.reason}" for failure in failures
        )
    return SourceResult(
        name=source.name,
        ra_deg=source.ra_deg,
        dec_deg=source.dec_deg,
        success=not failures,
        error=error,
        n_spws=len(work.spws),
        spws=spws,
        failed_spws=failures,
        detections=find_detections(spws, options.binning),
        notes=[_BIAS_NOTE],
        ms_path=work.info.ms_path,
        products_dir=str(options.products_dir / source.name),
        provenance=work.provenance,
    )


def _write_products(work: CasaWork, measured: list[_Measured], result: SourceResult) -> list[str]:
    """Write images, plots and tables; return their names."""
    tree, source, provenance = work.tree_dir, work.options.source, work.provenance
    for item in measured:
        products.write_spw_image(
            tree / products.spw_image_file(item.measurement.spw_id),
            item.image,
            item.header,
            source=source,
            measurement=item.measurement,
            response=item.response,
            provenance=provenance,
        )
    if measured:
        _write_mean(work, measured)
    products.write_detections(
        tree / products.DETECTIONS_FILE, result.detections, source=source, provenance=provenance
    )
    plot_spectrum(tree / products.SPECTRUM_FILE, result, png_metadata(source, provenance))
    return sorted(file.name for file in tree.iterdir())


def _write_mean(work: CasaWork, measured: list[_Measured]) -> None:
    """Write the mean image and the stamp."""
    tree, source = work.tree_dir, work.options.source
    weights = [item.measurement.rms_jy**-2 for item in measured]
    mean = np.average([item.image for item in measured], axis=0, weights=weights)
    header = measured[len(measured) // 2].header
    products.write_mean_image(
        tree / products.MEAN_IMAGE_FILE,
        mean,
        header,
        source=source,
        n_images=len(measured),
        provenance=work.provenance,
    )
    plot_stamp(
        tree / products.STAMP_FILE,
        mean,
        header,
        [Thumbnail(item.measurement, item.image) for item in measured],
        source=source,
        provenance=work.provenance,
    )


def _failure(spw: SpwInfo, reason: str, *, retryable: bool = False) -> SpwFailure:
    """Say why a window gave no measurement."""
    return SpwFailure(spw_id=spw.spw_id, reason=reason, retryable=retryable)
