"""Intervals by the transits of a source: where they lie, and what follows what."""

from __future__ import annotations

import itertools
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest

from dsa110_contimg import instrument
from dsa110_contimg.astrometry import transit_time_s
from dsa110_contimg.conversion.models import GroupListing, GroupState, SubbandGroup
from dsa110_contimg.errors import SettingsError
from dsa110_contimg.orchestration.runs import Night, plan_night
from dsa110_contimg.orchestration.timetable import SIDEREAL_DAY_S, TransitSchedule, find_schedule
from dsa110_contimg.qa.records import NightLedger
from dsa110_contimg.settings import Settings

pytestmark = pytest.mark.unit

TRANSIT_TOLERANCE_S = 1.0
"""UT1 is taken as UTC, from which it may differ by 0.9 s; polar motion adds 0.1 s at Dec 80."""
FIELD = TransitSchedule(ra_deg=128.7287, dec_deg=55.5725)
AROUND = FIELD.model_copy(update={"hours": 2.0})
START_2026_S = datetime(2026, 1, 1, tzinfo=UTC).timestamp()
YEAR_S = 366 * 86400.0


def utc(time_s: float) -> datetime:
    return datetime.fromtimestamp(time_s, UTC)


def intervals(schedule: TransitSchedule, n: int) -> list[tuple[int, int]]:
    first = schedule.first_starting_at(START_2026_S)
    return [schedule.interval(number) for number in range(first, first + n)]


@pytest.mark.parametrize(
    ("ra_deg", "dec_deg"), [(128.7287, 55.5725), (0.01, -20.0), (266.0, 80.0), (359.99, 0.0)]
)
def test_transits_agree_with_astropy_over_a_year(ra_deg: float, dec_deg: float) -> None:
    from astropy import units
    from astropy.coordinates import EarthLocation, HADec, SkyCoord
    from astropy.time import Time
    from astropy.utils import iers

    times_s = np.array(
        [
            transit_time_s(ra_deg, dec_deg, START_2026_S + days * 86400.0)
            for days in range(0, 366, 9)
        ]
    )
    site = EarthLocation.from_geodetic(
        instrument.SITE_LONGITUDE_DEG * units.deg,
        instrument.SITE_LATITUDE_DEG * units.deg,
        instrument.SITE_ALTITUDE_M * units.m,
    )
    with iers.earth_orientation_table.set(iers.IERS_A.open(iers.IERS_A_FILE)):
        source = SkyCoord(ra_deg * units.deg, dec_deg * units.deg)
        seen = source.transform_to(HADec(obstime=Time(times_s, format="unix"), location=site))
    late_s = seen.ha.wrap_at(180 * units.deg).hour * 3600.0
    assert np.abs(late_s).max() < TRANSIT_TOLERANCE_S


def test_a_sidereal_day_lasts_23_h_56_min_4_s() -> None:
    first, *_, last = intervals(FIELD, 367)
    day_s = (last[0] - first[0]) / 366
    assert timedelta(seconds=round(day_s)) == timedelta(hours=23, minutes=56, seconds=4)
    # Precession moves a source by a few seconds a year: a hundredth of a second a day.
    assert day_s == pytest.approx(SIDEREAL_DAY_S, abs=0.03)


@pytest.mark.parametrize("schedule", [FIELD, AROUND])
def test_intervals_follow_one_another(schedule: TransitSchedule) -> None:
    found = intervals(schedule, 400)
    gaps = {b[0] - a[1] for a, b in itertools.pairwise(found)}
    if schedule.hours is None:
        assert gaps == {0}, "every moment lies in one interval"
    else:
        assert {end - start for start, end in found} == {7200}
        middle_s = sum(found[7]) / 2
        assert transit_time_s(FIELD.ra_deg, FIELD.dec_deg, middle_s) == pytest.approx(
            middle_s, abs=1.0
        )


def test_transits_are_counted_without_a_gap_for_decades() -> None:
    """For sources on all sides of the sky: none is counted twice where hour angles wrap round."""
    for ra_deg in range(0, 360, 5):
        schedule = TransitSchedule(ra_deg=float(ra_deg), dec_deg=30.0)
        for first in (-6000, 0, 9000):
            steps = [
                schedule.interval(number)[0] - schedule.interval(number - 1)[0]
                for number in (first, first + 91, first + 183)
            ]
            assert all(abs(step - SIDEREAL_DAY_S) < 2.0 for step in steps)


@pytest.mark.parametrize("schedule", [FIELD, AROUND])
def test_what_is_over_and_what_is_next(schedule: TransitSchedule) -> None:
    number = schedule.first_starting_at(START_2026_S)
    start, end = schedule.interval(number)
    assert schedule.first_starting_at(start) == number
    assert schedule.first_starting_at(start + 1) == number + 1
    assert schedule.last_ended(end - 1) == number - 1
    assert schedule.last_ended(end) == number
    assert schedule.following((start, end)) == number + 1


def test_no_time_is_left_out_when_the_source_changes() -> None:
    """The interval under way when the last one ended comes next, although it began before."""
    last = FIELD.interval(40)
    other = TransitSchedule(ra_deg=(FIELD.ra_deg + 100.0) % 360.0)
    start, end = other.interval(other.following(last))
    assert last[0] < start <= last[1] < end


def test_a_date_on_which_two_intervals_begin(tmp_path: Path) -> None:
    """Once a year; both are filed under it, and neither undoes what is on record of the other."""
    settings = Settings(work_dir=tmp_path)
    nights = [
        plan_night({}, utc(start), utc(end), settings) for start, end in intervals(FIELD, 366)
    ]
    twice = [pair for pair in itertools.pairwise(nights) if pair[0].date == pair[1].date]
    assert len(twice) == 1
    early, late = twice[0]
    assert early.start.hour == 0
    assert late.start.hour == 23
    assert early.end == late.start
    ledger = NightLedger(tmp_path / "nights", early.date)
    for night in (early, late, early):
        ledger.save_listing(listing_of(night), (night.start, night.end))
    listing = ledger.load().listing
    assert listing is not None
    expected = listing_of(early).groups + listing_of(late).groups
    assert [group.group_id for group in listing.groups] == [group.group_id for group in expected]


def listing_of(night: Night) -> GroupListing:
    """Two groups of a night, the first on its first second."""
    groups = [
        SubbandGroup(
            group_id=f"{night.start + timedelta(hours=hours):%Y-%m-%dT%H:%M:%S}",
            state=GroupState.INCOMPLETE,
            present=[],
            missing=[],
            files=[],
            problems=[],
        )
        for hours in (0, 9)
    ]
    return GroupListing(groups=groups, rejects=[])


def test_every_other_date_has_one_interval(tmp_path: Path) -> None:
    dates = [f"{utc(start):%Y-%m-%d}" for start, _ in intervals(FIELD, 367)]
    days = {f"{utc(START_2026_S + day * 86400.0):%Y-%m-%d}" for day in range(365)}
    assert days <= set(dates)


def test_the_settings_choose() -> None:
    assert find_schedule(Settings(schedule="")) is None
    assert find_schedule(Settings()).summary == "0 0 * * *"
    with pytest.raises(SettingsError, match="needs schedule_ra_deg"):
        Settings(schedule="transit")
