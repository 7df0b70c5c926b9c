"""Tables of two transits, brought to one reference and joined."""

from __future__ import annotations

import shutil
from pathlib import Path

import numpy as np
import pytest
from casacore.tables import table
from support.calibrator_transits import Transits

from dsa110_contimg.calibration.interpolation import find_common_reference, plan_application
from dsa110_contimg.calibration.models import Choice, SolutionSet, TableKind
from dsa110_contimg.calibration.tables import complete_antennas, join_in_time, read_solutions

pytestmark = pytest.mark.casa

KINDS = (TableKind.BANDPASS, TableKind.GAIN)


@pytest.fixture
def pair(transits: Transits, tmp_path: Path) -> list[SolutionSet]:
    """Copies of the sets of both transits."""
    copies = []
    for found in (transits.sets[transits.before], transits.sets[transits.after]):
        directory = Path(shutil.copytree(found.directory, tmp_path / found.set_id))
        copies.append(found.model_copy(update={"directory": str(directory)}))
    return copies


def path_of(found: SolutionSet, kind: TableKind) -> Path:
    return Path(found.directory) / kind


def flag_antenna(found: SolutionSet, kind: TableKind, name: str, channels: slice) -> None:
    with table(str(path_of(found, kind)), readonly=False, ack=False) as opened:
        rows = opened.getcol("ANTENNA1") == found.array.index(name)
        flags = opened.getcol("FLAG")
        flags[rows, channels] = True
        opened.putcol("FLAG", flags)


@pytest.mark.parametrize("kind", KINDS)
def test_joining_turns_all_phases_to_one_reference(pair, tmp_path, kind):
    reference = pair[0].array.index("33")
    assert pair[0].refant != "33"
    join_in_time(path_of(pair[0], kind), path_of(pair[1], kind), kind, tmp_path / "j", reference)
    joined = read_solutions(tmp_path / "j", kind)
    assert set(joined.reference) == {reference}
    assert np.abs(np.angle(joined.values[joined.antenna == reference])).max() < 1e-6
    parts = [read_solutions(path_of(found, kind), kind) for found in pair]
    assert len(joined.antenna) == sum(len(part.antenna) for part in parts)
    for part in parts:
        mine = joined.select(np.isin(joined.time_mjd_s, part.time_mjd_s))
        assert np.array_equal(mine.antenna, part.antenna)
        # A baseline's gain is what it was: CASA's order is by time and window, then antenna.
        n = len(np.unique(part.antenna))
        before, after = (one.values.reshape(-1, n, *one.values.shape[1:]) for one in (part, mine))
        for one in (before, after):
            one[:] = one * one[:, :1].conj()
        assert np.allclose(after, before, rtol=1e-5, atol=1e-6)


def test_a_reference_that_has_gaps_cannot_be_joined(pair, tmp_path):
    kind = TableKind.BANDPASS
    flag_antenna(pair[1], kind, "33", slice(7, 8))
    with pytest.raises(ValueError, match="no solution to refer the others to"):
        join_in_time(
            path_of(pair[0], kind),
            path_of(pair[1], kind),
            kind,
            tmp_path / "joined",
            pair[0].array.index("33"),
        )


def test_an_antenna_is_complete_if_it_has_all_that_others_have(pair):
    found, kind = pair[0], TableKind.BANDPASS
    table_dir = path_of(found, kind)
    whole = complete_antennas(read_solutions(table_dir, kind))
    # A few solutions are flagged; stations without data are never complete.
    assert whole <= {found.array.index(name) for name in found.antennas}
    [number] = {found.array.index("33")} & whole
    flag_antenna(found, kind, "33", slice(7, 8))
    assert complete_antennas(read_solutions(table_dir, kind)) == whole - {number}
    for name in found.antennas:  # now nobody has it
        flag_antenna(found, kind, name, slice(7, 8))
    assert complete_antennas(read_solutions(table_dir, kind)) == whole


def test_the_reference_of_either_set_is_taken_or_another(pair):
    first, second = pair
    refant = first.refant
    assert find_common_reference(first, second) == first.array.index(refant)
    other = second.model_copy(update={"refant": "33"})
    flag_antenna(first, TableKind.GAIN, refant, slice(0, 1))
    assert find_common_reference(first, other) == first.array.index("33")
    flag_antenna(second, TableKind.BANDPASS, "33", slice(0, 1))
    assert find_common_reference(first, other) == first.array.index("1")


@pytest.mark.parametrize("nearest", [0, 1])
def test_the_nearest_is_left_where_no_antenna_is_complete(pair, nearest):
    first, second = pair
    for name in first.antennas:
        part = slice(0, 9) if int(name) % 2 else slice(9, 48)
        flag_antenna(first, TableKind.BANDPASS, name, part)
    hours = [-0.4, 0.6] if nearest == 0 else [-0.6, 0.4]
    choice = Choice(sets=pair, hours=hours, borrowed=True)
    plan = plan_application(choice)
    assert plan.choice.sets == [pair[nearest]]
    assert plan.choice.hours == [hours[nearest]]
    assert plan.reference is None
    [note] = plan.notes
    assert note == (
        f"{first.set_id} and {second.set_id} cannot be interpolated: no antenna has all its "
        "solutions in both; the nearer of the two is applied alone"
    )


def test_tables_of_other_windows(pair):
    with table(str(path_of(pair[1], TableKind.GAIN)), readonly=False, ack=False) as opened:
        opened.putcol("SPECTRAL_WINDOW_ID", np.full(opened.nrows(), 1, np.int32))
    with pytest.raises(ValueError, match="gain tables are not of the same spectral windows"):
        find_common_reference(*pair)


def test_one_set_needs_no_plan(pair):
    choice = Choice(sets=pair[:1], hours=[-0.5], borrowed=True)
    plan = plan_application(choice)
    assert (plan.choice, plan.reference, plan.notes) == (choice, None, [])
