"""The joint fit against `numpy.linalg.lstsq` on every visibility, and against the truth."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np
import pytest
from support.small_field import (
    DEC_DEG,
    RA_DEG,
    Array,
    fit_in_full,
    make_info,
    observe,
    position,
    stokes_i,
    unit_visibilities,
)

from dsa110_contimg.catalog.sources import Source
from dsa110_contimg.errors import ScienceQualityError
from dsa110_contimg.photometry.joint_fit import JointFit, fit_jointly
from dsa110_contimg.visibilities.cells import make_cells
from dsa110_contimg.visibilities.directions import source_directions
from dsa110_contimg.visibilities.subtract import subtract_sources
from dsa110_contimg.visibilities.window import Window

pytestmark = pytest.mark.unit

ARRAY = Array(noise_jy=1.0)
INFO = make_info(ARRAY)
FIELD = (
    position("bright", 0.9, -0.8, flux_jy=0.15),
    position("target", 0.05, 0.02, flux_jy=0.02),
    position("faint", -0.3, 0.4, flux_jy=0.004),
    position("edge", -1.1, -1.0, flux_jy=0.15, spectral_index=-0.7),
    position("steep", 0.2, -1.3, flux_jy=0.1, spectral_index=-3.0),
    position("rising", 0.6, 0.7, flux_jy=0.05, spectral_index=3.0),
)
BLEND = (
    Source(name="first", ra_deg=124.526792, dec_deg=54.620694, flux_jy=0.08),
    Source(name="second", ra_deg=124.530, dec_deg=54.625, flux_jy=0.05),
    Source(name="third", ra_deg=124.523, dec_deg=54.616, flux_jy=0.03),
)
"""The original's test, moved here to the phase centre by `near`."""


def near(sources: Sequence[Source]) -> tuple[Source, ...]:
    """Move sources to the phase centre, keeping their distances from each other."""
    ra_deg, dec_deg = sources[0].ra_deg, sources[0].dec_deg
    return tuple(
        source.model_copy(
            update={
                "ra_deg": source.ra_deg - ra_deg + RA_DEG,
                "dec_deg": source.dec_deg - dec_deg + DEC_DEG,
            }
        )
        for source in sources
    )


def fit(window: Window, sources: Sequence[Source], array: Array = ARRAY) -> JointFit:
    info = make_info(array, window.spw.spw_id + 1)
    cells = make_cells(window, source_directions(sources, info))
    return fit_jointly(cells, info, window.spw, sources)


def truth_jy(sources: Sequence[Source], window: Window) -> np.ndarray:
    return np.array([float(source.flux_at(window.spw.freq_hz)) for source in sources])


@pytest.fixture(scope="module")
def window() -> Window:
    return observe(ARRAY, FIELD)


@pytest.fixture(scope="module")
def sharp() -> Window:
    """The same field with so little noise that the methods' own errors show."""
    return observe(replace(ARRAY, noise_jy=0.02), FIELD)


def require_equal(found: JointFit, expected_jy: np.ndarray, covariance_jy2: np.ndarray) -> None:
    """Compare with the best estimate that there is, that from every visibility.

    An estimate that wastes something scatters around the best one with the difference of their
    variances (Gauss and Markov); averaging wastes what a source turns within a cell.
    """
    wasted_jy2 = np.diag(found.covariance_jy2 - covariance_jy2)
    # The noise is measured, to a half per cent; the model is right to 1e-3 of a source.
    allowance_jy2 = 0.02 * np.diag(covariance_jy2)
    assert np.all(wasted_jy2 > -allowance_jy2)
    assert np.all(wasted_jy2 < 0.35 * np.diag(covariance_jy2))
    off_jy = found.flux_jy - expected_jy
    assert np.all(np.abs(off_jy) < 3 * np.sqrt(np.maximum(wasted_jy2, 0) + allowance_jy2))


def test_equals_least_squares_on_every_visibility(window):
    expected_jy, covariance_jy2 = fit_in_full(window, INFO, FIELD, ARRAY.noise_jy)
    found = fit(window, FIELD)
    require_equal(found, expected_jy, covariance_jy2)
    rms_jy = np.sqrt(np.diag(covariance_jy2))
    # Near the centre nothing is wasted, and both see the same noise.
    assert abs(found.flux_jy[1] - expected_jy[1]) < 0.02 * rms_jy[1]
    np.testing.assert_allclose(found.rms_jy[1], rms_jy[1], rtol=0.01)
    expected = covariance_jy2 / np.outer(rms_jy, rms_jy)
    np.testing.assert_allclose(found.correlation, expected, atol=0.02)


