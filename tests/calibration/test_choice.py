"""Which sets may be applied to an MS, and which of them are."""

from __future__ import annotations

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.solution_sets import ANTENNAS, GROUP, MID_MJD, WINDOWS, make_need, make_set

from dsa110_contimg.calibration.choice import check_set, choose_sets
from dsa110_contimg.calibration.models import Choice, SolutionSet, ValidityRules, WindowKey
from dsa110_contimg.errors import ScienceQualityError

pytestmark = pytest.mark.unit

RULES = ValidityRules()
NEED = make_need()
SWAPPED = [ANTENNAS[1], ANTENNAS[0], *ANTENNAS[2:]]
SHIFTED = [window.model_copy(update={"freq_hz": window.freq_hz + 1.2e6}) for window in WINDOWS]
OTHER_WINDOW = WindowKey(freq_hz=1.5e9, bandwidth_hz=1.2e7, n_channels=6)


def names(choice: Choice) -> list[str]:
    return [chosen.set_id for chosen in choice.sets]


@pytest.mark.parametrize(
    ("changes", "reason", "sentence"),
    [
        (
            {"hours": -47.95},
            "too_old",
            "it was observed 48.0 h earlier; at most 30 h are allowed",
        ),
        ({"hours": 30.1}, "too_old", "it was observed 30.1 h later; at most 30 h are allowed"),
        (
            {"dec_deg": 16.1},
            "declination",
            (
                "it was solved at declination +16.100 deg, 38.470 deg from the +54.570 deg of the "
                "MS; at most 0.5 deg are allowed"
            ),
        ),
        (
            {"array": SWAPPED},
            "array",
            "its ids name other antennas: id 0 is pad2 in the set and pad1 in the MS",
        ),
        ({"array": ANTENNAS[:-1]}, "array", "it is of 9 stations, the MS of 10"),
        ({"array": [*ANTENNAS, "pad11"]}, "array", "it is of 11 stations, the MS of 10"),
        (
            {"antennas": ANTENNAS[5:]},
            "antennas",
            (
                "it has solutions for 5 of the 10 antennas of the MS (50.0%; at least 90.0% are "
                "needed) and lacks pad1, pad2, pad3, ..."
            ),
        ),
        (
            {"antennas": [f"ant{number}" for number in range(10)]},
            "antennas",
            (
                "it has solutions for 0 of the 10 antennas of the MS (0.0%; at least 90.0% are "
                "needed) and lacks pad1, pad2, pad3, ..."
            ),
        ),
        (
            {"windows": WINDOWS[::2]},
            "windows",
            (
                "it lacks 1 of the 3 spectral windows of the MS; the first is at 1312.000 MHz, "
                "12.000 MHz wide, with 6 channels"
            ),
        ),
        (
            {"windows": SHIFTED},
            "windows",
            (
                "it lacks 3 of the 3 spectral windows of the MS; the first is at 1300.000 MHz, "
                "12.000 MHz wide, with 6 channels"
            ),
        ),
    ],
)
def test_a_set_that_does_not_fit_is_refused_with_its_figures(changes, reason, sentence):
    refusal = check_set(make_set(**changes), NEED, RULES)
    assert refusal is not None
    assert (refusal.set_id, refusal.reason, refusal.sentence) == ("near", reason, sentence)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"hours": -30.0 + 1e-6},
        {"dec_deg": 54.57 + 0.499},
        {"antennas": ANTENNAS[1:]},
        {"windows": [OTHER_WINDOW, *reversed(WINDOWS)]},
    ],
)
def test_a_set_that_fits(changes):
    assert check_set(make_set(**changes), NEED, RULES) is None


@pytest.mark.parametrize(
    ("changes", "reason"),
    [({"hours": math.nan}, "too_old"), ({"dec_deg": math.nan}, "declination")],
)
def test_what_is_not_a_number_does_not_pass(changes, reason):
    assert check_set(make_set(**changes), NEED, RULES).reason == reason


def test_a_fraction_of_antennas_that_is_just_enough():
    antennas = [f"pad{number}" for number in range(100)]
    need = make_need(array=antennas, antennas=antennas)
    rules = ValidityRules(min_antenna_fraction=0.55)  # 0.55 * 100 is more than 55 in binary
    assert check_set(make_set(array=antennas, antennas=antennas[:55]), need, rules) is None
    assert check_set(make_set(array=antennas, antennas=antennas[:54]), need, rules) is not None


def test_antennas_of_the_set_without_data_in_the_ms_do_not_matter():
    need = make_need(antennas=ANTENNAS[:4])
    assert check_set(make_set(antennas=ANTENNAS[:4]), need, RULES) is None


def test_the_nearest_is_taken_if_all_are_on_one_side():
    sets = [make_set("a", -20.0), make_set("b", -2.0), make_set("c", -7.0)]
    choice = choose_sets(sets, NEED, RULES)
    assert (names(choice), choice.borrowed) == (["b"], True)
    assert choice.hours == pytest.approx([-2.0], abs=1e-6)
    assert choice.sentence == "borrowed from b (2.0 h earlier)"


def test_two_transits_are_interpolated_between():
    sets = [make_set("after", 22.0), make_set("before", -2.0), make_set("long before", -26.0)]
    choice = choose_sets(sets, NEED, RULES)
    assert names(choice) == ["before", "after"]
    assert choice.hours == pytest.approx([-2.0, 22.0], abs=1e-6)
    assert choice.sentence == (
        "borrowed, interpolated between before (2.0 h earlier) and after (22.0 h later)"
    )
    alone = choose_sets(sets, NEED, ValidityRules(interpolate=False))
    assert (names(alone), alone.borrowed) == (["before"], True)


