"""What happens inside the child: every window of one source, from MS to products."""

from __future__ import annotations

import logging
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from dsa110_contimg.errors import ScienceQualityError, TransientError
from dsa110_contimg.imaging import products
from dsa110_contimg.imaging.backends import make_imager
from dsa110_contimg.imaging.models import Backend
from dsa110_contimg.imaging.neighbours import Neighbours
from dsa110_contimg.imaging.plots import Thumbnail, plot_stamp, png_metadata
from dsa110_contimg.imaging.prepare import StampWork, Visibilities, open_visibilities, spw_failure
from dsa110_contimg.imaging.stamp import Stamp
from dsa110_contimg.photometry.binning import find_detections
from dsa110_contimg.photometry.blends import describe_blends
from dsa110_contimg.photometry.failures import describe_failures
from dsa110_contimg.photometry.forced import central_value, robust_rms
from dsa110_contimg.photometry.models import SourceResult, SpwFailure, SpwMeasurement
from dsa110_contimg.photometry.plots import plot_spectrum
from dsa110_contimg.stages import StageClock
from dsa110_contimg.visibilities.models import SpwInfo
from dsa110_contimg.visibilities.primary_beam import source_response, stamp_response

if TYPE_CHECKING:
    from astropy.io.fits import Header

_log = logging.getLogger(__name__)

_BIAS_NOTE = (
    "Forced photometry on a stamp: each flux density carries the side lobes of the field's "
    "other sources, typically 0.6 per cent of theirs per window with Briggs weighting at "
    "robust 0.5 (2.2 per cent with natural); CLEANing the stamp does not remove them."
)
_SUBTRACTED_NOTE = (
    "Forced photometry on a stamp, after {} other sources of the field were subtracted from the "
    "visibilities at the flux densities that {} gives them: each flux density carries the side "
    "lobes of sources that are not in it, and of the errors of those that are."
)
_DIRTY_NOTE = (
    "The images are dirty: {} does not deconvolve, so what is left in the field has its side "
    "lobes in them. For the noise, the target is taken out with the PSF."
)
_FEW_ANTENNAS = 16
_FEW_ANTENNAS_NOTE = (
    "With {} antennas CLEAN spreads a source over a main lobe that is no Gaussian and over high "
    "side lobes: with 8 antennas, sources of 0.6 to 1.5 Jy came out 2 to 5 per cent low in "
    "restored images, within 1 per cent in those of ducc0, which are not CLEANed, and within 0.2 "
    "per cent by uvfit. The errors do not contain this."
)


@dataclass(frozen=True)
class _Measured:
    """One window's result, corrected for the primary beam."""

    measurement: SpwMeasurement
    image: npt.NDArray[np.float64]
    header: Header
    response: float


def measure_stamps(work: StampWork) -> SourceResult:
    """Image and measure one source, and write its products.

    Parameters
    ----------
    work : StampWork
        The source, the MS and where to write.

    Returns
    -------
    SourceResult
        What was measured; a window that failed stands in ``failed_spws``.

    Raises
    ------
    InputError
        If the field fit cannot be used, or the backend's program is not installed.
    TransientError
        If the MS is held by somebody else for too long.
    """
    clock = StageClock(work.options.source.name)
    with open_visibilities(work, clock) as visibilities:
        measured, failures = _measure_windows(work, visibilities, clock)
    failures = sorted(visibilities.failures + failures, key=lambda failure: failure.spw_id)
    result = _make_result(
        work, [m.measurement for m in measured], failures, visibilities.neighbours
    )
    result = result.model_copy(update={"notes": result.notes + _note_few(work, visibilities)})
    with clock.stage("products"):
        names = _write_products(work, measured, result)
    return result.model_copy(update={"products": names, "stage_seconds": clock.seconds})


