"""Several sources in one MS, as the command and the DAG measure them."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest
from astropy.table import QTable
from support.field_ms import add_source, flag_windows, make_ms

from dsa110_contimg.catalog.sources import Source
from dsa110_contimg.errors import InputError
from dsa110_contimg.forkserver import fork_server
from dsa110_contimg.photometry.field import FIELD_DIR, FIELD_FILE
from dsa110_contimg.photometry.measure import (
    MeasureOptions,
    measure_sources,
    model_of_field,
)
from dsa110_contimg.photometry.models import BinningOptions, FieldFit, SourceResult
from dsa110_contimg.storage.files import make_writable
from dsa110_contimg.visibilities.ms_info import read_ms_info

pytestmark = [pytest.mark.casa, pytest.mark.usefixtures("private_places")]

N_ANTENNAS = 12
SEFD_JY = 650.0
FALLING = Source(name="falling", ra_deg=128.9, dec_deg=54.8, flux_jy=0.3, spectral_index=-3.0)
RISING = Source(name="rising", ra_deg=128.5, dec_deg=54.3, flux_jy=0.2, spectral_index=3.0)
FLAT = Source(name="flat", ra_deg=129.6, dec_deg=55.1, flux_jy=0.15)
FLASH = Source(name="flash", ra_deg=128.75, dec_deg=54.52, flux_jy=0.03)
OUTSIDE = Source(name="outside", ra_deg=120.0, dec_deg=40.0)
BELOW = Source(name="below", ra_deg=10.0, dec_deg=-20.0)
SKY = (FALLING, RISING, FLAT)
ON = (5, 6, 7)
"""The windows in which `FLASH` is on."""

Measure = Callable[..., list[SourceResult]]


@pytest.fixture(scope="module", autouse=True)
def _warm(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """One warm parent for the children of all tests here."""
    with fork_server(tmp_path_factory.mktemp("server") / "log"):
        yield


@pytest.fixture(scope="module")
def ms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three sources, and one that is on in three windows; not to be modified."""
    path = make_ms(tmp_path_factory.mktemp("field"), SKY, N_ANTENNAS, SEFD_JY)
    make_writable(path)
    add_source(path, FLASH, ON)
    return path


@pytest.fixture
def own(ms: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(ms, tmp_path / "own.ms"))


@pytest.fixture
def measure(tmp_path: Path) -> Measure:
    """Measure with all defaults but the products' place, without plots."""

    def run(ms_path: Path, sources: object, on_done=None, **options: object) -> list[SourceResult]:
        defaults = {
            "ms_path": ms_path,
            "products_dir": tmp_path / "products",
            "sources": sources,
            "plots": False,
        }
        return measure_sources(MeasureOptions.model_validate({**defaults, **options}), on_done)

    return run


def require_truth(result: SourceResult, source: Source) -> None:
    for spw in result.spws:
        truth_jy = float(source.flux_at(spw.freq_hz))
        # Averaging, and the beam and the spectrum within a window, besides noise.
        assert abs(spw.flux_jy - truth_jy) < 4.5 * spw.rms_jy + 2e-3 * truth_jy


def test_products_of_a_field(ms, measure, tmp_path):
    done: list[str] = []
    results = measure(
        ms, SKY, lambda result: done.append(result.name), field_model=[FLASH], plots=True
    )
    assert done == [result.name for result in results] == [source.name for source in SKY]
    for source, result in zip(SKY, results, strict=True):
        assert result.success, result.error
        assert not result.skipped
        assert result.n_spws == 16
        assert [spw.spw_id for spw in result.spws] == list(range(16))
        require_truth(result, source)
        folder = tmp_path / "products" / source.name
        assert result.products_dir == str(folder)
        assert {file.name for file in folder.iterdir()} == {*result.products, "result.json"}
        stored = json.loads((folder / "result.json").read_text("utf-8"))
        assert stored["spws"] == json.loads(result.model_dump_json())["spws"]
        table = QTable.read(folder / "detections.ecsv")
        assert len(table) == len(result.detections) == 16
        assert (folder / "spectrum.png").read_bytes().startswith(b"\x89PNG")
    field = tmp_path / "products" / FIELD_DIR
    table = QTable.read(field / "photometry.ecsv")
    assert len(table) == 16 * 4
    assert set(table["name"]) == {*(source.name for source in SKY), "flash"}
    fit = FieldFit.model_validate_json((field / "field_fit.json").read_bytes())
    fluxes_jy = {fitted.source.name: fitted.flux_jy for fitted in fit.sources}
    assert fluxes_jy.keys() == {*(source.name for source in SKY), "flash"}
    assert fluxes_jy["falling"][3] == results[0].spws[3].flux_jy


