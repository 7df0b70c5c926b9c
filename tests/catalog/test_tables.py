"""The reader of tables: units, other names, sexagesimal angles, and what is refused by cell."""

from __future__ import annotations

import math
import time
import warnings
from pathlib import Path

import numpy as np
import pytest
from astropy import units as u
from astropy.coordinates import Longitude, SkyCoord
from astropy.io import fits
from astropy.table import MaskedColumn, QTable, Table
from astropy.time import Time

from dsa110_contimg.catalog.calibrators import read_calibrators
from dsa110_contimg.catalog.sources import Source, read_sources, write_sources
from dsa110_contimg.errors import InputError

pytestmark = pytest.mark.unit

FORMATS = {"s.ecsv": "ascii.ecsv", "s.fits": "fits", "s.vot": "votable"}
GOOD = {
    "name": ["A", "B"], "ra_deg": [128.7, 10.0], "dec_deg": [54.6, -1.0], "flux_jy": [1.5, 2.0],
    "ref_freq_hz": [1.4e9, 1.4e9], "spectral_index": [-0.7, 0.0],
}  # fmt: skip


def save(path: Path, changes: dict[str, object], table: type[Table] = QTable) -> Path:
    """Write a good table with other columns; None leaves one out."""
    columns = {name: cells for name, cells in {**GOOD, **changes}.items() if cells is not None}
    table(columns).write(path, format=FORMATS.get(path.name))
    return path


def refuse(path: Path) -> str:
    with pytest.raises(InputError) as refusal:
        read_sources(path)
    assert refusal.value.reason.startswith("catalogue_")
    return str(refusal.value)


class TestUnits:
    @pytest.mark.parametrize("name", FORMATS)
    @pytest.mark.parametrize(
        ("column", "cells", "expected"),
        [
            ("flux_jy", [8800.0, 1.0] * u.mJy, 8.8),
            ("flux_jy", [1.5e-26, 0.0] * u.W / u.m**2 / u.Hz, 1.5),
            ("ref_freq_hz", [1.4, 3.0] * u.GHz, 1.4e9),
            ("ref_freq_hz", [1400, 3000] * u.MHz, 1.4e9),
            ("ra_deg", [2.24624, 0.1] * u.rad, 128.700070),
            ("dec_deg", [3276.0, 0.0] * u.arcmin, 54.6),
        ],
    )
    def test_are_converted(self, tmp_path, name, column, cells, expected):
        read = read_sources(save(tmp_path / name, {column: cells}))[0]
        assert getattr(read, column) == pytest.approx(expected, rel=1e-6)

    def test_of_a_calibrator(self, tmp_path):
        path = save(tmp_path / "s.ecsv", {"flux_jy": [8800, 2000] * u.mJy})
        assert [one.flux_jy for one in read_calibrators(path)] == [8.8, 2.0]

    def test_of_angles_and_of_masked_quantities(self, tmp_path):
        """Columns that are no columns, as astropy writes them itself."""
        hours = Longitude([8.58, 0.5] * u.hourangle)
        flux = MaskedColumn([8800.0, 1.0], mask=[False, True], unit="mJy")
        one, two = read_sources(save(tmp_path / "s.ecsv", {"ra_deg": hours, "flux_jy": flux}))
        assert (one.ra_deg, one.flux_jy, two.flux_jy) == (pytest.approx(128.7), 8.8, None)

    @pytest.mark.parametrize(
        ("column", "unit", "words"),
        [
            ("flux_jy", "K", "column flux_jy: its unit is K, which is not Jy"),
            ("flux_jy", "Jy/beam", "column flux_jy: its unit is Jy / beam, which is not Jy"),
            ("flux_jy", "mjy", "column flux_jy: the unit 'mjy' is not known"),
            ("ref_freq_hz", "cm", "column ref_freq_hz: its unit is cm, which is not Hz"),
            ("ra_deg", "h", "column ra_deg: its unit is h, which is not deg"),
            ("spectral_index", "Hz", "column spectral_index: its unit is Hz, which is not a pure"),
        ],
    )
    def test_of_another_kind_are_refused(self, tmp_path, column, unit, words):
        table = Table(GOOD)
        table[column].unit = u.Unit(unit, parse_strict="silent")
        table.write(tmp_path / "s.ecsv")
        assert words in refuse(tmp_path / "s.ecsv")

    def test_are_written(self, tmp_path):
        write_sources([Source(name="A", ra_deg=1, dec_deg=2, flux_jy=3)], tmp_path / "s.ecsv")
        assert str(Table.read(tmp_path / "s.ecsv")["flux_jy"].unit) == "Jy"


