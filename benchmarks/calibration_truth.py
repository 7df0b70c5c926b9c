"""How near flags, gains and calibrated data come to what was simulated."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import Field

from dsa110_contimg.calibration.models import TableKind
from dsa110_contimg.calibration.tables import Solutions, read_solutions, read_window_freqs_hz
from dsa110_contimg.models import Model
from dsa110_contimg.simulation.gains import AntennaGain
from dsa110_contimg.visibilities.ms_info import list_spws, open_table

FloatArray = npt.NDArray[np.float64]
ComplexArray = npt.NDArray[np.complex128]

_POLARIZATIONS = ("XX", "YY")


class FlagScore(Model):
    """What flags have taken from the cross-correlations of the antennas that work."""

    recall: float
    """Of the injected power, the part that is flagged."""
    recall_cells: float
    """Of the visibilities with interference, however weak, the part that is flagged."""
    false_alarms: float
    """Of the visibilities without interference, the part that is flagged."""
    contaminated: float
    """Part of the visibilities that hold interference."""
    flagged: float
    """Part of the visibilities that is flagged."""


class GainErrors(Model):
    """What is wrong with bandpass times gain in the middle of the calibrator's group."""

    amplitude: float
    """Root mean square relative error of the amplitude, its scale included."""
    phase_deg: float
    """Root mean square error of the phase against the reference antenna, in degrees."""
    scale: float
    """Mean relative error of the amplitude."""
    n: int
    """Number of gains compared: antennas, channels and polarizations."""
    missing: float
    """Part of the working antennas' gains that there is no solution for."""
    amplitude_by_channel: list[float] = Field(repr=False)
    """Root mean square error of the amplitude in each channel of the band; nan where none."""
    phase_deg_by_channel: list[float] = Field(repr=False)
    """The same of the phase, in degrees."""
    freq_hz: list[float] = Field(repr=False)
    """Of these channels."""


def score_flags(ms: Path, clean: Path, dead: Sequence[int]) -> FlagScore:
    """Compare flags with the interference that was injected.

    Parameters
    ----------
    ms : Path
        The flagged MS.
    clean : Path
        The same without interference, noise for noise, as converted.
    dead : sequence of int
        Ids of the antennas that do not work, which are left out, as autocorrelations are.

    Returns
    -------
    FlagScore
        Injected power is the squared modulus of the difference of the two MSs' DATA.
    """
    power_sum = caught = 0.0
    n_all = n_flagged = n_clean = n_false = 0
    for (data, flags), (without, before) in zip(
        _read_windows(ms, dead), _read_windows(clean, dead), strict=True
    ):
        power = np.abs(data - without) ** 2
        usable = ~before
        hit = power > 0.0
        power_sum += float(power[usable].sum(dtype=np.float64))
        caught += float(power[usable & flags].sum(dtype=np.float64))
        n_all += int(usable.sum())
        n_flagged += int((usable & flags).sum())
        n_clean += int((usable & ~hit).sum())
        n_false += int((usable & ~hit & flags).sum())
    return FlagScore(
        recall=caught / power_sum,
        recall_cells=(n_flagged - n_false) / (n_all - n_clean),
        false_alarms=n_false / n_clean,
        contaminated=1.0 - n_clean / n_all,
        flagged=n_flagged / n_all,
    )


def _read_windows(
    ms: Path, dead: Sequence[int]
) -> Iterator[tuple[npt.NDArray[np.complex64], npt.NDArray[np.bool_]]]:
    """Read DATA and flags of the working antennas' baselines, window by window."""
    with open_table(ms) as table:
        one, two = table.getcol("ANTENNA1"), table.getcol("ANTENNA2")
        wanted = (one != two) & ~np.isin(one, dead) & ~np.isin(two, dead)
        description = table.getcol("DATA_DESC_ID")
        for spw in list_spws(ms):
            rows = table.selectrows(np.flatnonzero(wanted & (description == spw.data_desc_id)))
            yield (
                rows.getcol("DATA"),
                rows.getcol("FLAG") | rows.getcol("FLAG_ROW")[:, None, None],
            )


