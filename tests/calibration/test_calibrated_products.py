"""What is measured in a calibrated field, and how it says by which solutions."""

from __future__ import annotations

import json
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from astropy.table import QTable
from astropy.wcs import WCS
from PIL import Image
from support.calibrator_transits import TARGET, Transits, copy_ms, places

from dsa110_contimg.calibration.apply import apply_calibration
from dsa110_contimg.calibration.models import ValidityRules
from dsa110_contimg.calibration.snapshot import (
    UNKNOWN_CALIBRATION,
    CalibrationDemand,
    hold_ms,
    read_snapshot,
)
from dsa110_contimg.errors import InputError, TransientError
from dsa110_contimg.imaging.fits_provenance import add_provenance
from dsa110_contimg.imaging.image_source import image_source
from dsa110_contimg.imaging.models import Backend, ImageSourceOptions
from dsa110_contimg.photometry.field import FIELD_DIR
from dsa110_contimg.photometry.measure import MeasureOptions, fit_for_images, measure_sources
from dsa110_contimg.photometry.models import Photometry
from dsa110_contimg.photometry.uvfit import UvfitWork, fit_field
from dsa110_contimg.provenance import Provenance
from dsa110_contimg.storage.ms_change import Change, interrupted_change, record_path

NEIGHBOUR = TARGET.model_copy(update={"name": "neighbour", "dec_deg": 54.4})

pytestmark = [pytest.mark.casa, pytest.mark.usefixtures("private_places")]


