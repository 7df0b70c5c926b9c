"""Catalogues: what is read, and what is refused with a sentence."""

from __future__ import annotations

import pytest
from astropy.table import Table

from dsa110_contimg.catalog.sources import OF_FIELD_MODEL, Source, read_sources, write_sources
from dsa110_contimg.errors import InputError

pytestmark = pytest.mark.unit

SOURCES = [
    Source(name="J0834+555", ra_deg=128.73, dec_deg=55.57, flux_jy=8.0, spectral_index=-0.4),
    Source(name="unknown-flux", ra_deg=0.0, dec_deg=-10.0),
]


def test_round_trip(tmp_path):
    write_sources(SOURCES, tmp_path / "s.ecsv")
    back = read_sources(tmp_path / "s.ecsv")
    assert [s.name for s in back] == ["J0834+555", "unknown-flux"]
    assert back[0] == SOURCES[0]


@pytest.mark.parametrize("name", ["s.csv", "s.fits", "s.vot"])
def test_other_formats(tmp_path, name):
    rows = Table({"name": ["a", "b"], "ra_deg": [1.0, 2.0], "dec_deg": [3.0, 4.0], "extra": [0, 0]})
    rows.write(tmp_path / name, format="votable" if name == "s.vot" else None)
    assert [(s.name, s.ra_deg, s.dec_deg, s.flux_jy) for s in read_sources(tmp_path / name)] == [
        ("a", 1.0, 3.0, None),
        ("b", 2.0, 4.0, None),
    ]


def test_power_law():
    source = Source(
        name="s", ra_deg=0, dec_deg=0, flux_jy=2.0, ref_freq_hz=1.4e9, spectral_index=-1
    )
    assert source.flux_at(0.7e9) == pytest.approx(4.0)


@pytest.mark.parametrize(
    ("rows", "reason", "words"),
    [
        ({"name": ["a"], "ra_deg": [1.0]}, "catalogue_columns", "dec_deg"),
        (
            {"name": ["a"], "ra_deg": [400.0], "dec_deg": [0.0]},
            "catalogue_value",
            "row 1 .*, column ra_deg",
        ),
        ({"name": ["a/b"], "ra_deg": [4.0], "dec_deg": [0.0]}, "catalogue_value", "name"),
        (
            {"name": ["a", "a"], "ra_deg": [4.0, 5.0], "dec_deg": [0.0, 1.0]},
            "catalogue_value",
            "repeats",
        ),
    ],
)
def test_bad_catalogue(tmp_path, rows, reason, words):
    Table(rows).write(tmp_path / "s.ecsv")
    with pytest.raises(InputError, match=words) as caught:
        read_sources(tmp_path / "s.ecsv")
    assert caught.value.reason == reason


def test_absent_and_garbled(tmp_path):
    with pytest.raises(InputError, match="no source catalogue"):
        read_sources(tmp_path / "absent.ecsv")
    (tmp_path / "bad.ecsv").write_bytes(b"\x00\x01\x02")
    with pytest.raises(InputError, match="cannot read the source catalogue"):
        read_sources(tmp_path / "bad.ecsv")


def test_the_longest_name_may_stand_twice_in_a_field():
    """A known source that has the name of a target is renamed, and crosses into a child as JSON."""
    longest = Source(name="x" * 64, ra_deg=0, dec_deg=0)
    renamed = longest.model_copy(update={"name": longest.name + OF_FIELD_MODEL})
    assert Source.model_validate_json(renamed.model_dump_json()) == renamed
