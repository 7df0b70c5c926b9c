"""Which calibrator is solved on in which group of a night."""

from __future__ import annotations

import os
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from support.ms_info import ms_info
from support.subband_files import write_group

from dsa110_contimg.calibration.calibrator_plan import (
    CalibratorPlan,
    assign_groups,
    best_per_group,
    plan_calibrators,
    pointing_dec_deg,
)
from dsa110_contimg.calibration.transits import (
    Transit,
    calibrator_of_ms,
    find_transits,
    to_mjd,
)
from dsa110_contimg.catalog.calibrators import Calibrator
from dsa110_contimg.conversion.groups import find_groups
from dsa110_contimg.conversion.models import GroupState, SubbandGroup
from dsa110_contimg.errors import InputError
from dsa110_contimg.instrument import GROUP_DURATION_S

pytestmark = pytest.mark.unit

START = datetime(2026, 1, 25, 8, 9, tzinfo=UTC)
CLASSIC = Calibrator(name="0834+555", ra_deg=128.72877, dec_deg=55.57252, flux_jy=8.8)
"""Transits on that day at 08:11:28."""
DEC_RAD = np.deg2rad(54.573)


def transit_at(time: datetime, name: str = "c", flux_jy: float = 5.0) -> Transit:
    return Transit(
        calibrator=CLASSIC.model_copy(update={"name": name}),
        transit_utc=time.isoformat(),
        transit_mjd=to_mjd(time),
        pointing_dec_deg=54.573,
        offset_deg=0.0,
        beam=1.0,
        flux_jy=flux_jy,
        apparent_flux_jy=flux_jy,
    )


def group_at(time: datetime, state: GroupState = GroupState.COMPLETE) -> SubbandGroup:
    return SubbandGroup(
        group_id=f"{time:%Y-%m-%dT%H:%M:%S}",
        state=state,
        present=[],
        missing=[],
        files=[],
        problems=[],
    )


class TestAssignGroups:
    FIRST, SECOND = group_at(START), group_at(START + timedelta(seconds=310))

    @pytest.mark.parametrize(
        ("offset_s", "group"),
        [
            (-0.001, None),
            (0.0, FIRST),
            (309.237, FIRST),
            (309.5, None),
            (310.0, SECOND),
            (310 + 309.237, SECOND),
            (310 + 309.25, None),
        ],
    )
    def test_edges(self, offset_s, group):
        """A group of 24 integrations of 12.884901888 s lasts for 309.2376 s."""
        transit = transit_at(START + timedelta(seconds=offset_s))
        [assigned], problems = assign_groups([transit], [self.SECOND, self.FIRST])
        assert assigned.group_id == (group and group.group_id)
        assert problems == []

    def test_no_group_at_all(self):
        [assigned], problems = assign_groups([transit_at(START)], [])
        assert (assigned.group_id, problems) == (None, [])

    def test_an_incomplete_group_is_not_solved(self):
        incomplete = group_at(START, GroupState.INCOMPLETE)
        [assigned], [problem] = assign_groups([transit_at(START)], [incomplete])
        assert assigned.group_id is None
        assert "is incomplete" in problem
        assert incomplete.group_id in problem

    def test_the_brightest_of_each_group(self):
        transits, _ = assign_groups(
            [
                transit_at(START + timedelta(seconds=10), "faint", 2.0),
                transit_at(START + timedelta(seconds=20), "bright", 9.0),
                transit_at(START + timedelta(seconds=30), "fair", 5.0),
                transit_at(START + timedelta(seconds=320), "next", 3.0),
                transit_at(START + timedelta(hours=2), "nowhere", 99.0),
            ],
            [self.SECOND, self.FIRST],
        )
        best = best_per_group(transits)
        assert [(group, one.calibrator.name) for group, one in best.items()] == [
            (self.FIRST.group_id, "bright"),
            (self.SECOND.group_id, "next"),
        ]


class TestPointing:
    def test_from_the_header(self, tmp_path):
        write_group(tmp_path, START, dec_rad=DEC_RAD)
        [group] = find_groups(tmp_path).groups
        assert pointing_dec_deg(group) == pytest.approx(54.573)

    def test_from_the_first_file_that_can_be_read(self, tmp_path):
        write_group(tmp_path, START, dec_rad=DEC_RAD)
        [group] = find_groups(tmp_path).groups
        Path(group.files[0]).unlink()
        os.truncate(group.files[1], 3000)
        Path(group.files[2]).write_bytes(b"")
        assert pointing_dec_deg(group) == pytest.approx(54.573)

    def test_no_file_can_be_read(self, tmp_path):
        write_group(tmp_path, START)
        [group] = find_groups(tmp_path).groups
        for file in group.files:
            Path(file).write_bytes(b"garbage")
        with pytest.raises(
            InputError, match=r"none of its 16 files.*is not an HDF5 file"
        ) as caught:
            pointing_dec_deg(group)
        assert caught.value.reason == "unknown_pointing"


