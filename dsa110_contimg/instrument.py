"""The telescope's facts, in one place.

The values are those that real DSA-110 files bear; see ``docs/instrument.md``.
"""

from __future__ import annotations

import re
from typing import Final

import numpy as np
import numpy.typing as npt

SPEED_OF_LIGHT_M_S: Final = 299_792_458.0

# Frequency plan (correlator): 250 MHz in 8192 raw channels below 1.53 GHz, averaged by 8.
RAW_TOP_FREQ_HZ: Final = 1.53e9
RAW_CHANNEL_WIDTH_HZ: Final = 30517.578125
RAW_FIRST_CHANNEL: Final = 1024
RAW_CHANNELS_PER_SUBBAND: Final = 384
CHANNEL_AVERAGING: Final = 8
N_SUBBANDS: Final = 16
N_CHANNELS_PER_SUBBAND: Final = RAW_CHANNELS_PER_SUBBAND // CHANNEL_AVERAGING
CHANNEL_WIDTH_HZ: Final = RAW_CHANNEL_WIDTH_HZ * CHANNEL_AVERAGING
REFERENCE_FREQ_HZ: Final = 1.4e9

# Time.
N_TIMES: Final = 24
INTEGRATION_TIME_S: Final = 12.884901888
HEADER_INTEGRATION_TIME_S: Final = 12.884902
"""As the file header gives it, rounded to the microsecond."""
GROUP_DURATION_S: Final = N_TIMES * INTEGRATION_TIME_S
FILENAME_JITTER_S: Final = 60.0
"""File names of one group follow each other within this; it is safely under half a cadence."""

# A group of subband files.
MIN_SUBBANDS_SEMI_COMPLETE: Final = 12

# Array.
N_ANTENNAS_TELESCOPE: Final = 117
ACTIVE_STATIONS: Final[tuple[int, ...]] = (
    *range(1, 10),
    *range(11, 21),
    *range(24, 52),
    *range(68, 103),
    *range(103, 117),
)
"""Station numbers (1-based, as on the ground) with data on 2026-01-25."""
DISH_DIAMETER_M: Final = 4.65
SEFD_JY: Final = 6500.0
TELESCOPE_NAME: Final = "OVRO_MMA"
"""As the files bear it; CASA's observatory table knows it, and does not know ``DSA-110``."""
INSTRUMENT_NAME: Final = "DSA"
PLAIN_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.+-]{0,31}", re.ASCII)
"""What the name of an antenna or of the telescope may be: nothing that means something to CASA's
selections, a shell, a path or mark-up."""
SITE_LATITUDE_DEG: Final = 37.2334051
SITE_LONGITUDE_DEG: Final = -118.283
SITE_ALTITUDE_M: Final = 1188.0519
"""For the simulator; everything else reads the site from the file header.

The longitude is the one that the sidereal time of a real file implies, to 2e-5 deg.
"""

# Polarization (AIPS numbers as in UVH5, and CASA Stokes enumeration).
POLARIZATIONS_UVH5: Final[tuple[int, int]] = (-5, -6)
POLARIZATIONS_CASA: Final[tuple[int, int]] = (9, 12)

PRIMARY_BEAM_FWHM_DEG: Final = 3.2
"""At `REFERENCE_FREQ_HZ`; the width scales with wavelength."""


def subband_channel_freqs_hz(subband: int) -> npt.NDArray[np.float64]:
    """Channel centres of one subband, in the order of the file (descending).

    Parameters
    ----------
    subband : int
        0 (highest frequency) to 15 (lowest).

    Returns
    -------
    ndarray of float64, shape (48,)
        Channel centre frequencies in Hz.
    """
    first_raw = RAW_FIRST_CHANNEL + RAW_CHANNELS_PER_SUBBAND * subband
    raw = (
        first_raw
        + CHANNEL_AVERAGING * np.arange(N_CHANNELS_PER_SUBBAND)
        + (CHANNEL_AVERAGING - 1) / 2
    )
    return np.asarray(RAW_TOP_FREQ_HZ - raw * RAW_CHANNEL_WIDTH_HZ, dtype=np.float64)