@pytest.mark.parametrize("source", [FALLING, FLAT, RISING], ids=lambda source: source.name)
def test_spectral_index(ms, measure, source):
    others = [other for other in (*SKY, FLASH) if other is not source]
    [result] = measure(ms, [source], field_model=others)
    law = result.power_law
    assert law is not None
    assert abs(law.spectral_index - source.spectral_index) < 4 * law.spectral_index_rms
    assert law.spectral_index_rms < 0.2
    truth_jy = float(source.flux_at(law.ref_freq_hz))
    assert abs(law.flux_jy - truth_jy) < 4 * law.flux_rms_jy + 2e-3 * truth_jy
    # The 0.1 per cent point of chi-square for 14 degrees of freedom is 2.6.
    assert law.reduced_chi2 < 2.6


def test_a_source_that_is_on_in_three_windows_is_found_there(ms, measure):
    [result] = measure(ms, [FLASH], field_model=list(SKY), binning=BinningOptions(target_snr=7.0))
    assert result.success
    found = [spw_id for detection in result.detections for spw_id in detection.spw_ids]
    assert found == list(ON)
    assert all(spw.snr < 5.0 for spw in result.spws if spw.spw_id not in ON)
    for spw in result.spws:
        truth_jy = 0.03 if spw.spw_id in ON else 0.0
        assert abs(spw.flux_jy - truth_jy) < 4.5 * spw.rms_jy


def test_what_is_done_is_skipped(ms, measure):
    first = measure(ms, SKY)
    again = measure(ms, SKY)
    assert all(result.skipped for result in again)
    assert [result.spws for result in again] == [result.spws for result in first]
    assert not any(result.skipped for result in measure(ms, SKY, reprocess=True))


def test_the_fit_is_used_again_with_other_bins(ms, measure, tmp_path):
    """Only the search is done again: nothing of the MS is read."""
    first = measure(ms, SKY)
    record = tmp_path / "products" / FIELD_DIR / FIELD_FILE
    before = record.stat().st_mtime_ns
    again = measure(ms, SKY, binning=BinningOptions(target_snr=1e4, max_width=2))
    assert not any(result.skipped for result in again)
    assert record.stat().st_mtime_ns == before
    assert [result.spws for result in again] == [result.spws for result in first]
    assert all(result.detections == [] for result in again)
    # Another model is another fit.
    measure(ms, SKY[:2])
    assert record.stat().st_mtime_ns > before


def test_a_changed_ms_is_measured_again(own, measure):
    [before] = measure(own, [FLAT])
    flag_windows(own, [3])
    [after] = measure(own, [FLAT])
    assert not after.skipped
    assert before.success
    assert not after.success


def test_the_catalogues_entry_for_a_target_is_dropped(ms, measure):
    """Else target and entry would share the flux density in any proportion."""
    twin = FLAT.model_copy(
        update={"name": "NVSS_twin", "ra_deg": FLAT.ra_deg + 2.0 / 3600, "flux_jy": 0.2}
    )
    other = FLAT.model_copy(update={"name": "other", "dec_deg": FLAT.dec_deg + 0.1, "flux_jy": 0.2})
    elsewhere = RISING.model_copy(update={"name": "flat"})
    info = read_ms_info(ms)
    options = MeasureOptions(
        ms_path=ms,
        products_dir=ms.parent / "unused",
        sources=[FLAT],
        field_model=[twin, other, elsewhere, OUTSIDE],
    )
    model = {source.name: source for source in model_of_field(options, info)}
    # A target's name at another position is another source, whose side lobes are there.
    assert set(model) == {"flat", "other", "flat.of_field_model"}
    assert model["flat"] == FLAT
    assert model["flat.of_field_model"].ra_deg == RISING.ra_deg
    [result] = measure(ms, [FLAT], field_model=[twin, FALLING, RISING, FLASH])
    assert result.success
    assert result.blends == []
    require_truth(result, FLAT)


