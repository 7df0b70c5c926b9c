"""Forced photometry and the noise around a source."""

from __future__ import annotations

import numpy as np
import pytest

from dsa110_contimg.photometry.forced import central_value, robust_rms

pytestmark = pytest.mark.unit


@pytest.mark.parametrize("shape", [(8, 8), (6, 10), (7, 9)])
def test_central_value_is_the_reference_pixel_of_a_stamp(shape):
    image = np.zeros(shape)
    image[shape[0] // 2, shape[1] // 2] = 3.5
    assert central_value(image) == 3.5


def test_rms_of_gaussian_noise():
    image = np.random.default_rng(2).normal(5.0, 0.3, (256, 256))
    # The median absolute deviation of n values has an error of 1.17 / sqrt(n) of itself.
    assert robust_rms(image) == pytest.approx(0.3, rel=4 * 1.17 / 256)


def test_sources_hardly_change_the_rms():
    noise = np.random.default_rng(3).normal(0.0, 1.0, (256, 256))
    with_sources = noise.copy()
    with_sources[20:30, 30:40] += 1000.0
    with_sources[128:132, 126:130] += 500.0
    assert robust_rms(with_sources) == pytest.approx(robust_rms(noise), rel=0.01)


def test_disc_around_the_source_is_left_out():
    image = np.zeros((64, 64))
    y, x = np.ogrid[:64, :64]
    image[np.hypot(y - 32, x - 32) < 20] = 1e6 * np.random.default_rng(4).normal()
    assert robust_rms(image, beam_px=10.0) == 0.0
    image[:] = np.where(np.hypot(y - 32, x - 32) < 20, image, np.arange(64))
    assert robust_rms(image, beam_px=10.0) < 100
