"""The Gaussian that is fitted to a PSF."""

from __future__ import annotations

import numpy as np
import pytest

from dsa110_contimg.errors import ScienceQualityError
from dsa110_contimg.imaging.beam import fit_beam

pytestmark = pytest.mark.unit


def gaussian_psf(major_px: float, minor_px: float, angle_deg: float) -> np.ndarray:
    y, x = np.mgrid[:64, :96]
    east, north = 48 - x, y - 32
    angle = np.deg2rad(angle_deg)
    along = east * np.sin(angle) + north * np.cos(angle)
    across = east * np.cos(angle) - north * np.sin(angle)
    return np.exp(-4 * np.log(2) * ((along / major_px) ** 2 + (across / minor_px) ** 2))


@pytest.mark.parametrize("angle_deg", [0.0, 30.0, 90.0, 150.0])
def test_an_ellipse_is_found_from_north_through_east(angle_deg):
    beam = fit_beam(gaussian_psf(9.0, 5.0, angle_deg))
    assert beam.major_px == pytest.approx(9.0, rel=1e-4)
    assert beam.minor_px == pytest.approx(5.0, rel=1e-4)
    assert np.cos(2 * np.deg2rad(beam.angle_deg - angle_deg)) == pytest.approx(1.0, abs=1e-6)
    assert beam.cards(0.001) == {
        "BMAJ": pytest.approx(0.009, rel=1e-4),
        "BMIN": pytest.approx(0.005, rel=1e-4),
        "BPA": beam.angle_deg,
    }


def test_side_lobes_do_not_count():
    psf = gaussian_psf(6.0, 6.0, 0.0)
    psf += 0.6 * np.roll(psf, (20, 20), axis=(0, 1))
    beam = fit_beam(psf)
    assert (beam.major_px, beam.minor_px) == pytest.approx((6.0, 6.0), rel=1e-3)


def test_the_scale_of_the_psf_does_not_matter():
    psf = gaussian_psf(8.0, 4.0, 60.0)
    assert fit_beam(3.0 * psf).major_px == pytest.approx(fit_beam(psf).major_px, rel=1e-6)


@pytest.mark.parametrize(
    "psf",
    [
        gaussian_psf(1.0, 1.0, 0.0),
        np.ones((64, 64)),
        np.zeros((64, 64)),
        np.full((64, 64), np.nan),
        -gaussian_psf(9.0, 5.0, 0.0),
    ],
    ids=["one pixel", "flat", "zero", "NaN", "negative"],
)
def test_what_is_no_lobe_is_refused(psf):
    with pytest.raises(ScienceQualityError) as caught:
        fit_beam(psf)
    assert caught.value.reason == "no_beam"
