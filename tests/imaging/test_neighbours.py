"""A faint source beside a bright one: unbiased once the bright one is subtracted."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from support.imaging_backends import ALL
from support.point_source import TARGET, make_point_source_ms

from dsa110_contimg.catalog.sources import Source
from dsa110_contimg.errors import InputError
from dsa110_contimg.imaging.image_source import image_source, image_sources
from dsa110_contimg.imaging.models import ImageSourcesOptions
from dsa110_contimg.photometry.models import FieldFit, FittedSource
from dsa110_contimg.visibilities.ms_info import read_ms_info

pytestmark = pytest.mark.casa

FAINT = Source(name="faint", ra_deg=TARGET.ra_deg, dec_deg=TARGET.dec_deg - 1 / 6, flux_jy=0.05)
"""10 arcmin from `TARGET`, whose 1 Jy leaves side lobes as bright as this source."""
SPWS = (3, 8, 12)


@pytest.fixture(scope="module")
def crowded_ms(tmp_path_factory) -> Path:
    return make_point_source_ms(tmp_path_factory.mktemp("crowded"), (TARGET, FAINT))


@pytest.fixture
def write_fit(crowded_ms, tmp_path):
    """Factory of field fits with the true flux densities, unless told otherwise."""

    def make(sources: tuple[Source, ...] = (TARGET, FAINT), **changes: object) -> Path:
        spws = read_ms_info(crowded_ms).spws
        fit = FieldFit(
            ms_path=str(crowded_ms),
            sources=[
                FittedSource(
                    source=source,
                    flux_jy={spw.spw_id: float(source.flux_at(spw.freq_hz)) for spw in spws},
                    inflation={spw.spw_id: 1.0 for spw in spws},
                    blends=[],
                )
                for source in sources
            ],
        ).model_copy(update=changes)
        path = tmp_path / "field_fit.json"
        path.write_text(fit.model_dump_json())
        return path

    return make


@pytest.mark.parametrize("backend", ALL)
def test_subtraction_takes_the_bias_away(crowded_ms, options_for, write_fit, backend, tmp_path):
    options = {"source": FAINT, "backend": backend, "spws": SPWS}
    biased = image_source(options_for(crowded_ms, **options, products_dir=tmp_path / "biased"))
    clean = image_source(options_for(crowded_ms, **options, field_fit=write_fit()))
    assert clean.success
    assert [spw.spw_id for spw in clean.spws] == list(SPWS)
    # 0.5 mJy by natural weighting, a little more with Briggs and behind the primary beam.
    noise_jy = np.array([spw.rms_jy for spw in clean.spws])
    assert np.all((noise_jy > 0.0004) & (noise_jy < 0.0015))
    left_jy, bias_jy = (
        np.array([spw.flux_jy for spw in result.spws]) - FAINT.flux_jy for result in (clean, biased)
    )
    assert np.all(np.abs(left_jy) < 3.0 * noise_jy)
    assert np.any(np.abs(bias_jy) > 3.0 * noise_jy)
    assert np.all(np.array([spw.rms_jy for spw in biased.spws]) > 2.0 * noise_jy)


def test_the_notes_tell_whether_it_was_done(crowded_ms, options_for, write_fit):
    options = {"source": FAINT, "backend": "ducc0"}
    without = image_source(options_for(crowded_ms, **options))
    alone = image_source(
        options_for(crowded_ms, **options, field_fit=write_fit((FAINT,)), reprocess=True)
    )
    fit = write_fit()
    done = image_source(options_for(crowded_ms, **options, field_fit=fit, reprocess=True))
    assert "carries the side lobes of the field's other sources" in without.notes[0]
    assert alone.notes == without.notes
    assert [spw.flux_jy for spw in alone.spws] == [spw.flux_jy for spw in without.spws]
    assert "1 other sources of the field were subtracted" in done.notes[0]
    assert str(fit) in done.notes[0]
    assert str(fit) in [item.path for item in done.provenance.inputs]


def test_a_target_that_is_not_in_the_fit_is_measured_all_the_same(
    crowded_ms, options_for, write_fit
):
    result = image_source(
        options_for(crowded_ms, source=FAINT, backend="ducc0", field_fit=write_fit((TARGET,)))
    )
    assert result.spws[0].flux_jy == pytest.approx(FAINT.flux_jy, abs=3 * result.spws[0].rms_jy)


@pytest.mark.parametrize("flux_jy", [{3: 1.0, 12: 1.0}, {3: 1.0, 8: float("nan"), 12: 1.0}])
def test_a_window_that_the_fit_lacks_fails_alone(crowded_ms, options_for, write_fit, flux_jy):
    fit = write_fit()
    fit.write_text(
        FieldFit(
            ms_path=str(crowded_ms),
            sources=[FittedSource(source=TARGET, flux_jy=flux_jy, inflation={}, blends=[])],
        ).model_dump_json()
    )
    result = image_source(
        options_for(crowded_ms, source=FAINT, backend="ducc0", spws=SPWS, field_fit=fit)
    )
    assert [spw.spw_id for spw in result.spws] == [3, 12]
    assert [failure.spw_id for failure in result.failed_spws] == [8]
    assert "no flux density of target in this window" in result.failed_spws[0].reason
    assert not result.failed_spws[0].retryable


@pytest.mark.parametrize(
    "changes",
    [{"name": "J0835+5438", "ra_deg": FAINT.ra_deg + 0.0007}, {"dec_deg": FAINT.dec_deg + 0.004}],
    ids=["another name", "another position"],
)
def test_a_target_is_not_subtracted_from_itself(crowded_ms, options_for, write_fit, changes):
    alias = FAINT.model_copy(update=changes)
    with pytest.raises(InputError, match=f"but has {re.escape(alias.name)} 1") as caught:
        image_source(options_for(crowded_ms, source=FAINT, field_fit=write_fit((TARGET, alias))))
    assert caught.value.reason == "target_not_in_fit"


def test_a_fit_of_another_ms_is_refused(crowded_ms, options_for, write_fit, tmp_path):
    fit = write_fit(ms_path=str(tmp_path / "other.ms"))
    options = options_for(crowded_ms, source=FAINT, field_fit=fit)
    with pytest.raises(InputError, match="not of") as caught:
        image_source(options)
    assert caught.value.reason == "field_fit_of_another_ms"
    shared = options.model_dump(exclude={"source"})
    with pytest.raises(InputError, match="not of"):
        image_sources(ImageSourcesOptions.model_validate({**shared, "sources": [FAINT]}))
    assert not (tmp_path / "products").exists()


@pytest.mark.parametrize("damage", ["absent", "directory", "half", "garbled"])
def test_a_fit_that_cannot_be_read_is_refused(crowded_ms, options_for, write_fit, damage):
    fit = write_fit()
    text = fit.read_text()
    fit.unlink()
    if damage == "directory":
        fit.mkdir()
    elif damage == "half":
        fit.write_text(text[: len(text) // 2])
    elif damage == "garbled":
        fit.write_bytes(b"\x00\xff" * 50)
    with pytest.raises(InputError, match=str(fit)) as caught:
        image_source(options_for(crowded_ms, source=FAINT, field_fit=fit))
    assert caught.value.reason == "unreadable_field_fit"


def test_the_ms_itself_is_not_subtracted_from(crowded_ms, options_for, write_fit):
    result = image_source(options_for(crowded_ms, field_fit=write_fit(), private_copy=None))
    assert result.success, result.error
    assert "carries the side lobes of the field's other sources" in result.notes[0]