def compare_with_truth(
    bandpass: Path, gain: Path, truth: Sequence[AntennaGain], dead: Sequence[int], mid_jd: float
) -> GainErrors:
    """Compare bandpass times gain with the simulated gains.

    An MS is the complex conjugate of what the correlator wrote, and so are its gains.

    Parameters
    ----------
    bandpass, gain : Path
        Tables: one solution in time for each window, and solutions of all windows together.
    truth : sequence of AntennaGain
        The simulated gains.
    dead : sequence of int
        Ids of the antennas that do not work, which are left out.
    mid_jd : float
        Middle of the group, a Julian date (UTC).

    Returns
    -------
    GainErrors
        Of the antennas that work.
    """
    of_band = read_solutions(bandpass, TableKind.BANDPASS)
    slow = _gains_at(read_solutions(gain, TableKind.GAIN), mid_jd)
    reference = int(of_band.reference[0])
    by_station = {(g.station, g.polarization): g for g in truth}
    working = sorted({station - 1 for station, _ in by_station} - set(dead))
    errors, freqs_hz = [], []
    for window, freq_hz in enumerate(read_window_freqs_hz(bandpass)):
        mine = of_band.select(of_band.window == window)
        ratio = np.full((len(working), len(freq_hz), len(_POLARIZATIONS)), np.nan, complex)
        for row, antenna in enumerate(mine.antenna):
            if antenna not in working:
                continue
            true = np.stack(
                [by_station[antenna + 1, p].at(freq_hz, [mid_jd])[0] for p in _POLARIZATIONS], -1
            ).conj()
            found = np.where(mine.flagged[row], np.nan, mine.values[row]) * slow[int(antenna)]
            ratio[working.index(antenna)] = found / true
        at_reference = ratio[working.index(reference)]
        errors.append(ratio * np.exp(-1j * np.angle(at_reference)))
        freqs_hz.append(freq_hz)
    return _describe(
        np.concatenate(errors, axis=1), np.concatenate(freqs_hz), working.index(reference)
    )


def _gains_at(solutions: Solutions, mid_jd: float) -> dict[int, ComplexArray]:
    """Interpolate each antenna's gain in time, by polarization; nan where there is none."""
    mid_mjd_s = (mid_jd - 2400000.5) * 86400.0
    gains: dict[int, ComplexArray] = {}
    for antenna in np.unique(solutions.antenna):
        mine = solutions.select(solutions.antenna == antenna)
        gains[int(antenna)] = np.array(
            [
                _at(mid_mjd_s, mine.time_mjd_s[good], mine.values[good, 0, p])
                if (good := ~mine.flagged[:, 0, p]).any()
                else np.nan
                for p in range(len(_POLARIZATIONS))
            ]
        )
    return gains


def _at(time_s: float, times_s: FloatArray, values: npt.NDArray[Any]) -> complex:
    """Interpolate amplitude and phase linearly."""
    order = np.argsort(times_s)
    times_s, values = times_s[order], values[order]
    phase = np.unwrap(np.angle(values))
    amplitude = np.interp(time_s, times_s, np.abs(values))
    return complex(amplitude * np.exp(1j * np.interp(time_s, times_s, phase)))


def _describe(ratio: ComplexArray, freq_hz: FloatArray, reference: int) -> GainErrors:
    """Sum up the ratios of found to true gains, shape (nant, nchan, npol)."""
    off = np.abs(ratio) - 1.0
    phase_deg = np.rad2deg(np.angle(np.delete(ratio, reference, axis=0)))
    found = np.isfinite(off)
    return GainErrors(
        amplitude=float(np.sqrt(np.nanmean(off**2))),
        phase_deg=float(np.sqrt(np.nanmean(phase_deg**2))),
        scale=float(np.nanmean(off)),
        n=int(found.sum()),
        missing=float(1.0 - found.mean()),
        amplitude_by_channel=_by_channel(off),
        phase_deg_by_channel=_by_channel(phase_deg),
        freq_hz=freq_hz.tolist(),
    )


def _by_channel(errors: FloatArray) -> list[float]:
    """Root mean square in each channel; nan where there is nothing."""
    there = np.isfinite(errors)
    square = np.where(there, errors, 0.0) ** 2
    count = there.sum(axis=(0, 2))
    total = square.sum(axis=(0, 2))
    mean = np.divide(total, count, out=np.full(len(count), np.nan), where=count > 0)
    return [float(value) for value in np.sqrt(mean)]