class TestPlan:
    def plan(self, directory: Path, **options: object) -> CalibratorPlan:
        groups = find_groups(directory).groups
        return plan_calibrators([CLASSIC], groups, min_apparent_jy=2.0, **options)

    def test_the_group_of_the_transit(self, tmp_path):
        for k in range(3):
            write_group(tmp_path, START + timedelta(seconds=310 * (k - 1)), dec_rad=DEC_RAD)
        plan = self.plan(tmp_path)
        assert [one.calibrator.name for one in plan.transits] == ["0834+555"]
        assert list(plan.solvable) == ["2026-01-25T08:09:00"]
        assert plan.problems == []
        assert CalibratorPlan.model_validate_json(plan.model_dump_json()) == plan

    def test_each_group_by_its_own_pointing(self, tmp_path):
        """The dishes were turned away before the calibrator came, and back after it."""
        declinations = {-2: 54.573, -1: 40.0, 0: 40.0, 1: 54.573}
        for k, dec_deg in declinations.items():
            start = START + timedelta(seconds=310 * k)
            write_group(tmp_path, start, [0, 1], dec_rad=np.deg2rad(dec_deg))
        assert self.plan(tmp_path).transits == []
        day = datetime(2026, 1, 25, tzinfo=UTC)
        assert self.plan(tmp_path, start=day, end=day + timedelta(days=1)).transits == []
        # The last pointing holds into the next day.
        later = self.plan(tmp_path, start=day, end=day + timedelta(days=2))
        assert [one.transit_utc[:10] for one in later.transits] == ["2026-01-26"]

    def test_a_transit_between_groups_belongs_to_none(self, tmp_path):
        for offset_s in (-310, 300):
            write_group(tmp_path, START + timedelta(seconds=offset_s), dec_rad=DEC_RAD)
        plan = self.plan(tmp_path)
        assert [one.group_id for one in plan.transits] == [None]
        assert plan.solvable == {}

    def test_a_group_without_a_pointing_is_told(self, tmp_path):
        write_group(tmp_path, START, dec_rad=DEC_RAD)
        [group] = find_groups(tmp_path).groups
        lost = group_at(START + timedelta(seconds=310))
        plan = plan_calibrators([CLASSIC], [lost, group], min_apparent_jy=2.0)
        assert list(plan.solvable) == [group.group_id]
        assert lost.group_id in plan.problems[0]
        assert plan_calibrators([CLASSIC], [lost], min_apparent_jy=2.0).transits == []

    def test_no_groups(self):
        plan = plan_calibrators([CLASSIC], [], min_apparent_jy=2.0)
        assert (plan.transits, plan.problems, plan.solvable) == ([], [], {})


@pytest.mark.parametrize("edge_s", [0.0, GROUP_DURATION_S])
@pytest.mark.parametrize("shift_s", [-0.6, -0.3, -0.01, 0.01, 0.3, 0.6])
def test_the_ms_of_a_group_is_solved_if_and_only_if_it_was_planned(tmp_path, edge_s, shift_s):
    """Also where the transit lies within a second of an edge and the id is a rounded time."""
    day = datetime(2026, 1, 25, tzinfo=UTC)
    [transit] = find_transits(
        [CLASSIC], dec_deg=54.573, start=day, end=day + timedelta(days=1), min_apparent_jy=2.0
    )
    moment = datetime.fromisoformat(transit.transit_utc).replace(tzinfo=UTC)
    start = moment - timedelta(seconds=edge_s + shift_s)
    write_group(tmp_path, start, [0], dec_rad=DEC_RAD)
    [group] = find_groups(tmp_path).groups
    complete = group.model_copy(update={"state": GroupState.COMPLETE})
    planned = plan_calibrators(
        [CLASSIC],
        [complete],
        min_apparent_jy=2.0,
        start=day,
        end=day + timedelta(days=1),
    ).solvable
    found = calibrator_of_ms([CLASSIC], ms_info(start, 54.573), 2.0)
    assert (found is not None) == (group.group_id in planned)
    assert found is None or found.group_id == group.group_id