class TestNumbers:
    @pytest.mark.parametrize(
        ("column", "value"),
        [
            ("ra_deg", "nan"), ("ra_deg", "-0.1"), ("ra_deg", "360"), ("ra_deg", "x"),
            ("dec_deg", "90.1"), ("dec_deg", "-inf"), ("dec_deg", ""),
            ("ref_freq_hz", ""), ("spectral_index", ""),
            ("flux_jy", "nan"), ("flux_jy", "inf"), ("flux_jy", "-1"), ("flux_jy", "1 Jy"),
            ("ref_freq_hz", "0"), ("ref_freq_hz", "1.4"), ("ref_freq_hz", "1400"),
            ("ref_freq_hz", "nan"), ("ref_freq_hz", "1e13"),
            ("spectral_index", "nan"), ("spectral_index", "50"), ("spectral_index", "-30"),
        ],
    )  # fmt: skip
    def test_that_are_none_or_impossible(self, tmp_path, column, value):
        cells = ["B", "1", "2", "3", "1.4e9", "0"]
        cells[list(GOOD).index(column)] = value
        lines = [",".join(GOOD), "A,1,2,3,1.4e9,0", ",".join(cells)]
        (tmp_path / "s.csv").write_text("\n".join(lines))
        said = refuse(tmp_path / "s.csv")
        assert "row 2" in said
        assert f"column {column}: " in said

    @pytest.mark.parametrize(("flux_jy", "freq_hz"), [(8800.0, 1.4e9), (3000.0, 5e9)])
    def test_of_a_flux_that_the_sky_does_not_have(self, tmp_path, flux_jy, freq_hz):
        changes = {"flux_jy": [1.0, flux_jy], "ref_freq_hz": [1.4e9, freq_hz]}
        path = save(tmp_path / "s.ecsv", {**changes, "spectral_index": [0.0, -0.7]})
        assert "row 2 ('B'): the flux density" in refuse(path)

    def test_of_a_bright_source_at_a_low_frequency(self, tmp_path):
        """Cygnus A in the VLSS, of 17 kJy at 74 MHz, is none too bright."""
        changes = {"flux_jy": [1.7e4, 1.0], "ref_freq_hz": [7.4e7, 1.4e9]}
        assert read_sources(save(tmp_path / "s.ecsv", changes))[0].flux_jy == 1.7e4

    @pytest.mark.parametrize("name", FORMATS)
    @pytest.mark.parametrize("column", ["ra_deg", "dec_deg", "ref_freq_hz", "spectral_index"])
    def test_that_are_not_there(self, tmp_path, name, column):
        """Where NaN is how a format writes an empty cell, too."""
        path = save(tmp_path / name, {column: [GOOD[column][0], math.nan]}, Table)
        assert f"row 2 ('B'), column {column}: " in refuse(path)

    def test_of_an_unknown_flux(self, tmp_path):
        path = save(tmp_path / "s.fits", {"flux_jy": [1.5, math.nan]}, Table)
        assert [one.flux_jy for one in read_sources(path)] == [1.5, None]
        with pytest.raises(InputError, match=r"row 2 \('B'\), column flux_jy: "):
            read_calibrators(path)

    def test_of_the_wrong_kind(self, tmp_path):
        assert "no numbers" in refuse(save(tmp_path / "s.ecsv", {"flux_jy": [True, False]}))
        assert "several values" in refuse(save(tmp_path / "s.fits", {"flux_jy": [[1.0, 2.0]] * 2}))


