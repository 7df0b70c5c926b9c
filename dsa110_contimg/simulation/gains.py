"""Antenna gain errors: what a calibration would have to find."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from dsa110_contimg.instrument import REFERENCE_FREQ_HZ
from dsa110_contimg.models import Model

_AMPLITUDE_SCATTER: Final = 0.1
_DELAY_SCATTER_NS: Final = 1.0
_BANDPASS_SCATTER: Final = 0.05
_HALF_BAND_HZ: Final = 93.75e6
_POLARIZATIONS: Final = ("XX", "YY")

GAIN_FORMULA: Final = (
    "g(f) = amplitude * (1 + slope * x + curvature * x**2)"
    " * exp(i * (phase_rad + 2 pi * delay_ns * 1e-9 * (f - f0))),"
    " x = (f - f0) / 93.75 MHz, f0 = 1.4 GHz"
)


class AntennaGain(Model):
    """Gain of one antenna in one polarization, constant through the night: `GAIN_FORMULA`."""

    station: int
    """Station number (1-based)."""
    polarization: str
    """XX or YY."""
    amplitude: float
    """At 1.4 GHz."""
    phase_rad: float
    """At 1.4 GHz, in radians."""
    delay_ns: float
    """Slope of the phase, in nanoseconds."""
    slope: float
    """Linear term of the amplitude across half the band."""
    curvature: float
    """Quadratic term of the amplitude across half the band."""

    def at(self, freq_hz: npt.ArrayLike) -> npt.NDArray[np.complex128]:
        """Evaluate the gain.

        Parameters
        ----------
        freq_hz : array_like, shape (nchan,)
            Frequencies in Hz.

        Returns
        -------
        ndarray of complex128, shape (nchan,)
            Complex gains, dimensionless.
        """
        offset_hz = np.asarray(freq_hz, dtype=float) - REFERENCE_FREQ_HZ
        x = offset_hz / _HALF_BAND_HZ
        amplitude = self.amplitude * (1 + self.slope * x + self.curvature * x**2)
        phase = self.phase_rad + 2 * np.pi * self.delay_ns * 1e-9 * offset_hz
        return np.asarray(amplitude * np.exp(1j * phase))


def gain_array(
    gains: list[AntennaGain], n_antennas: int, freq_hz: npt.NDArray[np.float64]
) -> npt.NDArray[np.complex64]:
    """Evaluate the gains of an array.

    Parameters
    ----------
    gains : list of AntennaGain
        By station, XX before YY; empty for an array without gain errors.
    n_antennas : int
        Number of antennas.
    freq_hz : ndarray of float64, shape (nchan,)
        Channel centres in Hz.

    Returns
    -------
    ndarray of complex64, shape (n_antennas, 2, nchan)
        Complex gains in XX and YY, dimensionless.
    """
    shape = (n_antennas, len(_POLARIZATIONS), len(freq_hz))
    if not gains:
        return np.ones(shape, dtype=np.complex64)
    return np.array([gain.at(freq_hz) for gain in gains], dtype=np.complex64).reshape(shape)


def draw_gains(stations: tuple[int, ...], seed: int) -> list[AntennaGain]:
    """Draw gain errors: any phase, 10 % in amplitude, 1 ns, a smooth bandpass.

    A station's gains depend on the seed and its number alone, not on the rest of the array.

    Parameters
    ----------
    stations : tuple of int
        Station numbers (1-based).
    seed : int
        Seed of the draw.

    Returns
    -------
    list of AntennaGain
        By station, XX before YY.
    """
    gains = []
    for station in stations:
        rng = np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(2, station)))
        gains += [
            AntennaGain(
                station=station,
                polarization=polarization,
                amplitude=float(np.exp(rng.normal(0.0, _AMPLITUDE_SCATTER))),
                phase_rad=float(rng.uniform(-np.pi, np.pi)),
                delay_ns=float(rng.normal(0.0, _DELAY_SCATTER_NS)),
                slope=float(rng.normal(0.0, _BANDPASS_SCATTER)),
                curvature=float(rng.normal(0.0, _BANDPASS_SCATTER)),
            )
            for polarization in _POLARIZATIONS
        ]
    return gains
