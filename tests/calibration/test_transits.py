"""Transits of calibrators: when, where in the beam and how bright, with astropy as the oracle."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from support.ms_info import ms_info

from dsa110_contimg.calibration.transits import (
    Transit,
    calibrator_of_ms,
    find_transits,
)
from dsa110_contimg.catalog.calibrators import Calibrator, read_calibrators
from dsa110_contimg.errors import InputError
from dsa110_contimg.instrument import (
    BAND_CENTER_FREQ_HZ,
    SITE_ALTITUDE_M,
    SITE_LATITUDE_DEG,
    SITE_LONGITUDE_DEG,
    primary_beam_attenuation,
)

pytestmark = pytest.mark.unit

CLASSIC = Calibrator(
    name="0834+555",
    ra_deg=128.72876715,
    dec_deg=55.57251972,
    flux_jy=8.80,
    ref_freq_hz=1.425e9,
    spectral_index=-0.368,
    quality="P",
)
DAY = datetime(2026, 1, 25, tzinfo=UTC)
ONE_DAY = timedelta(days=1)
DEC_DEG = 54.573
SIDEREAL_DAY_S = 86164.0905


def transits_of(*calibrators: Calibrator, **changes: object) -> list[Transit]:
    """Find transits on one day at the classic pointing, unless told otherwise."""
    request = {"dec_deg": DEC_DEG, "start": DAY, "end": DAY + ONE_DAY, "min_apparent_jy": 1.0}
    return find_transits(calibrators, **{**request, **changes})


def clone(**changes: object) -> Calibrator:
    return CLASSIC.model_copy(update=changes)


def site():
    from astropy import units as u
    from astropy.coordinates import EarthLocation

    return EarthLocation.from_geodetic(
        SITE_LONGITUDE_DEG * u.deg, SITE_LATITUDE_DEG * u.deg, SITE_ALTITUDE_M * u.m
    )


class TestAgainstAstropy:
    """The two differ in the tables of the Earth's rotation by up to 15 us."""

    @pytest.mark.parametrize("date", ["2015-07-01", "2024-03-15", "2026-01-25"])
    def test_hour_angle_and_declination_of_date(self, date):
        from astropy import units as u
        from astropy.coordinates import HADec, SkyCoord
        from astropy.time import Time

        start = datetime.fromisoformat(date)
        [found] = transits_of(CLASSIC, start=start, end=start + ONE_DAY)
        when = Time(found.transit_mjd, format="mjd", scale="utc")
        seen = SkyCoord(CLASSIC.ra_deg * u.deg, CLASSIC.dec_deg * u.deg).transform_to(
            HADec(obstime=when, location=site())
        )
        # A millisecond is far below the second that matters and far above rounding.
        assert abs(seen.ha.wrap_at(180 * u.deg).to_value("hourangle") * 3600) < 1e-3
        assert found.offset_deg == pytest.approx(seen.dec.deg - DEC_DEG, abs=1e-6)

    def test_sidereal_time_is_the_right_ascension_of_date(self):
        from astropy import units as u
        from astropy.coordinates import TETE, SkyCoord
        from astropy.time import Time

        [found] = transits_of(CLASSIC)
        when = Time(found.transit_mjd, format="mjd", scale="utc")
        sidereal = when.sidereal_time("apparent", longitude=SITE_LONGITUDE_DEG * u.deg)
        of_date = SkyCoord(CLASSIC.ra_deg * u.deg, CLASSIC.dec_deg * u.deg).transform_to(
            TETE(obstime=when)
        )
        # Diurnal aberration, which sidereal time knows nothing of, is 0.3 arcsec: 0.02 s, and
        # at this declination 0.03 s.
        difference_s = (sidereal - of_date.ra).wrap_at(180 * u.deg).to_value("hourangle") * 3600
        assert abs(difference_s) < 0.1

    def test_the_two_names_of_the_time_agree(self):
        from astropy.time import Time

        [found] = transits_of(CLASSIC)
        assert Time(found.transit_utc, scale="utc").mjd == pytest.approx(
            found.transit_mjd, abs=0.6e-3 / 86400
        )


