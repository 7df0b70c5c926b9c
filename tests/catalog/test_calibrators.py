"""Catalogues of calibrators: the VLA manual as it is, spoilt, and tables."""

from __future__ import annotations

import logging
import re
from pathlib import Path

import numpy as np
import pytest
from astropy.table import Table
from support.permissions import permissions_enforced

from dsa110_contimg.catalog.calibrators import (
    DEFAULT_SPECTRAL_INDEX,
    Calibrator,
    SkipKind,
    read_calibrators,
    read_catalogue,
)
from dsa110_contimg.errors import InputError

pytestmark = pytest.mark.unit

HEADER = f"""\
IAU NAME EQUINOX  PC RA(hh,mm,ss)    DEC(ddd,mm,ss)   POS.REF ALT.NAME
{"=" * 67}
{" "}
"""
TABLE_HEAD = """\
-----------------------------------------------------
BAND        A B C D    FLUX(Jy)    UVMIN(kL)  UVMAX(kL)
=====================================================
"""
ENTRY = (
    "{name}   J2000  A {ra}  {dec}  Aug01  3C999\n0000+000   B1950  A 00h00m00.0s  00d00'00.0\"\n"
)
GOOD = {"name": "1234-005", "ra": "12h34m56.7s", "dec": "-00d30'36.0\""}


def entry(*bands: str, **changes: str) -> str:
    """Write one entry of the manual."""
    return ENTRY.format(**{**GOOD, **changes}) + TABLE_HEAD + "".join(f"{b}\n" for b in bands)


def write(path: Path, *entries: str, header: str = HEADER) -> Path:
    """Write a manual."""
    path.write_text(header + " \n".join(entries))
    return path


@pytest.fixture
def manual(shared_data: Path) -> Path:
    return shared_data / "vlacalibrators.txt"


class TestTheRealManual:
    def test_0834_555(self, manual):
        [found] = [one for one in read_calibrators(manual) if one.name == "0834+555"]
        assert found.ra_deg == pytest.approx(15 * (8 + 34 / 60 + 54.904117 / 3600), abs=1e-11)
        assert found.dec_deg == pytest.approx(55 + 34 / 60 + 21.07098 / 3600, abs=1e-11)
        assert (found.flux_jy, found.ref_freq_hz, found.quality) == (8.80, 1.425e9, "P")
        assert found.flux_at(4.86e9) == pytest.approx(5.60)

    def test_every_entry_is_read_or_accounted_for(self, manual):
        """Counted by another way of reading: from one J2000 to the next."""
        catalogue = read_catalogue(manual)
        _, *chunks = re.split(r"(?=^\S+ +J2000)", manual.read_text(), flags=re.MULTILINE)
        fluxes = [
            re.search(r"20cm +L(?: +[PSWCX?]){4} +(\d*\.?\d+)", chunk, re.MULTILINE)
            for chunk in chunks
        ]
        bright = {
            chunk.split()[0]: float(flux[1])
            for chunk, flux in zip(chunks, fluxes, strict=True)
            if flux and float(flux[1]) > 0
        }
        assert {one.name: one.flux_jy for one in catalogue.calibrators} == bright
        assert len(catalogue.calibrators) + len(catalogue.skipped) == len(chunks) == 1865
        assert catalogue.garbled == []

    def test_positions_against_astropy(self, manual):
        from astropy.coordinates import SkyCoord

        lines = re.findall(
            r"^(\S+) +J2000 +\w +(\S+) +([-\d]+d)(\d+)'([\d.]+)\"", manual.read_text(), re.MULTILINE
        )
        read = {one.name: one for one in read_calibrators(manual)}
        used = [line for line in lines if line[0] in read and lines.count(line) == 1]
        # Where a name is repeated, only one of the entries has a flux density.
        names = [line[0] for line in used]
        used = [line for line in used if names.count(line[0]) == 1]
        assert len(used) > 1000
        where = SkyCoord(
            [line[1] for line in used],
            [f"{deg}{minutes}m{sec}s" for _, _, deg, minutes, sec in used],
        )
        ours = SkyCoord(
            [read[line[0]].ra_deg for line in used],
            [read[line[0]].dec_deg for line in used],
            unit="deg",
        )
        # A microarcsecond, the last digit of the list, is 3e-10 deg.
        assert where.separation(ours).deg.max() < 1e-9

    def test_declinations_just_south_of_the_equator(self, manual):
        read = {one.name: one.dec_deg for one in read_calibrators(manual)}
        [south] = [dec for name, dec in read.items() if name == "0442-002"]
        assert -1.0 < south < 0.0