def test_equals_least_squares_where_nothing_is_averaged():
    """Baselines so long, and one integration: every visibility is a cell of its own."""
    array = Array(n_antennas=6, n_times=1, size_m=100_000.0, noise_jy=0.05)
    info = make_info(array)
    far = [position("a", 1.5, 0.2, flux_jy=1.0), position("b", -1.2, 0.9, flux_jy=0.5)]
    window = observe(array, far)
    cells = make_cells(window, source_directions(far, info))
    assert len(cells.arrays.vis) == np.count_nonzero(window.weight[:, :, 0])
    expected_jy, covariance_jy2 = fit_in_full(window, info, far, array.noise_jy)
    found = fit_jointly(cells, info, window.spw, far)
    rms_jy = np.sqrt(np.diag(covariance_jy2))
    # Single precision in the design: 1e-5 of each visibility.
    np.testing.assert_allclose(found.flux_jy, expected_jy, atol=5e-4 * rms_jy.min())
    scale = cells.noise_scale / array.noise_jy**2 * max(1.0, found.reduced_chi2)
    np.testing.assert_allclose(found.rms_jy, rms_jy * np.sqrt(scale), rtol=1e-4)


def test_truth_is_recovered(sharp):
    """Beam and spectrum bend within the window: 1e-3 of the flux density at most."""
    found = fit(sharp, FIELD)
    truth = truth_jy(FIELD, sharp)
    assert np.all(np.abs(found.flux_jy - truth) < 4 * found.rms_jy + 2e-3 * truth)


def test_pulls_over_many_realizations_of_the_noise():
    n_skies = 80
    small = replace(ARRAY, n_antennas=7, n_times=12, noise_jy=1.5)
    windows = [observe(small, FIELD, seed=seed) for seed in range(n_skies)]
    fits = [fit(window, FIELD, small) for window in windows]
    truth = truth_jy(FIELD, windows[0])
    pulls = np.array([(found.flux_jy - truth) / found.rms_jy for found in fits])
    # Four errors of a mean, and of a standard deviation, of n independent pulls.
    n = pulls.size
    assert abs(pulls.mean()) < 4 / np.sqrt(n)
    assert abs(pulls.std() - 1.0) < 4 / np.sqrt(2 * n)
    # Neither are single sources off: each has its own mean and its own scatter.
    assert np.all(np.abs(pulls.mean(axis=0)) < 4 / np.sqrt(n_skies))
    assert np.all(np.abs(pulls.std(axis=0) - 1.0) < 4 / np.sqrt(2 * n_skies))
    # The covariance too is what the flux densities do.
    flux_jy = np.array([found.flux_jy for found in fits])
    scatter = np.corrcoef(flux_jy.T)
    assert np.abs(scatter - fits[0].correlation).max() < 4 / np.sqrt(n_skies)
    chi2 = np.array([found.reduced_chi2 for found in fits])
    assert abs(chi2.mean() - 1.0) < 0.01


def test_two_sources_at_one_position_have_a_common_flux_density(window):
    twin = FIELD[1].model_copy(update={"name": "twin"})
    alone = fit(window, FIELD)
    found = fit(window, (*FIELD, twin))
    assert found.flux_jy[1] + found.flux_jy[-1] == pytest.approx(
        alone.flux_jy[1], abs=1e-3 * alone.rms_jy[1]
    )
    both = found.covariance_jy2[np.ix_([1, -1], [1, -1])].sum()
    assert np.sqrt(both) == pytest.approx(alone.rms_jy[1], rel=0.01)
    assert found.correlation[1, -1] < -0.999
    assert found.inflation[[1, -1]].min() > 500.0
    # The others do not notice.
    np.testing.assert_allclose(
        found.flux_jy[[0, 2, 3, 4, 5]], alone.flux_jy[[0, 2, 3, 4, 5]], atol=1e-5
    )
    assert np.all(found.inflation[[0, 2, 3, 4, 5]] < 1.5)


def test_of_a_blend_the_sum_is_known_better_than_its_parts():
    """Seen by an array whose beam of a minute of arc holds all three."""
    array = replace(ARRAY, noise_jy=0.5, size_m=700.0)
    triple = near(BLEND)
    window = observe(array, triple)
    found = fit(window, triple, array)
    truth = truth_jy(triple, window)
    assert np.all(np.abs(found.flux_jy - truth) < 4 * found.rms_jy)
    sum_rms_jy = np.sqrt(found.covariance_jy2.sum())
    assert abs(found.flux_jy.sum() - truth.sum()) < 4 * sum_rms_jy
    assert sum_rms_jy < found.rms_jy.min()
    # The middle one lies between the others and pays for both.
    assert np.argmax(found.inflation) == 0
    assert found.correlation[0, 1] < -0.2
    assert found.correlation[0, 2] < -0.2


def test_a_neighbour_that_is_left_out_raises_the_error_and_chi2():
    array = replace(ARRAY, noise_jy=0.1)
    window = observe(array, FIELD)
    whole, lacking = fit(window, FIELD, array), fit(window, FIELD[1:3], array)
    assert whole.reduced_chi2 == pytest.approx(1.0, abs=0.03)
    assert lacking.reduced_chi2 > 1.1
    assert lacking.rms_jy[0] > whole.rms_jy[1]


