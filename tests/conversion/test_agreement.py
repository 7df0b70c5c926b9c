"""Headers that contradict themselves: refused with the pair that disagrees, or a warning."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path

import h5py
import numpy as np
import pytest
from casacore.tables import table
from typer.testing import CliRunner

from dsa110_contimg.cli.main import app
from dsa110_contimg.conversion.agreement import find_contradictions
from dsa110_contimg.conversion.geometry import rotate_to_uvw
from dsa110_contimg.conversion.uvh5 import SubbandHeader, read_header
from dsa110_contimg.settings import Settings

FEET = 3.28084
DEC_DEG, LON_DEG = 54.573, -118.283


@pytest.fixture(scope="module")
def sound(small_night) -> SubbandHeader:
    return read_header(Path(small_night.files[0]))


def turned_uvw(header: SubbandHeader, hour_angle_deg: float, dec_deg: float) -> np.ndarray:
    """UVW towards another direction than the pointing on the meridian."""
    of_antennas = rotate_to_uvw(
        header.antenna_positions_m,
        np.deg2rad(header.longitude_deg),
        np.deg2rad([hour_angle_deg]),
        np.deg2rad([dec_deg]),
    )[0]
    return of_antennas[header.ant_2_array] - of_antennas[header.ant_1_array]


def to_local(header: SubbandHeader) -> np.ndarray:
    """Positions as east, north, up (Thompson, Moran & Swenson, section 4.1)."""
    lat, lon = np.deg2rad([header.latitude_deg, header.longitude_deg])
    x, y, z = header.antenna_positions_m.T
    out = np.cos(lon) * x + np.sin(lon) * y  # in the meridian, from the axis
    east = np.cos(lon) * y - np.sin(lon) * x
    return np.stack(
        [east, np.cos(lat) * z - np.sin(lat) * out, np.cos(lat) * out + np.sin(lat) * z], 1
    )


def to_meridian(header: SubbandHeader) -> np.ndarray:
    """Positions turned about the pole, as MIRIAD and AIPS keep them."""
    lon = np.deg2rad(header.longitude_deg)
    x, y, z = header.antenna_positions_m.T
    return np.stack([np.cos(lon) * x + np.sin(lon) * y, np.cos(lon) * y - np.sin(lon) * x, z], 1)


def geocentric(header: SubbandHeader) -> np.ndarray:
    return header.antenna_positions_m + np.array([-2409e3, -4477e3, 3839e3])


def moved(header: SubbandHeader, by_m: float) -> np.ndarray:
    """Positions of which that of the last antenna with data is off."""
    positions = header.antenna_positions_m.copy()
    positions[header.ant_2_array.max(), 2] += by_m
    return positions


def exchanged(header: SubbandHeader) -> np.ndarray:
    positions = header.antenna_positions_m.copy()
    one, two = np.unique(header.ant_1_array)[[1, -1]]
    positions[[one, two]] = positions[[two, one]]
    return positions


def some_reversed(header: SubbandHeader) -> np.ndarray:
    uvw = header.uvw_m.copy()
    uvw[::3] *= -1
    return uvw


@pytest.mark.parametrize(
    ("change", "said"),
    [
        (lambda h: {"longitude_deg": -h.longitude_deg}, ["the sign of the longitude", "-118.283"]),
        (lambda h: {"longitude_deg": h.longitude_deg + 1}, ["longitude -118.283", "-117.283"]),
        (lambda h: {"latitude_deg": -h.latitude_deg}, ["the sign of the latitude"]),
        (
            lambda h: {"latitude_deg": np.deg2rad(h.latitude_deg)},
            ["the latitude is in radians", "what is level"],
        ),
        (
            lambda h: {
                "latitude_deg": np.deg2rad(h.latitude_deg),
                "longitude_deg": np.deg2rad(h.longitude_deg),
            },
            ["radians in the place of degrees"],
        ),
        (lambda h: {"altitude_m": h.altitude_m / 1e3}, ["the altitude of the site, 1.2 m"]),
        (lambda h: {"altitude_m": h.altitude_m * FEET}, ["the altitude of the site"]),
        (
            lambda _: {"pointing_dec_rad": np.deg2rad(16.2)},
            ["declination +54.573", "the header says +16.200"],
        ),
        (
            lambda h: {"pointing_dec_rad": h.pointing_dec_rad + np.deg2rad(0.1)},
            ["declination +54.573", "the header says +54.673"],
        ),
        (lambda h: {"uvw_m": turned_uvw(h, 5.0, DEC_DEG)}, ["hour angle of +5.000 deg"]),
        (lambda h: {"uvw_m": -h.uvw_m}, ["28 of 28 baselines have the opposite sign"]),
        (lambda h: {"uvw_m": some_reversed(h)}, ["of 28 baselines have the opposite sign"]),
        (lambda h: {"uvw_m": h.uvw_m / 1e3}, ["0.001 times", "kilometres against metres"]),
        (lambda h: {"uvw_m": h.uvw_m / 0.21}, ["4.76"]),
        (
            lambda h: {"antenna_positions_m": h.antenna_positions_m / 1e3},
            ["metres against kilometres", "a dish is 4.65 m wide"],
        ),
        (
            lambda h: {"antenna_positions_m": h.antenna_positions_m * FEET},
            ["metres against feet"],
        ),
        (lambda h: {"antenna_positions_m": to_local(h)}, ["are local (east, north, up)"]),
        (lambda h: {"antenna_positions_m": to_meridian(h)}, ["turned to the site's meridian"]),
        (
            lambda h: {"antenna_positions_m": h.antenna_positions_m[:, [1, 2, 0]]},
            ["in another frame"],
        ),
        (lambda h: {"antenna_positions_m": geocentric(h)}, ["geocentric, not relative"]),
        (lambda h: {"antenna_positions_m": 0 * h.antenna_positions_m}, ["0.000 m apart"]),
        (
            lambda h: {"antenna_positions_m": h.antenna_positions_m[::-1]},
            ["in another order: UVW of 1 fit the position of 117"],
        ),
        (
            lambda h: {"antenna_positions_m": exchanged(h)},
            ["only antenna", "its UVW fit the position of antenna"],
        ),
        (lambda h: {"antenna_positions_m": moved(h, 3.0)}, ["by up to 3.00 m", "only antenna"]),
        (
            lambda h: {"times_jd": h.times_jd[0] + (h.times_jd - h.times_jd[0]) / 2},
            ["begin 6.442 s after each other"],
        ),
        (lambda h: {"times_jd": h.times_jd + 8 / 24}, ["the file names lie -28799 s"]),
    ],
)
@pytest.mark.unit
def test_a_contradiction_is_named_with_its_cause(sound, change, said):
    if "times_jd" in (changed := change(sound)):
        changed["first_time_jd"] = changed["times_jd"][0]
    header = replace(sound, **changed)
    found = find_contradictions(header, [header])
    assert any(one.is_grave for one in found)
    text = "; ".join(one.sentence for one in found)
    for fragment in said:
        assert fragment in text


@pytest.mark.unit
def test_what_is_no_contradiction(sound):
    """Rounding, other documents' site, gaps, and a station without data that has no position."""
    away = sound.antenna_positions_m.copy()
    away[np.setdiff1d(sound.antenna_numbers, sound.ant_1_array)[0]] = np.nan
    for changes in (
        {},
        {"uvw_m": sound.uvw_m + np.float32(1e-4)},
        {"altitude_m": 1222.0},
        {"times_jd": np.delete(sound.times_jd, [3, 4])},
        {"antenna_positions_m": away},
    ):
        header = replace(sound, **changes)
        assert find_contradictions(header, [header]) == []
    [noted] = find_contradictions(replace(sound, antenna_positions_m=moved(sound, 0.3)), [sound])
    assert not noted.is_grave
    assert "disagree by up to 0.30 m" in noted.sentence


