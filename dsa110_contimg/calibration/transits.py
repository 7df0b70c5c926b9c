"""Which calibrators transit, when, and how bright they are then.

The dishes stand still on the meridian: a calibrator is seen around the moment of its upper
culmination, through that part of the primary beam where its declination of date passes.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import numpy as np
import numpy.typing as npt

from dsa110_contimg.astrometry import observed_ha_dec
from dsa110_contimg.catalog.calibrators import Calibrator
from dsa110_contimg.errors import InputError
from dsa110_contimg.instrument import (
    BAND_CENTER_FREQ_HZ,
    PRIMARY_BEAM_FWHM_DEG,
    REFERENCE_FREQ_HZ,
    SIDEREAL_RATE_DEG_S,
    primary_beam_attenuation,
)
from dsa110_contimg.models import Model
from dsa110_contimg.visibilities.models import MsInfo

Floats = npt.NDArray[np.float64]

MIN_RESPONSE: Final = 0.3
"""Farther out the beam is too badly known to set a flux scale: at 0.3 an error of 3 % of its
width is an error of 7 % of the response."""
GOOD_QUALITIES: Final = ("P", "S")
"""Codes of the VLA manual with closure errors up to 10 % in amplitude."""

_SECONDS_PER_DAY = 86400.0
_SIDEREAL_DAY_D = 360.0 / SIDEREAL_RATE_DEG_S / _SECONDS_PER_DAY
_MJD_EPOCH_JD = 2400000.5
_MJD_EPOCH = datetime(1858, 11, 17, tzinfo=UTC)
_J2000_MJD = 51544.5
_PRECESSION_DEG_YR = 20.05 / 3600
"""Largest change of a declination by precession."""
_ABERRATION_NUTATION_DEG = 0.02
"""More than annual aberration (20.5 arcsec) and nutation (9.2 arcsec) can do together."""


class Transit(Model):
    """One passage of a calibrator over the meridian, in the beam."""

    calibrator: Calibrator
    """The calibrator."""
    transit_utc: str
    """Time of the upper culmination, UTC, ISO 8601."""
    transit_mjd: float
    """The same as MJD (UTC)."""
    pointing_dec_deg: float
    """Declination of date at which the dishes point, in degrees."""
    offset_deg: float
    """Declination of date of the calibrator less that of the pointing, in degrees."""
    beam: float
    """Response of the primary beam at the middle of the band, at the moment of transit."""
    flux_jy: float
    """Flux density at the middle of the band in Jy."""
    apparent_flux_jy: float
    """The same through the beam."""
    group_id: str | None = None
    """The group in which it falls, where that is known."""


def find_transits(
    calibrators: Sequence[Calibrator],
    *,
    dec_deg: float,
    start: datetime,
    end: datetime,
    min_apparent_jy: float,
    min_response: float = MIN_RESPONSE,
    qualities: Collection[str] | None = GOOD_QUALITIES,
) -> list[Transit]:
    """Find every transit through the beam in an interval.

    A sidereal day is 3 min 56 s shorter than a solar day, so that a calibrator can transit
    twice on one date.

    Parameters
    ----------
    calibrators : sequence of Calibrator
        The catalogue.
    dec_deg : float
        Declination of date of the pointing, in degrees.
    start, end : datetime
        The interval ``[start, end)``; times without a zone are UTC.
    min_apparent_jy : float
        Least flux density at the middle of the band, through the beam, in Jy.
    min_response : float
        Least response of the beam at transit, above 0.
    qualities : collection of str, optional
        Codes of the VLA manual that will do; a calibrator without a code always will. None
        takes all.

    Returns
    -------
    list of Transit
        In order of time.

    Raises
    ------
    InputError
        If the declination or the response is out of range, the interval is empty or the Earth
        orientation tables do not cover it.
    """
    start_mjd, end_mjd = to_mjd(start), to_mjd(end)
    _check_request(dec_deg, min_response, start_mjd, end_mjd)
    years = max(abs(start_mjd - _J2000_MJD), abs(end_mjd - _J2000_MJD)) / 365.25
    near = _preselect(calibrators, dec_deg, years, min_apparent_jy, min_response, qualities)
    if not near:
        return []
    mjd, transit_dec_deg = _culminations(near, start_mjd, end_mjd)
    transits = [
        _transit(calibrator, float(mjd[row, column]), float(transit_dec_deg[row, column]), dec_deg)
        for row, calibrator in enumerate(near)
        for column in np.flatnonzero((mjd[row] >= start_mjd) & (mjd[row] < end_mjd))
    ]
    bright = [
        transit
        for transit in transits
        if transit.beam >= min_response and transit.apparent_flux_jy >= min_apparent_jy
    ]
    return sorted(bright, key=lambda transit: (transit.transit_mjd, transit.calibrator.name))


def calibrator_of_ms(
    calibrators: Sequence[Calibrator],
    info: MsInfo,
    min_apparent_jy: float,
    *,
    min_response: float = MIN_RESPONSE,
    qualities: Collection[str] | None = GOOD_QUALITIES,
) -> Transit | None:
    """Find the brightest calibrator that transits during the observation of an MS.

    It judges as `calibrator_plan.plan_calibrators` does, by the response at transit, so that
    what was planned is done.

    Parameters
    ----------
    calibrators : sequence of Calibrator
        The catalogue.
    info : MsInfo
        The MS.
    min_apparent_jy : float
        Least flux density at the middle of the band, through the beam, in Jy.
    min_response : float
        As `find_transits` takes it.
    qualities : collection of str, optional
        As `find_transits` takes it.

    Returns
    -------
    Transit or None
        The transit; None if there is none that suffices.

    Raises
    ------
    InputError
        As `find_transits` raises it.
    """
    mid_jd = info.start_mjd + info.duration_s / 2 / _SECONDS_PER_DAY + _MJD_EPOCH_JD
    _, [[dec_rad]] = observed_ha_dec(
        np.array([info.center_ra_deg]), np.array([info.center_dec_deg]), np.array([mid_jd])
    )
    # To the second, like the id of the group, so that the plan has the same limits.
    start = _from_mjd(info.start_mjd + 0.5 / _SECONDS_PER_DAY).replace(microsecond=0)
    transits = find_transits(
        calibrators,
        dec_deg=float(np.rad2deg(dec_rad)),
        start=start,
        end=start + timedelta(seconds=info.duration_s),
        min_apparent_jy=min_apparent_jy,
        min_response=min_response,
        qualities=qualities,
    )
    best = max(transits, key=lambda transit: transit.apparent_flux_jy, default=None)
    if best is None:
        return None
    return best.model_copy(update={"group_id": f"{start:%Y-%m-%dT%H:%M:%S}"})


def to_mjd(time: datetime) -> float:
    """Convert a time to MJD.

    Parameters
    ----------
    time : datetime
        A time; without a zone, UTC.

    Returns
    -------
    float
        MJD (UTC).
    """
    return (as_utc(time) - _MJD_EPOCH) / timedelta(days=1)


def as_utc(time: datetime) -> datetime:
    """Take a time without a zone as UTC.

    Parameters
    ----------
    time : datetime
        A time.

    Returns
    -------
    datetime
        In UTC.
    """
    return time.replace(tzinfo=UTC) if time.tzinfo is None else time.astimezone(UTC)


def _from_mjd(mjd: float) -> datetime:
    """Convert MJD (UTC) to a time."""
    return _MJD_EPOCH + timedelta(days=mjd)


def _check_request(dec_deg: float, min_response: float, start_mjd: float, end_mjd: float) -> None:
    """Refuse what makes no sense."""
    if not -90.0 <= dec_deg <= 90.0:
        raise InputError(f"no declination is {dec_deg} deg", reason="bad_declination")
    if not 0.0 < min_response <= 1.0:
        raise InputError(
            f"a least beam response of {min_response} is not in (0, 1]", reason="bad_response"
        )
    if not start_mjd < end_mjd:
        raise InputError(
            f"the interval from MJD {start_mjd:.5f} to {end_mjd:.5f} is empty",
            reason="empty_interval",
            remedy="give an end after the start",
        )


def _preselect(
    calibrators: Sequence[Calibrator],
    dec_deg: float,
    years: float,
    min_apparent_jy: float,
    min_response: float,
    qualities: Collection[str] | None,
) -> list[Calibrator]:
    """Leave out what cannot pass so many years from J2000, before the costly part."""
    fwhm_deg = PRIMARY_BEAM_FWHM_DEG * REFERENCE_FREQ_HZ / BAND_CENTER_FREQ_HZ
    radius_deg = fwhm_deg * float(np.sqrt(np.log(1.0 / min_response) / (4.0 * np.log(2.0))))
    reach_deg = radius_deg + _PRECESSION_DEG_YR * years + _ABERRATION_NUTATION_DEG
    return [
        calibrator
        for calibrator in calibrators
        if abs(calibrator.dec_deg - dec_deg) <= reach_deg
        and (qualities is None or calibrator.quality is None or calibrator.quality in qualities)
        and float(calibrator.flux_at(BAND_CENTER_FREQ_HZ)) >= min_apparent_jy
    ]


def _culminations(
    calibrators: list[Calibrator], start_mjd: float, end_mjd: float
) -> tuple[Floats, Floats]:
    """Find times (MJD) and declinations of date (deg) of culminations that cover an interval.

    Both of shape (ncalibrator, nculmination); the first and the last may lie outside.
    """
    ra_deg = np.array([calibrator.ra_deg for calibrator in calibrators])
    dec_deg = np.array([calibrator.dec_deg for calibrator in calibrators])
    ha_rad, _ = observed_ha_dec(ra_deg, dec_deg, np.array([start_mjd + _MJD_EPOCH_JD]))
    # One before and one after, as rounding may put a culmination on the wrong side of a limit.
    count = int((end_mjd - start_mjd) / _SIDEREAL_DAY_D) + 3
    days = np.arange(-1, count - 1) * _SIDEREAL_DAY_D
    mjd = start_mjd + (-ha_rad) % (2 * np.pi) / (2 * np.pi) * _SIDEREAL_DAY_D + days
    # One step is exact to 1e-5 s: the hour angle departs from uniform by seconds in a year.
    ha_rad, dec_rad = observed_ha_dec(ra_deg, dec_deg, mjd + _MJD_EPOCH_JD)
    left_rad = (ha_rad + np.pi) % (2 * np.pi) - np.pi
    mjd -= left_rad / (2 * np.pi) * _SIDEREAL_DAY_D
    return mjd, np.rad2deg(dec_rad)


def _transit(
    calibrator: Calibrator, mjd: float, calibrator_dec_deg: float, dec_deg: float
) -> Transit:
    """State what is seen at a culmination."""
    offset_deg = calibrator_dec_deg - dec_deg
    beam = float(primary_beam_attenuation(offset_deg, BAND_CENTER_FREQ_HZ))
    flux_jy = float(calibrator.flux_at(BAND_CENTER_FREQ_HZ))
    # isoformat cuts off; half a unit of the last place makes it round.
    when = _from_mjd(mjd).replace(tzinfo=None) + timedelta(milliseconds=0.5)
    return Transit(
        calibrator=calibrator,
        transit_utc=when.isoformat(timespec="milliseconds"),
        transit_mjd=mjd,
        pointing_dec_deg=dec_deg,
        offset_deg=offset_deg,
        beam=beam,
        flux_jy=flux_jy,
        apparent_flux_jy=flux_jy * beam,
    )
