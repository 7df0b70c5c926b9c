"""What a calibrated field shows: flux densities, positions and noise against the truth."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt

from dsa110_contimg.catalog.sources import Source
from dsa110_contimg.imaging.field_products import FIELD_DIR, FIELD_SUMMARY_FILE, FieldImage
from dsa110_contimg.imaging.models import Backend
from dsa110_contimg.imaging.products import MEAN_IMAGE_FILE
from dsa110_contimg.instrument import N_TIMES, SEFD_JY
from dsa110_contimg.models import Model
from dsa110_contimg.photometry.measure import MeasureOptions, measure_sources
from dsa110_contimg.photometry.models import Photometry, SourceResult
from dsa110_contimg.simulation.visibilities import thermal_noise_jy
from dsa110_contimg.visibilities.known_sources import problem_of
from dsa110_contimg.visibilities.ms_info import read_ms_info

_POSITION_SNR = 20.0
"""Noise alone moves a source of this SNR by a fortieth of a beam."""
_PEAK_HALF_PX = 10
"""A peak is looked for so near to the middle of a stamp: two beams."""
_STAMP_STEP = 4
"""Every fourth window is imaged: positions do not depend on the window."""
_WORKERS = 2


class MeasuredSource(Model):
    """One source of a calibrated field."""

    name: str
    """The source."""
    truth_jy: float
    """Its true flux density, the mean of the windows with the weights of the measurements."""
    flux_jy: float
    """The same as measured by the joint fit."""
    rms_jy: float
    """Its error."""
    offset_beams: float | None = None
    """Distance of its peak in a stamp from the truth in minor axes (FWHM) of the beam; None if
    it is too faint to tell."""

    @property
    def ratio(self) -> float:
        """Measured over true flux density."""
        return self.flux_jy / self.truth_jy


class CalibratedField(Model):
    """A group after its calibration."""

    name: str
    """Which group, and how it was flagged."""
    choice: str
    """What was applied, in words."""
    calibrator: str
    """Name of the source that was solved on."""
    sources: list[MeasuredSource]
    """Everything in the field."""
    scale_by_window: list[float]
    """Measured over true flux density in each window: the least-squares factor over all sources
    but the calibrator."""
    scale: float
    """The same of all windows together."""
    scale_rms: float
    """What noise makes of it."""
    noise_jy: float
    """Robust noise of the image of the field without its sources, in Jy/beam (Briggs, 0.5)."""
    thermal_noise_jy: float
    """Least noise that any image of the unflagged data can have: that of natural weights."""
    unflagged: float
    """Part of the cross-correlations that is unflagged."""


def look_at_field(
    name: str,
    ms: Path,
    products: Path,
    sky: Sequence[Source],
    *,
    calibrator: str,
    choice: str,
    flagged_fraction: float,
) -> CalibratedField:
    """Measure everything in a calibrated field, and compare it with the truth.

    Parameters
    ----------
    name : str
        Which group, and how it was flagged.
    ms : Path
        The calibrated MS.
    products : Path
        Receives what is made on the way.
    sky : sequence of Source
        Everything in the sky, the calibrator included.
    calibrator : str
        Its name.
    choice : str
        What was applied, in words.
    flagged_fraction : float
        Of the cross-correlations.

    Returns
    -------
    CalibratedField
        Flux densities by the joint fit, positions from stamps, noise from the field's image.
    """
    info = read_ms_info(ms)
    inside = [source for source in sky if problem_of(source, info) is None]
    shared = {"ms_path": ms, "sources": inside, "field_model": list(sky)}
    fitted = measure_sources(
        MeasureOptions.model_validate({**shared, "products_dir": products / "uvfit"})
    )
    _require_all(fitted)
    measured = [_measured(s, result) for s, result in zip(inside, fitted, strict=True)]
    bright = [
        s for s, m in zip(inside, measured, strict=True) if m.flux_jy > _POSITION_SNR * m.rms_jy
    ]
    offsets = _find_offsets(ms, products / "stamps", bright, sky)
    image = FieldImage.model_validate_json(
        (products / "uvfit" / FIELD_DIR / FIELD_SUMMARY_FILE).read_bytes()
    )
    scales = _find_scales(inside, fitted, calibrator)
    return CalibratedField(
        name=name,
        choice=choice,
        calibrator=calibrator,
        sources=[m.model_copy(update={"offset_beams": offsets.get(m.name)}) for m in measured],
        **scales,
        noise_jy=image.noise_jy,
        thermal_noise_jy=_natural_noise_jy(ms, 1.0 - flagged_fraction),
        unflagged=1.0 - flagged_fraction,
    )


def _require_all(results: Sequence[SourceResult]) -> None:
    """Refuse a measurement that lacks a window."""
    failed = [f"{result.name}: {result.error}" for result in results if not result.success]
    if failed:
        raise RuntimeError("; ".join(failed))


def _measured(source: Source, result: SourceResult) -> MeasuredSource:
    """Average the windows."""
    weight = np.array([spw.rms_jy for spw in result.spws]) ** -2
    truth_jy = source.flux_at([spw.freq_hz for spw in result.spws])
    return MeasuredSource(
        name=source.name,
        truth_jy=float(np.average(truth_jy, weights=weight)),
        flux_jy=float(np.average([spw.flux_jy for spw in result.spws], weights=weight)),
        rms_jy=float(weight.sum() ** -0.5),
    )


def _find_scales(
    sources: Sequence[Source], results: Sequence[SourceResult], calibrator: str
) -> dict[str, object]:
    """Find the factor by which flux densities are off, from all sources but the calibrator."""
    chosen = [
        (source, result)
        for source, result in zip(sources, results, strict=True)
        if source.name != calibrator
    ]
    truth_jy = np.array([s.flux_at([spw.freq_hz for spw in r.spws]) for s, r in chosen])
    flux_jy = np.array([[spw.flux_jy for spw in r.spws] for _, r in chosen])
    weight = np.array([[spw.rms_jy for spw in r.spws] for _, r in chosen]) ** -2
    product, square = weight * flux_jy * truth_jy, weight * truth_jy**2
    return {
        "scale_by_window": (product.sum(axis=0) / square.sum(axis=0)).tolist(),
        "scale": float(product.sum() / square.sum()),
        "scale_rms": float(square.sum() ** -0.5),
    }


def _find_offsets(
    ms: Path, products: Path, sources: Sequence[Source], sky: Sequence[Source]
) -> dict[str, float]:
    """Image sources, each without the others, and find how far their peaks are off, in beams."""
    spws = tuple(spw.spw_id for spw in read_ms_info(ms).spws[::_STAMP_STEP])
    results = measure_sources(
        MeasureOptions(
            ms_path=ms,
            products_dir=products,
            sources=list(sources),
            field_model=list(sky),
            photometry=Photometry.IMAGE,
            backend=Backend.DUCC0,
            spws=spws,
            max_workers=_WORKERS,
        )
    )
    _require_all(results)
    return {s.name: _offset_beams(products / s.name / MEAN_IMAGE_FILE, s) for s in sources}


def _offset_beams(stamp: Path, source: Source) -> float:
    """Find the summit of a parabola through the peak of a stamp, and its distance."""
    from astropy.coordinates import SkyCoord
    from astropy.io import fits
    from astropy.wcs import WCS

    with fits.open(stamp, memmap=False) as hdus:
        image, header = hdus[0].data[0, 0], hdus[0].header
    celestial = WCS(header, fix=False).celestial
    at_x, at_y = celestial.wcs_world2pix(source.ra_deg, source.dec_deg, 0)
    left, low = round(float(at_x)) - _PEAK_HALF_PX, round(float(at_y)) - _PEAK_HALF_PX
    width = 2 * _PEAK_HALF_PX + 1
    x, y = _summit(image[low : low + width, left : left + width])
    ra_deg, dec_deg = celestial.wcs_pix2world(left + x, low + y, 0)
    found = SkyCoord(float(ra_deg), float(dec_deg), unit="deg")
    true = SkyCoord(source.ra_deg, source.dec_deg, unit="deg")
    return float(found.separation(true).deg / header["BMIN"])


def _summit(image: npt.NDArray[np.floating]) -> tuple[float, float]:
    """Fit a quadric to the 3 x 3 pixels about the brightest one; x and y of its summit."""
    y, x = (int(k) for k in np.unravel_index(int(np.argmax(image)), image.shape))
    y, x = (min(max(k, 1), size - 2) for k, size in zip((y, x), image.shape, strict=True))
    rows, columns = np.mgrid[-1:2, -1:2].reshape(2, -1)
    terms = np.stack(
        [columns**2, rows**2, columns * rows, columns, rows, np.ones(9)], axis=1
    ).astype(float)
    box = image[y - 1 : y + 2, x - 1 : x + 2].ravel().astype(float)
    xx, yy, xy, x1, y1, _ = np.linalg.lstsq(terms, box, rcond=None)[0]
    dx, dy = np.linalg.solve([[2 * xx, xy], [xy, 2 * yy]], [-x1, -y1])
    return x + float(dx), y + float(dy)


def _natural_noise_jy(ms: Path, unflagged: float) -> float:
    """Noise of Stokes I from all unflagged visibilities of both polarizations, equally weighted.

    ``SEFD / sqrt(2 dnu tau) / sqrt(N)``, N the number of visibilities (Thompson, Moran &
    Swenson, section 6.2); after calibration the noise of all antennas is the same, as
    simulated.
    """
    from dsa110_contimg.visibilities.ms_info import read_antennas

    info = read_ms_info(ms)
    n_antennas = len(read_antennas(ms)[1])
    n_channels = sum(spw.n_channels for spw in info.spws)
    n_baselines = n_antennas * (n_antennas - 1) // 2
    n_visibilities = 2 * N_TIMES * n_baselines * n_channels * unflagged
    return float(thermal_noise_jy(SEFD_JY) / np.sqrt(n_visibilities))
