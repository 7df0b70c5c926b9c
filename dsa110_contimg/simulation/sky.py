"""The simulated sky: the default field, and how it passes over the array."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import compress
from typing import Final

import numpy as np
import numpy.typing as npt

from dsa110_contimg.astrometry import meridian_icrs_deg, observed_ha_dec
from dsa110_contimg.catalog.sources import Source, position_name
from dsa110_contimg.errors import InputError
from dsa110_contimg.instrument import primary_beam_attenuation

Floats = npt.NDArray[np.float64]

_TARGETS: Final = (
    (0.15, 0.30, 1.50, -0.7),
    (-0.40, -0.25, 1.00, 0.0),
    (0.45, -0.50, 0.60, -1.2),
)
"""East and north offset from the field centre (deg), flux density (Jy), spectral index.

All three lie within 0.7 deg of the centre, so also within the beam of either neighbouring
group, whose centres are 0.37 deg away on the sky at the default declination.
"""
_FIELD_SOURCES_PER_GROUP: Final = 4
_FIELD_FLUX_JY: Final = (0.03, 0.15)
_FIELD_SPECTRAL_INDEX: Final = (-1.0, 0.2)
_FIELD_HALF_HEIGHT_DEG: Final = 1.2
_FIELD_HALF_WIDTH_DEG: Final = 1.2
_GROUP_DRIFT_DEG: Final = 1.292
_CALIBRATOR_NORTH_DEG: Final = 0.1
_CALIBRATOR_SPECTRAL_INDEX: Final = -0.5
_BEYOND_BEAM_DEG: Final = 10.0
"""Sources that stay farther from the pointing than this (response 1e-12) are left out."""
_SKY_TURN_DEG_PER_DAY: Final = 360.9856
"""At most, for a source on the equator (IERS Conventions 2010)."""


@dataclass(frozen=True)
class SkyTrack:
    """The sources of one group as they drift over the array.

    Attributes
    ----------
    sources : tuple of Source
        Those that come near the beam.
    directions : ndarray of float64, shape (nsources, ntimes, 3)
        Unit vectors to the sources, less the one to the pointing: x to the meridian on the
        equator, y east, z to the pole.
    separation_deg : ndarray of float64, shape (nsources, ntimes)
        True distance from the pointing, which stands still while the sky drifts.
    """

    sources: tuple[Source, ...]
    directions: Floats
    separation_deg: Floats

    def apparent_flux_jy(self, freq_hz: Floats) -> Floats:
        """Flux densities as received through the primary beam.

        Parameters
        ----------
        freq_hz : ndarray of float64, shape (nchan,)
            Frequencies in Hz.

        Returns
        -------
        ndarray of float64, shape (nsources, ntimes, nchan)
            Flux densities in Jy.
        """
        beam = primary_beam_attenuation(self.separation_deg[..., None], freq_hz)
        flux = np.array([source.flux_at(freq_hz) for source in self.sources])
        return np.asarray(flux.reshape(-1, 1, len(freq_hz)) * beam)


def track_sources(sources: list[Source], dec_deg: float, times_jd: Floats) -> SkyTrack:
    """Follow sources over the array, which points to the meridian at one declination.

    Parameters
    ----------
    sources : list of Source
        The sky.
    dec_deg : float
        Declination of date of the pointing, in degrees.
    times_jd : ndarray of float64, shape (ntimes,)
        Julian dates (UTC) of the bin centres.

    Returns
    -------
    SkyTrack
        The sources near the beam.

    Raises
    ------
    InputError
        If the Earth orientation tables do not cover the time.
    """
    # Directions at all times are costly for a whole sky: look once where the sources are.
    drift_deg = _SKY_TURN_DEG_PER_DAY * float(np.ptp(times_jd))
    _, at_first_deg = _locate(sources, dec_deg, times_jd[:1])
    sources = list(compress(sources, at_first_deg[:, 0] < _BEYOND_BEAM_DEG + drift_deg))
    offsets, separation_deg = _locate(sources, dec_deg, times_jd)
    near = separation_deg.min(axis=1) < _BEYOND_BEAM_DEG
    return SkyTrack(
        sources=tuple(compress(sources, near)),
        directions=offsets[near],
        separation_deg=separation_deg[near],
    )


def _locate(sources: list[Source], dec_deg: float, times_jd: Floats) -> tuple[Floats, Floats]:
    """Offsets of sources from the pointing as vectors, and their distances in degrees."""
    ha_rad, dec_rad = observed_ha_dec(
        np.array([source.ra_deg for source in sources]),
        np.array([source.dec_deg for source in sources]),
        times_jd,
    )
    pointing = direction_vector(np.float64(0.0), np.deg2rad(dec_deg))
    offsets = direction_vector(ha_rad, dec_rad) - pointing
    # The chord keeps its precision at small angles, where an arc cosine would lose it.
    return offsets, np.rad2deg(2 * np.arcsin(np.linalg.norm(offsets, axis=-1) / 2))


def direction_vector(ha_rad: npt.ArrayLike, dec_rad: npt.ArrayLike) -> Floats:
    """Give the unit vector to a direction, in the equatorial frame of the site's meridian.

    Parameters
    ----------
    ha_rad, dec_rad : array_like, shape (...)
        Local hour angle and declination in radians.

    Returns
    -------
    ndarray of float64, shape (..., 3)
        x to the meridian on the equator, y east, z to the pole.
    """
    ha, dec = np.broadcast_arrays(np.asarray(ha_rad, float), np.asarray(dec_rad, float))
    return np.stack([np.cos(dec) * np.cos(ha), -np.cos(dec) * np.sin(ha), np.sin(dec)], axis=-1)


def default_field(
    dec_deg: float, mid_jd: float, n_groups: int, seed: int
) -> tuple[list[Source], list[Source]]:
    """Make the sky that is used when no catalogue is given.

    Three bright targets around the meridian of the middle of the night, and four fainter field
    sources for each group, scattered along the strip that drifts by.

    Parameters
    ----------
    dec_deg : float
        Declination of date of the pointing, in degrees.
    mid_jd : float
        Middle of the night, a Julian date (UTC).
    n_groups : int
        Number of groups.
    seed : int
        Seed of the field sources.

    Returns
    -------
    targets, field : list of Source
        What to image, and what is there besides.

    Raises
    ------
    InputError
        If the field would reach beyond the pole.
    """
    center = meridian_icrs_deg(dec_deg, mid_jd)
    if abs(center[1]) + _FIELD_HALF_HEIGHT_DEG > 90.0:
        raise InputError(
            f"the default field at declination {dec_deg} deg would reach beyond the pole",
            reason="field_beyond_the_pole",
            remedy="give the sky as a catalogue (--sources)",
        )
    targets = [
        _source_at(center, east, north, flux_jy, index) for east, north, flux_jy, index in _TARGETS
    ]
    rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(1,)))
    half_strip_deg = n_groups * _GROUP_DRIFT_DEG * np.cos(np.deg2rad(dec_deg)) / 2
    half_width_deg = half_strip_deg + _FIELD_HALF_WIDTH_DEG
    field = [
        _source_at(
            center,
            rng.uniform(-half_width_deg, half_width_deg),
            rng.uniform(-_FIELD_HALF_HEIGHT_DEG, _FIELD_HALF_HEIGHT_DEG),
            rng.uniform(*_FIELD_FLUX_JY),
            rng.uniform(*_FIELD_SPECTRAL_INDEX),
        )
        for _ in range(n_groups * _FIELD_SOURCES_PER_GROUP)
    ]
    return targets, field


def transiting_calibrator(dec_deg: float, transit_jd: float, flux_jy: float) -> Source:
    """Place a calibrator on the meridian, 0.1 deg north of the pointing.

    Parameters
    ----------
    dec_deg : float
        Declination of date of the pointing, in degrees.
    transit_jd : float
        When it crosses the meridian, a Julian date (UTC).
    flux_jy : float
        Flux density at 1.4 GHz in Jy.

    Returns
    -------
    Source
        Named ``CAL`` and its position, with a spectral index of -0.5.
    """
    position = meridian_icrs_deg(dec_deg + _CALIBRATOR_NORTH_DEG, transit_jd)
    ra_deg, cal_dec_deg = (round(angle_deg, 6) for angle_deg in position)
    return Source(
        name=f"CAL{position_name(ra_deg, cal_dec_deg)}",
        ra_deg=ra_deg % 360.0,
        dec_deg=cal_dec_deg,
        flux_jy=flux_jy,
        spectral_index=_CALIBRATOR_SPECTRAL_INDEX,
    )


def _source_at(
    center_deg: tuple[float, float],
    east_deg: float,
    north_deg: float,
    flux_jy: float,
    spectral_index: float,
) -> Source:
    """Place a source at an offset from a centre, named by its position."""
    dec_deg = round(center_deg[1] + north_deg, 6)
    ra_deg = round((center_deg[0] + east_deg / np.cos(np.deg2rad(dec_deg))) % 360.0, 6)
    return Source(
        name=_position_name(ra_deg, dec_deg),
        ra_deg=ra_deg,
        dec_deg=dec_deg,
        flux_jy=round(flux_jy, 4),
        spectral_index=round(spectral_index, 3),
    )


def _position_name(ra_deg: float, dec_deg: float) -> str:
    """IAU-style name ``Jhhmmss+ddmmss``, truncated as the convention demands."""
    ra_s = int(ra_deg / 15 * 3600)
    dec_arcsec = int(abs(dec_deg) * 3600)
    sign = "-" if dec_deg < 0 else "+"
    ra = f"{ra_s // 3600:02d}{ra_s // 60 % 60:02d}{ra_s % 60:02d}"
    return f"J{ra}{sign}{dec_arcsec // 3600:02d}{dec_arcsec // 60 % 60:02d}{dec_arcsec % 60:02d}"