@pytest.mark.parametrize(
    "own", [make_set("own", 0.02), make_set("own", -0.5, group_id=GROUP)], ids=["time", "group"]
)
def test_the_own_group_needs_no_other(own):
    choice = choose_sets([make_set("before", -3.0), own, make_set("after", 3.0)], NEED, RULES)
    assert (names(choice), choice.borrowed) == (["own"], False)
    assert choice.sentence == "solved on this very group: own"


@pytest.mark.parametrize("windows", [[*WINDOWS, OTHER_WINDOW], WINDOWS[::-1]])
def test_sets_whose_window_ids_differ_are_not_interpolated(windows):
    sets = [make_set("before", -3.0), make_set("after", 2.0, windows=windows)]
    assert names(choose_sets(sets, NEED, RULES)) == ["after"]


def test_what_was_passed_over_is_told_and_nothing_else():
    sets = [
        make_set("wrong", -1.0, dec_deg=16.0),
        make_set("before", -2.0),
        make_set("beyond", -4.0, dec_deg=16.0),
        make_set("scrambled", 3.0, array=SWAPPED),
        make_set("after", 5.0),
    ]
    choice = choose_sets(sets, NEED, RULES)
    assert names(choice) == ["before", "after"]
    told = [(refusal.set_id, refusal.reason) for refusal in choice.refused]
    assert told == [("wrong", "declination"), ("scrambled", "array")]
    alone = choose_sets(sets, NEED, ValidityRules(interpolate=False))
    assert [refusal.set_id for refusal in alone.refused] == ["wrong"]


def test_none_at_all():
    with pytest.raises(ScienceQualityError, match="no set of solutions is on record") as caught:
        choose_sets([], NEED, RULES)
    assert caught.value.reason == "no_valid_calibration"
    assert NEED.ms_path in caught.value.message
    assert "calibration_max_hours" in caught.value.remedy


def test_none_valid_names_the_nearest_and_why():
    sets = [make_set(f"day{day}", 24.0 * day) for day in range(5, 1, -1)]
    sets.append(make_set("scrambled", -1.0, array=SWAPPED))
    with pytest.raises(ScienceQualityError) as caught:
        choose_sets(sets, NEED, RULES)
    assert caught.value.message == (
        f"{NEED.ms_path} has no valid calibration: scrambled: its ids name other antennas: id 0 "
        "is pad2 in the set and pad1 in the MS; day2: it was observed 48.0 h later; at most 30 h "
        "are allowed; day3: it was observed 72.0 h later; at most 30 h are allowed; and 2 more, "
        "further away"
    )


def test_of_two_as_near_the_name_decides():
    sets = [make_set("b", -2.0), make_set("a", -2.0), make_set("c", -2.0, dec_deg=0.0)]
    for order in itertools.permutations(sets):
        assert names(choose_sets(order, NEED, RULES)) == ["a"]


@st.composite
def _sets(draw: st.DrawFn) -> list[SolutionSet]:
    """Some sets, about every other of them valid, many as far as others."""
    times_h = draw(st.lists(st.integers(-40, 40).map(lambda h: h / 1.0), max_size=7))
    changes = st.sampled_from(
        [{}, {}, {}, {"dec_deg": 20.0}, {"array": SWAPPED}, {"windows": [*WINDOWS, OTHER_WINDOW]}]
    )
    made = [make_set(f"s{number}", hours, **draw(changes)) for number, hours in enumerate(times_h)]
    return draw(st.permutations(made))


@given(sets=_sets(), interpolate=st.booleans(), seed=st.randoms(use_true_random=False))
def test_the_choice_holds_for_any_sets(sets, interpolate, seed):
    rules = ValidityRules(interpolate=interpolate)
    valid = [one for one in sets if check_set(one, NEED, rules) is None]
    shuffled = seed.sample(sets, len(sets))
    if not valid:
        for order in (sets, shuffled):
            with pytest.raises(ScienceQualityError):
                choose_sets(order, NEED, rules)
        return
    choice = choose_sets(sets, NEED, rules)
    assert choose_sets(shuffled, NEED, rules) == choice
    assert all(chosen in valid for chosen in choice.sets)
    least_h = min(distance_h(one) for one in valid)
    assert min(distance_h(one) for one in choice.sets) == least_h
    if len(choice.sets) == 2:
        assert interpolate
        assert choice.borrowed
        before, after = choice.sets
        assert before.mid_mjd <= MID_MJD < after.mid_mjd
        assert not any(before.mid_mjd < one.mid_mjd < after.mid_mjd for one in valid)
    furthest_h = max(distance_h(one) for one in choice.sets)
    refused = {refusal.set_id for refusal in choice.refused}
    assert refused.isdisjoint(one.set_id for one in valid)
    by_name = {one.set_id: one for one in sets}
    assert all(distance_h(by_name[name]) <= furthest_h for name in refused)
    nearer = {one.set_id for one in sets if distance_h(one) < least_h}
    assert nearer <= refused


def distance_h(solution_set: SolutionSet) -> float:
    return abs(solution_set.mid_mjd - MID_MJD) * 24.0