class TestOneEntry:
    def read(self, tmp_path: Path, *bands: str, **changes: str) -> Calibrator:
        catalogue = read_catalogue(write(tmp_path / "vla.txt", entry(*bands, **changes)))
        assert catalogue.garbled == []
        return catalogue.calibrators[0]

    @pytest.mark.parametrize(
        "line",
        [
            "20cm L  S P W X       8.80                      100   visplot",
            " 20cm    L  S P W X       8.80",
            "20cm    L  S P W X  8.80   100  visplot",
        ],
    )
    def test_spacing(self, tmp_path, line):
        found = self.read(tmp_path, line)
        assert (found.quality, found.flux_jy) == ("W", 8.8)
        assert found.spectral_index == DEFAULT_SPECTRAL_INDEX

    @pytest.mark.parametrize(
        "dec",
        [
            *("-00d30'36.0\"", "-0d30'36\"", "-00d30'36.0''", "-00d30m36s"),
            *("\u221200d30'36\"", "\u201300d30'36\"", "- 0d30'36\""),
        ],
    )
    def test_declinations(self, tmp_path, dec):
        found = self.read(tmp_path, "20cm L S S S S 1.0", dec=dec)
        assert (found.ra_deg, found.dec_deg) == pytest.approx((188.73625, -0.51))

    @pytest.mark.parametrize("six", [" 6cm C X X X X", " 6cm C X X X X 0.00", " 6cm C S S S S ?"])
    def test_no_flux_density_at_6_cm(self, tmp_path, six):
        found = self.read(tmp_path, "20cm L S S S S 1.0", six)
        assert found.spectral_index == DEFAULT_SPECTRAL_INDEX

    def test_line_ends_of_windows_and_a_byte_order_mark(self, tmp_path):
        text = (HEADER + entry("20cm L S S S S 1.0")).replace("\n", "\r\n")
        (tmp_path / "vla.txt").write_bytes(b"\xef\xbb\xbf" + text.encode())
        [found] = read_calibrators(tmp_path / "vla.txt")
        assert found.name == "1234-005"


class TestEntriesThatCannotBeUsed:
    @pytest.mark.parametrize("gap", [" \n", ""], ids=["blank_line", "no_blank_line"])
    @pytest.mark.parametrize(
        ("spoilt", "words"),
        [
            (entry("20cm L S S S S 1.0", ra="12h34"), "no position"),
            (entry("20cm L S S S S 1.0", ra="12h74m00.0s"), "beyond its range"),
            (entry("20cm L S S S S 1.0", dec="95d00'00.0\""), "beyond its range"),
            (entry("20cm L S S S S 1.O"), "'1.O' at 20 cm is no number"),
            (entry("20cm L S S S S -1.0"), "'-1.0' at 20 cm is no number"),
            (entry("20cm L S S 1.0"), "no quality codes"),
            (entry("20cm L"), "no quality codes"),
            (entry("20cm"), "no quality codes"),
            (entry("20cm L S S S S 1.0", "20cm L S S S S 2.0"), "2 lines for 20 cm"),
            (entry("20cm L S S S S 1.0", name="a/b"), "name"),
            (entry("20cm L S S S S 1.0", name="0834+555"), "repeats a name"),
            (entry("20cm L S S S S 1.0").replace("J2000", "J2OOO"), "cannot be understood"),
            ("\x00\udcff\x01\n", "cannot be understood"),
        ],
    )
    def test_a_garbled_entry_leaves_its_neighbours_alone(
        self, tmp_path, caplog, spoilt, words, gap
    ):
        before = HEADER + entry("20cm L P P P P 8.8", name="0834+555") + gap
        after = gap + entry("20cm L S S S S 3.0", name="2343+538")
        path = tmp_path / "vla.txt"
        path.write_text(before + spoilt + after, encoding="utf-8", errors="surrogateescape")
        catalogue = read_catalogue(path)
        fluxes = {one.name: one.flux_jy for one in catalogue.calibrators}
        assert fluxes == {"0834+555": 8.8, "2343+538": 3.0}
        first, line = catalogue.garbled[0], before.count("\n") + 1
        assert (first.line, first.kind) == (line, SkipKind.GARBLED)
        assert words in first.reason
        read_calibrators(path)
        assert f"line {line}" in caplog.text

    def test_bands_without_their_entry_are_nobodys(self, tmp_path):
        path = write(
            tmp_path / "vla.txt",
            entry("6cm C S S S S 1.0"),
            "20cm L P P P P 99.0\n",
            entry("20cm L S S S S 3.0", name="2343+538"),
        )
        catalogue = read_catalogue(path)
        assert [one.name for one in catalogue.calibrators] == ["2343+538"]
        assert [one.reason for one in catalogue.garbled] == [
            "a band without the entry it belongs to"
        ]

    def test_a_garbled_6_cm_line_costs_only_the_index(self, tmp_path):
        path = write(tmp_path / "vla.txt", entry("20cm L S S S S 1.0", "6cm C S S S S 1,0"))
        catalogue = read_catalogue(path)
        assert catalogue.calibrators[0].spectral_index == DEFAULT_SPECTRAL_INDEX
        assert "the spectral index -0.7 is assumed" in catalogue.garbled[0].reason

    @pytest.mark.parametrize(
        "bands", [(), ("90cm P S S S S 9",), ("20cm L X X X X ?",), ("20cm L X X X X 0.00",)]
    )
    def test_no_flux_density_at_20_cm(self, tmp_path, caplog, bands):
        good = entry("20cm L S S S S 3.0", name="2343+538")
        path = write(tmp_path / "vla.txt", entry(*bands), good)
        catalogue = read_catalogue(path)
        assert [(one.name, one.kind) for one in catalogue.skipped] == [
            ("1234-005", SkipKind.NO_FLUX)
        ]
        with caplog.at_level(logging.INFO):
            assert [one.name for one in read_calibrators(path)] == ["2343+538"]
        assert "1 entries without a flux density" in caplog.text