def test_a_source_that_the_beam_does_not_reach_is_refused(window):
    far = position("far", 40.0, -30.0)
    with pytest.raises(ScienceQualityError, match="does not reach"):
        fit(window, (*FIELD, far))


def test_more_sources_than_data_are_refused():
    array = Array(n_antennas=2, n_times=1)
    window = observe(array)
    grid = [position(f"g{i}{j}", i / 50, j / 50) for i in range(10) for j in range(10)]
    with pytest.raises(ScienceQualityError, match="fewer visibilities"):
        fit(window, grid, array)


def test_mirrored_positions_hold_nothing(sharp):
    """The other sign of the fringes would find the sources there, and nothing here."""
    mirrored = [
        source.model_copy(
            update={"ra_deg": 2 * RA_DEG - source.ra_deg, "dec_deg": 2 * DEC_DEG - source.dec_deg}
        )
        for source in FIELD
    ]
    bright = [0, 3, 4]
    truth = truth_jy(FIELD, sharp)[bright]
    assert np.all(np.abs(fit(sharp, FIELD).flux_jy[bright] - truth) < 0.02 * truth)
    assert np.all(np.abs(fit(sharp, mirrored).flux_jy[bright]) < 0.2 * truth)
    conjugate = replace(sharp, data=sharp.data.conj())
    assert np.all(np.abs(fit(conjugate, FIELD).flux_jy[bright]) < 0.2 * truth)


def test_one_correlation_takes_its_noise_from_the_residuals():
    array = Array(n_corr=1, noise_jy=0.5)
    window = observe(array, FIELD)
    found = fit(window, FIELD, array)
    covariance_jy2 = fit_in_full(window, INFO, FIELD, array.noise_jy)[1]
    ratio = found.rms_jy / np.sqrt(np.diag(covariance_jy2))
    # At the edge of the field averaging wastes up to a tenth; near the centre nothing.
    assert np.all((ratio > 0.98) & (ratio < 1.16))
    assert ratio[1] < 1.02
    assert found.reduced_chi2 == 1.0
    assert np.all(np.abs(found.flux_jy - truth_jy(FIELD, window)) < 4 * found.rms_jy)


def test_data_without_noise_can_be_fitted(window):
    vis = unit_visibilities(window, INFO, FIELD).sum(axis=2)[:, :, None]
    silent = replace(window, data=np.where(window.weight > 0.0, vis, 0.0).astype(np.complex64))
    found = fit(silent, FIELD)
    np.testing.assert_allclose(found.flux_jy, 1.0, rtol=1e-3)
    assert np.all(np.isfinite(found.rms_jy))


def test_subtraction_leaves_noise(sharp):
    """In every visibility: the model is that of the window's centre, as it is on the sky."""
    left = subtract_sources(sharp, INFO, FIELD, truth_jy(FIELD, sharp).tolist())
    vis, weight = stokes_i(left)
    used = weight > 0.0
    scaled = (vis * np.sqrt(weight))[used]
    assert np.mean(np.abs(scaled) ** 2) / 2 == pytest.approx(0.02**2, rel=0.05)
    before = stokes_i(sharp)[0][used] * np.sqrt(weight[used])
    assert np.mean(np.abs(before) ** 2) / 2 > 10 * 0.02**2
    np.testing.assert_array_equal(left.weight, sharp.weight)
    assert not left.data[left.weight == 0.0].any()
    # What was there is still there when nothing is subtracted.
    assert subtract_sources(sharp, INFO, [], []) is sharp


def test_subtraction_equals_plain_numpy(window):
    flux_jy = [0.3, -0.1, 0.0, 1.0, 0.5, 0.2]
    left = subtract_sources(window, INFO, FIELD, flux_jy)
    expected = window.data - (unit_visibilities(window, INFO, FIELD) @ flux_jy)[:, :, None]
    # Phases are advanced from channel to channel in single precision.
    np.testing.assert_allclose(left.data, np.where(window.weight > 0.0, expected, 0.0), atol=5e-5)


def test_after_the_subtraction_of_the_others_the_target_is_alone(window):
    whole = fit(window, FIELD)
    others = [source for source in FIELD if source.name != "target"]
    flux_jy = np.delete(whole.flux_jy, 1).tolist()
    alone = fit(subtract_sources(window, INFO, others, flux_jy), FIELD[1:2])
    # The same normal equation; but one source near the centre allows of larger cells, in which
    # it loses up to 1.5 per cent: the square root of 2 x 0.0075 is 0.12 errors.
    assert alone.flux_jy[0] == pytest.approx(whole.flux_jy[1], abs=0.12 * whole.rms_jy[1])