class TestNames:
    @pytest.mark.parametrize(
        "name",
        [
            "..", ".a", "-rf", "_field", "a/b", "a b", "a\tb", "\x1b[31m", "a\u202eb", "a\u200bb",
            "caf\u00e9", "[red]", "$(id)", "a;b", "x" * 65,
        ],
    )  # fmt: skip
    def test_unfit_for_a_file(self, tmp_path, name):
        said = refuse(save(tmp_path / "s.ecsv", {"name": ["A", name]}))
        assert "row 2, column name: the name '" in said
        assert said.isprintable()
        assert said.isascii()

    def test_that_are_empty(self, tmp_path):
        assert "row 2, column name: is empty" in refuse(
            save(tmp_path / "s.ecsv", {"name": ["A", " "]})
        )

    @pytest.mark.parametrize(
        ("name", "tail"), [("A", "row 1"), ("a", "row 1, A, but for capitals")]
    )
    def test_that_repeat(self, tmp_path, name, tail):
        said = refuse(save(tmp_path / "s.ecsv", {"name": ["A", name]}))
        assert f"row 2: the name {name} is that of {tail}" in said

    def test_that_look_like_numbers(self, tmp_path):
        (tmp_path / "s.csv").write_text("name,ra_deg,dec_deg\n007,1,2\n7,1,2\n1e5,1,2\n")
        assert [one.name for one in read_sources(tmp_path / "s.csv")] == ["007", "7", "1e5"]


NVSS = {
    "NVSS": ["083455+553421", "004000-010000"], "RAJ2000": ["08 34 54.90", "00 40 00.00"],
    "DEJ2000": ["+55 34 21.0", "-00 30 00.0"], "S1.4": MaskedColumn([8800.0, 3.1], unit="mJy"),
    "e_S1.4": MaskedColumn([0.1, 0.4], unit="mJy"),
}  # fmt: skip
"""As VizieR gives VIII/65."""


class TestVizier:
    """Tables as VizieR gives them: VIII/65 (NVSS) and VIII/92 (FIRST)."""

    @pytest.mark.parametrize("units", [None, ('"h:m:s"', '"d:m:s"')])
    def test_nvss(self, tmp_path, units):
        table = Table(NVSS)
        for column, unit in zip(("RAJ2000", "DEJ2000"), units or (), strict=bool(units)):
            table[column].unit = u.Unit(unit, parse_strict="silent")
        with warnings.catch_warnings(action="ignore"):  # VizieR's units are not the standard's
            table.write(tmp_path / "s.vot", format="votable")
        one, two = read_sources(tmp_path / "s.vot")
        assert (one.name, one.flux_jy, two.flux_jy) == ("083455+553421", 8.8, pytest.approx(3.1e-3))
        assert (one.ra_deg, one.dec_deg) == pytest.approx((128.72875, 55.5725))
        assert (two.ra_deg, two.dec_deg) == pytest.approx((10.0, -0.5))

    @pytest.mark.parametrize("ra_dec", [("_RAJ2000", "_DEJ2000"), ("RA_ICRS", "DE_ICRS")])
    def test_first(self, tmp_path, ra_dec):
        ra, dec = ra_dec
        columns = {
            "FIRST": ["J083454.9+553421"], ra: [128.72875] * u.deg, dec: [55.5725] * u.deg,
            "Fpeak": [8000.0] * u.mJy / u.beam, "Fint": [8300.0] * u.mJy,
        }  # fmt: skip
        QTable(columns).write(tmp_path / "s.vot", format="votable")
        [one] = read_sources(tmp_path / "s.vot")
        assert (one.ra_deg, one.dec_deg, one.flux_jy) == (128.72875, 55.5725, 8.3)

    @pytest.mark.parametrize(
        ("changes", "words"),
        [
            ({"RAJ2000": [8.58, 0.5]}, "column RAJ2000: it has no unit"),
            ({"S1.4": [8800.0, 3.1]}, "column S1.4: it has no unit"),
            (
                {"S1.4": None, "Fpeak": [1.0, 2.0] * u.mJy},
                "column Fpeak is not understood; flux_jy",
            ),
            ({"S1.4": None, "flux_mjy": [1, 2]}, "column flux_mjy is not understood; flux_jy or"),
            ({"S1.4": None, "flux (mJy)": [1, 2]}, "column flux (mJy) is not understood"),
            ({"S1.4": None, "S_mJy": [1, 2]}, "column S_mJy is not understood"),
            ({"S1.4": None, "S1400": [1, 2]}, "column S1400 is not understood"),
            ({"freq_mhz": [1400, 1400]}, "column freq_mhz is not understood; ref_freq_hz would"),
            ({"nu0": [1.4, 1.4] * u.GHz}, "column nu0 is not understood; ref_freq_hz would"),
            ({"SpIndex": [-0.7, 0]}, "column SpIndex is not understood; spectral_index would"),
            ({"alpha": [-0.7, 0]}, "column alpha is not understood; spectral_index would"),
            ({"flux_jy": [1, 2], "Flux_Jy": [3, 4]}, "two columns flux_jy, one read as Flux_Jy"),
            ({"RAJ2000": None}, "lacks the column(s) ra_deg"),
            ({"DEJ2000": ["+55 34 21", "north"]}, "row 2, column DEJ2000: 'north' is not a decli"),
            (
                {"RAJ2000": ["08 34 60", "0 0 0"]},
                "row 1, column RAJ2000: '08 34 60' is not a right",
            ),
            ({"RAJ2000": ["08 34 54", "24 10 0"]}, "row 2"),
            ({"DEJ2000": ["+91 00 00", "0 0 0"]}, "row 1"),
        ],
    )
    def test_refused_with_what_would_do(self, tmp_path, changes, words):
        columns = {k: v for k, v in {**NVSS, **changes}.items() if v is not None}
        QTable({k: v for k, v in columns.items() if not k.startswith("e_")}).write(
            tmp_path / "s.ecsv"
        )
        assert words in refuse(tmp_path / "s.ecsv")


