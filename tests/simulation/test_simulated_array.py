"""The stations of the simulated array."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsa110_contimg.errors import InputError
from dsa110_contimg.instrument import (
    ACTIVE_STATIONS,
    N_ANTENNAS_TELESCOPE,
    SITE_ALTITUDE_M,
    SITE_LATITUDE_DEG,
    SITE_LONGITUDE_DEG,
)
from dsa110_contimg.simulation.array import (
    antenna_positions_m,
    baseline_pairs,
    select_stations,
    site_itrf_m,
    station_coordinates,
)

pytestmark = pytest.mark.unit


def read_survey(path: Path) -> np.ndarray:
    """Latitude, longitude, elevation of the surveyed stations; NaN where there is no value."""
    rows = list(csv.reader(path.read_text().splitlines()))[6:]
    return np.array([[float(value) if value else np.nan for value in row[2:5]] for row in rows])


def to_itrf_m(coordinates: np.ndarray) -> np.ndarray:
    from astropy import units as u
    from astropy.coordinates import EarthLocation

    lat, lon, height = np.asarray(coordinates).T
    place = EarthLocation.from_geodetic(lon * u.deg, lat * u.deg, height * u.m)
    return np.stack([place.x.to_value("m"), place.y.to_value("m"), place.z.to_value("m")], -1)


def test_positions_agree_with_the_survey_within_5_cm(shared_data: Path) -> None:
    survey = read_survey(shared_data / "DSA110_Station_Coordinates.csv")
    assert survey.shape == (N_ANTENNAS_TELESCOPE, 3)
    # The survey gives no elevation for station 117: only its horizontal place is compared.
    assert np.flatnonzero(np.isnan(survey[:, 2])).tolist() == [116]
    survey[116, 2] = station_coordinates()[116, 2]
    distance_m = np.linalg.norm(antenna_positions_m() + site_itrf_m() - to_itrf_m(survey), axis=1)
    assert distance_m.max() < 0.05


def test_positions_are_relative_to_the_site() -> None:
    site = to_itrf_m(np.array([[SITE_LATITUDE_DEG, SITE_LONGITUDE_DEG, SITE_ALTITUDE_M]]))[0]
    np.testing.assert_allclose(site_itrf_m(), site, atol=1e-6)  # both are WGS84 to the micron
    assert np.linalg.norm(antenna_positions_m(), axis=1).max() < 2500


def test_the_whole_array_is_every_active_station() -> None:
    assert select_stations(96) == ACTIVE_STATIONS


def test_the_longest_baseline_is_that_of_the_telescope() -> None:
    positions = antenna_positions_m()[np.array(select_stations(96)) - 1]
    first, second = baseline_pairs(96)
    longest_m = np.linalg.norm(positions[first] - positions[second], axis=1).max()
    assert 2500 < longest_m < 2700  # "about 2.6 km"


@given(st.integers(6, 96))
def test_a_smaller_array_keeps_both_arms_and_long_baselines(n_antennas: int) -> None:
    stations = select_stations(n_antennas)
    assert len(set(stations)) == n_antennas
    assert set(stations) <= set(ACTIVE_STATIONS)
    assert list(stations) == sorted(stations)
    assert min(stations) < 52 and any(52 <= s < 103 for s in stations)  # noqa: PT018 - one thought
    positions = antenna_positions_m()[np.array(stations) - 1]
    first, second = baseline_pairs(n_antennas)
    length_m = np.linalg.norm(positions[first] - positions[second], axis=1)
    assert length_m.max() > 2500
    assert length_m[first != second].min() < 500


@pytest.mark.parametrize("n_antennas", [-1, 0, 1, 97])
def test_an_array_that_does_not_exist_is_refused(n_antennas: int) -> None:
    with pytest.raises(InputError, match="2 to 96") as caught:
        select_stations(n_antennas)
    assert caught.value.reason == "antenna_count"


def test_baselines_come_in_the_order_of_the_correlator() -> None:
    first, second = baseline_pairs(3)
    assert list(zip(first, second, strict=True)) == [(0, 0), (0, 1), (1, 1), (0, 2), (1, 2), (2, 2)]
    assert len(baseline_pairs(96)[0]) == 4656