class TestDays:
    def test_every_day_3_min_56_s_earlier(self):
        found = transits_of(CLASSIC, end=DAY + 5 * ONE_DAY)
        steps_s = np.diff([one.transit_mjd for one in found]) * 86400
        # Annual aberration moves the right ascension of date by up to 0.04 s a day.
        assert steps_s == pytest.approx([SIDEREAL_DAY_S] * 4, abs=0.1)
        assert 86400 - steps_s == pytest.approx([3 * 60 + 56] * 4, abs=0.2)

    def test_twice_on_one_date(self):
        """Something that transits just after midnight does so again before the next."""
        [first] = transits_of(CLASSIC)
        midnight = datetime.fromisoformat(first.transit_utc).replace(tzinfo=UTC)
        start = midnight - timedelta(minutes=2)
        found = transits_of(CLASSIC, start=start, end=start + ONE_DAY)
        assert len(found) == 2
        assert found[0].transit_mjd == pytest.approx(first.transit_mjd, abs=1e-9)
        assert transits_of(CLASSIC, start=start, end=start + timedelta(minutes=1)) == []

    def test_the_interval_holds_its_start_and_not_its_end(self):
        [exact] = transits_of(CLASSIC)
        moment = datetime.fromisoformat(exact.transit_utc).replace(tzinfo=UTC)
        # The name of the time is rounded to a millisecond.
        before, after = moment - timedelta(milliseconds=1), moment + timedelta(milliseconds=1)
        assert len(transits_of(CLASSIC, start=before, end=after)) == 1
        assert transits_of(CLASSIC, start=after, end=after + timedelta(hours=23.9)) == []
        assert transits_of(CLASSIC, start=before - timedelta(hours=23.9), end=before) == []

    def test_intervals_that_join_lose_and_repeat_nothing(self):
        whole = transits_of(CLASSIC, clone(name="b", ra_deg=10.0), end=DAY + 40 * ONE_DAY)
        parts = [
            one
            for k in range(40)
            for one in transits_of(
                CLASSIC,
                clone(name="b", ra_deg=10.0),
                start=DAY + k * ONE_DAY,
                end=DAY + (k + 1) * ONE_DAY,
            )
        ]
        assert len(whole) == len(parts) > 79
        assert [one.transit_mjd for one in parts] == pytest.approx(
            [one.transit_mjd for one in whole], abs=1e-9
        )

    def test_a_time_without_a_zone_is_utc(self):
        naive = DAY.replace(tzinfo=None)
        assert transits_of(CLASSIC, start=naive, end=naive + ONE_DAY) == transits_of(CLASSIC)


class TestBeam:
    @pytest.mark.parametrize("dec_deg", [54.573, 55.5, 57.4])
    def test_response_and_flux_density(self, dec_deg):
        [found] = transits_of(CLASSIC, dec_deg=dec_deg)
        # Precession lowers the declination by 11.7 arcsec a year here.
        assert found.offset_deg == pytest.approx(CLASSIC.dec_deg - 0.0853 - dec_deg, abs=0.01)
        # The middle of the band is 15 kHz from 1.405 GHz: 1e-5 of it.
        response = primary_beam_attenuation(found.offset_deg, 1.405e9)
        assert found.beam == pytest.approx(response, rel=1e-4)
        assert found.flux_jy == pytest.approx(8.80 * (1.405 / 1.425) ** -0.368, rel=1e-4)
        assert found.apparent_flux_jy == pytest.approx(found.flux_jy * found.beam)

    def test_band_centre(self):
        """From the table of the instrument: 1311.25 to 1498.75 MHz between channel edges."""
        assert pytest.approx(1.405e9, abs=0.2e6) == BAND_CENTER_FREQ_HZ

    def test_window_in_declination(self):
        half_width_deg = 3.2 * 1.4 / 1.405 * np.sqrt(np.log(1 / 0.5) / (4 * np.log(2)))
        [found] = transits_of(CLASSIC)
        of_date_deg = found.offset_deg + DEC_DEG
        for sign in (-1, 1):
            edge_deg = of_date_deg + sign * half_width_deg
            inside = transits_of(CLASSIC, dec_deg=edge_deg - sign * 0.001, min_response=0.5)
            assert inside[0].beam == pytest.approx(0.5, abs=0.001)
            assert transits_of(CLASSIC, dec_deg=edge_deg + sign * 0.001, min_response=0.5) == []

    def test_least_apparent_flux_density(self):
        [found] = transits_of(CLASSIC)
        assert transits_of(CLASSIC, min_apparent_jy=found.apparent_flux_jy - 1e-6) == [found]
        assert transits_of(CLASSIC, min_apparent_jy=found.apparent_flux_jy + 1e-6) == []

    @pytest.mark.parametrize(
        ("quality", "fit"), [("P", 1), ("S", 1), (None, 1), ("W", 0), ("X", 0)]
    )
    def test_quality(self, quality, fit):
        judged = clone(quality=quality)
        assert len(transits_of(judged)) == fit
        assert len(transits_of(judged, qualities=None)) == 1


