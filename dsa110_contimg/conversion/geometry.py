"""From the correlator's drifting phase state to one phase centre.

The correlator fringe-stopped every integration to hour angle 0 at the pointing declination:
the phase centre of an integration is (apparent LST, pointing declination), and it drifts.
Here every integration is rotated to the meridian of the group's mid time. Only ``w``
matters for the phase, and ``w`` of a baseline is the difference of its antennas' ``w``; so
the rotation factorises per antenna.

Apparent places come from ERFA (the IAU SOFA algorithms) through pyerfa, earth orientation
from the IERS tables that are installed with astropy; nothing is fetched.
"""

from __future__ import annotations

from dataclasses import dataclass

import erfa
import numpy as np
import numpy.typing as npt
from astropy.coordinates import EarthLocation
from astropy.time import Time
from astropy.utils import iers

from dsa110_contimg.astrometry import offline_tables, require_covered
from dsa110_contimg.instrument import SPEED_OF_LIGHT_M_S

FloatArray = npt.NDArray[np.float64]

POLE_OFFSET_RAD = np.deg2rad(0.5)
"""Arc over which the frame's position angle is measured, as in pyuvdata."""


@dataclass(frozen=True)
class PhaseCenter:
    """The one phase centre of an MS.

    Attributes
    ----------
    ra_rad, dec_rad : float
        ICRS right ascension and declination in radians.
    """

    ra_rad: float
    dec_rad: float


@dataclass(frozen=True)
class GroupGeometry:
    """How to bring one group to its phase centre.

    Attributes
    ----------
    center : PhaseCenter
        The meridian at mid time.
    antenna_uvw_m : ndarray of float64, shape (ntimes, nants, 3)
        Antenna coordinates in the (u, v, w) frame of `center`, in metres.
    antenna_delta_w_m : ndarray of float64, shape (ntimes, nants)
        ``w`` towards `center` minus ``w`` towards the correlator's phase centre, in metres.
    """

    center: PhaseCenter
    antenna_uvw_m: FloatArray
    antenna_delta_w_m: FloatArray


