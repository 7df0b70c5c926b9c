"""Is the joint fit unbiased, and are its errors right? Pulls of known sources, and empty sky."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
from results import Comparison
from skies import CrowdedSky, crowded_sky, make_ms

from dsa110_contimg.catalog.sources import Source
from dsa110_contimg.models import Model
from dsa110_contimg.photometry.binning import find_detections
from dsa110_contimg.photometry.measure import MeasureOptions, measure_sources
from dsa110_contimg.photometry.models import BinningOptions, SourceResult, SpwMeasurement

FloatArray = npt.NDArray[np.float64]

COUNTED_SNR = 2.5
"""Low enough that noise reaches it in many of the windows."""
_N_GAUSSIAN_SKIES = 500_000


class Pulls(Model):
    """(measured - truth) / error of known sources."""

    windows: list[float]
    """Of each source in each window."""
    means: list[float]
    """Of the band mean of each source."""
    flux_jy: list[float]
    """True flux density of each source at the reference frequency."""


class EmptySky(Model):
    """What noise alone gave at positions where there is nothing."""

    snr: list[float]
    """Of each position in each window."""
    n_positions: int
    """Number of positions."""
    n_detections: int
    """Bins at or above SNR 5."""
    n_detected: int
    """Positions with a bin at or above the counted SNR."""
    expected_detected: float
    """The same from Gaussian noise in as many spectra."""
    expected_at_five: float
    """Positions that Gaussian noise takes to SNR 5."""

    def windows_above(self, snr: float) -> int:
        """Count windows at or above an SNR."""
        return int(np.count_nonzero(np.array(self.snr) >= snr))

    def windows_expected(self, snr: float) -> float:
        """Count what Gaussian noise would give."""
        return len(self.snr) * 0.5 * math.erfc(snr / math.sqrt(2.0))


def prove_accuracy(
    ram: Path, *, n_antennas: int, n_injected: int, n_empty: int
) -> tuple[Pulls, EmptySky]:
    """Simulate a crowded field, fit it as a whole, and compare with the truth."""
    sky = crowded_sky(n_injected, n_empty)
    ms = make_ms(ram, "crowded", [*sky.injected, *sky.neighbours], n_antennas)
    results = measure_sources(
        MeasureOptions(
            ms_path=ms,
            products_dir=ram / "crowded",
            sources=[*sky.injected, *sky.empty],
            field_model=sky.neighbours,
            plots=False,
        )
    )
    return _pulls(sky, results[:n_injected]), _empty(results[n_injected:])


def compare_accuracy(pulls: Pulls, empty: EmptySky) -> list[Comparison]:
    """Judge errors, and detections where there is nothing."""
    lines = []
    for name, values in (("windows", pulls.windows), ("band means", pulls.means)):
        mean, scatter = float(np.mean(values)), float(np.std(values))
        lines += [
            Comparison(
                what=f"mean of (measured - truth) / error, {name}",
                measured=abs(mean),
                goal=0.15,
                at_least=False,
                unit="",
                detail=f"{mean:+.3f} from {len(values)}",
            ),
            Comparison(
                what=f"scatter of it, {name}, off 1",
                measured=abs(scatter - 1.0),
                goal=0.1,
                at_least=False,
                unit="",
                detail=f"{scatter:.3f}, known to {(2 * len(values)) ** -0.5:.3f}",
            ),
        ]
    above, expected = empty.windows_above(COUNTED_SNR), empty.windows_expected(COUNTED_SNR)
    n_trials = len(empty.snr)
    return [
        *lines,
        _within_two(
            f"empty windows at SNR {COUNTED_SNR:g} against Gaussian", above, expected, n_trials
        ),
        _within_two(
            f"empty positions detected at SNR {COUNTED_SNR:g} against Gaussian",
            empty.n_detected,
            empty.expected_detected,
            empty.n_positions,
        ),
        Comparison(
            what="detections at SNR 5 on empty sky",
            measured=empty.n_detections,
            goal=1,
            at_least=False,
            unit="",
            detail=f"{empty.expected_at_five:.3f} expected of {empty.n_positions} positions",
        ),
    ]


def _pulls(sky: CrowdedSky, results: Sequence[SourceResult]) -> Pulls:
    """Compare with what was injected."""
    windows, means = [], []
    for source, result in zip(sky.injected, results, strict=True):
        off_jy, rms_jy = _residuals(source, result.spws)
        windows.append(off_jy / rms_jy)
        weight = rms_jy**-2
        means.append(float((off_jy * weight).sum() / np.sqrt(weight.sum())))
    return Pulls(
        windows=np.concatenate(windows).tolist(),
        means=means,
        flux_jy=[float(source.flux_jy or 0.0) for source in sky.injected],
    )


def _residuals(source: Source, spws: Sequence[SpwMeasurement]) -> tuple[FloatArray, FloatArray]:
    """Measured less true flux density in each window, and its error."""
    truth_jy = source.flux_at([spw.freq_hz for spw in spws])
    measured_jy = np.array([spw.flux_jy for spw in spws])
    return measured_jy - truth_jy, np.array([spw.rms_jy for spw in spws])


def _empty(results: Sequence[SourceResult]) -> EmptySky:
    """Count what noise did."""
    low = BinningOptions(target_snr=COUNTED_SNR)
    rms_jy = np.array([spw.rms_jy for spw in results[0].spws])
    return EmptySky(
        snr=[spw.snr for result in results for spw in result.spws],
        n_positions=len(results),
        n_detections=sum(len(result.detections) for result in results),
        n_detected=sum(bool(find_detections(result.spws, low)) for result in results),
        expected_detected=len(results) * _gaussian_rate(rms_jy, COUNTED_SNR),
        expected_at_five=len(results) * _gaussian_rate(rms_jy, 5.0),
    )


def _gaussian_rate(rms_jy: FloatArray, snr: float) -> float:
    """Fraction of spectra of pure noise in which any run of windows reaches an SNR."""
    weight = rms_jy**-2
    noise = np.random.default_rng(1).normal(size=(_N_GAUSSIAN_SKIES, len(rms_jy))) * rms_jy
    sums = np.cumsum(np.pad(noise * weight, ((0, 0), (1, 0))), axis=1)
    weights = np.cumsum(np.r_[0.0, weight])
    found = np.zeros(len(noise), bool)
    for width in range(1, len(rms_jy) + 1):
        errors = np.sqrt(weights[width:] - weights[:-width])
        found |= ((sums[:, width:] - sums[:, :-width]) / errors >= snr).any(axis=1)
    return float(found.mean())


def _within_two(what: str, measured: int, expected: float, n_trials: int) -> Comparison:
    """Judge a count by the factor that it is off, either way."""
    factor = max(measured, 0.5) / expected
    return Comparison(
        what=what,
        measured=max(factor, 1 / factor),
        goal=2.0,
        at_least=False,
        detail=f"{measured} where {expected:.1f} are expected of {n_trials}",
    )
