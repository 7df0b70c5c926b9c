"""Which entries of several catalogues are one source."""

from __future__ import annotations

import pytest
from support.small_field import Array, make_info, position

from dsa110_contimg.catalog.known import read_known_sources
from dsa110_contimg.catalog.sources import write_sources
from dsa110_contimg.settings import Settings
from dsa110_contimg.visibilities.known_sources import other_sources

pytestmark = pytest.mark.unit

ARCSEC = 1.0 / 3600.0


def test_a_source_of_two_catalogues_counts_once():
    """Else a model with flux densities would hold it twice."""
    info = make_info(Array())
    known = [
        position("manual", 0.3, 0.2, flux_jy=2.0),
        position("survey", 0.3 + ARCSEC, 0.2 - ARCSEC, flux_jy=2.1),
        position("double", 0.3, 0.2 + 8 * ARCSEC, flux_jy=1.0),
        position("target_too", -0.2, ARCSEC, flux_jy=1.0),
    ]
    target = position("target", -0.2, 0.0)
    assert [source.name for source in other_sources(known, [target], info)] == ["manual", "double"]
    assert other_sources([], [target], info) == []


def test_all_catalogues_of_the_settings_are_read(tmp_path):
    written = {}
    for number, name in enumerate(("calibrators", "sources", "model", "named")):
        written[name] = position(name, 0.1 * number, 0.0, flux_jy=1.0)
        write_sources([written[name]], tmp_path / f"{name}.ecsv")
    settings = Settings(work_dir=tmp_path, field_model_file=tmp_path / "model.ecsv")
    found = {source.name for source in read_known_sources(settings)}
    assert found == {"calibrators", "sources", "model"}
    named = read_known_sources(settings, sources_file=tmp_path / "named.ecsv")
    assert {source.name for source in named} == {"calibrators", "named", "model"}
    empty = Settings(work_dir=tmp_path / "nothing")
    assert read_known_sources(empty) == []
