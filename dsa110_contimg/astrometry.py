"""Where the sky stands over the site at a given time, from ERFA and the bundled Earth tables.

Directions are hour angle and declination of date, topocentric, against the ITRF pole and the
site's ITRF meridian: polar motion, annual and diurnal aberration are in, refraction is not.
No network is touched.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import numpy as np
import numpy.typing as npt

from dsa110_contimg.errors import InputError
from dsa110_contimg.instrument import SITE_ALTITUDE_M, SITE_LATITUDE_DEG, SITE_LONGITUDE_DEG

Floats = npt.NDArray[np.float64]

_NO_REFRACTION = (0.0, 0.0, 0.0, 1.0)
"""Pressure, temperature, humidity, wavelength: ERFA leaves refraction out at zero pressure."""
_JD_EPOCH_MJD = 2400000.5
JD_UNIX = 2440587.5
"""Julian date (UTC) at which Unix time begins."""
_DAY_S = 86400.0
_STELLAR_DAY_S = 86164.0989
"""Length of a turn of the Earth against the stars in seconds (IERS Conventions 2010)."""
_TT_UTC_S = 69.184
"""TT - UTC since 2017; a change by a second moves no position."""


def observed_ha_dec(ra_deg: Floats, dec_deg: Floats, jd_utc: Floats) -> tuple[Floats, Floats]:
    """Hour angle and declination of catalogue positions as the array sees them.

    Parameters
    ----------
    ra_deg, dec_deg : ndarray of float64, shape (nsources,)
        ICRS positions in degrees.
    jd_utc : ndarray of float64, shape (ntimes,) or (nsources, ntimes)
        Julian dates (UTC), the same for all sources or each source's own.

    Returns
    -------
    ha_rad, dec_rad : ndarray of float64, shape (nsources, ntimes)
        Local hour angle and declination in radians (ERFA ``atco13``).

    Raises
    ------
    InputError
        If the Earth orientation tables do not cover the time.
    """
    import erfa

    ra = np.deg2rad(np.asarray(ra_deg, dtype=float))[:, None]
    dec = np.deg2rad(np.asarray(dec_deg, dtype=float))[:, None]
    _, _, ha, dec_observed, _, _ = erfa.atco13(
        ra,
        dec,
        0.0,
        0.0,
        0.0,
        0.0,
        *_epoch(jd_utc),
        *_site(),
        *_polar_motion(jd_utc),
        *_NO_REFRACTION,
    )
    return np.asarray(ha), np.asarray(dec_observed)


def meridian_icrs_deg(dec_deg: float, jd_utc: float) -> tuple[float, float]:
    """Catalogue position of the point on the meridian at a declination of date.

    Parameters
    ----------
    dec_deg : float
        Declination of date of the pointing, in degrees.
    jd_utc : float
        Julian date (UTC).

    Returns
    -------
    ra_deg, dec_deg : float
        ICRS position in degrees (ERFA ``atoc13``).

    Raises
    ------
    InputError
        If the Earth orientation tables do not cover the time.
    """
    import erfa

    when = np.float64(jd_utc)
    ra, dec = erfa.atoc13(
        "H",
        0.0,
        np.deg2rad(dec_deg),
        *_epoch(when),
        *_site(),
        *_polar_motion(when),
        *_NO_REFRACTION,
    )
    return float(np.rad2deg(ra) % 360.0), float(np.rad2deg(dec))


def pole_of_date(jd_utc: float) -> Floats:
    """Direction of the pole from which declinations of date are counted.

    Parameters
    ----------
    jd_utc : float
        Julian date (UTC).

    Returns
    -------
    ndarray of float64, shape (3,)
        Unit vector of the Earth's (ITRF) axis in the axes of the ICRS (ERFA ``c2t06a``); polar
        motion takes it 0.4 arcsec off the celestial pole.

    Raises
    ------
    InputError
        If the Earth orientation tables do not cover the time.
    """
    import erfa

    when = np.float64(jd_utc)
    utc1, utc2, dut1_s = _epoch(when)
    tt = erfa.taitt(*erfa.utctai(utc1, utc2))
    ut1 = erfa.utcut1(utc1, utc2, dut1_s)
    return np.asarray(erfa.c2t06a(*tt, *ut1, *_polar_motion(when))[2])


def apparent_sidereal_time_rad(jd_utc: Floats) -> Floats:
    """Local apparent sidereal time at the site.

    Parameters
    ----------
    jd_utc : ndarray of float64, shape (ntimes,)
        Julian dates (UTC).

    Returns
    -------
    ndarray of float64, shape (ntimes,)
        Sidereal time in radians, in [0, 2 pi) (ERFA ``gst06a``).

    Raises
    ------
    InputError
        If the Earth orientation tables do not cover the time.
    """
    import erfa

    utc1, utc2, dut1_s = _epoch(jd_utc)
    tt = erfa.taitt(*erfa.utctai(utc1, utc2))
    gast = erfa.gst06a(*erfa.utcut1(utc1, utc2, dut1_s), *tt)
    return np.asarray((gast + np.deg2rad(SITE_LONGITUDE_DEG)) % (2 * np.pi))


def transit_time_s(ra_deg: float, dec_deg: float, near_s: float) -> float:
    """Find when a catalogue position passes the meridian, to about a second.

    It needs no Earth tables, so that it knows all past and future: UT1 is taken as UTC (they
    differ by less than 0.9 s), polar motion and diurnal aberration (together below 0.1 s at
    most declinations) are left out.

    Parameters
    ----------
    ra_deg, dec_deg : float
        Position (ICRS) in degrees.
    near_s : float
        The passage nearest to this time is meant, seconds since 1970 (UTC).

    Returns
    -------
    float
        Time of the passage, seconds since 1970 (UTC): the local hour angle, Earth rotation
        angle (ERFA ``era00``) plus longitude minus intermediate right ascension of date
        (``atci13``), is zero.
    """
    import erfa

    ra, dec, longitude = np.deg2rad([ra_deg, dec_deg, SITE_LONGITUDE_DEG])
    time_s = near_s
    # The first step lands within a second; aberration and precession need another.
    for _ in range(3):
        days = time_s / _DAY_S
        ra_of_date, _, _ = erfa.atci13(ra, dec, 0, 0, 0, 0, JD_UNIX, days + _TT_UTC_S / _DAY_S)
        ha = erfa.anpm(erfa.era00(JD_UNIX, days) + longitude - ra_of_date)
        time_s -= float(ha) / (2 * np.pi) * _STELLAR_DAY_S
    return time_s


def _site() -> tuple[float, float, float]:
    """Longitude (rad), latitude (rad) and height (m), in ERFA's order."""
    return np.deg2rad(SITE_LONGITUDE_DEG), np.deg2rad(SITE_LATITUDE_DEG), SITE_ALTITUDE_M