def test_faint_sources_far_out_are_left_out_of_the_model(ms):
    """Those between the 10 and the 1 per cent contour are modelled if they appear bright."""
    info = read_ms_info(ms)
    center = {"ra_deg": info.center_ra_deg, "dec_deg": info.center_dec_deg - 3.2}
    bright = Source(name="bright", flux_jy=2.0, **center)
    faint = Source(name="faint", flux_jy=0.02, **center)
    unknown = Source(name="unknown", **center)
    options = MeasureOptions(
        ms_path=ms,
        products_dir=ms.parent / "unused",
        sources=[FLAT],
        field_model=[faint, bright, unknown],
    )
    assert {source.name for source in model_of_field(options, info)} == {"flat", "bright"}


def test_a_source_outside_gets_a_word_and_the_others_their_due(ms, measure, tmp_path):
    outside, flat, below, *_ = measure(
        ms, [OUTSIDE, FLAT, BELOW, FALLING, RISING], field_model=[FLASH]
    )
    assert "outside the 10% contour" in (outside.error or "")
    assert "below the horizon" in (below.error or "")
    for result in (outside, below):
        assert not result.success
        assert result.n_spws == 16
        assert result.detections == []
        assert not (tmp_path / "products" / result.name).exists()
    assert flat.success
    require_truth(flat, FLAT)


def test_nothing_but_sources_outside(ms, measure, tmp_path):
    [result] = measure(ms, [OUTSIDE])
    assert not result.success
    assert not (tmp_path / "products").exists()


def test_a_flagged_window_is_reported_and_counts(own, measure):
    """Asked for 16, measured 15: not "expected 15", and no bin across the gap."""
    flag_windows(own, [6])
    results = measure(own, [*SKY, FLASH])
    for result in results:
        assert not result.success
        assert result.n_spws == 16
        assert [failure.spw_id for failure in result.failed_spws] == [6]
        assert "flagged" in result.failed_spws[0].reason
        assert "1 of 16 windows failed: spw 6" in (result.error or "")
        assert [spw.spw_id for spw in result.spws] == [i for i in range(16) if i != 6]
    assert all({5, 7} - set(d.spw_ids) for d in results[-1].detections)
    require_truth(results[0], FALLING)
    assert all(spw.flagged_fraction == 0.0 for spw in results[0].spws)


def test_all_windows_flagged(own, measure):
    flag_windows(own, range(16))
    [result] = measure(own, [FLAT])
    assert not result.success
    assert result.spws == []
    assert result.detections == []
    assert result.power_law is None
    assert len(result.failed_spws) == 16
    assert "16 of 16 windows failed" in (result.error or "")
    # It is the data's fault: to try again is of no use.
    assert measure(own, [FLAT])[0].skipped


def test_max_spws_counts_what_was_asked_for(ms, measure):
    """The original compared the images of 8 windows with all 16."""
    [result] = measure(ms, [FALLING], max_spws=8)
    assert result.success
    assert result.error is None
    assert result.n_spws == 8
    assert [spw.spw_id for spw in result.spws] == list(range(8))


def test_windows_keep_their_ids(ms, measure):
    """The original numbered them by their place in the list."""
    [result] = measure(ms, [FLASH], field_model=list(SKY), spws=(9, 7, 5))
    assert [spw.spw_id for spw in result.spws] == [5, 7, 9]
    assert [detection.spw_ids for detection in result.detections] == [[5], [7]]


def test_a_window_that_the_ms_lacks(ms, measure):
    with pytest.raises(InputError, match="no spectral window 16"):
        measure(ms, [FLAT], spws=(3, 16))


def test_order_of_the_sources_does_not_matter(ms, measure, tmp_path):
    sources = [*SKY, FLASH]
    one = {result.name: result for result in measure(ms, sources, spws=(4, 5))}
    other = measure(ms, sources[::-1], spws=(4, 5), products_dir=tmp_path / "reversed")
    assert [result.name for result in other] == [source.name for source in sources[::-1]]
    for result in other:
        for spw, same in zip(result.spws, one[result.name].spws, strict=True):
            # Sums of single precision in another order.
            assert spw.flux_jy == pytest.approx(same.flux_jy, abs=1e-3 * same.rms_jy)
            assert spw.rms_jy == pytest.approx(same.rms_jy, rel=1e-4)


IMAGES = {"photometry": "image", "backend": "ducc0", "clean": {"image_size_px": 128}}


