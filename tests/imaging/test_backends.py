"""tclean, WSClean and ducc0 on the same source: one flux density, one place, one beam."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.wcs import WCS
from support.imaging_backends import ALL, OTHERS, needs_wsclean
from support.point_source import TARGET

from dsa110_contimg.calibration.snapshot import read_snapshot
from dsa110_contimg.catalog.sources import Source
from dsa110_contimg.errors import InputError
from dsa110_contimg.imaging.image_source import image_source, image_sources
from dsa110_contimg.imaging.measure_stamps import measure_stamps
from dsa110_contimg.imaging.models import CleanOptions, ImageSourceOptions, ImageSourcesOptions
from dsa110_contimg.imaging.prepare import StampWork
from dsa110_contimg.imaging.products import spw_image_file
from dsa110_contimg.photometry.models import SourceResult
from dsa110_contimg.visibilities.ms_info import read_ms_info, select_spws

pytestmark = [
    pytest.mark.casa,
    # wcslib says so of every FITS file that gives the telescope's place as x, y, z alone.
    pytest.mark.filterwarnings("ignore:'obsfix' made the change"),
]

EAST_ARCSEC, NORTH_ARCSEC = -60.0, 75.0
"""From the centre of the stamp to `TARGET`, where it is not at the centre."""


@pytest.fixture(scope="module")
def image_by(point_source_ms, tmp_path_factory):
    """`image_by(backend, **clean)`: `TARGET` in two windows, once per backend and options."""
    done: dict[tuple[object, ...], SourceResult] = {}
    root = tmp_path_factory.mktemp("backends")

    def make(backend: str, **clean: object) -> SourceResult:
        key = (backend, *sorted(clean.items()))
        if key not in done:
            done[key] = image_source(
                ImageSourceOptions(
                    ms_path=point_source_ms,
                    products_dir=root / f"products{len(done)}",
                    source=TARGET,
                    backend=backend,
                    spws=(0, 8),
                    clean=CleanOptions.model_validate({"image_size_px": 128, **clean}),
                    sandbox_roots=[root / "sandboxes"],
                )
            )
        return done[key]

    return make


def read_image(result: SourceResult, spw_id: int = 8) -> tuple[fits.Header, np.ndarray]:
    with fits.open(Path(result.products_dir) / spw_image_file(spw_id)) as hdus:
        return hdus[0].header.copy(), hdus[0].data[0, 0].copy()


@pytest.mark.parametrize("backend", OTHERS)
def test_backends_agree_with_tclean_and_with_the_truth(image_by, backend):
    result, reference = image_by(backend), image_by("tclean")
    assert result.success
    assert [spw.spw_id for spw in result.spws] == [0, 8]
    for spw, other in zip(result.spws, reference.spws, strict=True):
        truth_jy = float(TARGET.flux_at(spw.freq_hz))
        tolerance_jy = max(0.01 * truth_jy, 0.3 * other.rms_jy)
        assert spw.flux_jy == pytest.approx(other.flux_jy, abs=tolerance_jy)
        assert spw.flux_jy == pytest.approx(truth_jy, abs=tolerance_jy)
        # The same noise, weighted alike; what CLEAN leaves of the source differs.
        assert spw.rms_jy == pytest.approx(other.rms_jy, rel=0.25)
        assert spw.flagged_fraction == other.flagged_fraction


@pytest.mark.parametrize("weighting", ["briggs", "natural", "uniform"])
def test_dirty_images_of_ducc0_are_those_of_tclean(image_by, weighting):
    """Pixel by pixel, so gridder, orientation, weighting and primary beam are the same."""
    _, image = read_image(image_by("ducc0", weighting=weighting))
    _, reference = read_image(image_by("tclean", weighting=weighting, max_iterations=0))
    assert reference.std() > 0.1  # side lobes of 1 Jy
    # tclean's gridder is good to a few 1e-3.
    assert np.abs(image - reference).max() < 0.01
    assert (image - reference).std() < 0.002


@pytest.mark.parametrize("backend", OTHERS)
@pytest.mark.parametrize("weighting", ["briggs", "natural"])
def test_beams_agree_with_tcleans(image_by, backend, weighting):
    """Not better, for each program fits its Gaussian to other pixels of a main lobe that is none,
    and WSClean counts the density of visibilities in other cells. (With uniform weights the
    lobe of 16 antennas is so ragged that tclean's own beam means nothing.)"""
    header, _ = read_image(image_by(backend, weighting=weighting))
    reference, _ = read_image(image_by("tclean", weighting=weighting, max_iterations=0))
    for keyword in ("BMAJ", "BMIN"):
        assert header[keyword] == pytest.approx(reference[keyword], rel=0.15)
    turn_deg = (header["BPA"] - reference["BPA"] + 90.0) % 180.0 - 90.0
    assert abs(turn_deg) < 20.0


@pytest.mark.parametrize("backend", ALL)
def test_header_says_where_and_when(image_by, backend, point_source_ms):
    header, image = read_image(image_by(backend))
    assert np.unravel_index(np.argmax(image), image.shape) == (64, 64)
    ra_deg, dec_deg = WCS(header).celestial.wcs_pix2world(64, 64, 0)
    assert ra_deg == pytest.approx(TARGET.ra_deg, abs=1e-9)
    assert dec_deg == pytest.approx(TARGET.dec_deg, abs=1e-9)
    assert [header[f"CTYPE{axis}"] for axis in (1, 2, 3, 4)] == [
        "RA---SIN",
        "DEC--SIN",
        "FREQ",
        "STOKES",
    ]
    assert header["RADESYS"] == "ICRS"
    assert header["BUNIT"] == "Jy/beam"
    assert header["TELESCOP"] == "OVRO_MMA"
    # tclean turns the frequency to LSRK; nobody moves faster than 2e-4 of light.
    assert header["RESTFRQ"] == pytest.approx(image_by(backend).spws[1].freq_hz, rel=2e-4)
    info = read_ms_info(point_source_ms)
    assert header["MJD-OBS"] == pytest.approx(info.start_mjd, abs=1e-8)
    assert header["OBSGEO-X"] == pytest.approx(info.telescope_itrf_m[0], abs=1.0)


@pytest.mark.parametrize("backend", OTHERS)
def test_a_neighbour_appears_in_its_place(point_source_ms, options_for, backend):
    """The target in a stamp whose centre lies beside it: north is up, east is left."""
    beside = Source(
        name="beside",
        ra_deg=TARGET.ra_deg - EAST_ARCSEC / 3600 / np.cos(np.deg2rad(TARGET.dec_deg)),
        dec_deg=TARGET.dec_deg - NORTH_ARCSEC / 3600,
    )
    result = image_source(options_for(point_source_ms, source=beside, backend=backend))
    header, image = read_image(result)
    row, column = np.unravel_index(np.argmax(image), image.shape)
    cell_arcsec = 3600 * header["CDELT2"]
    assert abs(row - 64 - NORTH_ARCSEC / cell_arcsec) < 1.0
    assert abs(column - 64 + EAST_ARCSEC / cell_arcsec) < 1.0
    expected = WCS(header).celestial.wcs_world2pix(TARGET.ra_deg, TARGET.dec_deg, 0)
    assert np.hypot(column - expected[0], row - expected[1]) < 1.0
    truth_jy = float(TARGET.flux_at(result.spws[0].freq_hz))
    # Off the pixel grid the peak of a beam of 14 pixels loses little; CLEAN under the few
    # baselines of 16 antennas up to 6 per cent.
    assert image[row, column] == pytest.approx(truth_jy, rel=0.1)


@pytest.mark.parametrize("backend", OTHERS)
def test_casa_is_not_needed(point_source_ms, options_for, tmp_path, backend):
    """CASA refuses to be opened here, outside its child."""
    options = options_for(point_source_ms, backend=backend)
    snapshot = read_snapshot(point_source_ms)
    for folder in ("scratch", "tree"):
        (tmp_path / folder).mkdir()
    work = StampWork(
        options=options,
        snapshot=snapshot,
        spws=select_spws(snapshot.info, options.spws, None),
        provenance=snapshot.provenance(options),
        scratch_dir=tmp_path / "scratch",
        tree_dir=tmp_path / "tree",
    )
    assert measure_stamps(work).success
    with pytest.raises(RuntimeError, match="outside its door"):
        measure_stamps(work.model_copy(update={"options": options_for(point_source_ms)}))


@needs_wsclean
def test_wsclean_without_iterations_has_a_beam_all_the_same(point_source_ms, options_for):
    result = image_source(
        options_for(
            point_source_ms,
            backend="wsclean",
            clean=CleanOptions(image_size_px=128, max_iterations=0),
        )
    )
    assert result.success
    assert result.spws[0].flux_jy == pytest.approx(TARGET.flux_at(result.spws[0].freq_hz), rel=0.01)
    assert read_image(result)[0]["BMAJ"] > 0.01


def test_dirty_images_are_called_so(image_by):
    assert any("dirty" in note for note in image_by("ducc0").notes)
    assert not any("dirty" in note for note in image_by("tclean").notes)


def test_absent_wsclean_is_named_before_any_work(
    point_source_ms, options_for, tmp_path, monkeypatch
):
    monkeypatch.setenv("PATH", str(tmp_path))
    options = options_for(point_source_ms, backend="wsclean")
    with pytest.raises(InputError, match="apt-get install wsclean") as caught:
        image_source(options)
    assert caught.value.reason == "no_wsclean"
    shared = options.model_dump(exclude={"source"})
    with pytest.raises(InputError, match="not installed"):
        image_sources(ImageSourcesOptions.model_validate({**shared, "sources": [TARGET]}))
    assert not (tmp_path / "products").exists()


def test_ducc0_images_private_copies_only(point_source_ms, options_for, tmp_path):
    with pytest.raises(InputError) as caught:
        image_source(options_for(point_source_ms, backend="ducc0", private_copy=None))
    assert caught.value.reason == "private_copy_needed"
    assert not (tmp_path / "products").exists()
