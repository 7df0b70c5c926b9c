"""The image of a field: sources where they are, a residual of noise, and what a model lacks."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from PIL import Image
from support.point_source import TARGET

from dsa110_contimg.calibration.snapshot import read_snapshot
from dsa110_contimg.catalog.sources import Source
from dsa110_contimg.imaging.field_fits import FieldMaps, read_field_image
from dsa110_contimg.imaging.field_image import MAX_SIZE_PX
from dsa110_contimg.imaging.field_plots import MAX_LABELS, plot_field
from dsa110_contimg.imaging.field_products import (
    FieldImage,
    FieldImageOptions,
    ResidualPeak,
)
from dsa110_contimg.imaging.field_stamp_plot import plot_field_stamp
from dsa110_contimg.photometry.uvfit import FieldMeasurement, UvfitWork, fit_field
from dsa110_contimg.provenance import Provenance
from dsa110_contimg.visibilities.models import MsInfo

pytestmark = pytest.mark.casa

EMPTY = Source(name="empty", ra_deg=127.6, dec_deg=54.2)
"""Nothing is there."""
PROVENANCE = Provenance(created="now", host="here", versions={}, options={"a": 1}, inputs=[])


@pytest.fixture(scope="module")
def info(point_source_ms: Path) -> MsInfo:
    return read_snapshot(point_source_ms).info


def measure(
    path: Path, info: MsInfo, sources: list[Source], windows: slice = slice(0, 16, 4)
) -> FieldMeasurement:
    work = UvfitWork(
        ms_path=Path(info.ms_path),
        snapshot=read_snapshot(Path(info.ms_path)),
        spws=info.spws[windows],
        sources=sources,
        serialize_ms_access=False,
        lock_timeout_s=1.0,
        access_log=None,
        purpose="test",
        image=FieldImageOptions(path=path, provenance=PROVENANCE),
    )
    return fit_field(work)


def field(path: Path, info: MsInfo, sources: list[Source]) -> FieldMaps:
    about = measure(path, info, sources).image
    assert about is not None
    return read_field_image(path, about)


@pytest.fixture(scope="module")
def lacking(info: MsInfo, tmp_path_factory: pytest.TempPathFactory) -> FieldMaps:
    """A field whose model has an empty place instead of the source."""
    return field(tmp_path_factory.mktemp("lacking") / "field.fits", info, [EMPTY])


@pytest.fixture(scope="module")
def complete(info: MsInfo, tmp_path_factory: pytest.TempPathFactory) -> FieldMaps:
    return field(tmp_path_factory.mktemp("complete") / "field.fits", info, [TARGET, EMPTY])


def test_a_source_that_the_model_lacks_is_found_where_it_is(
    lacking: FieldMaps, info: MsInfo
) -> None:
    about = lacking.about
    east_arcsec = 3600 * (about.peak.ra_deg - TARGET.ra_deg) * np.cos(np.deg2rad(TARGET.dec_deg))
    north_arcsec = 3600 * (about.peak.dec_deg - TARGET.dec_deg)
    # A peak is found to an eighth of a pixel, and a pixel is a third of the beam.
    assert np.hypot(east_arcsec, north_arcsec) < about.cell_arcsec / 8
    # The average over cells takes up to 16 per cent at the edge of the field.
    true_jy = float(TARGET.flux_at(about.freq_hz))
    assert 0.9 * true_jy < about.peak.flux_jy < 1.02 * true_jy
    assert about.peak.source is None
    assert about.lacks_source
    assert "lacks a source at RA 128.90" in about.notes[0]


def test_the_images_coordinates_hold(lacking: FieldMaps) -> None:
    wcs = WCS(lacking.header, fix=False).celestial
    y, x = np.unravel_index(np.argmax(lacking.observed), lacking.observed.shape)
    at_x, at_y = wcs.wcs_world2pix(TARGET.ra_deg, TARGET.dec_deg, 0)
    assert np.hypot(x - at_x, y - at_y) < 1.0
    assert x < lacking.observed.shape[1] / 2  # the target lies to the east, and east is left
    assert wcs.wcs.ctype[0] == "RA---SIN"


def test_a_complete_model_leaves_noise(complete: FieldMaps, lacking: FieldMaps) -> None:
    about = complete.about
    assert not about.lacks_source
    assert about.peak_at_source is not None
    assert about.peak_at_source.source == TARGET.name
    # The model's brightness where the residual is strongest, within a beam of the source.
    assert 0.4 < about.peak_at_source.source_jy < 0.93 * 1.15
    assert about.notes == []
    # The model is right to 3e-3 for cells that are averaged to their limit (MAX_PHASE_RAD).
    assert abs(about.peak_at_source.peak_jy) < 3e-3 * 0.93
    # 0.5 mJy in a window (SEFD_JY), four of them, and 17 per cent more with Briggs weighting.
    assert about.noise_jy == pytest.approx(0.5e-3 / 2 * 1.17, rel=0.15)
    assert about.noise_jy < 0.1 * lacking.residual.std()


def test_the_image_reaches_half_power_and_the_farthest_source(
    complete: FieldMaps, info: MsInfo, tmp_path: Path
) -> None:
    half_power_deg = 3.2 / 2 * 1.4e9 / complete.about.freq_hz
    width_deg = complete.about.size_px * complete.about.cell_arcsec / 3600
    assert 2 * half_power_deg < width_deg < 2.4 * half_power_deg
    assert complete.about.size_px % 2 == 0
    assert min(complete.about.beam_arcsec) / complete.about.cell_arcsec == pytest.approx(3, rel=0.1)
    far = Source(name="far", ra_deg=info.center_ra_deg, dec_deg=info.center_dec_deg - 2.6)
    about = measure(tmp_path / "far.fits", info, [TARGET, far], slice(0, 1)).image
    assert about is not None
    assert about.size_px * about.cell_arcsec / 3600 > 5.2
    assert about.size_px <= MAX_SIZE_PX


def test_the_file_tells_what_it_is(complete: FieldMaps, tmp_path: Path, info: MsInfo) -> None:
    path = tmp_path / "field.fits"
    measurement = measure(path, info, [TARGET])
    with fits.open(path) as hdus:
        hdus.verify("exception")
        assert hdus[0].header["BUNIT"] == "Jy/beam"
        assert hdus[0].header["NSPW"] == len(measurement.windows) == 4
        assert hdus[0].header["BMAJ"] > hdus[0].header["BMIN"] > 0
        assert '"options": {"a": 1}' in "".join(hdus[0].header["HISTORY"])
        assert hdus["RESIDUAL"].data.shape == hdus[0].data.shape
    assert measurement.notes == []
    assert measurement.stage_seconds["image"] > 0


def with_peaks(
    about: FieldImage, away_snr: float, at_source_snr: float, source_jy: float
) -> FieldImage:
    def peak(snr: float, source: str | None) -> ResidualPeak:
        return ResidualPeak(
            ra_deg=1.0,
            dec_deg=2.0,
            peak_jy=1e-3 * snr,
            snr=snr,
            response=0.5,
            source=source,
            source_jy=None if source is None else source_jy,
        )

    return about.model_copy(
        update={"peak": peak(away_snr, None), "peak_at_source": peak(at_source_snr, "a")}
    )


@pytest.mark.parametrize(
    ("away_snr", "at_source_snr", "source_jy", "n_notes", "lacks"),
    [
        (5.9, 5.9, 0.1, 0, False),
        (6.1, -4.0, 0.1, 1, True),
        (6.1, -15.0, 0.1, 1, False),
        (6.1, -15.0, 1.0, 0, False),
        (20.0, 15.0, 0.1, 2, True),
    ],
)
def test_side_lobes_of_a_bad_source_are_no_missing_source(
    complete: FieldMaps,
    away_snr: float,
    at_source_snr: float,
    source_jy: float,
    n_notes: int,
    lacks: bool,
) -> None:
    about = with_peaks(complete.about, away_snr, at_source_snr, source_jy)
    assert about.lacks_source == lacks
    assert len(about.notes) == n_notes
    assert about.peak.flux_jy == pytest.approx(2 * about.peak.peak_jy)


@pytest.mark.parametrize("n_targets", [0, 2, MAX_LABELS + 1])
def test_fields_with_few_and_many_targets_are_drawn(
    complete: FieldMaps, info: MsInfo, tmp_path: Path, n_targets: int
) -> None:
    random = np.random.default_rng(1)
    targets = [
        Source(
            name=f"source_{k}",  # an underscore, but no mathematics
            ra_deg=info.center_ra_deg + random.uniform(-1, 1),
            dec_deg=info.center_dec_deg + random.uniform(-1, 1),
        )
        for k in range(n_targets)
    ]
    path = tmp_path / "field.png"
    plot_field(path, complete, info, targets=targets, others=[TARGET], metadata={"Title": "f"})
    with Image.open(path) as picture:
        assert picture.text["Title"] == "f"
        assert np.asarray(picture.convert("L")).std() > 10


def test_a_stamp_shows_its_source_beside_what_is_left(complete: FieldMaps, tmp_path: Path) -> None:
    path = tmp_path / "stamp.png"
    wcs = WCS(complete.header, fix=False).celestial
    plot_field_stamp(path, complete, wcs, TARGET, [EMPTY], mean_jy=(1.0, 0.01), metadata={})
    with Image.open(path) as picture:
        grey = np.asarray(picture.convert("L"), dtype=float)
    height, width = grey.shape
    # The panels' centres, as parts of the width; the source is black, and noise is not.
    observed, residual = (
        grey[
            height // 2 - 8 : height // 2 + 8, round(part * width) - 8 : round(part * width) + 8
        ].mean()
        for part in (0.265, 0.68)
    )
    assert observed < 40
    assert residual > 90


def test_a_stamp_at_the_edge_of_the_image_is_drawn(complete: FieldMaps, tmp_path: Path) -> None:
    wcs = WCS(complete.header, fix=False).celestial
    ra_deg, dec_deg = (float(k) for k in wcs.wcs_pix2world(2, 2, 0))
    corner = Source(name="corner", ra_deg=ra_deg, dec_deg=dec_deg)
    path = tmp_path / "stamp.png"
    plot_field_stamp(path, complete, wcs, corner, [], mean_jy=None, metadata={})
    assert path.stat().st_size > 5000