class TestTables:
    @pytest.mark.parametrize("suffix", ["ecsv", "csv", "fits"])
    def test_round_trip(self, tmp_path, suffix):
        path = tmp_path / f"c.{suffix}"
        rows = {
            "name": ["0834+555", "mine"],
            "ra_deg": [128.7, 1.0],
            "dec_deg": [55.6, -2.0],
            "flux_jy": [8.8, 3.0],
            "quality": ["p", ""],
        }
        Table(rows).write(path)
        first, second = read_calibrators(path)
        assert (first.name, first.flux_jy, first.quality) == ("0834+555", 8.8, "P")
        assert (second.name, second.quality) == ("mine", None)

    @pytest.mark.parametrize(
        ("change", "reason", "words"),
        [
            ({"flux_jy": None}, "catalogue_columns", "flux_jy"),
            ({"flux_jy": [0.0]}, "catalogue_value", "flux_jy"),
            ({"flux_jy": [np.nan]}, "catalogue_value", "flux_jy"),
            ({"spectral_index": [np.inf]}, "catalogue_value", "spectral_index"),
            ({"ref_freq_hz": [0.0]}, "catalogue_value", "ref_freq_hz"),
            ({"quality": ["good"]}, "catalogue_value", "quality"),
        ],
    )
    def test_bad_values(self, tmp_path, change, reason, words):
        rows = {"name": ["a"], "ra_deg": [1.0], "dec_deg": [2.0], "flux_jy": [3.0]} | change
        Table({name: rows[name] for name in rows if rows[name]}).write(tmp_path / "c.ecsv")
        with pytest.raises(InputError, match=words) as caught:
            read_calibrators(tmp_path / "c.ecsv")
        assert caught.value.reason == reason


class TestFilesThatCannotBeRead:
    def refuse(self, path: Path, reason: str) -> str:
        with pytest.raises(InputError) as caught:
            read_calibrators(path)
        assert caught.value.reason == reason
        assert str(path) in caught.value.message
        return str(caught.value)

    def test_absent(self, tmp_path):
        sentence = self.refuse(tmp_path / "absent.ecsv", "missing_catalogue")
        assert "DSA110_CONTIMG_CALIBRATORS_FILE" in sentence

    def test_directory(self, tmp_path):
        self.refuse(tmp_path, "unreadable_catalogue")

    def test_permission(self, tmp_path):
        path = write(tmp_path / "vla.txt", entry("20cm L S S S S 1.0"))
        path.chmod(0)
        with permissions_enforced():
            self.refuse(path, "unreadable_catalogue")

    @pytest.mark.parametrize("content", [b"", b" \n\n"])
    def test_empty(self, tmp_path, content):
        (tmp_path / "c.txt").write_bytes(content)
        self.refuse(tmp_path / "c.txt", "empty_catalogue")

    def test_nothing_of_use(self, tmp_path):
        self.refuse(write(tmp_path / "head.txt"), "empty_catalogue")
        path = write(tmp_path / "vla.txt", entry("90cm P S S S S 1"))
        assert "no flux density at 20 cm" in self.refuse(path, "empty_catalogue")

    @pytest.mark.parametrize("content", [b"\x00\xff\x01\x80", b"no table, only words\n"])
    def test_something_else(self, tmp_path, content):
        (tmp_path / "c.txt").write_bytes(content)
        with pytest.raises(InputError, match=r"c\.txt"):
            read_calibrators(tmp_path / "c.txt")


def test_what_a_manual_may_not_be_called_or_weigh(tmp_path):
    """A name never becomes a command, and what steers a terminal is shown, not sent."""
    bad = ["..", "-rf", "a/b", "\x1b[31m", "a\u202eb", "caf\u00e9", "x" * 70]
    entries = [entry("20cm L S S S S 1.0", name=name) for name in bad]
    too_bright = entry("20cm L S S S S 8800", name="0001+001")
    good = entry("20cm L S S S S 1.0", name="0002+002")
    catalogue = read_catalogue(write(tmp_path / "vla.txt", *entries, too_bright, good))
    assert [one.name for one in catalogue.calibrators] == ["0002+002"]
    assert len(catalogue.garbled) == len(bad) + 1
    for one in catalogue.garbled:
        assert (one.name + one.reason).isprintable()
    assert "8800 Jy" in catalogue.garbled[-1].reason
