"""Antenna gain errors: what a calibration would have to find."""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt
from pydantic import ConfigDict

from dsa110_contimg.instrument import REFERENCE_FREQ_HZ
from dsa110_contimg.models import Model

_AMPLITUDE_SCATTER: Final = 0.1
_DELAY_SCATTER_NS: Final = 1.0
_BANDPASS_SCATTER: Final = 0.05
_HALF_BAND_HZ: Final = 93.75e6
_AMPLITUDE_DRIFT_SCATTER: Final = 0.02
_PHASE_DRIFT_SCATTER_RAD: Final = float(np.deg2rad(10.0))
_POLARIZATIONS: Final = ("XX", "YY")

DRIFT_PERIOD_HOURS: Final = 7.0
"""Not a fraction of the sidereal day: the same transit a night later meets other gains."""
DRIFT_EPOCH_JD: Final = 2461000.5

DEAD_AMPLITUDE: Final = 0.1
"""Gain of an antenna that receives nothing: a hundredth of the noise power is left."""

GAIN_FORMULA: Final = (
    "g(f, t) = amplitude * (1 + slope * x + curvature * x**2)"
    " * exp(i * (phase_rad + 2 pi * delay_ns * 1e-9 * (f - f0)))"
    " * (1 + amplitude_drift * sin(w + amplitude_drift_phase_rad))"
    " * exp(i * phase_drift_rad * sin(w + phase_drift_phase_rad)),"
    " x = (f - f0) / 93.75 MHz, f0 = 1.4 GHz,"
    " w = 2 pi * (t - t0) / 7 h, t0 = JD 2461000.5 (UTC)"
)


class AntennaGain(Model):
    """Gain of one antenna in one polarization, a bandpass times a slow drift: `GAIN_FORMULA`.

    What is not given leaves the signal as it is.
    """

    model_config = ConfigDict(allow_inf_nan=False)

    station: int
    """Station number (1-based)."""
    polarization: str
    """XX or YY."""
    amplitude: float = 1.0
    """At 1.4 GHz, without the drift."""
    phase_rad: float = 0.0
    """At 1.4 GHz, without the drift, in radians."""
    delay_ns: float = 0.0
    """Slope of the phase, in nanoseconds."""
    slope: float = 0.0
    """Linear term of the amplitude across half the band."""
    curvature: float = 0.0
    """Quadratic term of the amplitude across half the band."""
    amplitude_drift: float = 0.0
    """Semi-amplitude of the drift of the amplitude, a fraction of it."""
    amplitude_drift_phase_rad: float = 0.0
    """Where in its period that drift is at `DRIFT_EPOCH_JD`, in radians."""
    phase_drift_rad: float = 0.0
    """Semi-amplitude of the drift of the phase, in radians."""
    phase_drift_phase_rad: float = 0.0
    """Where in its period that drift is at `DRIFT_EPOCH_JD`, in radians."""

    def bandpass(self, freq_hz: npt.ArrayLike) -> npt.NDArray[np.complex128]:
        """Evaluate the part that stays the same from night to night.

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

    def drift(self, times_jd: npt.ArrayLike) -> npt.NDArray[np.complex128]:
        """Evaluate the part that is the same in all channels.

        Parameters
        ----------
        times_jd : array_like, shape (ntimes,)
            Julian dates (UTC).

        Returns
        -------
        ndarray of complex128, shape (ntimes,)
            Complex gains, dimensionless.
        """
        hours = (np.asarray(times_jd, dtype=float) - DRIFT_EPOCH_JD) * 24.0
        turn = 2 * np.pi * hours / DRIFT_PERIOD_HOURS
        amplitude = 1 + self.amplitude_drift * np.sin(turn + self.amplitude_drift_phase_rad)
        phase = self.phase_drift_rad * np.sin(turn + self.phase_drift_phase_rad)
        return np.asarray(amplitude * np.exp(1j * phase))

    def at(self, freq_hz: npt.ArrayLike, times_jd: npt.ArrayLike) -> npt.NDArray[np.complex128]:
        """Evaluate the gain.

        Parameters
        ----------
        freq_hz : array_like, shape (nchan,)
            Frequencies in Hz.
        times_jd : array_like, shape (ntimes,)
            Julian dates (UTC).

        Returns
        -------
        ndarray of complex128, shape (ntimes, nchan)
            Complex gains, dimensionless.
        """
        return self.drift(times_jd)[:, None] * self.bandpass(freq_hz)


def gain_array(
    gains: list[AntennaGain], freq_hz: npt.NDArray[np.float64], times_jd: npt.NDArray[np.float64]
) -> npt.NDArray[np.complex64]:
    """Evaluate the gains of an array.

    Parameters
    ----------
    gains : list of AntennaGain
        By station, XX before YY.
    freq_hz : ndarray of float64, shape (nchan,)
        Channel centres in Hz.
    times_jd : ndarray of float64, shape (ntimes,)
        Bin centres, Julian dates (UTC).

    Returns
    -------
    ndarray of complex64, shape (ntimes, nants, 2, nchan)
        Complex gains in XX and YY, dimensionless.
    """
    bandpass = np.array([gain.bandpass(freq_hz) for gain in gains])
    drift = np.array([gain.drift(times_jd) for gain in gains])
    product = np.asarray(drift.T[..., None] * bandpass, dtype=np.complex64)
    return product.reshape(len(times_jd), -1, len(_POLARIZATIONS), len(freq_hz))


def ideal_gains(stations: tuple[int, ...]) -> list[AntennaGain]:
    """Give every antenna a gain of one.

    Parameters
    ----------
    stations : tuple of int
        Station numbers (1-based).

    Returns
    -------
    list of AntennaGain
        By station, XX before YY.
    """
    return [
        AntennaGain(station=station, polarization=polarization)
        for station in stations
        for polarization in _POLARIZATIONS
    ]


def draw_gains(stations: tuple[int, ...], seed: int) -> list[AntennaGain]:
    """Draw gain errors: any phase, 10 % in amplitude, 1 ns, a smooth bandpass, a slow drift.

    A station's gains depend on the seed and its number alone, not on the rest of the array.
    The drift is of 2 % in amplitude and 10 deg in phase.

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
    return [gain for station in stations for gain in _draw_station(station, seed)]