def _measure_windows(
    work: StampWork, visibilities: Visibilities, clock: StageClock
) -> tuple[list[_Measured], list[SpwFailure]]:
    """Image and measure the windows that hold data, each on its own."""
    usable = [spw for spw in work.spws if spw.spw_id in visibilities.flagged_fractions]
    if not usable:
        return [], []
    with clock.stage(f"start {work.options.backend}"):
        imager = make_imager(work, visibilities)
    measured, failures = [], []
    with clock.stage("image"):
        for spw in usable:
            _log.info("%s: image spw %d", work.options.source.name, spw.spw_id)
            try:
                measured.append(_measure(work, spw, imager.image(spw.spw_id), visibilities))
            except ScienceQualityError as error:
                failures.append(spw_failure(spw, str(error)))
            except (TransientError, OSError) as error:
                failures.append(spw_failure(spw, str(error), retryable=True))
    return measured, failures


def _measure(work: StampWork, spw: SpwInfo, stamp: Stamp, visibilities: Visibilities) -> _Measured:
    """Measure a source in its stamp, and correct both for the primary beam."""
    from astropy.wcs import WCS

    response = source_response(work.options.source, work.info, spw.freq_hz)
    rms_jy = robust_rms(stamp.residual, beam_px=stamp.beam_major_px) / response
    if not rms_jy > 0.0:
        raise ScienceQualityError(
            "the stamp is too small, or too empty, to measure the noise in", reason="no_noise"
        )
    neighbours = visibilities.neighbours
    inflation = None if neighbours is None else neighbours.inflation(spw.spw_id)
    # The fit shared the flux density among neighbours before they were subtracted.
    rms_jy *= inflation or 1.0
    flux_jy = central_value(stamp.image) / response
    beam = stamp_response(WCS(stamp.header).celestial, stamp.image.shape, work.info, spw.freq_hz)
    measurement = SpwMeasurement(
        spw_id=spw.spw_id,
        freq_hz=spw.freq_hz,
        bandwidth_hz=spw.bandwidth_hz,
        flux_jy=flux_jy,
        rms_jy=rms_jy,
        snr=flux_jy / rms_jy,
        flagged_fraction=visibilities.flagged_fractions[spw.spw_id],
        error_inflation=inflation,
    )
    return _Measured(measurement, stamp.image / beam, stamp.header, response)


def _make_result(
    work: StampWork,
    spws: list[SpwMeasurement],
    failures: list[SpwFailure],
    neighbours: Neighbours | None,
) -> SourceResult:
    """Search the measurements for detections, and say what failed."""
    options, source = work.options, work.options.source
    return SourceResult(
        name=source.name,
        ra_deg=source.ra_deg,
        dec_deg=source.dec_deg,
        success=not failures,
        error=describe_failures(failures, len(work.spws)),
        n_spws=len(work.spws),
        spws=spws,
        failed_spws=failures,
        detections=find_detections(spws, options.binning),
        blends=[] if neighbours is None else neighbours.blends,
        notes=_notes(work, neighbours),
        ms_path=work.info.ms_path,
        products_dir=str(options.products_dir / source.name),
        provenance=work.provenance,
    )


def _notes(work: StampWork, neighbours: Neighbours | None) -> list[str]:
    """Say what biases the measurements."""
    options = work.options
    notes = [_BIAS_NOTE]
    if neighbours is not None and neighbours.fitted:
        notes = [_SUBTRACTED_NOTE.format(len(neighbours.fitted), options.field_fit)]
    if neighbours is not None:
        notes += describe_blends(neighbours.blends)
    if options.backend is Backend.DUCC0:
        notes.append(_DIRTY_NOTE.format(options.backend))
    return notes


def _note_few(work: StampWork, visibilities: Visibilities) -> list[str]:
    """Say what CLEAN does to the data of few antennas, if it was run on such."""
    is_clean = work.options.backend is not Backend.DUCC0 and work.options.clean.max_iterations > 0
    is_few = 0 < visibilities.n_antennas < _FEW_ANTENNAS
    return [_FEW_ANTENNAS_NOTE.format(visibilities.n_antennas)] if is_clean and is_few else []


def _write_products(work: StampWork, measured: list[_Measured], result: SourceResult) -> list[str]:
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


def _write_mean(work: StampWork, measured: list[_Measured]) -> None:
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
