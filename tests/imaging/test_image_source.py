"""One source in one MS, by real CASA: fluxes, positions, products and reruns."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import QTable
from astropy.wcs import WCS
from casacore.tables import table
from PIL import Image
from support.point_source import TARGET

from dsa110_contimg.calibration.snapshot import read_snapshot
from dsa110_contimg.catalog.sources import Source
from dsa110_contimg.errors import InputError
from dsa110_contimg.imaging.image_source import (
    _earlier_result,
    _provenance,
    image_source,
    image_sources,
)
from dsa110_contimg.imaging.models import CleanOptions, ImageSourceOptions, ImageSourcesOptions
from dsa110_contimg.imaging.products import spw_image_file
from dsa110_contimg.photometry.models import SourceResult
from dsa110_contimg.visibilities.ms_info import read_ms_info
from dsa110_contimg.visibilities.primary_beam import source_response

pytestmark = [
    pytest.mark.casa,
    # wcslib says so of every FITS file that gives the telescope's place as x, y, z alone.
    pytest.mark.filterwarnings("ignore:'obsfix' made the change"),
]

FLUX_TOLERANCE = 0.005
"""Relative, beside noise: gridding, the mean primary beam for the drifting one, smearing."""


@pytest.fixture(scope="module")
def imaged(point_source_ms, tmp_path_factory) -> SourceResult:
    """`TARGET` in three windows with all defaults but the size of the stamp."""
    root = tmp_path_factory.mktemp("imaged")
    return image_source(
        ImageSourceOptions(
            ms_path=point_source_ms,
            products_dir=root / "products",
            source=TARGET,
            spws=(0, 8, 9),
            clean=CleanOptions(image_size_px=192),
            sandbox_roots=[root / "sandboxes"],
            access_log=root / "ms_access.jsonl",
        )
    )


def read_fits(path: Path) -> tuple[fits.Header, np.ndarray]:
    with fits.open(path) as hdus:
        return hdus[0].header.copy(), hdus[0].data[0, 0].copy()


def test_flux_density_is_recovered_in_every_window(imaged):
    assert imaged.success
    assert imaged.n_spws == 3
    assert [spw.spw_id for spw in imaged.spws] == [0, 8, 9]
    for spw in imaged.spws:
        truth_jy = float(TARGET.flux_at(spw.freq_hz))
        assert abs(spw.flux_jy - truth_jy) < FLUX_TOLERANCE * truth_jy + 4 * spw.rms_jy
        # 0.5 mJy by natural weighting; robust 0.5 and the primary beam cost up to a half,
        # and the side lobes that are left after CLEAN count as noise.
        assert 0.0004 < spw.rms_jy < 0.004
        assert spw.snr == pytest.approx(spw.flux_jy / spw.rms_jy)
        assert spw.flagged_fraction == 0.0


def test_every_window_is_a_detection_of_its_own(imaged):
    assert [found.spw_ids for found in imaged.detections] == [[0], [8], [9]]
    assert all(found.false_alarm_probability < 1e-20 for found in imaged.detections)


def test_image_is_corrected_for_the_primary_beam_and_centred(imaged, point_source_ms):
    info = read_ms_info(point_source_ms)
    for spw in imaged.spws:
        header, image = read_fits(Path(imaged.products_dir) / spw_image_file(spw.spw_id))
        peak = np.unravel_index(np.argmax(image), image.shape)
        assert peak == (96, 96)
        assert image[96, 96] == pytest.approx(spw.flux_jy, rel=1e-6)
        ra_deg, dec_deg = WCS(header).celestial.wcs_pix2world(96, 96, 0)
        assert ra_deg == pytest.approx(TARGET.ra_deg, abs=1e-9)
        assert dec_deg == pytest.approx(TARGET.dec_deg, abs=1e-9)
        assert header["PBRESP"] == pytest.approx(source_response(TARGET, info, spw.freq_hz))
        assert 0.9 < header["PBRESP"] < 0.97
        assert header["RADESYS"] == "ICRS"


def test_fits_header_says_what_it_is(imaged, point_source_ms):
    header, _ = read_fits(Path(imaged.products_dir) / spw_image_file(8))
    assert header["BUNIT"] == "Jy/beam"
    assert header["OBJECT"] == "target"
    assert header["TELESCOP"] == "OVRO_MMA"
    assert 0 < header["BMIN"] <= header["BMAJ"] < 1 / 30
    assert header["RESTFRQ"] == pytest.approx(imaged.spws[1].freq_hz, rel=2e-4)  # LSRK, not TOPO
    assert header["FLUX"] == pytest.approx(imaged.spws[1].flux_jy)
    geocentre_m = np.hypot(np.hypot(header["OBSGEO-X"], header["OBSGEO-Y"]), header["OBSGEO-Z"])
    assert geocentre_m == pytest.approx(6.37e6, rel=2e-3)
    record = json.loads("".join(str(line) for line in header["HISTORY"]))["provenance"]
    assert record == imaged.provenance.model_dump(mode="json")
    assert record["inputs"][0]["path"] == str(point_source_ms)
    assert record["versions"]["casatasks"]


def test_products_are_complete(imaged):
    folder = Path(imaged.products_dir)
    expected = {spw_image_file(spw_id) for spw_id in (0, 8, 9)}
    expected |= {"mean.image.pbcor.fits", "stamp.png", "spectrum.png", "detections.ecsv"}
    assert set(imaged.products) == expected
    assert {file.name for file in folder.iterdir()} == expected | {"result.json"}
    stored = SourceResult.model_validate_json((folder / "result.json").read_text())
    assert stored.model_copy(update={"seconds": imaged.seconds}) == imaged
    assert any("side lobes" in note for note in imaged.notes)


def test_pictures_are_pictures_with_provenance(imaged):
    for name in ("stamp.png", "spectrum.png"):
        with Image.open(Path(imaged.products_dir) / name) as picture:
            assert min(picture.size) > 300
            colours = picture.convert("L").getextrema()
            comment = json.loads(picture.text["Comment"])
        assert colours[0] < 50
        assert colours[1] > 200
        assert comment == imaged.provenance.model_dump(mode="json")


def test_detections_table_bears_units_and_provenance(imaged):
    detections = QTable.read(Path(imaged.products_dir) / "detections.ecsv")
    assert list(detections["spw_ids"]) == ["0", "8", "9"]
    assert detections["flux_jy"].unit == "Jy"
    assert detections["center_freq_hz"].unit == "Hz"
    found = [found.flux_jy for found in imaged.detections]
    assert detections["flux_jy"].value == pytest.approx(found)
    assert detections.meta["provenance"] == imaged.provenance.model_dump(mode="json")


def test_mean_image_is_the_inverse_variance_mean(imaged):
    folder = Path(imaged.products_dir)
    images = [read_fits(folder / spw_image_file(spw.spw_id))[1] for spw in imaged.spws]
    weights = [spw.rms_jy**-2 for spw in imaged.spws]
    header, mean = read_fits(folder / "mean.image.pbcor.fits")
    assert mean == pytest.approx(np.average(images, axis=0, weights=weights), abs=1e-6)
    assert header["NSPW"] == 3


def test_private_copy_and_the_ms_itself_give_the_same(imaged, point_source_ms, options_for):
    clean = imaged.provenance.options["clean"]
    direct = image_source(options_for(point_source_ms, private_copy=None, clean=clean))
    copied, itself = imaged.spws[1], direct.spws[0]
    assert copied.spw_id == itself.spw_id
    assert copied.flux_jy == pytest.approx(itself.flux_jy, rel=FLUX_TOLERANCE)
    assert copied.rms_jy == pytest.approx(itself.rms_jy, rel=0.25)
    assert copied.flagged_fraction == itself.flagged_fraction


@pytest.mark.parametrize("private_copy", [{}, None], ids=["copy", "direct"])
def test_a_neighbour_appears_within_one_pixel(point_source_ms, options_for, private_copy):
    """The target, seen from a stamp whose centre lies beside it."""
    east, north = -60.0, 75.0
    beside = Source(
        name="beside",
        ra_deg=TARGET.ra_deg - east / 3600 / np.cos(np.deg2rad(TARGET.dec_deg)),
        dec_deg=TARGET.dec_deg - north / 3600,
    )
    result = image_source(options_for(point_source_ms, source=beside, private_copy=private_copy))
    header, image = read_fits(Path(result.products_dir) / spw_image_file(8))
    row, column = np.unravel_index(np.argmax(image), image.shape)
    expected = WCS(header).celestial.wcs_world2pix(TARGET.ra_deg, TARGET.dec_deg, 0)
    assert np.hypot(column - expected[0], row - expected[1]) < 1.0
    truth_jy = float(TARGET.flux_at(result.spws[0].freq_hz))
    # Off the pixel grid, CLEAN under the few baselines of 16 antennas spreads a source over
    # pixels that restore to up to 6 per cent less; that of 96 antennas to 0.2 per cent.
    assert image[row, column] == pytest.approx(truth_jy, rel=0.1)


def test_the_neighbours_side_lobes_count_as_noise(point_source_ms, options_for):
    """Empty sky 20 arcmin from a source of 1 Jy: no detection at face value of the noise."""
    empty = Source(name="empty", ra_deg=TARGET.ra_deg, dec_deg=TARGET.dec_deg - 1 / 3)
    result = image_source(options_for(point_source_ms, source=empty))
    assert result.success
    assert result.spws[0].rms_jy > 0.002
    assert abs(result.spws[0].snr) < 5.0


def test_rerun_does_no_work(imaged, point_source_ms):
    folder = Path(imaged.products_dir)
    before = {file.name: file.stat().st_mtime_ns for file in folder.iterdir()}
    options = ImageSourceOptions.model_validate(imaged.provenance.options)
    again = image_source(options.model_copy(update={"timeout_s": 0.001}))
    assert again.skipped
    assert again.seconds < 1.0
    assert {file.name: file.stat().st_mtime_ns for file in folder.iterdir()} == before
    assert again.spws == imaged.spws


@pytest.fixture
def done(imaged, tmp_path) -> tuple[Path, ImageSourceOptions]:
    """A copy of the products, and the options that made them."""
    target = Path(shutil.copytree(imaged.products_dir, tmp_path / "target"))
    return target, ImageSourceOptions.model_validate(imaged.provenance.options)


def earlier(target: Path, options: ImageSourceOptions, **changes: object) -> SourceResult | None:
    changed = ImageSourceOptions.model_validate({**options.model_dump(), **changes})
    snapshot = read_snapshot(changed.ms_path)
    return _earlier_result(target, changed, _provenance(changed, snapshot))


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"timeout_s": 1.0, "lock_timeout_s": 1.0, "purpose": "other", "log_dir": Path("/l")},
        {"products_dir": Path("/elsewhere"), "sandbox_roots": None, "access_log": None},
    ],
)
def test_earlier_products_hold_whatever_surrounds_the_work(done, changes):
    assert earlier(*done, **changes).skipped


@pytest.mark.parametrize(
    "changes",
    [
        {"reprocess": True},
        {"binning": {"target_snr": 6.0}},
        {"clean": {"image_size_px": 256}},
        {"spws": (0, 8)},
        {"max_spws": 2},
        {"private_copy": None},
        {"source": TARGET.model_copy(update={"dec_deg": 54.80001})},
    ],
)
def test_earlier_products_do_not_hold_for_other_work(done, changes):
    assert earlier(*done, **changes) is None


@pytest.mark.parametrize("damage", ["no picture", "no result", "half a result", "may work now"])
def test_earlier_products_that_are_damaged_do_not_hold(done, damage):
    target, options = done
    result = target / "result.json"
    if damage == "no picture":
        (target / "stamp.png").unlink()
    elif damage == "no result":
        result.unlink()
    elif damage == "half a result":
        result.write_text(result.read_text()[:300])
    else:
        record = json.loads(result.read_text())
        record["failed_spws"] = [{"spw_id": 3, "reason": "disk full", "retryable": True}]
        result.write_text(json.dumps(record))
    assert earlier(target, options) is None


def test_a_changed_ms_is_imaged_again_and_its_products_are_replaced(own_ms, options_for):
    first = image_source(options_for(own_ms))
    stray = Path(first.products_dir) / "stray.txt"
    stray.write_text("of an earlier version")
    with table(str(own_ms), readonly=False, ack=False) as ms:
        flags = ms.getcol("FLAG")
        flags[::2] = True
        ms.putcol("FLAG", flags)
    second = image_source(options_for(own_ms))
    assert not second.skipped
    assert second.spws[0].flagged_fraction == pytest.approx(0.5, abs=0.05)
    assert second.spws[0].rms_jy > first.spws[0].rms_jy
    assert not stray.exists()


def test_one_failing_source_does_not_hold_up_the_others(point_source_ms, options_for, tmp_path):
    outside = Source(name="outside", ra_deg=10.0, dec_deg=-20.0)
    one = options_for(point_source_ms)
    told: list[str] = []
    results = image_sources(
        ImageSourcesOptions.model_validate(
            {
                **one.model_dump(exclude={"source"}),
                "sources": [outside, TARGET, TARGET.model_copy(update={"name": "twin"})],
                "max_workers": 2,
            }
        ),
        on_done=lambda result: told.append(result.name),
    )
    assert [result.success for result in results] == [False, True, True]
    assert told == ["outside", "target", "twin"]
    assert "below the horizon of the field" in results[0].error
    assert results[0].n_spws == 1
    assert results[1].spws == results[2].spws
    assert not (tmp_path / "products" / "outside").exists()


@pytest.mark.parametrize(
    ("options", "reason"),
    [
        ({"source": Source(name="far", ra_deg=134.0, dec_deg=54.8)}, "outside_primary_beam"),
        ({"spws": (3, 16)}, "missing_spw"),
        ({"ms_path": Path("/nowhere/at/all.ms")}, "missing_ms"),
    ],
)
def test_what_cannot_be_done_is_refused_by_name(point_source_ms, options_for, options, reason):
    with pytest.raises(InputError) as caught:
        image_source(options_for(**{"ms_path": point_source_ms, **options}))
    assert caught.value.reason == reason


def test_relative_paths_mean_the_callers_directory(
    point_source_ms, options_for, tmp_path, monkeypatch
):
    shutil.copytree(point_source_ms, tmp_path / "here.ms")
    monkeypatch.chdir(tmp_path)
    result = image_source(options_for(Path("here.ms"), products_dir=Path("out")))
    assert result.ms_path == str(tmp_path / "here.ms")
    assert result.products_dir == str(tmp_path / "out" / "target")
    assert (tmp_path / "out" / "target" / "result.json").exists()