@pytest.fixture(scope="module")
def ms(transits: Transits, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The field, calibrated by interpolation; a test may calibrate it anew."""
    path = copy_ms(transits.field, tmp_path_factory.mktemp("products"))
    apply_calibration(transits.apply_options(path))
    return path


def options(transits: Transits, ms: Path, directory: Path, **changes: object) -> MeasureOptions:
    shared = {name: places(transits.root)[name] for name in ("sandbox_roots", "log_dir")}
    values = {"ms_path": ms, "sources": [TARGET], "products_dir": directory, "max_workers": 1}
    return MeasureOptions.model_validate(shared | values | changes)


def names_of(transits: Transits) -> list[str]:
    return [transits.sets[one].set_id for one in (transits.before, transits.after)]


def history(header: fits.Header) -> Provenance:
    return Provenance.model_validate(json.loads("".join(header["HISTORY"]))["provenance"])


# astropy adds the geographic position of the telescope to the geocentric one.
@pytest.mark.filterwarnings("ignore:'obsfix' made the change")
def test_fluxes_and_positions_and_whose_solutions_they_owe(transits, ms, tmp_path):
    sets = names_of(transits)
    apply_calibration(transits.apply_options(ms))  # another test may have changed it
    [fitted] = measure_sources(options(transits, ms, tmp_path / "fit"))
    [imaged] = measure_sources(
        options(
            transits,
            ms,
            tmp_path / "image",
            photometry=Photometry.IMAGE,
            backend=Backend.DUCC0,
            spws=(0, 7, 13),
        )
    )
    # 2 % is asked for; the drift is interpolated to 0.2 % in amplitude and a degree in phase, and
    # the noise of a window is a millijansky.
    ratio = [one.flux_jy / float(TARGET.flux_at(one.freq_hz)) for one in fitted.spws]
    assert len(ratio) == 14
    assert np.mean(ratio) == pytest.approx(1.0, abs=0.003)
    assert np.ptp(ratio) < 0.01

    image = fits.getdata(tmp_path / "image" / TARGET.name / "mean.image.pbcor.fits")[0, 0]
    header = fits.getheader(tmp_path / "image" / TARGET.name / "mean.image.pbcor.fits")
    row, column = np.unravel_index(np.argmax(image), image.shape)
    [[ra_deg, dec_deg]] = WCS(header).celestial.wcs_pix2world([[column, row]], 0)
    east_deg = (ra_deg - TARGET.ra_deg) * np.cos(np.deg2rad(TARGET.dec_deg))
    apart_deg = np.hypot(east_deg, dec_deg - TARGET.dec_deg)
    # The nearest pixel: half of one is the error of the reading.
    pixel_deg = abs(header["CDELT1"])
    assert apart_deg < 0.2 * header["BMAJ"]
    assert apart_deg < pixel_deg

    sentence = header["CALIB"]
    assert sentence.startswith("borrowed, interpolated between ")
    assert [header["CALSET1"], header["CALSET2"]] == sets
    assert all(set_id in sentence for set_id in sets)
    for result in (fitted, imaged):
        assert result.provenance.calibration == sentence
        assert result.provenance.calibration_sets == sets
    for path in (
        tmp_path / "fit" / FIELD_DIR / "field.image.fits",
        tmp_path / "image" / TARGET.name / "spw07.image.pbcor.fits",
    ):
        found = fits.getheader(path)
        assert (found["CALIB"], history(found).calibration_sets) == (sentence, sets)
    for path in (
        tmp_path / "fit" / TARGET.name / "detections.ecsv",
        tmp_path / "fit" / FIELD_DIR / "photometry.ecsv",
        tmp_path / "image" / TARGET.name / "detections.ecsv",
    ):
        meta = QTable.read(path, format="ascii.ecsv").meta["provenance"]
        assert (meta["calibration"], meta["calibration_sets"]) == (sentence, sets)
    for path in tmp_path.rglob("result.json"):
        assert json.loads(path.read_text())["provenance"]["calibration"] == sentence
    for path in tmp_path.rglob("*.png"):
        comment = json.loads(Image.open(path).text["Comment"])
        assert comment["calibration"] == sentence


def test_products_are_stale_when_the_ms_is_calibrated_anew(transits, ms, tmp_path):
    shared = options(transits, ms, tmp_path, plots=False, spws=(3,))
    apply_calibration(transits.apply_options(ms))
    [first] = measure_sources(shared)
    [again] = measure_sources(shared)
    assert (first.skipped, again.skipped) == (False, True)
    nearest = ValidityRules(interpolate=False)
    record = apply_calibration(transits.apply_options(ms, rules=nearest))
    [anew] = measure_sources(shared)
    assert not anew.skipped
    assert anew.provenance.calibration == record.sentence
    assert anew.provenance.calibration.startswith("borrowed from ")
    assert anew.spws[0].flux_jy != first.spws[0].flux_jy


def test_data_that_are_not_calibrated_say_so(transits, tmp_path):
    made = read_snapshot(transits.field).provenance(options(transits, transits.field, tmp_path))
    assert (made.calibration, made.calibration_sets) == (None, [])
    header = fits.Header()
    add_provenance(header, made)
    assert header["CALIB"] == "none"
    assert "CALSET1" not in header
    assert history(header) == made


def test_data_that_somebody_else_corrected(transits, ms, tmp_path):
    copy = copy_ms(ms, tmp_path)
    record_path(copy, Change.CALIBRATION).unlink()
    made = read_snapshot(copy).provenance(options(transits, copy, tmp_path))
    assert (made.calibration, made.calibration_sets) == (UNKNOWN_CALIBRATION, [])


@pytest.mark.parametrize("photometry", Photometry)
def test_data_that_were_never_calibrated_are_refused(transits, tmp_path, photometry):
    shared = options(transits, transits.field, tmp_path, photometry=photometry, spws=(3,))
    with pytest.raises(InputError, match="is not calibrated: ") as caught:
        measure_sources(shared)
    assert caught.value.reason == "not_calibrated"
    applied = shared.model_copy(update={"calibration": CalibrationDemand.APPLIED})
    with pytest.raises(TransientError, match="is not calibrated any more"):
        measure_sources(applied)
    assert not list(tmp_path.iterdir())


def test_data_are_measured_as_they_are_on_demand(transits, tmp_path):
    demand = {"calibration": CalibrationDemand.ASSUMED, "plots": False, "spws": (3,)}
    [result] = measure_sources(options(transits, transits.field, tmp_path, **demand))
    assert result.success
    assert result.provenance.calibration is None


@pytest.mark.parametrize(
    "method",
    [
        {"photometry": Photometry.UVFIT},
        {"photometry": Photometry.IMAGE, "backend": Backend.DUCC0, "field_model": [NEIGHBOUR]},
    ],
    ids=["uvfit", "image"],
)
def test_what_is_measured_is_what_the_ms_holds_once_it_is_had(transits, tmp_path, method):
    """The measurement begins while the MS is calibrated: of the raw data it sees nothing."""
    copy = copy_ms(transits.field, tmp_path)
    with ThreadPoolExecutor(1) as pool:
        applying = pool.submit(apply_calibration, transits.apply_options(copy))
        while interrupted_change(copy) is None:
            assert not applying.done()
            time.sleep(0.01)
        shared = options(transits, copy, tmp_path / "products", plots=False, spws=(3,), **method)
        [result] = measure_sources(shared)
        record = applying.result()
    assert result.success
    [measured] = result.spws
    # 3 mJy of noise in a window of raw data with gain errors of tens of per cent.
    assert measured.flux_jy == pytest.approx(float(TARGET.flux_at(measured.freq_hz)), abs=0.02)
    assert result.provenance.calibration == record.sentence


def test_a_plan_that_no_longer_holds_is_refused(transits, ms, tmp_path):
    """A field fit, or any plan, of another state of the MS than that which is read."""
    copy = copy_ms(transits.field, tmp_path)
    demand = {"calibration": CalibrationDemand.ASSUMED, "field_model": [NEIGHBOUR], "spws": (3,)}
    shared = options(transits, copy, tmp_path / "products", **demand, backend=Backend.DUCC0)
    raw = read_snapshot(copy)
    fit = fit_for_images(shared)
    work = UvfitWork(
        ms_path=copy,
        snapshot=raw,
        spws=raw.info.spws[:1],
        sources=[TARGET],
        serialize_ms_access=True,
        lock_timeout_s=1.0,
        access_log=None,
        purpose="test",
    )
    apply_calibration(transits.apply_options(copy))
    image = {**shared.model_dump(include=set(ImageSourceOptions.model_fields)), "source": TARGET}
    stale = ImageSourceOptions.model_validate({**image, "field_fit": fit})
    for refused in (
        lambda: fit_field(work),
        lambda: image_source(stale),
        lambda: image_source(ImageSourceOptions.model_validate(image), raw),
    ):
        with pytest.raises(TransientError, match="has changed since") as caught:
            refused()
        assert caught.value.reason == "ms_changed"
    assert not (tmp_path / "products" / TARGET.name).exists()


def test_without_the_lock_an_ms_that_changes_meanwhile_is_refused(transits, tmp_path):
    copy = copy_ms(transits.field, tmp_path)
    with (
        pytest.raises(TransientError, match="has changed since") as caught,
        hold_ms(copy, "looking", timeout_s=1.0, locked=False),
    ):
        apply_calibration(transits.apply_options(copy))
    assert caught.value.reason == "ms_changed"


def test_no_lock_file_beside_a_path_that_was_mistyped(transits, tmp_path):
    for stage in (measure_sources, lambda o: apply_calibration(transits.apply_options(o.ms_path))):
        with pytest.raises(InputError, match="does not exist"):
            stage(options(transits, tmp_path / "typo" / "no.ms", tmp_path / "products"))
    assert not list(tmp_path.iterdir())
