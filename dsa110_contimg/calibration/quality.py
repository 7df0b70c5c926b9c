"""Judge solutions: CASA returns normally whatever they are worth."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import Field

from dsa110_contimg.calibration.models import TableKind, TableQuality
from dsa110_contimg.calibration.tables import Solutions, read_solutions
from dsa110_contimg.calibration.verify import unflagged_fraction
from dsa110_contimg.models import Model

_SECOND_DIFFERENCE = np.sqrt(6.0)
"""The variance of x[k-1] - 2 x[k] + x[k+1] is six times that of x."""
_CLOSE_POINTS = 3


class QualityLimits(Model):
    """What solutions must reach to be used."""

    min_unflagged_fraction: float = Field(0.8, gt=0.0, le=1.0)
    """Least share of the solutions that the data called for."""
    min_antenna_fraction: float = Field(0.8, gt=0.0, le=1.0)
    """Least share of the antennas of the MS that have solutions."""
    min_snr: float = Field(10.0, gt=0.0)
    """Least median signal-to-noise ratio: at 10, a phase is good to 6 degrees."""
    max_phase_scatter_deg: float = Field(8.0, gt=0.0)
    """Largest scatter of the phase about a smooth course."""
    max_phase_drift_deg: float = Field(10.0, gt=0.0)
    """Largest run of the phases during the observation. Another source than the calibrator gives
    smooth solutions too, but they run as the earth turns: by some 20 degrees in four minutes if
    it is half a degree off. Electronics run by a degree."""
    max_amplitude_scatter: float = Field(0.15, gt=0.0)
    """The same of the amplitude, as a fraction."""


def measure_quality(
    table_dir: Path, kind: TableKind, antennas: list[int], names: list[str]
) -> TableQuality:
    """Say how good the solutions of a table are.

    Parameters
    ----------
    table_dir : Path
        The table.
    kind : TableKind
        What it corrects.
    antennas : list of int
        Ids of the antennas with data.
    names : list of str
        Names of all stations, in order of id.

    Returns
    -------
    TableQuality
        The figures; a scatter is NaN where no three solutions follow one another, and the SNR
        of delays is, for CASA gives none.

    Raises
    ------
    RuntimeError
        If casacore cannot read the table.
    """
    solutions = read_solutions(table_dir, kind)
    mine = solutions.select(np.isin(solutions.antenna, antennas))
    good = ~mine.flagged
    phase_deg, amplitude = _scatter(mine)
    return TableQuality(
        unflagged_fraction=unflagged_fraction(table_dir, antennas)[0],
        median_snr=_median_snr(kind, mine.snr[good]),
        phase_scatter_deg=phase_deg,
        amplitude_scatter=amplitude,
        phase_drift_deg=_drift_deg(mine),
        antennas_without=[
            names[antenna] for antenna in antennas if not good[mine.antenna == antenna].any()
        ],
    )


def find_faults(kind: TableKind, quality: TableQuality, limits: QualityLimits) -> list[str]:
    """Say what is too poor about a table.

    Parameters
    ----------
    kind : TableKind
        What it corrects.
    quality : TableQuality
        Its figures.
    limits : QualityLimits
        What it must reach.

    Returns
    -------
    list of str
        A sentence each; empty if it is good.
    """
    drift_deg = quality.phase_drift_deg or 0.0
    missing, allowed = 1 - quality.unflagged_fraction, 1 - limits.min_unflagged_fraction
    checks = [
        (missing, allowed, f"{missing:.0%} of the {kind} solutions are missing or flagged"),
        (
            -quality.median_snr,
            -limits.min_snr,
            f"the {kind} has a median SNR of only {quality.median_snr:.1f}",
        ),
        (
            quality.phase_scatter_deg,
            limits.max_phase_scatter_deg,
            f"the phases of the {kind} scatter by {quality.phase_scatter_deg:.1f} deg",
        ),
        (
            drift_deg,
            limits.max_phase_drift_deg,
            f"the phases of the {kind} run by {drift_deg:.0f} deg, as of a source somewhere else",
        ),
        (
            quality.amplitude_scatter,
            limits.max_amplitude_scatter,
            f"the amplitudes of the {kind} scatter by {quality.amplitude_scatter:.1%}",
        ),
    ]
    return [
        f"{sentence} (limit {abs(limit):.2g})" for value, limit, sentence in checks if value > limit
    ]


def _median_snr(kind: TableKind, snr: npt.NDArray[np.float32]) -> float:
    """Median of what CASA says of the solutions; 0 if there are none."""
    if not snr.size:
        return 0.0
    return float("nan") if kind is TableKind.DELAY else float(np.median(snr))


def _scatter(solutions: Solutions) -> tuple[float, float]:
    """Scatter of phase (deg) and log amplitude about a smooth course in frequency or time."""
    courses = _courses(solutions)
    if courses is None or len(courses) < _CLOSE_POINTS:
        return float("nan"), float("nan")
    good = ~np.ma.getmaskarray(courses) & (courses.data != 0.0)
    used = good[:-2] & good[1:-1] & good[2:]
    gains = np.where(good, courses.data, 1.0)
    phase = np.angle(gains[:-2] * gains[2:] * gains[1:-1].conj() ** 2)
    amplitude = np.log(np.abs(gains))
    bend = amplitude[:-2] - 2.0 * amplitude[1:-1] + amplitude[2:]
    return float(np.rad2deg(_sigma(phase[used]))), _sigma(bend[used])


def _drift_deg(solutions: Solutions) -> float | None:
    """Median over antennas and polarizations of the phase's run through all times."""
    courses = _courses(solutions) if solutions.kind is TableKind.GAIN else None
    if courses is None or len(courses) < 2:
        return None
    steps = np.ma.masked_array(
        np.angle(courses.data[1:] * courses.data[:-1].conj()),
        np.ma.getmaskarray(courses)[1:] | np.ma.getmaskarray(courses)[:-1],
    )
    runs = np.abs(steps.sum(axis=0)).compressed()
    return float(np.rad2deg(np.median(runs))) if len(runs) else None


def _courses(solutions: Solutions) -> np.ma.MaskedArray | None:
    """Solutions along frequency (bandpass) or time (gain), shape (npoint, ...)."""
    values = np.ma.masked_array(solutions.values, solutions.flagged)
    if solutions.kind is TableKind.BANDPASS:
        return values.swapaxes(0, 1)
    n_antennas = len(np.unique(solutions.antenna))
    if solutions.kind is TableKind.DELAY or len(values) % max(1, n_antennas):
        return None
    order = np.lexsort((solutions.time_mjd_s, solutions.antenna))
    return values[order].reshape(n_antennas, -1, *values.shape[1:]).swapaxes(0, 1)


def _sigma(second_difference: npt.NDArray[np.floating]) -> float:
    """Robust scatter of values from their second differences."""
    from astropy.stats import mad_std

    if not second_difference.size:
        return float("nan")
    return float(mad_std(second_difference) / _SECOND_DIFFERENCE)
