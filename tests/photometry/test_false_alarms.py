"""On empty sky there are as many detections as the errors and the number of trials say."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from support.field_ms import make_ms

from dsa110_contimg.catalog.sources import Source
from dsa110_contimg.instrument import SEFD_JY
from dsa110_contimg.photometry.binning import (
    count_trials,
    false_alarm_probability,
    find_detections,
)
from dsa110_contimg.photometry.joint_fit import fit_jointly
from dsa110_contimg.photometry.models import BinningOptions, SpwMeasurement
from dsa110_contimg.visibilities.cells import make_cells
from dsa110_contimg.visibilities.directions import source_directions
from dsa110_contimg.visibilities.ms_info import read_ms_info
from dsa110_contimg.visibilities.window import read_window

N_SPWS = 16
_CHUNK = 100_000


def tail(snr: float) -> float:
    """Probability that a normal number reaches so much."""
    return 0.5 * math.erfc(snr / math.sqrt(2.0))


def spectrum(noise: np.ndarray) -> list[SpwMeasurement]:
    """Windows with errors of 1 Jy."""
    return [
        SpwMeasurement(
            spw_id=spw_id,
            freq_hz=1.31e9 + spw_id * 11.71875e6,
            bandwidth_hz=11.71875e6,
            flux_jy=float(value),
            rms_jy=1.0,
            snr=float(value),
            flagged_fraction=0.0,
        )
        for spw_id, value in enumerate(noise)
    ]


def largest_snr(noise: np.ndarray) -> np.ndarray:
    """Largest SNR of all bins of each spectrum (nspectrum, nspw), by cumulative sums."""
    sums = np.cumsum(np.pad(noise, ((0, 0), (1, 0))), axis=1)
    best = np.full(len(noise), -np.inf)
    for width in range(1, noise.shape[1] + 1):
        snr = (sums[:, width:] - sums[:, :-width]) / math.sqrt(width)
        np.maximum(best, snr.max(axis=1), out=best)
    return best


def gaussian_skies(count: int) -> Iterator[np.ndarray]:
    rng = np.random.default_rng(0)
    for _ in range(count // _CHUNK):
        yield rng.normal(size=(_CHUNK, N_SPWS))


@pytest.mark.unit
def test_spectra_of_noise_are_detected_as_seldom_as_stated():
    """Two million spectra, so that SNR 5 is reached some dozens of times.

    A search detects something just if one of its bins reaches the target, which is quickly
    found for all; the search itself is then given every spectrum that should have a detection,
    and the nearest misses.
    """
    n_skies, options = 2_000_000, BinningOptions(target_snr=5.0)
    n_found, misses = 0, 0
    for noise in gaussian_skies(n_skies):
        best = largest_snr(noise)
        for index in np.flatnonzero(best > 4.8):
            found = find_detections(spectrum(noise[index]), options)
            assert bool(found) == (best[index] >= 5.0)
            n_found += bool(found)
            misses += not found
    assert misses > n_found  # the search was asked about those too
    expected = n_skies * false_alarm_probability(5.0, count_trials([N_SPWS], options))
    # The trials of overlapping bins are not independent: the stated probability is an upper
    # bound, and within a factor of two. The count scatters by its square root.
    scatter = 3 * math.sqrt(expected)
    assert expected == pytest.approx(78.0, rel=0.01)
    assert 0.5 * expected - scatter / 2 < n_found < expected + scatter


@pytest.mark.unit
def test_single_windows_are_detected_as_often_as_the_normal_distribution_has_it():
    """10,000 independent trials of width 1 at SNR 3: 13.5 are expected."""
    rng = np.random.default_rng(3)
    options = BinningOptions(target_snr=3.0, max_width=1)
    n_trials = 10_000
    skies = rng.normal(size=(n_trials // N_SPWS, N_SPWS))
    n_found = sum(len(find_detections(spectrum(noise), options)) for noise in skies)
    assert 0.5 < n_found / (n_trials * tail(3.0)) < 2.0
    at_five = options.model_copy(update={"target_snr": 5.0})
    # 0.003 are expected.
    assert not any(find_detections(spectrum(noise), at_five) for noise in skies)


@pytest.fixture(scope="module")
def empty_sky(tmp_path_factory: pytest.TempPathFactory) -> np.ndarray:
    """SNR of 1,000 empty positions in 16 windows of noise, shape (16, 1000)."""
    path = make_ms(tmp_path_factory.mktemp("empty"), [NOWHERE], 12, SEFD_JY)
    return fit_positions(path, 1000)


NOWHERE = Source(name="nowhere", ra_deg=128.7, dec_deg=54.6, flux_jy=0.0)
"""The simulator asks for a source."""
_AT_ONCE = 50
"""Positions fitted together: with 66 baselines, few enough to be told apart."""


def fit_positions(path: Path, count: int) -> np.ndarray:
    info = read_ms_info(path)
    rng = np.random.default_rng(2)
    radius_deg = 1.6 * np.sqrt(rng.random(count))
    angle = rng.uniform(0, 2 * np.pi, count)
    dec_deg = info.center_dec_deg + radius_deg * np.sin(angle)
    ra_deg = info.center_ra_deg + radius_deg * np.cos(angle) / np.cos(np.deg2rad(dec_deg))
    sources = [
        Source(name=f"p{number}", ra_deg=float(ra), dec_deg=float(dec))
        for number, (ra, dec) in enumerate(zip(ra_deg, dec_deg, strict=True))
    ]
    snr = np.empty((len(info.spws), count))
    for number, spw in enumerate(info.spws):
        window = read_window(path, info, spw)
        cells = make_cells(window, source_directions(sources, info))
        for first in range(0, count, _AT_ONCE):
            here = slice(first, first + _AT_ONCE)
            fit = fit_jointly(cells, info, spw, sources[here])
            snr[number, here] = fit.flux_jy / fit.rms_jy
    return snr


@pytest.mark.casa
def test_the_joint_fit_of_empty_positions_is_normally_distributed(empty_sky):
    """Positions share their noise through side lobes: 16,000 trials count for fewer.

    Were they 1,000 only, mean and scatter would be known to 0.03 and 0.02.
    """
    assert abs(empty_sky.mean()) < 0.1
    assert abs(empty_sky.std() - 1.0) < 0.06


@pytest.mark.casa
@pytest.mark.parametrize("snr", [2.0, 2.5, 3.0])
def test_empty_positions_reach_an_snr_as_often_as_the_normal_distribution(empty_sky, snr):
    expected = empty_sky.size * tail(snr)
    assert expected > 20
    assert 0.5 < np.count_nonzero(empty_sky >= snr) / expected < 2.0
    # Negative peaks are as frequent: nothing of the noise has a sign.
    assert 0.5 < np.count_nonzero(empty_sky <= -snr) / expected < 2.0


@pytest.mark.casa
def test_no_empty_position_is_detected(empty_sky):
    """1,000 searches at SNR 5 give 0.04 false alarms."""
    best = largest_snr(empty_sky.T)
    assert best.max() < 5.0
    # Lower down there are as many as in spectra of Gaussian noise, whose bins overlap alike.
    gaussian = np.count_nonzero(largest_snr(next(gaussian_skies(_CHUNK))) >= 3.5) / _CHUNK
    assert 0.5 < np.count_nonzero(best >= 3.5) / (gaussian * len(best)) < 2.0
