"""Where sources lie in the frame of the baselines' coordinates."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from dsa110_contimg.astrometry import offline_tables, pole_of_date
from dsa110_contimg.catalog.sources import Source
from dsa110_contimg.conversion.geometry import POLE_OFFSET_RAD
from dsa110_contimg.errors import InputError
from dsa110_contimg.instrument import SIDEREAL_RATE_DEG_S, SPEED_OF_LIGHT_M_S
from dsa110_contimg.visibilities.models import MsInfo

FloatArray = npt.NDArray[np.float64]

_JD_MJD = 2400000.5
_STEP_RAD = 1e-5
"""From a position to a point north of it, which tells where north is after aberration."""
_MAX_OFF_ARCSEC = 1.5
"""A twentieth of the synthesized beam, where 0.7 per cent of a peak is lost. Aberration and turn
come to 0.9 arcsec at the edge of the field at the declinations of this telescope."""
MIN_POLE_DISTANCE_DEG = 0.1
"""Nearer to the pole of date, diurnal aberration (0.3 arcsec) turns the meridian through a phase
centre that stands still, by 2e-5 rad within a group at this distance."""


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
    towards = np.array([uvw_axes(source.ra_deg, source.dec_deg)[2] for source in sources])
    beta = _velocity(info)
    cosines = _aberrate(towards, beta) @ _baseline_axes(info, beta).T
    # 1 - n = r^2 / (1 + n) keeps its digits near the centre.
    square = cosines[:, 0] ** 2 + cosines[:, 1] ** 2
    near = cosines[:, 2] > 0.0
    cosines[:, 2] -= 1.0
    cosines[near, 2] = -square[near] / (2.0 + cosines[near, 2])
    return np.asarray(cosines)


def uvw_rotation(info: MsInfo, source: Source) -> FloatArray:
    """Make the matrix that turns the UVW of an MS into those of another phase centre.

    Parameters
    ----------
    info : MsInfo
        The MS.
    source : Source
        The new phase centre.

    Returns
    -------
    ndarray of float64, shape (3, 3)
        ``uvw_new = rotation @ uvw_old``; the new v points to the north of the catalogue.
    """
    beta = _velocity(info)
    return _seen_axes(source.ra_deg, source.dec_deg, beta) @ _baseline_axes(info, beta).T


def frame_turn(info: MsInfo) -> FloatArray:
    """Make the matrix that turns the UVW of an MS so that v points to the catalogue's north.

    Parameters
    ----------
    info : MsInfo
        The MS.

    Returns
    -------
    ndarray of float64, shape (3, 3)
        A turn about w; 10 arcsec at the declinations of this telescope, degrees near the pole.
    """
    beta = _velocity(info)
    center = _seen_axes(info.center_ra_deg, info.center_dec_deg, beta)
    return center @ _baseline_axes(info, beta).T


def require_off_pole(info: MsInfo) -> None:
    """Refuse a phase centre at which there is no stable north.

    Parameters
    ----------
    info : MsInfo
        The MS.

    Raises
    ------
    InputError
        If it lies within `MIN_POLE_DISTANCE_DEG` of the pole of date.
    """
    center = _aberrate(uvw_axes(info.center_ra_deg, info.center_dec_deg)[2:], _velocity(info))[0]
    pole = _pole_of_date(info)
    distance_deg = float(np.rad2deg(np.arcsin(np.linalg.norm(np.cross(center, pole)))))
    if distance_deg < MIN_POLE_DISTANCE_DEG:
        raise InputError(
            f"the phase centre of {info.ms_path} lies {distance_deg:.3f} deg from the pole: its "
            f"baselines have no stable north, so nothing can be measured",
            reason="too_near_the_pole",
            remedy=f"observe at {MIN_POLE_DISTANCE_DEG} deg or more from it",
        )


def require_catalogue_frame(source: Source, info: MsInfo) -> None:
    """Refuse a source that a program which knows no turn of the frame would miss.

    Parameters
    ----------
    source : Source
        The source.
    info : MsInfo
        The MS, which is imaged as it is.

    Raises
    ------
    InputError
        If the program would look too far from it.
    """
    towards = uvw_axes(source.ra_deg, source.dec_deg)[2]
    assumed = uvw_axes(info.center_ra_deg, info.center_dec_deg) @ towards
    off_arcsec = 3600.0 * np.rad2deg(
        np.hypot(*(source_directions([source], info)[0] - assumed)[:2])
    )
    if off_arcsec > _MAX_OFF_ARCSEC:
        raise InputError(
            f"the frame of {info.ms_path} is turned against the catalogue so that {source.name} "
            f"appears {off_arcsec:.1f} arcsec from its place",
            reason="turned_frame",
            remedy="image a private copy, which allows for it",
        )


def _seen_axes(ra_deg: float, dec_deg: float, beta: FloatArray) -> FloatArray:
    """Stack the axes of u, v and w at a position of the catalogue as they are seen."""
    frame = uvw_axes(ra_deg, dec_deg)
    beside = frame[2] + _STEP_RAD * frame[1]
    center, north = _aberrate(np.vstack([frame[2], beside / np.linalg.norm(beside)]), beta)
    north -= center * (center @ north)
    north /= np.linalg.norm(north)
    return np.array([np.cross(north, center), north, center])


def _baseline_axes(info: MsInfo, beta: FloatArray) -> FloatArray:
    """Stack the axes of the baselines' u, v and w, in the space of directions as seen.

    pyuvdata, and the converter with it, turns u and v from the pole of date towards that of the
    catalogue by the position angle of an arc along the meridian of date: from half a degree south
    of the phase centre to half a degree north of it, past the pole where that is nearer. The
    angle is that at the southern end (`conversion.geometry`).
    """
    import erfa

    center = _aberrate(uvw_axes(info.center_ra_deg, info.center_dec_deg)[2:], beta)[0]
    pole = _pole_of_date(info)
    north = pole - center * (center @ pole)
    north /= np.linalg.norm(north)
    east = np.cross(north, center)
    along = np.array([[-1.0], [1.0]]) * np.sin(POLE_OFFSET_RAD) * north
    ends = _from_seen(np.cos(POLE_OFFSET_RAD) * center + along, beta)
    angle = erfa.pas(*erfa.c2s(ends[0]), *erfa.c2s(ends[1]))
    return np.array(
        [
            np.cos(angle) * east + np.sin(angle) * north,
            np.cos(angle) * north - np.sin(angle) * east,
            center,
        ]
    )


def _pole_of_date(info: MsInfo) -> FloatArray:
    """Direction of the pole of date in the middle of the observation."""
    return pole_of_date(info.start_mjd + info.duration_s / 2 / 86400.0 + _JD_MJD)


def _velocity(info: MsInfo) -> FloatArray:
    """Velocity of the telescope in units of that of light: the Earth's, and eastwards its spin.

    The spin moves a source by 0.3 arcsec, which near the pole turns the meridian through it. The
    phase centre is on the meridian in the middle of the observation, so that east is square to it.
    """
    from astropy import constants, units
    from astropy.coordinates import get_body_barycentric_posvel
    from astropy.time import Time

    with offline_tables():
        middle = Time(info.start_mjd + info.duration_s / 2 / 86400.0, format="mjd", scale="utc")
        _, velocity = get_body_barycentric_posvel("earth", middle, ephemeris="builtin")
    beta = np.asarray((velocity.xyz / constants.c).to_value(units.one))
    center = _aberrate(uvw_axes(info.center_ra_deg, info.center_dec_deg)[2:], beta)[0]
    east = np.cross(_pole_of_date(info), center)
    spin_m_s = np.deg2rad(SIDEREAL_RATE_DEG_S) * np.hypot(*info.telescope_itrf_m[:2])
    return np.asarray(beta + spin_m_s / SPEED_OF_LIGHT_M_S * east / np.linalg.norm(east))


def _aberrate(directions: FloatArray, beta: FloatArray) -> FloatArray:
    """Turn catalogue directions into those in which an observer on the moving Earth sees them."""
    import erfa

    sun_distance_au = 1.0
    return np.asarray(erfa.ab(directions, beta, sun_distance_au, np.sqrt(1.0 - beta @ beta)))


def _from_seen(seen: FloatArray, beta: FloatArray) -> FloatArray:
    """Undo `_aberrate`."""
    directions = seen
    # Each round leaves 1e-4 of the error before it; the first is 1e-4 rad off.
    for _ in range(3):
        directions = directions + seen - _aberrate(directions, beta)
        directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return directions
