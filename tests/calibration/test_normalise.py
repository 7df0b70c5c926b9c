"""Visibilities divided by their model: gains, and their noise."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from support.small_field import Array, observe, position, stokes_i

from dsa110_contimg.calibration.normalise import normalise_window
from dsa110_contimg.errors import ScienceQualityError
from dsa110_contimg.instrument import SPEED_OF_LIGHT_M_S

pytestmark = pytest.mark.unit

ARRAY = Array(n_antennas=8, n_times=24, noise_jy=0.2)
CALIBRATOR = position("calibrator", 0.02, 0.1, flux_jy=8.0)
INTEGRATIONS = 6


@pytest.fixture(scope="module")
def observed():
    """A calibrator through antenna gains, its model and what the gains are."""
    noise = observe(ARRAY)
    silent = replace(observe(replace(ARRAY, noise_jy=0.0), [CALIBRATOR]), weight=noise.weight)
    model, _ = stokes_i(silent)
    rng = np.random.default_rng(5)
    gains = np.exp(rng.normal(0.0, 0.2, (8, 2)) + 1j * rng.uniform(-np.pi, np.pi, (8, 2)))
    product = (gains[noise.antenna1] * gains[noise.antenna2].conj())[:, None, :]
    window = replace(noise, data=(silent.data * product + noise.data).astype(np.complex64))
    return window, model.astype(np.complex64), gains


def test_what_is_left_is_gains(observed):
    window, model, gains = observed
    result = normalise_window(window, model, INTEGRATIONS)
    cross = result.antenna1 != result.antenna2
    assert len(result.data) == len(window.data) // INTEGRATIONS
    assert not result.weight[~cross].any()
    true = gains[result.antenna1] * gains[result.antenna2].conj()
    difference = (result.data - true[:, None, :])[cross]
    # The weights are inverse variances of a real part: what is left, divided by its error, has
    # a variance of one. The noise is estimated from every twelfth channel, to 3 % of the variance.
    scaled = difference * np.sqrt(result.weight[cross])
    assert np.var(np.r_[scaled.real.ravel(), scaled.imag.ravel()]) == pytest.approx(1.0, abs=0.1)
    # 0.2 Jy of 8, through about unit weight, six times averaged.
    assert np.std(difference.real) == pytest.approx(0.2 / 8.0 / np.sqrt(6 * 1.25), rel=0.3)


def test_times_and_places_are_means(observed):
    window, model, _ = observed
    result = normalise_window(window, model, INTEGRATIONS)
    baseline = (window.antenna1 == 1) & (window.antenna2 == 4)
    averaged = (result.antenna1 == 1) & (result.antenna2 == 4)
    for name in ("time_mjd_s", "uvw_m"):
        whole = getattr(window, name)[baseline]
        expected = whole.reshape(4, INTEGRATIONS, *whole.shape[1:]).mean(axis=1)
        assert getattr(result, name)[averaged] == pytest.approx(expected, rel=1e-12)
    assert result.interval_s[averaged] == pytest.approx(INTEGRATIONS * window.interval_s[0])


def test_what_is_flagged_does_not_count(observed):
    window, model, _ = observed
    weight = window.weight.copy()
    weight[::3, 10:20] = 0.0
    weight[:, 40] = 0.0
    whole = normalise_window(replace(window, weight=weight), model, INTEGRATIONS)
    data = np.where(weight > 0.0, window.data, 1e6).astype(np.complex64)
    spoilt = normalise_window(replace(window, weight=weight, data=data), model, INTEGRATIONS)
    assert np.array_equal(whole.data, spoilt.data)
    assert not whole.weight[:, 40].any()
    assert not whole.data[:, 40].any()


def test_a_source_elsewhere_is_left_as_a_fringe(observed):
    # The sign of the model's phase, on its own: a source is divided out where it is.
    window, model, _ = observed
    silent = observe(replace(ARRAY, noise_jy=0.0), [CALIBRATOR])
    at_center = normalise_window(silent_with_noise(silent, window), model, 1)
    cross = at_center.antenna1 != at_center.antenna2
    assert np.abs(np.angle(at_center.data[cross])).max() < 1e-3
    longest = np.abs(window.uvw_m[:, :2]).max() / SPEED_OF_LIGHT_M_S * window.freqs_hz[0]
    assert longest * np.deg2rad(0.1) > 3  # turns: it would not have been so without the model


def silent_with_noise(silent, window):
    """Add so little noise that it can be told."""
    rng = np.random.default_rng(1)
    noise = 1e-6 * (rng.normal(size=(*silent.data.shape, 2)) @ [1.0, 1.0j])
    return replace(silent, data=(silent.data + noise).astype(np.complex64), weight=window.weight)


def test_too_little_to_tell_the_noise(observed):
    window, model, _ = observed
    weight = np.zeros_like(window.weight)
    weight[1, :3] = 1.0
    with pytest.raises(ScienceQualityError) as caught:
        normalise_window(replace(window, weight=weight), model, INTEGRATIONS)
    assert caught.value.reason == "too_few_visibilities"
