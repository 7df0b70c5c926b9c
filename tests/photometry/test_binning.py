"""Adaptive binning against a brute-force reference, and the rules it promises."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dsa110_contimg.photometry.binning import (
    count_trials,
    false_alarm_probability,
    find_detections,
)
from dsa110_contimg.photometry.models import BinningOptions, SpwMeasurement

pytestmark = pytest.mark.unit

BANDWIDTH_HZ = 11.71875e6


def make_spw(spw_id: int, flux_jy: float, rms_jy: float = 1.0, **changes) -> SpwMeasurement:
    values = {
        "spw_id": spw_id,
        "freq_hz": 1.31e9 + spw_id * BANDWIDTH_HZ,
        "bandwidth_hz": BANDWIDTH_HZ,
        "flux_jy": flux_jy,
        "rms_jy": rms_jy,
        "snr": flux_jy / rms_jy if rms_jy else math.inf,
        "flagged_fraction": 0.0,
    }
    return SpwMeasurement(**{**values, **changes})


# Rational numbers, so that the reference decides without rounding.
fluxes = st.integers(-40, 80).map(lambda n: n / 8)
errors = st.sampled_from([0.5, 1.0, 2.0, 4.0])
spectra = st.dictionaries(st.integers(0, 15), st.tuples(fluxes, errors), max_size=16).map(
    lambda spectrum: [make_spw(i, flux, rms) for i, (flux, rms) in spectrum.items()]
)
widths = st.tuples(st.integers(1, 6), st.integers(1, 16)).map(
    lambda pair: {"min_width": min(pair), "max_width": max(pair)}
)
options_strategy = st.builds(
    lambda target, pair, bridge: BinningOptions(target_snr=target, bridge_gaps=bridge, **pair),
    st.sampled_from([1.5, 3.0, 5.0]),
    widths,
    st.booleans(),
)


def squared_snr(spws) -> Fraction:
    """Square of the SNR of an inverse-variance mean, with its sign, without rounding."""
    weights = [1 / Fraction(spw.rms_jy) ** 2 for spw in spws]
    total = sum(w * Fraction(spw.flux_jy) for w, spw in zip(weights, spws, strict=True))
    return total * abs(total) / sum(weights)


def reference(spws, options: BinningOptions) -> list[list[int]]:
    """Look at every bin there can be, narrow before wide and low before high; keep what fits."""
    by_id = {spw.spw_id: spw for spw in spws}
    ids = sorted(by_id)
    taken: list[list[int]] = []
    used: set[int] = set()
    for width in range(options.min_width, options.max_width + 1):
        for first in range(len(ids) - width + 1):
            chosen = ids[first : first + width]
            whole = options.bridge_gaps or chosen[-1] - chosen[0] == width - 1
            strong = squared_snr([by_id[i] for i in chosen]) >= Fraction(options.target_snr) ** 2
            if whole and strong and not used & set(chosen):
                taken.append(chosen)
                used |= set(chosen)
    return sorted(taken)


@given(spectra, options_strategy)
def test_equals_the_brute_force_reference(spws, options):
    found = find_detections(spws, options)
    assert [detection.spw_ids for detection in found] == reference(spws, options)


@given(spectra, options_strategy, st.randoms())
def test_order_of_the_input_does_not_matter(spws, options, random):
    shuffled = list(spws)
    random.shuffle(shuffled)
    assert find_detections(shuffled, options) == find_detections(spws, options)


@given(spectra, options_strategy)
def test_every_detection_keeps_the_rules(spws, options):
    by_id = {spw.spw_id: spw for spw in spws}
    found = find_detections(spws, options)
    used = [spw_id for detection in found for spw_id in detection.spw_ids]
    assert len(used) == len(set(used))
    for detection in found:
        assert options.min_width <= detection.bin_width <= options.max_width
        assert detection.bin_width == len(detection.spw_ids)
        assert detection.snr >= options.target_snr
        assert detection.snr == pytest.approx(detection.flux_jy / detection.rms_jy)
        members = [by_id[i] for i in detection.spw_ids]
        weights = np.array([spw.rms_jy**-2 for spw in members])
        mean_jy = np.average([spw.flux_jy for spw in members], weights=weights)
        assert detection.flux_jy == pytest.approx(mean_jy)
        assert detection.rms_jy == pytest.approx(weights.sum() ** -0.5)
        freq_hz = np.mean([spw.freq_hz for spw in members])
        assert detection.center_freq_hz == pytest.approx(freq_hz)


@given(spectra, options_strategy)
def test_nothing_that_is_left_would_be_a_detection(spws, options):
    """A remainder within the widths has been tried as a whole."""
    used = {i for detection in find_detections(spws, options) for i in detection.spw_ids}
    left = [spw for spw in spws if spw.spw_id not in used]
    apart = options.model_copy(update={"bridge_gaps": False})
    assert find_detections(left, apart) == []


@given(spectra, options_strategy, st.integers(0, 15))
def test_what_lies_across_a_gap_has_no_influence(spws, options, gap):
    apart = options.model_copy(update={"bridge_gaps": False})
    lower = [spw for spw in spws if spw.spw_id < gap]
    upper = [spw for spw in spws if spw.spw_id > gap]
    ids, expected = (
        [detection.spw_ids for part in parts for detection in find_detections(part, apart)]
        for parts in ([lower + upper], [lower, upper])
    )
    assert ids == expected


@given(spectra, options_strategy)
def test_the_unit_of_flux_density_does_not_matter(spws, options):
    scaled = [
        spw.model_copy(update={"flux_jy": 1024 * spw.flux_jy, "rms_jy": 1024 * spw.rms_jy})
        for spw in spws
    ]
    assert [found.spw_ids for found in find_detections(scaled, options)] == [
        found.spw_ids for found in find_detections(spws, options)
    ]


def test_what_is_left_of_a_run_is_tried_as_a_whole():
    """A strong window cuts the run in two; the rests are found only with all of their windows."""
    spws = [make_spw(i, 9.0 if i == 5 else 2.3) for i in range(10)]
    found = find_detections(spws, BinningOptions(target_snr=5.0))
    # 2.3 sqrt(5) = 5.1, but 2.3 sqrt(4) = 4.6.
    assert [detection.spw_ids for detection in found] == [[0, 1, 2, 3, 4], [5]]
    narrow = BinningOptions(target_snr=5.0, max_width=4)
    assert [detection.spw_ids for detection in find_detections(spws, narrow)] == [[5]]


@pytest.mark.parametrize("width", [1, 2, 5, 16])
def test_a_flat_source_of_one_jansky_is_one_jansky_at_any_width(width):
    """Fluxes are averaged, not summed; and the SNR grows as the square root of the width."""
    rng = np.random.default_rng(width)
    spws = [make_spw(i, 1.0, rms) for i, rms in enumerate(rng.uniform(0.1, 0.5, 16))]
    options = BinningOptions(target_snr=1e-3, min_width=width, max_width=width)
    found = find_detections(spws, options)
    assert len(found) == 16 // width
    assert all(detection.flux_jy == pytest.approx(1.0, rel=1e-12) for detection in found)


def test_snr_grows_as_the_square_root_of_the_width():
    spws = [make_spw(i, 3.0) for i in range(16)]
    wide = BinningOptions(target_snr=5.0)
    found = find_detections(spws, wide)
    # 3 sqrt(3) = 5.2 is the first width at or above 5.
    assert [detection.bin_width for detection in found] == [3, 3, 3, 3, 3]
    assert all(detection.snr == pytest.approx(3 * math.sqrt(3)) for detection in found)


def test_a_source_that_is_on_in_three_windows_is_found_there():
    spws = [make_spw(i, 4.0 if i in (6, 7, 8) else 0.0) for i in range(16)]
    found = find_detections(spws, BinningOptions(target_snr=5.0))
    assert [detection.spw_ids for detection in found] == [[6, 7]]  # 4 sqrt(2) = 5.7
    found = find_detections(spws, BinningOptions(target_snr=6.5))
    assert [detection.spw_ids for detection in found] == [[6, 7, 8]]  # 4 sqrt(3) = 6.9


@pytest.mark.parametrize(
    "gap",
    [
        None,
        make_spw(5, 3.0, flagged_fraction=1.0),
        make_spw(5, math.nan),
        make_spw(5, 3.0, rms_jy=math.nan),
        make_spw(5, 3.0, rms_jy=0.0),
        make_spw(5, math.inf),
    ],
    ids=["absent", "flagged", "nan flux", "nan error", "no error", "infinite"],
)
def test_gaps_are_respected_unless_allowed(gap):
    spws = [make_spw(4, 4.0), make_spw(6, 4.0), *([gap] if gap else [])]
    assert find_detections(spws, BinningOptions()) == []
    found = find_detections(spws, BinningOptions(bridge_gaps=True))
    assert [detection.spw_ids for detection in found] == [[4, 6]]


def test_consecutive_ids_with_a_gap_in_frequency_are_not_adjacent():
    """A semi-complete MS numbers the windows that it has without a gap."""
    spws = [make_spw(4, 4.0), make_spw(5, 4.0, freq_hz=1.31e9 + 6 * BANDWIDTH_HZ)]
    assert find_detections(spws, BinningOptions()) == []
    spws[1] = make_spw(5, 4.0)
    assert len(find_detections(spws, BinningOptions())) == 1


def test_an_id_given_twice_is_refused():
    with pytest.raises(ValueError, match="twice"):
        find_detections([make_spw(4, 1.0), make_spw(4, 2.0)], BinningOptions())


def test_widths_the_wrong_way_round_are_refused():
    with pytest.raises(ValueError, match="exceeds"):
        BinningOptions(min_width=3, max_width=2)


def test_no_windows_no_detections():
    assert find_detections([], BinningOptions()) == []


def test_number_of_trials():
    assert count_trials([16], BinningOptions()) == 16 * 17 // 2
    assert count_trials([4, 2], BinningOptions(max_width=2)) == (4 + 3) + (2 + 1)
    assert count_trials([4, 2], BinningOptions(min_width=3)) == 2 + 1


@pytest.mark.parametrize(
    ("snr", "n_trials", "expected"),
    [
        (5.0, 1, 2.866515719235352e-07),  # tables of the normal distribution
        (5.0, 136, 136 * 2.866515719235352e-07),
        (3.0, 1, 1.3498980316300957e-03),
        (0.0, 1, 0.5),
        (0.0, 3, 0.875),
        (-40.0, 1, 1.0),
        (40.0, 10, 0.0),
    ],
)
def test_false_alarm_probability(snr, n_trials, expected):
    # The sum over trials is the leading term of the product for small probabilities.
    assert false_alarm_probability(snr, n_trials) == pytest.approx(expected, rel=1e-4)


def test_false_alarm_probability_bounds_what_noise_does():
    """Noise alone, 4000 spectra: the rate of spectra with a detection at 3 sigma."""
    rng = np.random.default_rng(1)
    options = BinningOptions(target_snr=3.0, max_width=4)
    n_spectra = 4000
    n_alarms = sum(
        bool(find_detections([make_spw(i, flux) for i, flux in enumerate(noise)], options))
        for noise in rng.normal(size=(n_spectra, 8))
    )
    bound = false_alarm_probability(3.0, count_trials([8], options))
    # Overlapping bins are correlated, so the rate lies below the bound, but not by far: for
    # these widths by less than half. The binomial error of the rate is 4 per cent of it.
    assert 0.5 * bound < n_alarms / n_spectra < 1.05 * bound
