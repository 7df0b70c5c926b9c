"""What is flagged, against what the simulator injected."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from casacore.tables import table
from support.calibrator_transits import rename_antennas, station_ids
from support.rfi_night import (
    FlaggedGroup,
    RfiGroup,
    flag_options,
    judge,
    living_cross,
    read_column,
)

from dsa110_contimg.calibration.need import describe_need
from dsa110_contimg.calibration.snapshot import read_snapshot
from dsa110_contimg.flagging.flag_ms import flag_ms
from dsa110_contimg.flagging.models import Flagger, FlagRecord, FlagStrategy
from dsa110_contimg.storage.files import make_read_only, make_writable

pytestmark = pytest.mark.casa

LEAST_RECALL = 0.95
MOST_FALSE_ALARMS = 0.02
"""Both as the project asks; 1.000 and less than 0.01 are reached."""
LEAST_REACH = 0.98
"""A fifth that was left of a burst of 25 Jy made windows wrong by 4 %."""
AOFLAGGER = FlagStrategy(flagger=Flagger.AOFLAGGER)


def assert_good(group: RfiGroup, ms: Path, record: FlagRecord) -> None:
    """Check flags and record of a group against the truth."""
    flags = read_column(ms, "FLAG")
    score = judge(group, flags)
    assert score.recall >= LEAST_RECALL
    assert score.reach >= LEAST_REACH
    assert score.false_alarms <= MOST_FALSE_ALARMS
    first, second = (read_column(ms, name) for name in ("ANTENNA1", "ANTENNA2"))
    assert flags[first == second].all()
    assert [antenna.name for antenna in record.dead] == group.dead_names
    # A hundredth of the noise power; the median of some thousand samples is good to a percent.
    assert "its autocorrelation is 0.01 times the array's median" in record.dead[0].reason
    assert flags[~living_cross(group)].all()


def test_interference_is_found_by_casa(flagged_group: FlaggedGroup) -> None:
    assert_good(flagged_group.group, flagged_group.ms, flagged_group.record)


def test_names_mean_nothing_to_the_flagger(
    rfi_group: RfiGroup, flagged_group: FlaggedGroup, tmp_path: Path
) -> None:
    """A dead antenna with a blank name, and others that CASA would take for it: the same flags."""
    ms = rfi_group.copy(tmp_path)
    [dead] = station_ids(ms, *rfi_group.dead_names)
    healthy = np.setdiff1d(read_column(ms, "ANTENNA1"), [dead])
    odd = ["*", "", str(dead), f"!{dead}", rfi_group.dead_names[0], "a,b"]
    rename_antennas(ms, {dead: "", **dict(zip(healthy.tolist(), odd, strict=False))})
    record = flag_ms(flag_options(ms, strategy=FlagStrategy()))
    assert [(one.antenna_id, one.name) for one in record.dead] == [(dead, f"#{dead}")]
    assert len(record.after.by_antenna) == len(flagged_group.record.after.by_antenna)
    assert np.array_equal(read_column(ms, "FLAG"), read_column(flagged_group.ms, "FLAG"))


def test_a_bright_calibrator_is_not_flagged_away(rfi_calibrator: RfiGroup, tmp_path: Path) -> None:
    ms = rfi_calibrator.copy(tmp_path)
    record = flag_ms(flag_options(ms, strategy=FlagStrategy()))
    assert_good(rfi_calibrator, ms, record)


@pytest.mark.needs("aoflagger")
@pytest.mark.parametrize("name", ["rfi_group", "rfi_calibrator"])
def test_interference_is_found_by_aoflagger(
    name: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    group: RfiGroup = request.getfixturevalue(name)
    ms = group.copy(tmp_path)
    given = add_flags(ms)
    record = flag_ms(flag_options(ms, strategy=AOFLAGGER))
    flags = read_column(ms, "FLAG")
    assert flags[given].all(), "flags of the converter were lost"
    assert not [entry.name for entry in ms.iterdir() if entry.name.startswith("QUALITY")]
    # What was flagged before is neither found nor a false alarm.
    rows = living_cross(group)
    assert record.before.fraction > 0.005
    flags[given & rows[:, None, None]] = False
    score = judge(group, flags)
    assert score.recall >= LEAST_RECALL
    assert score.reach >= LEAST_REACH
    assert score.false_alarms <= MOST_FALSE_ALARMS
    assert [antenna.name for antenna in record.dead] == group.dead_names


def add_flags(ms: Path) -> np.ndarray:
    """Flag a hundredth of the cross-correlations as the correlator might have; return them."""
    make_writable(ms)
    with table(str(ms), readonly=False, ack=False) as opened:
        flags = opened.getcol("FLAG")
        is_cross = opened.getcol("ANTENNA1") != opened.getcol("ANTENNA2")
        flags[np.flatnonzero(is_cross)[::100]] = True
        opened.putcol("FLAG", flags)
    make_read_only(ms)
    return flags


def test_a_dead_antenna_needs_no_solutions(flagged_group: FlaggedGroup) -> None:
    """Else a set that lacks it, too, would be refused where few antennas are left."""
    need = describe_need(read_snapshot(flagged_group.ms))
    everybody = flagged_group.record.after.by_antenna
    assert need.antennas == [
        name for name in everybody if name not in flagged_group.group.dead_names
    ]
    assert len(need.antennas) == len(everybody) - 1


def test_the_summary_counts_what_is_flagged(flagged_group: FlaggedGroup) -> None:
    ms, record = flagged_group.ms, flagged_group.record
    flags, description = read_column(ms, "FLAG"), read_column(ms, "DATA_DESC_ID")
    first, second = (read_column(ms, name) for name in ("ANTENNA1", "ANTENNA2"))
    cross, length_m = first != second, np.linalg.norm(read_column(ms, "UVW"), axis=1)
    after = record.after
    assert record.before.fraction == 0.0
    assert after.fraction == pytest.approx(flags[cross].mean(), abs=1e-12)
    with table(str(ms / "ANTENNA"), ack=False) as antennas:
        names = antennas.getcol("NAME")
    assert list(after.by_antenna) == [names[number] for number in np.unique(first)]
    for number in np.unique(first):
        of_antenna = cross & ((first == number) | (second == number))
        expected = flags[of_antenna].mean()
        assert after.by_antenna[names[number]] == pytest.approx(expected, abs=1e-12)
    for window, fraction in enumerate(after.by_window):
        of_window = flags[cross & (description == window)]
        assert fraction == pytest.approx(of_window.mean(), abs=1e-12)
        np.testing.assert_allclose(
            after.by_channel[window], of_window.mean(axis=(0, 2)), rtol=0, atol=1e-12
        )
    assert after.by_baseline[0].min_m == pytest.approx(length_m[cross].min())
    assert after.by_baseline[-1].max_m == pytest.approx(length_m[cross].max())
    # As many baselines in each, to within one row of thousands.
    mean = np.mean([part.flagged_fraction for part in after.by_baseline])
    assert mean == pytest.approx(after.fraction, abs=1e-3)
