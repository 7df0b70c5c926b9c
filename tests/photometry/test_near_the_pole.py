"""Flux densities a degree from the pole, where the frame of the baselines is turned by degrees."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.field_ms import make_ms

from dsa110_contimg.catalog.sources import Source
from dsa110_contimg.errors import InputError
from dsa110_contimg.imaging.field_products import FIELD_DIR, FIELD_SUMMARY_FILE, FieldImage
from dsa110_contimg.photometry.measure import MeasureOptions, measure_sources

pytestmark = [pytest.mark.casa, pytest.mark.usefixtures("private_places")]

DEC_DEG = 89.0
NEAR = Source(name="near", ra_deg=128.3, dec_deg=88.9, flux_jy=1.0)
BEYOND = Source(name="beyond", ra_deg=310.0, dec_deg=89.8, flux_jy=0.5)
"""On the other side of the pole, 1.2 deg from the phase centre."""
SPWS = (2, 13)


@pytest.fixture(scope="module")
def ms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_ms(tmp_path_factory.mktemp("pole"), (NEAR, BEYOND), 12, 300.0, dec_deg=DEC_DEG)


def options_for(ms: Path, products_dir: Path, **options: object) -> MeasureOptions:
    shared = {"ms_path": ms, "products_dir": products_dir, "sources": (NEAR, BEYOND), "spws": SPWS}
    return MeasureOptions.model_validate({**shared, **options})


@pytest.mark.parametrize(
    "method",
    [
        {"photometry": "uvfit"},
        {"photometry": "image", "backend": "ducc0"},
        {"photometry": "image", "backend": "tclean", "spws": SPWS[:1]},
    ],
    ids=["uvfit", "ducc0", "tclean"],
)
def test_flux_densities_are_right(ms, tmp_path, method):
    results = measure_sources(options_for(ms, tmp_path, **method))
    for source, result in zip((NEAR, BEYOND), results, strict=True):
        assert result.success, result.error
        for spw in result.spws:
            # The beam within a window, besides noise.
            assert abs(spw.flux_jy - source.flux_jy) < 4.5 * spw.rms_jy + 2e-3 * source.flux_jy
            assert spw.rms_jy < 2e-3
        assert not any("residuals exceed the noise" in note for note in result.notes)


def test_the_field_is_drawn_with_its_sources_in_their_places(ms, tmp_path):
    """Else its marks lie beside them, and the source that the model lacks has another position."""
    measure_sources(options_for(ms, tmp_path, sources=(NEAR,), spws=SPWS[:1]))
    summary = (tmp_path / FIELD_DIR / FIELD_SUMMARY_FILE).read_text("utf-8")
    peak = FieldImage.model_validate_json(summary).peak
    assert peak.dec_deg == pytest.approx(BEYOND.dec_deg, abs=1e-3)
    assert peak.ra_deg == pytest.approx(BEYOND.ra_deg, abs=0.3)  # 1e-3 deg on the sky


def test_an_image_of_the_ms_itself_is_refused(ms, tmp_path):
    for result in measure_sources(
        options_for(ms, tmp_path, photometry="image", private_copy=None, spws=SPWS[:1])
    ):
        assert result.spws == []
        assert "arcsec from its place" in (result.error or "")


def test_a_field_at_the_pole_is_refused(tmp_path):
    at_pole = make_ms(tmp_path, (NEAR,), 4, 300.0, dec_deg=90.0)
    with pytest.raises(InputError, match="no stable north"):
        measure_sources(options_for(at_pole, tmp_path / "products"))
