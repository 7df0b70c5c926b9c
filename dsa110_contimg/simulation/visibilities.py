"""From a drifting sky to the visibilities that the correlator writes.

A baseline runs from its first antenna to its second, ``b = x2 - x1``, and a source in
direction ``s`` gives ``S exp(+2 pi i f b.(s - s0) / c)``: pyuvdata's convention, with the
fringe rate of ``s0``, the pointing on the meridian, taken out of every integration. The phase
is a difference of two antenna terms, so trigonometry is needed per antenna, not per baseline.
Integrations and channels are sampled at their centres: what the longest baselines lose on a
source 1 deg off by averaging, up to 7 % in time and 0.3 % in frequency, is left out.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from dsa110_contimg.compiled import numba
from dsa110_contimg.instrument import (
    CHANNEL_WIDTH_HZ,
    INTEGRATION_TIME_S,
    SITE_LONGITUDE_DEG,
    SPEED_OF_LIGHT_M_S,
)
from dsa110_contimg.simulation.sky import SkyTrack, direction_vector

Floats = npt.NDArray[np.float64]
Complexes = npt.NDArray[np.complex64]


def thermal_noise_jy(sefd_jy: float) -> float:
    """Noise of the real, and of the imaginary, part of one visibility of one polarization.

    Parameters
    ----------
    sefd_jy : float
        System equivalent flux density of one antenna in Jy.

    Returns
    -------
    float
        ``SEFD / sqrt(2 dnu tau)`` in Jy, at unit efficiency (Thompson, Moran & Swenson,
        *Interferometry and Synthesis in Radio Astronomy*, section 6.2; Wrobel & Walker 1999,
        in *Synthesis Imaging in Radio Astronomy II*, chapter 9).
    """
    return float(sefd_jy / np.sqrt(2.0 * CHANNEL_WIDTH_HZ * INTEGRATION_TIME_S))


def to_meridian_frame(positions_itrf_m: Floats) -> Floats:
    """Turn ITRF offsets about the pole, so that x lies in the site's meridian.

    Parameters
    ----------
    positions_itrf_m : ndarray of float64, shape (nants, 3)
        Antenna positions relative to the site in metres.

    Returns
    -------
    ndarray of float64, shape (nants, 3)
        x to the meridian on the equator, y east, z to the pole, in metres.
    """
    x, y, z = np.asarray(positions_itrf_m, dtype=float).T
    lon = np.deg2rad(SITE_LONGITUDE_DEG)
    return np.stack([np.cos(lon) * x + np.sin(lon) * y, np.cos(lon) * y - np.sin(lon) * x, z], -1)


def meridian_uvw_m(positions_m: Floats, dec_deg: float) -> Floats:
    """Antenna coordinates towards hour angle zero at the pointing declination.

    Parameters
    ----------
    positions_m : ndarray of float64, shape (nants, 3)
        Antenna positions in the meridian frame, metres.
    dec_deg : float
        Declination of date in degrees.

    Returns
    -------
    ndarray of float64, shape (nants, 3)
        u (east), v (north) and w (towards the pointing) in metres; a baseline's are the
        second antenna's less the first's (Thompson, Moran & Swenson, section 4.1, at H = 0).
    """
    dec = np.deg2rad(dec_deg)
    x, y, z = positions_m.T
    w = positions_m @ direction_vector(0.0, dec)
    return np.stack([y, np.cos(dec) * z - np.sin(dec) * x, w], axis=-1)


def antenna_phasors(positions_m: Floats, track: SkyTrack, freq_hz: Floats) -> Complexes:
    """Each antenna's share in the fringes of each source, the flux split evenly.

    Parameters
    ----------
    positions_m : ndarray of float64, shape (nants, 3)
        Antenna positions in the meridian frame, metres.
    track : SkyTrack
        The sources over the array.
    freq_hz : ndarray of float64, shape (nchan,)
        Channel centres in Hz.

    Returns
    -------
    ndarray of complex64, shape (ntimes, nants, nsources, nchan)
        ``sqrt(S B) exp(2 pi i f x.(s - s0) / c)``: a baseline's visibility is the sum over
        sources of the second antenna's value times the first's conjugate.
    """
    delay_s = np.einsum("ad,std->tas", positions_m, track.directions) / SPEED_OF_LIGHT_M_S
    amplitude = np.sqrt(track.apparent_flux_jy(freq_hz)).transpose(1, 0, 2)[:, None]
    turns = delay_s[..., None] * freq_hz
    return np.asarray(amplitude * np.exp(2j * np.pi * turns), dtype=np.complex64)


def simulate_visibilities(
    phasors: Complexes,
    baselines: tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]],
    gains: Complexes,
    sefd_jy: float,
    rng: np.random.Generator,
) -> Complexes:
    """Visibilities of one subband: sources, interference, system noise and antenna gains.

    Parameters
    ----------
    phasors : ndarray of complex64, shape (ntimes, nants, nsources, nchan)
        As `antenna_phasors` gives them for the sky, `rfi.rfi_phasors` for interference.
    baselines : tuple of ndarray of int64, each of shape (nbls,)
        First and second antenna, as indices.
    gains : ndarray of complex64, shape (ntimes, nants, 2, nchan)
        Antenna gains in XX and YY; a baseline gets the first's times the second's conjugate.
    sefd_jy : float
        System equivalent flux density in Jy: the noise, and the power of the autocorrelations.
    rng : numpy.random.Generator
        Source of the noise, independent in XX and YY.

    Returns
    -------
    ndarray of complex64, shape (ntimes, nbls, nchan, 2)
        Visibilities in Jy. Sources are unpolarized: XX = YY = I.
    """
    n_times, _, _, n_chan = phasors.shape
    shape = (n_times, len(baselines[0]), n_chan, 2)
    data = np.zeros(shape, dtype=np.complex64)
    if sefd_jy > 0:
        rng.standard_normal(out=data.view(np.float32), dtype=np.float32)
    _add_sources(
        np.ascontiguousarray(phasors.real),
        np.ascontiguousarray(phasors.imag),
        *baselines,
        np.ascontiguousarray(gains.transpose(0, 1, 3, 2)),
        np.float32(thermal_noise_jy(sefd_jy)),
        np.float32(sefd_jy),
        data,
    )
    return data


@numba.njit(cache=True, nogil=True, error_model="numpy")
def _add_sources(
    real: Any, imag: Any, first: Any, second: Any, gains: Any, noise: Any, sefd: Any, data: Any
) -> None:
    """Turn unit noise in `data` into visibilities, in place."""
    n_times, _, n_sources, n_chan = real.shape
    root2 = np.float32(np.sqrt(2.0))
    total_re = np.empty(n_chan, np.float32)
    total_im = np.empty(n_chan, np.float32)
    for t in range(n_times):
        for b in range(first.size):
            i, j = first[b], second[b]
            total_re[:] = 0
            total_im[:] = 0
            for s in range(n_sources):
                for c in range(n_chan):
                    total_re[c] += real[t, i, s, c] * real[t, j, s, c]
                    total_re[c] += imag[t, i, s, c] * imag[t, j, s, c]
                    total_im[c] += real[t, i, s, c] * imag[t, j, s, c]
                    total_im[c] -= imag[t, i, s, c] * real[t, j, s, c]
            for c in range(n_chan):
                for p in range(2):
                    value = data[t, b, c, p]
                    if i == j:
                        # Power is real; the radiometer equation gives SEFD / sqrt(dnu tau).
                        re = total_re[c] + sefd + value.real * noise * root2
                        im = np.float32(0)
                    else:
                        re = total_re[c] + value.real * noise
                        im = total_im[c] + value.imag * noise
                    gain = gains[t, i, c, p] * np.conj(gains[t, j, c, p])
                    data[t, b, c, p] = complex(re, im) * gain