class SkyFrame:
    """Apparent places at the telescope for a set of times.

    Parameters
    ----------
    times_jd : ndarray of float64, shape (ntimes,)
        UTC as Julian dates.
    site : EarthLocation
        Position of the telescope.

    Raises
    ------
    InputError
        If the Earth orientation tables do not cover the times.
    """

    def __init__(self, times_jd: FloatArray, site: EarthLocation):
        # From the table that pyuvdata takes, to agree with it.
        with offline_tables():
            times = Time(times_jd, format="jd", scale="utc", location=site)
            table = iers.earth_orientation_table.get()
            _, covered = table.ut1_utc(times, return_status=True)
            require_covered(covered, times_jd)
            ut1_minus_utc_s = times.delta_ut1_utc
            pole_x, pole_y = table.pm_xy(times)
            self.lst_rad: FloatArray = times.sidereal_time("apparent").rad
        self._utc = (times.utc.jd1, times.utc.jd2)
        self._site = (
            ut1_minus_utc_s,
            site.lon.rad,
            site.lat.rad,
            site.height.to_value("m"),
            pole_x.to_value("rad"),
            pole_y.to_value("rad"),
            0.0,
            0.0,
            0.0,
            0.0,
        )
        bias_precession_nutation = erfa.pnm06a(times.tt.jd1, times.tt.jd2)
        cio_s = erfa.s06(times.tt.jd1, times.tt.jd2, *erfa.bpn2xy(bias_precession_nutation))
        self._equation_of_origins: FloatArray = erfa.eors(bias_precession_nutation, cio_s)

    def apparent(self, ra_rad: float, dec_rad: float) -> tuple[FloatArray, FloatArray]:
        """Transform an ICRS place to apparent places of date (no refraction).

        Parameters
        ----------
        ra_rad, dec_rad : float
            ICRS place in radians.

        Returns
        -------
        ra_rad, dec_rad : ndarray of float64, shape (ntimes,)
            Apparent right ascension (equinox based) and declination in radians.
        """
        *_, dec, ra_cio, origins = erfa.atco13(
            ra_rad, dec_rad, 0.0, 0.0, 0.0, 0.0, *self._utc, *self._site
        )
        return np.mod(ra_cio - origins, 2 * np.pi), dec

    def icrs(self, ra_rad: FloatArray, dec_rad: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Transform apparent places of date to ICRS places.

        Parameters
        ----------
        ra_rad, dec_rad : ndarray of float64, shape (ntimes,)
            Apparent right ascension (equinox based) and declination in radians.

        Returns
        -------
        ra_rad, dec_rad : ndarray of float64, shape (ntimes,)
            ICRS places in radians.
        """
        ra, dec = erfa.atoc13(
            "r", ra_rad + self._equation_of_origins, dec_rad, *self._utc, *self._site
        )
        return ra, dec


def rotate_to_uvw(
    positions_m: FloatArray, longitude_rad: float, hour_angle_rad: FloatArray, dec_rad: FloatArray
) -> FloatArray:
    """Express antenna positions in the (u, v, w) frame of a direction.

    Parameters
    ----------
    positions_m : ndarray of float64, shape (nants, 3)
        Geocentric (ITRF) axes, relative to any point, in metres.
    longitude_rad : float
        East longitude of the telescope in radians.
    hour_angle_rad, dec_rad : ndarray of float64, shape (ntimes,)
        Direction: local apparent hour angle and declination in radians.

    Returns
    -------
    ndarray of float64, shape (ntimes, nants, 3)
        u towards east, v towards north, w towards the direction, in metres.

    Notes
    -----
    Thompson, Moran & Swenson, *Interferometry and Synthesis in Radio Astronomy*, eq. 4.1,
    with the hour angle counted from Greenwich because the positions are geocentric.
    """
    greenwich_rad = hour_angle_rad - longitude_rad
    sin_h, cos_h = np.sin(greenwich_rad), np.cos(greenwich_rad)
    sin_d, cos_d = np.sin(dec_rad), np.cos(dec_rad)
    zero = np.zeros_like(sin_h)
    rotation = np.array(
        [
            [sin_h, cos_h, zero],
            [-sin_d * cos_h, sin_d * sin_h, cos_d],
            [cos_d * cos_h, -cos_d * sin_h, sin_d],
        ]
    )
    return np.asarray(np.einsum("uxt,ax->tau", rotation, positions_m), dtype=np.float64)


def group_geometry(
    times_jd: FloatArray,
    positions_m: FloatArray,
    site: EarthLocation,
    pointing_dec_rad: float,
) -> GroupGeometry:
    """Compute the phase centre of a group and the way of every antenna to it.

    Parameters
    ----------
    times_jd : ndarray of float64, shape (ntimes,)
        Bin centres, UTC as Julian dates.
    positions_m : ndarray of float64, shape (nants, 3)
        Antenna positions relative to the telescope, ITRF axes, in metres.
    site : EarthLocation
        Position of the telescope.
    pointing_dec_rad : float
        Apparent declination to which the correlator fringe-stopped, in radians.

    Returns
    -------
    GroupGeometry
        Phase centre, (u, v, w) per antenna and the change in w.
    """
    center = mid_time_meridian(times_jd, site, pointing_dec_rad)
    sky = SkyFrame(times_jd, site)
    app_ra, app_dec = sky.apparent(center.ra_rad, center.dec_rad)
    longitude = float(site.lon.rad)
    meridian = rotate_to_uvw(
        positions_m, longitude, np.zeros(len(times_jd)), np.full(len(times_jd), pointing_dec_rad)
    )
    uvw = rotate_to_uvw(positions_m, longitude, sky.lst_rad - app_ra, app_dec)
    delta_w = uvw[:, :, 2] - meridian[:, :, 2]
    # The v axis must point to the ICRS pole, not to the pole of date.
    angle = _frame_position_angle(sky, app_ra, app_dec)[:, None]
    east, north = uvw[:, :, 0].copy(), uvw[:, :, 1].copy()
    uvw[:, :, 0] = np.cos(angle) * east - np.sin(angle) * north
    uvw[:, :, 1] = np.sin(angle) * east + np.cos(angle) * north
    return GroupGeometry(center=center, antenna_uvw_m=uvw, antenna_delta_w_m=delta_w)


def mid_time_meridian(
    times_jd: FloatArray, site: EarthLocation, pointing_dec_rad: float
) -> PhaseCenter:
    """Find the ICRS place that stands on the meridian at the group's mid time.

    Parameters
    ----------
    times_jd : ndarray of float64, shape (ntimes,)
        Bin centres, UTC as Julian dates.
    site : EarthLocation
        Position of the telescope.
    pointing_dec_rad : float
        Apparent declination of the pointing in radians.

    Returns
    -------
    PhaseCenter
        The place.
    """
    mid = SkyFrame(np.array([(times_jd[0] + times_jd[-1]) / 2]), site)
    ra, dec = mid.icrs(mid.lst_rad, np.array([pointing_dec_rad]))
    return PhaseCenter(ra_rad=float(ra[0]), dec_rad=float(dec[0]))


def antenna_phasors(delta_w_m: FloatArray, freqs_hz: FloatArray) -> npt.NDArray[np.complex64]:
    """Compute the factors that rotate one subband.

    A visibility of antennas p and q is multiplied by ``conj(f_q) * f_p``, which is
    ``exp(-2 pi i (delta_w_q - delta_w_p) freq / c)``.

    Parameters
    ----------
    delta_w_m : ndarray of float64, shape (ntimes, nants)
        `GroupGeometry.antenna_delta_w_m`.
    freqs_hz : ndarray of float64, shape (nchan,)
        Channel centres in Hz.

    Returns
    -------
    ndarray of complex64, shape (ntimes, nants, nchan)
        ``exp(2 pi i delta_w freq / c)``; the phase is formed in double precision.
    """
    turns = delta_w_m[:, :, None] * (freqs_hz / SPEED_OF_LIGHT_M_S)
    phasors = np.exp(2j * np.pi * (turns - np.rint(turns)))
    return np.ascontiguousarray(phasors, dtype=np.complex64)


def _frame_position_angle(sky: SkyFrame, app_ra: FloatArray, app_dec: FloatArray) -> FloatArray:
    """Angle from the ICRS north to the north of date, shape (ntimes,), in radians."""
    south = sky.icrs(app_ra, app_dec - POLE_OFFSET_RAD)
    north = sky.icrs(app_ra, app_dec + POLE_OFFSET_RAD)
    return -np.asarray(erfa.pas(*south, *north), dtype=np.float64)
