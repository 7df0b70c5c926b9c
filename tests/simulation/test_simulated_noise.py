"""Noise, beam and spectra of simulated data."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest

from dsa110_contimg.catalog.sources import Source
from dsa110_contimg.instrument import primary_beam_attenuation, subband_channel_freqs_hz
from dsa110_contimg.simulation.night import SimulationResult
from dsa110_contimg.simulation.visibilities import thermal_noise_jy

pytestmark = pytest.mark.unit

SEFD_JY = 6500.0
N_ANTENNAS = 12
ON_MERIDIAN = Source(name="s", ra_deg=128.08, dec_deg=54.665, flux_jy=3.0, spectral_index=-1.5)


def keep(*subbands: int) -> tuple[str, ...]:
    """What to leave out so that only these subbands remain."""
    return tuple(f"sb{subband:02d}" for subband in range(16) if subband not in subbands)


def read(path: str | Path) -> tuple[np.ndarray, np.ndarray]:
    """Visibilities (ntimes, nbls, nchan, npol), and which baselines are autos."""
    with h5py.File(path) as file:
        data = file["Data/visdata"][:, 0].reshape(24, -1, 48, 2)
        n_bls = data.shape[1]
        is_auto = file["Header/ant_1_array"][:n_bls] == file["Header/ant_2_array"][:n_bls]
    return data, is_auto


def test_noise_has_the_size_of_the_radiometer_equation() -> None:
    # 6500 Jy / sqrt(2 x 244140.625 Hz x 12.884901888 s) = 6500 / 2508.2
    assert thermal_noise_jy(6500.0) == pytest.approx(2.5915, rel=1e-4)


def test_noise_is_gaussian_and_independent(
    simulate_night: Callable[..., SimulationResult],
) -> None:
    night = simulate_night(n_antennas=N_ANTENNAS, sources=(), sefd_jy=SEFD_JY, missing=keep(3, 4))
    (first, is_auto), (second, _) = (read(path) for path in night.files)
    parts = [
        part.ravel().astype(float)
        for data in (first, second)
        for pol in range(2)
        for part in (data[:, ~is_auto, :, pol].real, data[:, ~is_auto, :, pol].imag)
    ]
    n = len(parts[0])
    assert n == 24 * 66 * 48
    sigma = thermal_noise_jy(SEFD_JY)
    five_errors = 5 / np.sqrt(n)
    for part in parts:
        assert abs(part.mean()) < five_errors * sigma
        assert abs(part.std() / sigma - 1) < five_errors / np.sqrt(2)
        kurtosis = ((part / sigma) ** 4).mean()
        assert abs(kurtosis - 3) < five_errors * np.sqrt(96)  # variance of x**4 is 96
    correlation = np.corrcoef(parts) - np.eye(len(parts))
    assert np.abs(correlation).max() < five_errors
    by_baseline = np.corrcoef(first[:, ~is_auto, :, 0].real.transpose(1, 0, 2).reshape(66, -1))
    assert np.abs(by_baseline - np.eye(66)).max() < 6 / np.sqrt(24 * 48)


def test_autocorrelations_are_real_and_show_the_system(
    simulate_night: Callable[..., SimulationResult],
) -> None:
    night = simulate_night(
        n_antennas=N_ANTENNAS, sources=(ON_MERIDIAN,), sefd_jy=SEFD_JY, missing=keep(3)
    )
    data, is_auto = read(night.files[0])
    assert is_auto.sum() == N_ANTENNAS
    autos = data[:, is_auto]
    assert (autos.imag == 0).all()
    sigma = SEFD_JY / np.sqrt(244140.625 * 12.884901888)
    n = autos.size
    flux_jy = ON_MERIDIAN.flux_at(subband_channel_freqs_hz(3)).mean()
    # The beam takes less than 5 % of 3 Jy off; the mean's error is 0.03 Jy.
    assert autos.real.mean() == pytest.approx(SEFD_JY + flux_jy, abs=0.15 + 5 * sigma / np.sqrt(n))
    assert autos.real.std() == pytest.approx(sigma, rel=5 / np.sqrt(2 * n))


def test_spectral_index_and_beam_shape_the_flux(
    simulate_night: Callable[..., SimulationResult],
) -> None:
    """Autocorrelations of a noise-free sky are the flux that the beam lets through."""
    night = simulate_night(sources=(ON_MERIDIAN,), sefd_jy=0.0, missing=keep(0, 15))
    for subband, path in zip((0, 15), night.files, strict=True):
        data, is_auto = read(path)
        freq_hz = subband_channel_freqs_hz(subband)
        ratio = data[:, is_auto].real / (3.0 * (freq_hz / 1.4e9) ** -1.5)[:, None]
        # The source drifts through the middle of the beam: 15.04 arcsec of hour angle per
        # second, times cos(dec), from the mid time on.
        seconds = (np.arange(24) - 11.5) * 12.884901888
        separation_deg = np.abs(seconds) * 15.041 / 3600 * np.cos(np.deg2rad(54.573))
        beam = primary_beam_attenuation(separation_deg[:, None], freq_hz)
        # The source's place is given to 0.01 deg: at most 1e-3 of the beam at 0.4 deg.
        np.testing.assert_allclose(
            ratio, np.broadcast_to(beam[:, None, :, None], ratio.shape), rtol=2e-3
        )


def test_sources_are_unpolarized_and_add_up(
    simulate_night: Callable[..., SimulationResult],
) -> None:
    other = ON_MERIDIAN.model_copy(update={"name": "t", "dec_deg": 54.2, "flux_jy": 0.5})
    options = {"sefd_jy": 0.0, "missing": keep(8)}
    first, second, both = (
        read(simulate_night(sources=sources, **options).files[0])[0]
        for sources in ((ON_MERIDIAN,), (other,), (ON_MERIDIAN, other))
    )
    np.testing.assert_array_equal(both[..., 0], both[..., 1])
    np.testing.assert_allclose(both, first + second, atol=2e-6)  # float32 of 3.5 Jy


def test_a_source_far_from_the_beam_leaves_nothing(
    simulate_night: Callable[..., SimulationResult],
) -> None:
    far = Source(name="far", ra_deg=150.0, dec_deg=54.665, flux_jy=1000.0)
    night = simulate_night(sources=(far,), sefd_jy=0.0, missing=keep(8))
    assert not read(night.files[0])[0].any()