class TestTheWholeManual:
    def test_the_transits_of_a_night(self, shared_data: Path):
        calibrators = read_calibrators(shared_data / "vlacalibrators.txt")
        found = transits_of(*calibrators, min_apparent_jy=2.0)
        assert [one.calibrator.name for one in found] == ["0834+555", "2343+538"]
        assert found[0].transit_utc.startswith("2026-01-25T08:11:2")

    def test_nothing_is_missed_by_the_quick_look(self, shared_data: Path):
        """The same as asking of each calibrator by itself, 60 years from J2000."""
        calibrators = read_calibrators(shared_data / "vlacalibrators.txt")
        request = {"start": datetime(1975, 6, 1), "end": datetime(1975, 6, 2)}  # noqa: DTZ001
        together = transits_of(*calibrators, **request)
        near = [one for one in calibrators if abs(one.dec_deg - DEC_DEG) < 5]
        alone = [one for calibrator in near for one in transits_of(calibrator, **request)]
        assert together == sorted(alone, key=lambda one: one.transit_mjd)
        assert len(together) > 5

    def test_a_day_takes_less_than_a_second(self, shared_data: Path):
        calibrators = read_calibrators(shared_data / "vlacalibrators.txt")
        transits_of(CLASSIC)  # reads the tables of the Earth's rotation
        start = time.process_time()
        transits_of(*calibrators, min_apparent_jy=0.0, qualities=None)
        assert time.process_time() - start < 1.0


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"dec_deg": 91.0}, "bad_declination"),
        ({"dec_deg": float("nan")}, "bad_declination"),
        ({"min_response": 0.0}, "bad_response"),
        ({"end": DAY}, "empty_interval"),
        ({"end": DAY - ONE_DAY}, "empty_interval"),
        (
            {
                "start": datetime(2090, 1, 1, tzinfo=UTC),
                "end": datetime(2090, 1, 2, tzinfo=UTC),
            },
            "earth_orientation",
        ),
    ],
)
def test_what_makes_no_sense(changes, reason):
    with pytest.raises(InputError) as caught:
        transits_of(CLASSIC, **changes)
    assert caught.value.reason == reason


class TestCalibratorOfMs:
    START = datetime(2026, 1, 25, 8, 9, 0, 137000, tzinfo=UTC)
    """Within the second, as real groups start."""

    def test_the_transit_in_its_time(self):
        [expected] = transits_of(CLASSIC)
        found = calibrator_of_ms([CLASSIC], ms_info(self.START, DEC_DEG), 2.0)
        assert found is not None
        assert found.group_id == "2026-01-25T08:09:00"
        assert found.transit_mjd == pytest.approx(expected.transit_mjd, abs=1e-9)
        # The pointing comes from the phase centre, which is ICRS, and back.
        assert found.offset_deg == pytest.approx(expected.offset_deg, abs=1e-6)
        assert found.apparent_flux_jy == pytest.approx(expected.apparent_flux_jy, rel=1e-5)

    def test_the_brightest_of_several(self):
        rivals = [clone(name="faint", flux_jy=4.0), CLASSIC, clone(name="fair", flux_jy=5.0)]
        found = calibrator_of_ms(rivals, ms_info(self.START, DEC_DEG), 2.0)
        assert found is not None
        assert found.calibrator == CLASSIC

    @pytest.mark.parametrize(
        ("start", "min_jy"), [(START + timedelta(seconds=310), 2.0), (START, 8.0)]
    )
    def test_none_that_suffices(self, start, min_jy):
        assert calibrator_of_ms([CLASSIC], ms_info(start, DEC_DEG), min_jy) is None
