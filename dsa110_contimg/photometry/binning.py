"""Adaptive binning: the narrowest runs of spectral windows in which a source is detected."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from dsa110_contimg.photometry.models import BinningOptions, Detection, SpwMeasurement

Run = list[SpwMeasurement]

_MAX_STEP_BANDWIDTHS = 1.5
"""Windows whose centres lie further apart have room for another one between them."""


def find_detections(spws: Sequence[SpwMeasurement], options: BinningOptions) -> list[Detection]:
    """Find runs of adjacent spectral windows that reach the target SNR.

    The usable windows (finite flux density, finite positive error, not fully flagged) are
    sorted by id and cut into runs: a run ends where an id is missing, or where the centre
    frequencies lie more than 1.5 bandwidths apart, since an MS without some subbands numbers
    its windows without a gap. Widths are tried from `min_width` up to
    `max_width`. At each width every run is scanned once, from its lowest id: if the windows
    at the present position reach the target together, they become a detection and the scan
    goes on behind them, else it moves on by one window. What a scan leaves of a run, on either
    side of a detection, are the runs of the next width. So the narrowest bins win, among
    equals the one at the lowest ids, no window is used twice, and a remainder that is no
    wider than `max_width` has been tried once as a whole when it ends.

    Parameters
    ----------
    spws : sequence of SpwMeasurement
        The measurements, in any order; ids must not repeat.
    options : BinningOptions
        Target and widths.

    Returns
    -------
    list of Detection
        In order of window id, which in this pipeline's MSs is the order of frequency.

    Raises
    ------
    ValueError
        If an id repeats.
    """
    if len({spw.spw_id for spw in spws}) < len(spws):
        raise ValueError("a spectral window was given twice")
    runs = _adjacent_runs(spws, bridge_gaps=options.bridge_gaps)
    n_trials = count_trials([len(run) for run in runs], options)
    detections: list[Detection] = []
    for width in range(options.min_width, options.max_width + 1):
        remainders: list[Run] = []
        for run in runs:
            found, left = _scan(run, width, options.target_snr, n_trials)
            detections += found
            remainders += left
        runs = remainders
    return sorted(detections, key=lambda detection: detection.spw_ids[0])


def count_trials(run_lengths: Sequence[int], options: BinningOptions) -> int:
    """Count the bins that the search may look at.

    Parameters
    ----------
    run_lengths : sequence of int
        Number of windows in each run of adjacent windows.
    options : BinningOptions
        Range of widths.

    Returns
    -------
    int
        Number of distinct bins of all widths in all runs.
    """
    widths = range(options.min_width, options.max_width + 1)
    return sum(max(0, length - width + 1) for length in run_lengths for width in widths)


def false_alarm_probability(snr: float, n_trials: int) -> float:
    """Probability that Gaussian noise reaches an SNR in at least one of several trials.

    The trials are taken as independent. Overlapping bins are not, so this is an upper bound.

    Parameters
    ----------
    snr : float
        Ratio of flux density to error.
    n_trials : int
        Number of bins looked at.

    Returns
    -------
    float
        ``1 - (1 - Q(snr)) ** n_trials``, with Q the one-sided tail of the normal distribution.
    """
    tail = 0.5 * math.erfc(snr / math.sqrt(2.0))
    return -math.expm1(n_trials * math.log1p(-tail)) if tail < 1.0 else 1.0


def _adjacent_runs(spws: Sequence[SpwMeasurement], *, bridge_gaps: bool) -> list[Run]:
    """Sort the usable windows and cut them where one is missing."""
    runs: list[Run] = []
    for spw in sorted(filter(_is_usable, spws), key=lambda spw: spw.spw_id):
        if runs and (bridge_gaps or _are_adjacent(runs[-1][-1], spw)):
            runs[-1].append(spw)
        else:
            runs.append([spw])
    return runs


def _are_adjacent(lower: SpwMeasurement, upper: SpwMeasurement) -> bool:
    """Say whether two windows follow each other both by id and on the sky's spectrum."""
    step_hz = abs(upper.freq_hz - lower.freq_hz)
    bandwidth_hz = 0.5 * (lower.bandwidth_hz + upper.bandwidth_hz)
    return upper.spw_id == lower.spw_id + 1 and step_hz <= _MAX_STEP_BANDWIDTHS * bandwidth_hz


def _is_usable(spw: SpwMeasurement) -> bool:
    """Say whether a window holds a measurement."""
    finite = math.isfinite(spw.flux_jy) and math.isfinite(spw.rms_jy)
    return finite and spw.rms_jy > 0.0 and spw.flagged_fraction < 1.0


def _scan(
    run: Run, width: int, target_snr: float, n_trials: int
) -> tuple[list[Detection], list[Run]]:
    """Scan one run at one width; return the detections and what is left of the run."""
    found: list[Detection] = []
    left: list[Run] = []
    begin = position = 0
    while position + width <= len(run):
        candidate = _combine(run[position : position + width], n_trials)
        if candidate.snr >= target_snr:
            found.append(candidate)
            left.append(run[begin:position])
            position += width
            begin = position
        else:
            position += 1
    left.append(run[begin:])
    return found, [piece for piece in left if piece]


def _combine(spws: Run, n_trials: int) -> Detection:
    """Take the inverse-variance mean of some windows."""
    flux_jy = np.array([spw.flux_jy for spw in spws])
    # Scaled to the smallest error, so that no square over- or underflows.
    scale_jy = min(spw.rms_jy for spw in spws)
    weights = (scale_jy / np.array([spw.rms_jy for spw in spws])) ** 2
    mean_jy = float(np.sum(weights * flux_jy) / np.sum(weights))
    rms_jy = scale_jy / math.sqrt(float(np.sum(weights)))
    snr = mean_jy / rms_jy
    return Detection(
        spw_ids=[spw.spw_id for spw in spws],
        bin_width=len(spws),
        center_freq_hz=float(np.mean([spw.freq_hz for spw in spws])),
        flux_jy=mean_jy,
        rms_jy=rms_jy,
        snr=snr,
        false_alarm_probability=false_alarm_probability(snr, n_trials),
    )
