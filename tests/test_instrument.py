"""The telescope's facts against the values that real files bear."""

from __future__ import annotations

import numpy as np
import pytest

from dsa110_contimg import instrument

pytestmark = pytest.mark.unit


def test_frequency_plan():
    freqs = np.array([instrument.subband_channel_freqs_hz(k) for k in range(16)])
    assert freqs[0, 0] == 1498643188.4765625
    assert freqs.shape == (16, 48)
    np.testing.assert_array_equal(np.diff(freqs.ravel()), -244140.625)
    assert freqs.max() < 1498.75e6 + 1
    assert freqs.min() > 1311.25e6


def test_array_and_time():
    assert len(set(instrument.ACTIVE_STATIONS)) == 96
    assert pytest.approx(309.237645312) == instrument.GROUP_DURATION_S


def test_primary_beam_is_half_at_half_its_width_and_narrows_with_frequency():
    half_width_deg = instrument.PRIMARY_BEAM_FWHM_DEG / 2
    assert instrument.primary_beam_attenuation(half_width_deg, 1.4e9) == pytest.approx(0.5)
    assert instrument.primary_beam_attenuation(half_width_deg / 2, 2.8e9) == pytest.approx(0.5)


def test_drift_averages_the_beam():
    """At dec 54.6 the centre moves by +-0.37 deg: the mean stays between the extremes."""
    mean = instrument.drift_primary_beam_attenuation(
        120.0, 54.6, center_ra_deg=120.0, center_dec_deg=54.6, duration_s=309.24, freq_hz=[1.4e9]
    )
    edge = instrument.primary_beam_attenuation(0.5 * 1.292 * np.cos(np.deg2rad(54.6)), 1.4e9)
    assert edge < mean[0] < 1.0
    # A parabola near the peak: its mean loss is a third of the loss at the edge.
    assert 1 - mean[0] == pytest.approx((1 - edge) / 3, rel=0.03)