def test_several_tables_are_refused(tmp_path):
    """The first would be taken without a word."""
    table = fits.table_to_hdu(Table(GOOD))
    fits.HDUList([fits.PrimaryHDU(), table, table.copy()]).writeto(tmp_path / "s.fits")
    with pytest.raises(InputError, match=r"s\.fits holds several tables"):
        read_sources(tmp_path / "s.fits")


def test_of_two_columns_of_one_name_none_is_taken(tmp_path):
    (tmp_path / "s.csv").write_text("name,ra_deg,dec_deg,flux_jy,flux_jy\nA,1,2,3,3000\n")
    assert "there are two columns flux_jy" in refuse(tmp_path / "s.csv")


def test_a_byte_order_mark_and_columns_of_times_and_places(tmp_path):
    (tmp_path / "s.csv").write_text("name,ra_deg,dec_deg\r\nA,1,2\r\n", encoding="utf-8-sig")
    others = {"epoch": Time(["2020-01-01"] * 2), "place": SkyCoord([1, 2] * u.deg, [3, 4] * u.deg)}
    for path in (tmp_path / "s.csv", save(tmp_path / "s.ecsv", others)):
        assert read_sources(path)[0].name == "A"


def test_a_survey_is_read_in_linear_time(tmp_path):
    """1e5 rows in seconds: with the square of the length it would take 12 minutes."""
    n = 100_000
    rng = np.random.default_rng(1)
    Table(
        {
            "name": [f"N{i:06d}" for i in range(n)],
            "ra_deg": rng.uniform(0, 360, n),
            "dec_deg": rng.uniform(52, 57, n),
            "flux_jy": rng.uniform(0.003, 0.1, n),
        }
    ).write(tmp_path / "s.fits")
    start = time.process_time()
    assert len(read_sources(tmp_path / "s.fits")) == n
    assert time.process_time() - start < 30.0


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("s.vot", b'<?xml version="1.0"?><VOTABLE version="1.4"><RESOURCE><TABLE><FIELD'),
        ("s.ecsv", b"# %ECSV 1.0\n# ---\n# datatype: [\nname\n"),
        ("s.csv", b"\xff\xfe,ra_deg\n1,2\n"),
        ("s.csv", b""),
        ("s.fits", b"SIMPLE  =                    T"),
    ],
)
def test_garbled_files(tmp_path, name, content):
    (tmp_path / name).write_bytes(content)
    with pytest.raises(InputError, match=r"cannot read the source catalogue|lacks the column"):
        read_sources(tmp_path / name)