def _epoch(jd_utc: Any) -> tuple[Any, Any, Any]:
    """Two-part UTC and UT1-UTC in seconds."""
    fraction = np.asarray(jd_utc) - _JD_EPOCH_MJD
    ut1_utc, status = _earth_tables().ut1_utc(_JD_EPOCH_MJD, fraction, return_status=True)
    require_covered(status, jd_utc)
    return _JD_EPOCH_MJD, fraction, ut1_utc.to_value("s")


def _polar_motion(jd_utc: Any) -> tuple[Any, Any]:
    """Pole coordinates in radians."""
    fraction = np.asarray(jd_utc) - _JD_EPOCH_MJD
    x, y, status = _earth_tables().pm_xy(_JD_EPOCH_MJD, fraction, return_status=True)
    require_covered(status, jd_utc)
    return x.to_value("rad"), y.to_value("rad")


@contextmanager
def offline_tables() -> Iterator[None]:
    """Have astropy take the tables that are installed, however old, and ask no server.

    Else it asks, in each process, for newer leap seconds from five months before its own expire,
    and a month after the last measured Earth orientation it refuses to use what it predicts.

    Yields
    ------
    None
        While the body runs; the user's own settings hold again afterwards.
    """
    from astropy.utils import iers

    conf = iers.conf
    with conf.set_temp("auto_download", False), conf.set_temp("auto_max_age", None):
        yield


def require_covered(status: Any, jd_utc: Any) -> None:
    """Refuse times that the Earth orientation tables do not reach.

    Parameters
    ----------
    status : array_like of int
        What a table returns beside its values; negative outside its range.
    jd_utc : array_like of float
        The times as Julian dates (UTC).

    Raises
    ------
    InputError
        If they do not reach one of the times.
    """
    if np.any(np.asarray(status) < 0):
        raise InputError(
            f"the Earth orientation tables do not cover JD {np.ravel(jd_utc)[0]:.3f}",
            reason="earth_orientation",
            remedy="they begin in 1973 and reach a year beyond their own date: if the time is "
            "right, upgrade the package astropy-iers-data",
        )


@lru_cache(maxsize=1)
def _earth_tables() -> Any:
    """Read the IERS-A table that is installed with astropy, once per process."""
    from astropy.utils import iers

    return iers.IERS_A.open(iers.IERS_A_FILE)
