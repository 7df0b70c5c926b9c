"""Imaging weights against what defines them."""

from __future__ import annotations

import numpy as np
import pytest

from dsa110_contimg.imaging.models import CleanOptions
from dsa110_contimg.imaging.weighting import imaging_weight
from dsa110_contimg.instrument import SPEED_OF_LIGHT_M_S

pytestmark = pytest.mark.unit

FREQ_HZ = np.array([SPEED_OF_LIGHT_M_S])
"""A wavelength of one metre: metres are wavelengths."""
UV_M = np.array([[10.1, 5.1], [10.9, 5.7], [-10.4, -5.2], [70.5, -3.5], [30.5, 30.5]])
"""Two in one cell of 1 wavelength, one opposite of them, one alone, one that is flagged."""
WEIGHT = np.array([[1.0], [3.0], [2.0], [5.0], [0.0]], dtype=np.float32)


def weigh(**options: object) -> np.ndarray:
    clean = CleanOptions.model_validate(options)
    return imaging_weight(WEIGHT, UV_M, FREQ_HZ, options=clean, width_rad=1.0)[:, 0]


def test_natural_weights_are_those_of_the_noise():
    assert np.array_equal(weigh(weighting="natural"), WEIGHT[:, 0])


def test_uniform_weights_give_every_cell_one():
    weight = weigh(weighting="uniform")
    assert weight[:3] == pytest.approx(np.array([1.0, 3.0, 2.0]) / 6.0)
    assert weight[3:] == pytest.approx([1.0, 0.0])


def test_briggs_weights_follow_his_formula():
    density = np.array([6.0, 6.0, 6.0, 5.0])
    mean = (6.0**2 + 5.0**2) / (1.0 + 3.0 + 2.0 + 5.0)
    expected = WEIGHT[:4, 0] / (1.0 + density * (5.0 * 10**-0.5) ** 2 / mean)
    assert weigh(weighting="briggs", robust=0.5)[:4] == pytest.approx(expected, rel=1e-6)


@pytest.mark.parametrize(("robust", "weighting"), [(-2.0, "uniform"), (2.0, "natural")])
def test_briggs_weights_reach_from_uniform_to_natural(robust, weighting):
    ratio = weigh(weighting="briggs", robust=robust)[:4] / weigh(weighting=weighting)[:4]
    assert ratio == pytest.approx(np.full(4, ratio[0]), rel=0.01)