def deaden(gains: list[AntennaGain], dead_stations: tuple[int, ...]) -> list[AntennaGain]:
    """Weaken antennas to `DEAD_AMPLITUDE` of what they were.

    Parameters
    ----------
    gains : list of AntennaGain
        Gains as if all antennas worked.
    dead_stations : tuple of int
        Station numbers (1-based) of the antennas that do not.

    Returns
    -------
    list of AntennaGain
        In the same order.
    """
    return [
        gain.model_copy(update={"amplitude": gain.amplitude * DEAD_AMPLITUDE})
        if gain.station in dead_stations
        else gain
        for gain in gains
    ]


def _draw_station(station: int, seed: int) -> list[AntennaGain]:
    """Draw the gains of one station, XX before YY."""
    fixed, drift = (
        np.random.default_rng(np.random.SeedSequence(seed, spawn_key=(purpose, station)))
        for purpose in (2, 4)
    )
    return [
        AntennaGain(
            station=station,
            polarization=polarization,
            amplitude=float(np.exp(fixed.normal(0.0, _AMPLITUDE_SCATTER))),
            phase_rad=float(fixed.uniform(-np.pi, np.pi)),
            delay_ns=float(fixed.normal(0.0, _DELAY_SCATTER_NS)),
            slope=float(fixed.normal(0.0, _BANDPASS_SCATTER)),
            curvature=float(fixed.normal(0.0, _BANDPASS_SCATTER)),
            amplitude_drift=float(drift.normal(0.0, _AMPLITUDE_DRIFT_SCATTER)),
            amplitude_drift_phase_rad=float(drift.uniform(-np.pi, np.pi)),
            phase_drift_rad=float(drift.normal(0.0, _PHASE_DRIFT_SCATTER_RAD)),
            phase_drift_phase_rad=float(drift.uniform(-np.pi, np.pi)),
        )
        for polarization in _POLARIZATIONS
    ]
