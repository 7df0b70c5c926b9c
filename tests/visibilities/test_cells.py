"""Cells against plain numpy: nothing is lost, and a model of a cell is the mean of its parts."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from support.small_field import (
    Array,
    make_info,
    observe,
    position,
    stokes_i,
    unit_visibilities,
)

from dsa110_contimg.errors import ScienceQualityError
from dsa110_contimg.instrument import CHANNEL_WIDTH_HZ
from dsa110_contimg.photometry.joint_fit import fit_jointly
from dsa110_contimg.visibilities.cells import (
    MAX_INTEGRATIONS,
    _cell_sizes,
    _index_rows,
    make_cells,
)
from dsa110_contimg.visibilities.directions import source_directions
from dsa110_contimg.visibilities.field import place_sources
from dsa110_contimg.visibilities.model_kernel import fill_design
from dsa110_contimg.visibilities.window import Window

pytestmark = pytest.mark.unit

ARRAY = Array()
INFO = make_info(ARRAY)
EDGE = [position("east", 1.6, 0.1), position("corner", -1.1, -1.1), position("centre", 0.0, 0.0)]
EDGE_OF_ONE_JANSKY = [source.model_copy(update={"flux_jy": 1.0}) for source in EDGE]
DIRECTIONS = source_directions(EDGE, INFO)
SINGLE = 3e-7
"""Relative: sums of some hundred visibilities end in single precision."""
IN_PHASE, IN_QUADRATURE = 4e-3, 4e-2
"""Of a source at the edge of the field, relative; see `cells.MAX_PHASE_RAD`. The mean of cosines
over a radian to either side is taken as that of evenly spread phases (2e-3 off for two of them
alone). While the source turns so far, the beam takes up to 0.1 of it away to one side and gives
as much on the other: a third of their product is in quadrature, where a flux density does not
feel it."""
FLUX = 1e-3
"""What is left of it in flux densities, relative."""


def change(window: Window, rows: np.ndarray) -> Window:
    """Take some rows of a window, in some order."""
    names = ("time_mjd_s", "interval_s", "antenna1", "antenna2", "uvw_m", "data", "weight")
    return replace(window, **{name: getattr(window, name)[rows] for name in names})


def flag(window: Window, bad: np.ndarray) -> Window:
    """Flag the visibilities (nrow, nchan) that are true."""
    bad = bad[:, :, None]
    return replace(
        window,
        weight=np.where(bad, np.float32(0), window.weight),
        data=np.where(bad, 0, window.data),
    )


def members(window: Window) -> list[tuple[np.ndarray, slice]]:
    """Rows and channels of each cell of a window without flags, in order."""
    row_of = _index_rows(window)
    channels, integrations = _cell_sizes(window, row_of, DIRECTIONS)
    return [
        (rows[rows >= 0], slice(first, first + wide))
        for rows_of, wide, long in zip(row_of, channels, integrations, strict=True)
        for rows in np.split(rows_of, np.arange(long, len(rows_of), long))
        if (rows >= 0).any()
        for first in range(0, len(window.freqs_hz), wide)
    ]


def means(values: np.ndarray, weight: np.ndarray, cells: list[tuple[np.ndarray, slice]]):
    """Weighted means of values (nrow, nchan, ...) over cells."""
    return np.array(
        [
            np.tensordot(weight[rows, chans], values[rows, chans], 2) / weight[rows, chans].sum()
            for rows, chans in cells
        ]
    )


def model(cells, spw) -> np.ndarray:
    """What the kernel says that `EDGE` gives in each cell, without the root of the weight."""
    placed = place_sources(EDGE, INFO, spw, cells.n_times, MAX_INTEGRATIONS)
    design = np.empty((2, len(cells.arrays.weight), len(EDGE)), np.float32)
    fill_design(cells.arrays, 0, len(cells.arrays.freq_hz), placed, design)
    return (design[0] + 1j * design[1]) / np.sqrt(cells.arrays.weight)[:, None]


def totals(cells) -> tuple[float, complex]:
    """Sum of the weights and of the weighted visibilities."""
    weight = cells.arrays.weight.astype(float)
    return weight.sum(), (weight * cells.arrays.vis).sum()


def require_same_totals(cells, window: Window) -> None:
    vis, weight = stokes_i(window)
    total_weight, total = totals(cells)
    assert total_weight == pytest.approx(weight.sum(), rel=1e-6)
    assert total == pytest.approx((vis * weight).sum(), rel=1e-5)


@pytest.fixture(scope="module")
def window() -> Window:
    return observe(ARRAY, EDGE_OF_ONE_JANSKY)


def test_cells_are_weighted_means(window):
    cells = make_cells(window, DIRECTIONS)
    expected = members(window)
    vis, weight = stokes_i(window)
    assert len(cells.arrays.vis) == len(expected) < vis.size / 5
    sums = [weight[rows, chans].sum() for rows, chans in expected]
    np.testing.assert_allclose(cells.arrays.weight, sums, rtol=SINGLE)
    np.testing.assert_allclose(cells.arrays.vis, means(vis, weight, expected), atol=1e-5)
    require_same_totals(cells, window)
    assert cells.n_times == ARRAY.n_times


@pytest.mark.parametrize("n_corr", [1, 4])
def test_parallel_hands_alone_are_stokes_i(n_corr):
    window = observe(replace(ARRAY, n_corr=n_corr, n_antennas=5), EDGE_OF_ONE_JANSKY)
    cells = make_cells(window, DIRECTIONS)
    require_same_totals(cells, window)
    assert np.isnan(cells.noise_scale) == (n_corr == 1)


def test_the_model_of_a_cell_is_the_mean_of_its_visibilities(window):
    """A source at the edge of the field, where a cell spans up to a radian to each side."""
    cells = make_cells(window, DIRECTIONS)
    weight = stokes_i(window)[1]
    expected = means(unit_visibilities(window, INFO, EDGE), weight, members(window))
    off = model(cells, window.spw) / expected - 1.0
    assert np.abs(off.real).max() < IN_PHASE
    assert np.abs(off.imag).max() < IN_QUADRATURE
    # At the phase centre nothing turns.
    assert np.abs(off[:, 2]).max() < 2e-6
    # The test could not fail if averaging took nothing away.
    whole = np.sqrt(np.tensordot(weight, np.abs(unit_visibilities(window, INFO, EDGE)) ** 2, 2))
    kept = np.sqrt(cells.arrays.weight @ np.abs(expected) ** 2)
    assert np.all(kept[:2] < 0.98 * whole[:2])


def test_a_strong_source_at_the_edge_keeps_its_flux_density(window):
    """Without noise, so that nothing but the averaging is seen."""
    vis = unit_visibilities(window, INFO, EDGE).sum(axis=2)[:, :, None]
    silent = replace(window, data=np.where(window.weight > 0.0, vis, 0.0).astype(np.complex64))
    fit = fit_jointly(make_cells(silent, DIRECTIONS), INFO, window.spw, EDGE)
    np.testing.assert_allclose(fit.flux_jy, 1.0, rtol=FLUX)


def test_a_cell_flagged_in_part_becomes_rows_of_its_own(window):
    """One channel of one integration: the means of the cells that it touches would be off."""
    row_of = _index_rows(window)
    channels, integrations = _cell_sizes(window, row_of, DIRECTIONS)
    baseline = int(np.argmax(channels * integrations))
    bad = np.zeros(window.data.shape[:2], bool)
    bad[row_of[baseline, 1], 5] = True
    flagged = flag(window, bad)
    before, after = make_cells(window, DIRECTIONS), make_cells(flagged, DIRECTIONS)
    n_parts = channels[baseline] * integrations[baseline] - 1
    assert len(after.arrays.vis) == len(before.arrays.vis) + n_parts
    assert np.count_nonzero(after.arrays.weight == 0.0) == 1
    single = after.arrays.freq_spread_hz == 0.0
    assert np.count_nonzero(single & (after.arrays.step_hz == 0.0)) == n_parts
    assert np.isin(after.arrays.freq_hz[after.arrays.step_hz == 0.0], window.freqs_hz).all()
    require_same_totals(after, flagged)


def test_a_cell_of_uneven_weights_becomes_rows_of_its_own(window):
    """One channel weighs half: the mean of its cell would be off as well."""
    row_of = _index_rows(window)
    channels, integrations = _cell_sizes(window, row_of, DIRECTIONS)
    baseline = int(np.argmax(channels * integrations))
    weight = window.weight.copy()
    weight[row_of[baseline, 1], 5] /= 2
    uneven = replace(window, weight=weight)
    before, after = make_cells(window, DIRECTIONS), make_cells(uneven, DIRECTIONS)
    n_parts = channels[baseline] * integrations[baseline]
    assert len(after.arrays.vis) == len(before.arrays.vis) + n_parts
    require_same_totals(after, uneven)


def test_what_is_wholly_flagged_vanishes(window):
    """A baseline: gone. A channel block of all baselines: an empty cell, which weighs nothing."""
    bad = np.zeros(window.data.shape[:2], bool)
    bad[(window.antenna1 == 0) & (window.antenna2 == 1)] = True
    flagged = flag(window, bad)
    before, after = make_cells(window, DIRECTIONS), make_cells(flagged, DIRECTIONS)
    channels, integrations = _cell_sizes(window, _index_rows(window), DIRECTIONS)
    n_gone = len(window.freqs_hz) // channels[0] * -(-ARRAY.n_times // integrations[0])
    assert len(after.arrays.vis) == len(before.arrays.vis) - n_gone
    require_same_totals(after, flagged)

    bad[:] = False
    bad[:, :24] = True
    flagged = flag(window, bad)
    after = make_cells(flagged, DIRECTIONS)
    assert (after.arrays.weight == 0.0).any()
    require_same_totals(after, flagged)


@given(st.integers(0, 2**32 - 1), st.floats(0.001, 0.9))
@settings(max_examples=20)
def test_any_flags_keep_weights_and_sums(seed, fraction):
    small = observe(replace(ARRAY, n_antennas=4, n_times=10), EDGE_OF_ONE_JANSKY)
    rng = np.random.default_rng(seed)
    shape = small.data.shape[:2]
    bad = (rng.random(shape) < fraction) | (rng.random((shape[0], 1)) < fraction)
    flagged = flag(small, bad)
    if not flagged.weight.any():
        return
    info = make_info(replace(ARRAY, n_times=10))
    cells = make_cells(flagged, source_directions(EDGE, info))
    require_same_totals(cells, flagged)
    # Every visibility that is left is modelled: what was put in comes out.
    fit = fit_jointly(cells, info, small.spw, EDGE)
    assert np.all(np.abs(fit.flux_jy - 1.0) < 6 * fit.rms_jy + FLUX)


def test_order_of_rows_does_not_matter(window):
    shuffled = change(window, np.random.default_rng(0).permutation(len(window.uvw_m)))
    before, after = make_cells(window, DIRECTIONS), make_cells(shuffled, DIRECTIONS)
    for one, other in zip(before.arrays, after.arrays, strict=True):
        np.testing.assert_array_equal(one, other)


def test_missing_rows_are_not_missed(window):
    """A tenth of the rows is not there; cells around them have their means where they belong."""
    keep = np.flatnonzero(np.random.default_rng(0).random(len(window.uvw_m)) > 0.1)
    holes = change(window, keep)
    cells = make_cells(holes, DIRECTIONS)
    weight = stokes_i(holes)[1]
    expected = means(unit_visibilities(holes, INFO, EDGE), weight, members(holes))
    off = model(cells, holes.spw) / expected - 1.0
    # What is left of a cell is not evenly spread any more.
    assert np.abs(off.real).max() < 5 * IN_PHASE
    assert np.abs(off.imag).max() < 2 * IN_QUADRATURE
    require_same_totals(cells, holes)


def test_a_gap_in_time_is_not_averaged_across(window):
    """Ten integrations are missing for all baselines."""
    step_s = window.interval_s[0]
    step = np.rint((window.time_mjd_s - window.time_mjd_s.min()) / step_s)
    gap = change(window, np.flatnonzero((step < 6) | (step >= 16)))
    vis = unit_visibilities(gap, INFO, EDGE).sum(axis=2)[:, :, None]
    silent = replace(gap, data=np.where(gap.weight > 0.0, vis, 0.0).astype(np.complex64))
    cells = make_cells(silent, DIRECTIONS)
    fit = fit_jointly(cells, INFO, gap.spw, EDGE)
    np.testing.assert_allclose(fit.flux_jy, 1.0, rtol=FLUX)


def test_descending_channels(window):
    down = replace(
        window,
        freqs_hz=window.freqs_hz[::-1],
        data=window.data[:, ::-1],
        weight=window.weight[:, ::-1],
    )
    fits = [fit_jointly(make_cells(w, DIRECTIONS), INFO, w.spw, EDGE) for w in (window, down)]
    np.testing.assert_allclose(fits[0].flux_jy, fits[1].flux_jy, atol=1e-4)


def test_uneven_channels_are_refused(window):
    freqs_hz = window.freqs_hz.copy()
    freqs_hz[7] += 1e-3 * CHANNEL_WIDTH_HZ
    with pytest.raises(ScienceQualityError, match="not equally spaced"):
        make_cells(replace(window, freqs_hz=freqs_hz), DIRECTIONS)


def test_repeated_rows_are_refused(window):
    repeated = change(window, np.r_[np.arange(len(window.uvw_m)), 3])
    with pytest.raises(ScienceQualityError, match="twice"):
        make_cells(repeated, DIRECTIONS)


def test_noise_is_measured_from_the_difference_of_the_hands(window):
    """Sources are in both hands alike and drop out."""
    cells = make_cells(window, DIRECTIONS)
    n_visibilities = np.count_nonzero(window.weight[:, :, 0])
    # A sum of squares of 2 n normal numbers scatters by sqrt(1 / n) of itself.
    tolerance = 4.0 / np.sqrt(n_visibilities)
    assert cells.noise_scale == pytest.approx(ARRAY.noise_jy**2, rel=tolerance)