BAND_CENTER_FREQ_HZ: Final = float(
    (subband_channel_freqs_hz(0)[0] + subband_channel_freqs_hz(N_SUBBANDS - 1)[-1]) / 2
)
"""Middle of the 16 subbands."""


def primary_beam_attenuation(
    separation_deg: npt.ArrayLike, freq_hz: npt.ArrayLike
) -> npt.NDArray[np.float64]:
    """Power response of the primary beam, a Gaussian whose width scales as 1/frequency.

    Parameters
    ----------
    separation_deg : array_like
        Angle from the pointing centre in degrees.
    freq_hz : array_like
        Frequency in Hz; broadcast against `separation_deg`.

    Returns
    -------
    ndarray of float64
        Response in [0, 1], 1 at the pointing centre.
    """
    fwhm_deg = PRIMARY_BEAM_FWHM_DEG * REFERENCE_FREQ_HZ / np.asarray(freq_hz, dtype=float)
    ratio = np.asarray(separation_deg, dtype=float) / fwhm_deg
    return np.asarray(np.exp(-4.0 * np.log(2.0) * ratio**2), dtype=np.float64)


SIDEREAL_RATE_DEG_S: Final = 360.0 / 86164.0905


def drift_primary_beam_attenuation(
    ra_deg: float,
    dec_deg: float,
    *,
    center_ra_deg: float,
    center_dec_deg: float,
    duration_s: float,
    freq_hz: npt.ArrayLike,
) -> npt.NDArray[np.float64]:
    """Mean primary-beam response to a source while the sky drifts through a fixed beam.

    The dishes stand still: during a group the pointing's right ascension runs on at the
    sidereal rate, by 1.29 deg, around the phase centre of the mid time.

    Parameters
    ----------
    ra_deg, dec_deg : float
        Source position (ICRS) in degrees.
    center_ra_deg, center_dec_deg : float
        Phase centre of the group, the meridian at mid time, in degrees.
    duration_s : float
        Length of the group in seconds.
    freq_hz : array_like
        Frequencies in Hz, shape (nfreq,).

    Returns
    -------
    ndarray of float64, shape (nfreq,)
        Response averaged over the group.
    """
    steps = (np.arange(N_TIMES) + 0.5) / N_TIMES - 0.5
    separation_deg = drift_separation_deg(
        np.array([ra_deg]),
        np.array([dec_deg]),
        center_ra_deg=center_ra_deg,
        center_dec_deg=center_dec_deg,
        offset_s=steps * duration_s,
    )
    freqs = np.atleast_1d(np.asarray(freq_hz, dtype=float))
    response = primary_beam_attenuation(separation_deg, freqs[None, :])
    return np.asarray(response.mean(axis=0), dtype=np.float64)


def drift_separation_deg(
    ra_deg: npt.NDArray[np.float64],
    dec_deg: npt.NDArray[np.float64],
    *,
    center_ra_deg: float,
    center_dec_deg: float,
    offset_s: npt.NDArray[np.float64],
) -> npt.NDArray[np.float64]:
    """Angle of sources from the pointing while the sky drifts.

    Parameters
    ----------
    ra_deg, dec_deg : ndarray of float64, shape (nsource,)
        Source positions (ICRS) in degrees.
    center_ra_deg, center_dec_deg : float
        Where the dishes point at the mid time, in degrees.
    offset_s : ndarray of float64, shape (ntime,)
        Times since then in seconds.

    Returns
    -------
    ndarray of float64, shape (ntime, nsource)
        Angles in degrees, by the haversine formula.
    """
    drift_deg = SIDEREAL_RATE_DEG_S * offset_s[:, None]
    delta_ra = np.deg2rad(ra_deg - center_ra_deg - drift_deg)
    dec, center_dec = np.deg2rad(dec_deg), np.deg2rad(center_dec_deg)
    haversine = (
        np.sin((dec - center_dec) / 2) ** 2
        + np.cos(dec) * np.cos(center_dec) * np.sin(delta_ra / 2) ** 2
    )
    return np.asarray(np.rad2deg(2 * np.arcsin(np.sqrt(haversine))))