@pytest.mark.parametrize(
    ("twins", "expected"),
    [
        (("twin",), "only the sum is known, 1"),
        (("twin", "triplet"), "only the sum of the 3 is known, 1"),
    ],
)
@pytest.mark.parametrize("method", [{}, IMAGES], ids=["uvfit", "image"])
def test_entries_at_one_position_are_told_that_only_the_sum_is_known(
    ms, measure, method, twins, expected
):
    targets = [FLAT, *(FLAT.model_copy(update={"name": name}) for name in twins)]
    results = measure(ms, targets, field_model=[FALLING, RISING], spws=(3, 4), **method)
    for result in results:
        assert not result.success
        assert result.spws == []
        assert expected in (result.error or "")
        assert [blend.n_summed for blend in result.blends] == [len(targets)] * len(twins)
        for blend in result.blends:
            assert blend.correlation < -0.3
            assert abs(blend.sum_flux_jy - 0.15) < 4 * blend.sum_rms_jy + 3e-4


@pytest.mark.parametrize(
    "changes", [{"name": "known"}, {}], ids=["under another name", "under its own name"]
)
def test_images_tell_a_blend_as_the_fit_does(ms, measure, tmp_path, changes):
    """The field's model has the target 5 arcsec off, a sixth of a beam: no error may hide it."""
    known = FLAT.model_copy(update={"dec_deg": FLAT.dec_deg + 5 / 3600, **changes})
    field = {"field_model": [known, FALLING, RISING], "spws": (3,)}
    [uvfit] = measure(ms, [FLAT], **field)
    [image] = measure(ms, [FLAT], **field, **IMAGES, products_dir=tmp_path / "image")
    [blend] = image.blends
    assert image.blends == uvfit.blends
    assert abs(blend.sum_flux_jy - 0.15) < 4 * blend.sum_rms_jy + 3e-4
    assert set(uvfit.notes[1:]) < set(image.notes)
    [fitted], [pixel] = uvfit.spws, image.spws
    assert pixel.error_inflation == fitted.error_inflation > 1.5
    # Briggs weights have up to 17 per cent more noise, which the stamp tells to some per cent.
    assert pixel.rms_jy == pytest.approx(fitted.rms_jy, rel=0.3)
    assert abs(pixel.flux_jy - fitted.flux_jy) < np.hypot(pixel.rms_jy, fitted.rms_jy)


def test_an_image_of_the_ms_itself_measures_no_blend(ms, measure):
    """Nothing is subtracted there: its pixel holds the neighbour's flux density, too."""
    beside = FLAT.model_copy(update={"name": "beside", "dec_deg": FLAT.dec_deg + 15 / 3600})
    [result] = measure(
        ms, [FLAT], field_model=[beside], spws=(3,), photometry="image", private_copy=None
    )
    assert result.spws == []
    assert "an image of the MS itself holds them together" in (result.error or "")
    assert [blend.name for blend in result.blends] == ["beside"]


def test_a_source_may_not_take_the_fields_directory(ms, measure):
    with pytest.raises(InputError, match="may not have a name that begins with _field"):
        measure(ms, [FLAT.model_copy(update={"name": FIELD_DIR})])


def test_the_ms_is_only_read(own, measure):
    before = {path: path.stat().st_mtime_ns for path in own.rglob("table.*")}
    assert measure(own, [FLAT], spws=(2,))[0].success
    after = {path: path.stat().st_mtime_ns for path in own.rglob("table.*")}
    assert {p for p in before if before[p] != after[p]} <= {
        path for path in before if path.name == "table.lock"
    }


def test_image_photometry_subtracts_the_field_first(ms, measure, tmp_path):
    """The two methods agree once the neighbours are gone."""
    [image] = measure(
        ms,
        [FLASH],
        field_model=list(SKY),
        photometry="image",
        spws=(6,),
        clean={"image_size_px": 128},
    )
    assert image.success, image.error
    [few] = [note for note in image.notes if note.startswith("With 12 antennas CLEAN")]
    assert "2 to 5 per cent low" in few
    [uvfit] = measure(
        ms, [FLASH], field_model=list(SKY), spws=(6,), products_dir=tmp_path / "uvfit"
    )
    off_jy = image.spws[0].flux_jy - uvfit.spws[0].flux_jy
    # Weighting differs (Briggs against natural), and so does the noise in part.
    assert abs(off_jy) < np.hypot(image.spws[0].rms_jy, uvfit.spws[0].rms_jy)
    require_truth(uvfit, FLASH)
