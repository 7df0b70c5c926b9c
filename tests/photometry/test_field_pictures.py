"""The pictures of a jointly fitted field, beside its products."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from support.point_source import TARGET

from dsa110_contimg.catalog.sources import Source
from dsa110_contimg.imaging.field_products import FIELD_DIR, FieldImage
from dsa110_contimg.photometry import field_stamps
from dsa110_contimg.photometry.field import FieldRecord, measure_field
from dsa110_contimg.photometry.measure import MeasureOptions, measure_sources
from dsa110_contimg.visibilities.ms_info import select_spws

pytestmark = [pytest.mark.casa, pytest.mark.usefixtures("private_places")]

EMPTY = Source(name="an_empty_place", ra_deg=127.6, dec_deg=54.2)
PICTURES = {"field.image.fits", "field.png", "field_image.json"}


def options_for(ms: Path, products_dir: Path, **options: object) -> MeasureOptions:
    defaults = {"ms_path": ms, "products_dir": products_dir, "sources": [EMPTY], "max_spws": 2}
    return MeasureOptions.model_validate({**defaults, **options})


def names_in(folder: Path) -> set[str]:
    return {path.name for path in folder.iterdir()}


def test_a_field_whose_model_lacks_a_source_says_so_everywhere(
    point_source_ms: Path, tmp_path: Path
) -> None:
    (result,) = measure_sources(options_for(point_source_ms, tmp_path))
    folder = tmp_path / FIELD_DIR
    assert names_in(folder) >= PICTURES
    record = FieldRecord.model_validate_json((folder / "field.json").read_bytes())
    assert record.measurement.image is not None
    assert record.measurement.image.lacks_source
    filed = FieldImage.model_validate_json((folder / "field_image.json").read_bytes())
    assert filed == record.measurement.image
    assert record.measurement.notes == filed.notes
    assert set(filed.notes) <= set(result.notes)
    assert {"stamp.png", "spectrum.png"} <= set(result.products)
    with Image.open(tmp_path / EMPTY.name / "stamp.png") as picture:
        assert np.asarray(picture.convert("L")).std() > 10


def test_without_plots_there_are_none_until_they_are_asked_for(
    point_source_ms: Path, tmp_path: Path
) -> None:
    plain = options_for(point_source_ms, tmp_path, sources=[TARGET, EMPTY], plots=False)
    results = measure_sources(plain)
    assert not names_in(tmp_path / FIELD_DIR) & PICTURES
    assert all(result.products == ["detections.ecsv"] for result in results)
    drawn = measure_sources(plain.model_copy(update={"plots": True}))
    assert names_in(tmp_path / FIELD_DIR) >= PICTURES
    assert all("stamp.png" in result.products for result in drawn)
    # Pictures change no number.
    assert [r.spws for r in drawn] == [r.spws for r in results]
    again = measure_sources(plain.model_copy(update={"plots": True}))
    assert all(result.skipped for result in again)


def test_of_many_targets_the_best_detected_get_a_stamp(
    point_source_ms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(field_stamps, "MAX_STAMPS", 1)
    options = options_for(point_source_ms, tmp_path, sources=[EMPTY, TARGET])
    empty, target = measure_sources(options)
    assert target.detections
    assert "stamp.png" in target.products
    assert "stamp.png" not in empty.products
    assert "spectrum.png" in empty.products


@pytest.mark.parametrize("plots", [False, True])
def test_no_stamp_is_cut_from_the_image_of_another_fit(
    point_source_ms: Path, tmp_path: Path, plots: bool
) -> None:
    options = options_for(point_source_ms, tmp_path, sources=[TARGET])
    (before,) = measure_sources(options)
    snapshot = options.take_snapshot("a test")
    spws = select_spws(snapshot.info, None, options.max_spws)
    results, record = measure_field(options, snapshot, spws, [TARGET], targets={TARGET.name})
    stamps = field_stamps.FieldStamps(tmp_path, results, record, [TARGET])
    stamps.choose({TARGET.name}, options.binning, record.provenance)
    picture = tmp_path / "stamp.png"
    measure_sources(options_for(point_source_ms, tmp_path, plots=plots))
    (told,) = stamps.draw(picture, TARGET, before, {})
    assert "has replaced the image" in told
    assert not picture.exists()