@pytest.mark.casa
@pytest.mark.usefixtures("private_places")
def test_refused_unless_a_warning_is_asked_for(small_night, tmp_path, monkeypatch):
    incoming = tmp_path / "incoming"
    incoming.mkdir()
    for file in small_night.files[:16]:
        with h5py.File(shutil.copy(file, incoming), "r+") as copy:
            copy["Header/longitude"][...] += 1.0
    runner, command = CliRunner(), ["convert", str(incoming), str(tmp_path / "ms"), "--json"]
    refused = runner.invoke(app, command)
    [row] = json.loads(refused.stdout)
    assert (refused.exit_code, row["state"], row["ms_path"]) == (1, "failed", None)
    assert row["reason"].startswith("contradictory_header: ")
    assert "longitude -118.283" in row["reason"]

    warned = runner.invoke(app, [*command, "--header-contradictions", "warn"])
    [row] = json.loads(warned.stdout)
    assert (warned.exit_code, row["state"]) == (0, "converted")
    assert any("longitude -118.283" in warning for warning in row["warnings"])
    with table(row["ms_path"], ack=False) as main:
        assert main.nrows()

    monkeypatch.setenv("DSA110_CONTIMG_HEADER_CONTRADICTIONS", "warn")
    assert Settings().header_contradictions == "warn"
