"""Where sources lie in the frame of the baselines' coordinates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dsa110_contimg.astrometry import offline_tables
from dsa110_contimg.catalog.sources import Source
from dsa110_contimg.conversion.geometry import POLE_OFFSET_RAD
from dsa110_contimg.visibilities.models import MsInfo

FloatArray = npt.NDArray[np.float64]

_STEP_RAD = 1e-5
"""From the phase centre to a point north of it, which tells where north is after aberration."""


def uvw_axes(ra_deg: float, dec_deg: float) -> FloatArray:
    """Stack the unit vectors of u (east), v (north) and w (towards the centre) as rows.

    Parameters
    ----------
    ra_deg, dec_deg : float
        Phase centre in degrees.

    Returns
    -------
    ndarray of float64, shape (3, 3)
        In the frame of the position.
    """
    ra, dec = np.deg2rad(ra_deg), np.deg2rad(dec_deg)
    return np.array(
        [
            [-np.sin(ra), np.cos(ra), 0.0],
            [-np.sin(dec) * np.cos(ra), -np.sin(dec) * np.sin(ra), np.cos(dec)],
            [np.cos(dec) * np.cos(ra), np.cos(dec) * np.sin(ra), np.sin(dec)],
        ]
    )


def source_directions(sources: Sequence[Source], info: MsInfo) -> FloatArray:
    """Direction cosines of sources towards the phase centre of an MS.

    Annual aberration moves sources by up to 20 arcsec. The phase centre's share is in the
    baselines' coordinates; what is left is 0.36 arcsec for a source one degree away, enough to
    leave a dipole of half a per cent of a source behind.

    Parameters
    ----------
    sources : sequence of Source
        The sources.
    info : MsInfo
        The MS.

    Returns
    -------
    ndarray of float64, shape (nsource, 3)
        l, m and n - 1 (Thompson, Moran & Swenson, section 3.1); for positions on the far side
        of the sky n is negative.
    """
    frame = uvw_axes(info.center_ra_deg, info.center_dec_deg)
    center, north = frame[2], frame[2] + _STEP_RAD * frame[1]
    towards = np.array([uvw_axes(source.ra_deg, source.dec_deg)[2] for source in sources])
    seen = _aberrate(np.vstack([center, north / np.linalg.norm(north), towards]), info)
    center, north, towards = seen[0], seen[1] - seen[0] * (seen[0] @ seen[1]), seen[2:]
    north /= np.linalg.norm(north)
    east, twist = np.cross(north, center), _twist_rad(info)
    frame = np.array(
        [
            np.cos(twist) * east - np.sin(twist) * north,
            np.cos(twist) * north + np.sin(twist) * east,
            center,
        ]
    )
    cosines = towards @ frame.T
    # 1 - n = r^2 / (1 + n) keeps its digits near the centre.
    square = cosines[:, 0] ** 2 + cosines[:, 1] ** 2
    near = cosines[:, 2] > 0.0
    cosines[:, 2] -= 1.0
    cosines[near, 2] = -square[near] / (2.0 + cosines[near, 2])
    return np.asarray(cosines)


def _twist_rad(info: MsInfo) -> float:
    """Angle by which the baselines' coordinates are turned from north towards east.

    pyuvdata, and the converter with it, takes the angle between the norths of date and of the
    catalogue half a degree south of the phase centre; the meridians' convergence from there
    makes 10 arcsec at the declinations of this telescope.
    """
    import erfa
    from astropy.time import Time

    with offline_tables():
        times = Time(info.start_mjd, format="mjd", scale="utc").tt
    pole = erfa.pnm06a(times.jd1, times.jd2)[2]
    east, north, _ = uvw_axes(info.center_ra_deg, info.center_dec_deg)
    between_norths = np.arctan2(east @ pole, north @ pole)
    dec = np.deg2rad(info.center_dec_deg)
    return float(POLE_OFFSET_RAD * np.sin(between_norths) * np.tan(dec))


def _aberrate(directions: FloatArray, info: MsInfo) -> FloatArray:
    """Turn catalogue directions into those in which an observer on the moving Earth sees them."""
    import erfa
    from astropy import constants, units
    from astropy.coordinates import get_body_barycentric_posvel
    from astropy.time import Time

    with offline_tables():
        middle = Time(info.start_mjd + info.duration_s / 2 / 86400.0, format="mjd", scale="utc")
        _, velocity = get_body_barycentric_posvel("earth", middle, ephemeris="builtin")
    beta = (velocity.xyz / constants.c).to_value(units.one)
    sun_distance_au = 1.0
    return np.asarray(erfa.ab(directions, beta, sun_distance_au, np.sqrt(1.0 - beta @ beta)))
