"""When nights begin and end by the transits of a source, and what schedule the settings ask for."""

from __future__ import annotations

import pkgutil
from functools import lru_cache
from typing import Any, Final

from pydantic import Field

from dsa110_contimg.astrometry import transit_time_s
from dsa110_contimg.models import Model
from dsa110_contimg.settings import TRANSIT_SCHEDULE, Settings

SIDEREAL_DAY_S: Final = 86164.0905
"""Mean time between two transits of the equinox, in seconds: 23 h 56 min 4.09 s."""

_EPOCH_S: Final = 1767225600.0
"""2026-01-01T00:00:00 UTC; transits are counted from the nearest one."""

Interval = tuple[int, int]
"""Start and end in whole seconds since 1970, UTC."""


class TransitSchedule(Model):
    """Intervals of time that a source's transits of the meridian cut out.

    Transits are numbered, so that an interval does not depend on how one came to it. They are
    rounded to whole seconds: every machine finds the same ones.
    """

    ra_deg: float = Field(ge=0.0, lt=360.0)
    """Right ascension (ICRS) of the source in degrees."""
    dec_deg: float = Field(0.0, gt=-90.0, lt=90.0)
    """Its declination (ICRS) in degrees."""
    hours: float | None = Field(None, gt=0.0, lt=23.9)
    """Length of an interval around its transit; None: from this transit to the next."""

    def interval(self, number: int) -> Interval:
        """Find an interval.

        Parameters
        ----------
        number : int
            Number of the transit.

        Returns
        -------
        start, end : int
            The interval ``[start, end)`` in seconds since 1970.
        """
        transit = self._transit(number)
        if self.hours is None:
            return transit, self._transit(number + 1)
        half = round(self.hours * 1800.0)
        return transit - half, transit + half

    def last_ended(self, time_s: float) -> int:
        """Find the newest interval that is over.

        Parameters
        ----------
        time_s : float
            The present time in seconds since 1970.

        Returns
        -------
        int
            Number of the interval; it may end at this very time.
        """
        return self.first_ending_after(time_s) - 1

    def first_ending_after(self, time_s: float) -> int:
        """Find the interval that is under way, or else the next.

        Parameters
        ----------
        time_s : float
            A time in seconds since 1970.

        Returns
        -------
        int
            Number of the first interval that ends later than this.
        """
        number = self._near(time_s) - 2
        while self.interval(number)[1] <= time_s:
            number += 1
        return number

    def first_starting_at(self, time_s: float) -> int:
        """Find the first interval that starts at a time or later.

        Parameters
        ----------
        time_s : float
            A time in seconds since 1970.

        Returns
        -------
        int
            Number of the interval.
        """
        number = self._near(time_s) - 2
        while self.interval(number)[0] < time_s:
            number += 1
        return number

    def following(self, last: Interval) -> int:
        """Find the interval that comes after one that was taken, perhaps by another schedule.

        Parameters
        ----------
        last : tuple of int
            Start and end of the last interval that was taken.

        Returns
        -------
        int
            Number of the first interval that starts later, and that reaches beyond its end: no
            time is left out where the source has changed.
        """
        start, end = last
        return max(self.first_ending_after(end), self.first_starting_at(start + 1))

    def _transit(self, number: int) -> int:
        """Find the time of a transit in whole seconds since 1970."""
        # Aberration, nutation and decades of precession keep within minutes of this.
        near_s = _first_transit_s(self.ra_deg, self.dec_deg) + number * SIDEREAL_DAY_S
        return round(transit_time_s(self.ra_deg, self.dec_deg, near_s))

    def _near(self, time_s: float) -> int:
        """Give the number of a transit that is at most a day away."""
        return int((time_s - _first_transit_s(self.ra_deg, self.dec_deg)) // SIDEREAL_DAY_S)


@lru_cache(maxsize=8)
def _first_transit_s(ra_deg: float, dec_deg: float) -> float:
    """Find the time of the transit that has the number 0."""
    return transit_time_s(ra_deg, dec_deg, _EPOCH_S)


def find_schedule(settings: Settings) -> Any:
    """Choose the timetable of `nightly_transit`.

    Parameters
    ----------
    settings : Settings
        The settings in force.

    Returns
    -------
    airflow timetable or None
        None if runs are only started by hand.
    """
    from dsa110_contimg.orchestration.night_timetable import NightTimetable

    if not settings.schedule:
        return None
    if settings.schedule != TRANSIT_SCHEDULE:
        return NightTimetable(settings.schedule, "UTC")
    # Airflow puts its folder of plugins on the module path, and knows the class by this name.
    timetable = pkgutil.resolve_name("transit_timetable:TransitTimetable")
    return timetable(
        TransitSchedule.model_validate(
            {
                "ra_deg": settings.schedule_ra_deg,
                "dec_deg": settings.schedule_dec_deg,
                "hours": settings.schedule_transit_hours,
            }
        )
    )
