"""What the report says of calibrators, solutions and flags: each from its record, once."""

from __future__ import annotations

import time
from pathlib import Path

import pytest
from support.calibration_records import (
    draw_flags,
    make_solutions,
    make_transit,
    save_applied,
    save_flags,
    save_plan,
    save_solve,
)
from support.night_records import DATE, NightMaker, draw_plain

from dsa110_contimg.calibration.calibrator_plan import CalibratorPlan
from dsa110_contimg.calibration.models import SolveOutcome, SolveState, TableKind
from dsa110_contimg.calibration.set_files import SET_FILE
from dsa110_contimg.conversion.models import ConversionState
from dsa110_contimg.qa.calibration_models import (
    CalibrationReport,
    MsCalibrationState,
    TransitState,
)
from dsa110_contimg.qa.models import Failure, FailureKind, NightReport, Verdict
from dsa110_contimg.qa.record_models import MsFailure, NightRecord
from dsa110_contimg.qa.render import render_html
from dsa110_contimg.qa.report import write_report
from dsa110_contimg.qa.summary import summarize_night

pytestmark = pytest.mark.unit

POOR = "poor_solutions: the solutions are refused: the gain has a median SNR of only 6.2 (limit 10)"
POOR_SENTENCE = POOR.removeprefix("poor_solutions: ")


@pytest.fixture
def groups(night: NightMaker) -> list[str]:
    """Six converted groups."""
    groups = [night.add_group(k) for k in range(6)]
    night.save_listing()
    for group in groups:
        night.convert(group)
    return groups


def calibration_of(report: NightReport) -> CalibrationReport:
    assert report.calibration is not None
    return report.calibration


def calibrator_failures(report: NightReport) -> list[Failure]:
    return [item for item in report.failures if item.kind is FailureKind.CALIBRATOR]


def test_a_night_without_calibration_says_nothing_of_it(
    night: NightMaker, groups: list[str]
) -> None:
    report = write_report(night.ledger)
    assert report.calibration is None
    assert report.totals.mean_flagged_fraction is None
    assert report.verdict is Verdict.COMPLETE
    assert {time.stage for time in report.stage_times}.isdisjoint({"flagging", "calibration"})
    assert "calibration" not in night.ledger.report_html.read_text("utf-8").lower()


def test_an_empty_night_stays_empty(night: NightMaker) -> None:
    night.save_listing()
    save_plan(night, [], ["the catalogue /c.ecsv is not there"])
    report = write_report(night.ledger)
    assert (report.verdict, report.losses, report.calibration) == (Verdict.EMPTY, [], None)


def test_every_transit_says_what_became_of_it(night: NightMaker, groups: list[str]) -> None:
    lost = night.add_group(6)
    night.save_listing()
    night.convert(lost, ConversionState.FAILED, reason="no_space: tmpfs is full")
    unseen = make_transit(night.group_id(20), "J7").model_copy(update={"group_id": None})
    names = ["J0", "J1", "J2", "J3", "J4"]
    transits = [make_transit(group, name) for group, name in zip(groups, names, strict=False)]
    fainter = make_transit(groups[0], "fainter", 2.4)
    save_plan(night, [transits[0], fainter, *transits[1:], make_transit(lost, "J6"), unseen])
    save_solve(night, groups[0], "J0")
    save_solve(night, groups[1], "J1", SolveState.REFUSED, POOR)
    save_solve(night, groups[2], "J2", SolveState.FAILED, "child_killed: out of memory?")
    night.ledger.save_ms_failure(MsFailure(group_id=groups[4], reason="locked: held by pid 7"))

    report = write_report(night.ledger)

    assert [(one.calibrator, one.state) for one in calibration_of(report).transits] == [
        ("J0", TransitState.SOLVED),
        ("fainter", TransitState.OUTSHONE),
        ("J1", TransitState.REFUSED),
        ("J2", TransitState.FAILED),
        ("J3", TransitState.WAITING),
        ("J4", TransitState.FAILED),
        ("J6", TransitState.FAILED),
        ("J7", TransitState.UNRECORDED),
    ]
    reasons = {one.calibrator: one.reason for one in calibration_of(report).transits}
    assert reasons["fainter"] == "its group is solved on J0"
    assert reasons["J1"] == POOR_SENTENCE
    assert reasons["J4"] == "its MS failed: held by pid 7"
    assert reasons["J6"] == "its group was not converted"
    # The MS of J4 and the group of J6 are failures of their own.
    assert [(one.subject, one.code) for one in calibrator_failures(report)] == [
        ("J1", "poor_solutions"),
        ("J2", "child_killed"),
        ("J3", None),
    ]
    assert all(one.remedy and one.group_id for one in calibrator_failures(report))
    assert "3 calibrators" in report.headline
    assert "1 calibrator transit that no group recorded" in report.losses


def test_a_group_may_be_solved_on_another_calibrator_than_was_planned(
    night: NightMaker, groups: list[str]
) -> None:
    """The catalogue may have changed between plan and solve."""
    save_plan(night, [make_transit(groups[0], "planned"), make_transit(groups[0], "done", 2.0)])
    save_solve(night, groups[0], "done")
    transits = calibration_of(write_report(night.ledger)).transits
    assert [one.state for one in transits] == [TransitState.OUTSHONE, TransitState.SOLVED]
    assert [one.set_id for one in transits] == [None, f"{groups[0]}_done"]


def test_sets_are_told_with_their_figures_and_plots(night: NightMaker, groups: list[str]) -> None:
    own = save_solve(night, groups[1])
    poor = save_solve(night, groups[2], "poor", SolveState.REFUSED, POOR)
    assert own
    assert poor
    (Path(poor.directory) / "gain.png").unlink()
    elsewhere = make_solutions(night, "2026-01-24T08:10:15")
    gone = make_solutions(night, "2026-01-23T08:14:11", "gone")
    (Path(gone.directory) / SET_FILE).write_text("{")
    save_applied(night, groups[0], [(elsewhere, -23.9), (own, 0.1)])
    save_applied(night, groups[3], [(gone, -47.9)])
    save_applied(night, groups[4], [(own, -0.3)])

    report = write_report(night.ledger)
    sets = {one.set_id: one for one in calibration_of(report).sets}

    assert list(sets) == [own.set_id, poor.set_id, gone.set_id, elsewhere.set_id]
    assert [one.is_own for one in sets.values()] == [True, True, False, False]
    assert [one.applied_to for one in sets.values()] == [2, 0, 1, 1]
    assert sets[own.set_id].tables[0].kind is TableKind.BANDPASS
    assert sets[own.set_id].tables[0].quality == own.tables[0].quality
    for table in sets[own.set_id].tables:
        assert table.plot is not None
        assert (night.ledger.night_dir / table.plot).is_file()
    assert sets[poor.set_id].state is SolveState.REFUSED
    assert sets[poor.set_id].reason == POOR_SENTENCE
    assert [table.plot is None for table in sets[poor.set_id].tables] == [False, True]
    assert sets[elsewhere.set_id].tables[1].quality == elsewhere.tables[1].quality
    assert sets[gone.set_id].tables == []
    assert "cannot be read" in sets[gone.set_id].notes[0]
    assert report.totals.solution_sets == 1  # good, and of this night


def test_every_ms_says_which_sets_it_used_and_what_is_flagged(
    night: NightMaker, groups: list[str]
) -> None:
    own = save_solve(night, groups[1])
    assert own
    before = make_solutions(night, "2026-01-24T08:10:15")
    for group in groups[:4]:
        plot = draw_flags(night, group)
        save_flags(night, group, 0.06, ("pad117", "pad3"), plot=plot.name)
    save_applied(night, groups[0], [(before, -23.9), (own, 0.1)], flagged=0.09)
    save_applied(night, groups[1], [(own, 0.0)], flagged=0.07)
    save_applied(night, groups[2], [(before, -24)], refused=("nearer",), notes=["pad9 is flagged"])
    night.ledger.save_ms_failure(
        MsFailure(group_id=groups[3], reason="no_valid_calibration: none is valid")
    )
    save_flags(night, groups[4], 0.7, plot=str(draw_flags(night, groups[4])))

    report = write_report(night.ledger)
    found = {ms.group_id: ms for ms in calibration_of(report).measurement_sets}

    assert list(found) == groups
    assert [ms.state for ms in found.values()] == [
        MsCalibrationState.INTERPOLATED,
        MsCalibrationState.OWN,
        MsCalibrationState.BORROWED,
        MsCalibrationState.FAILED,
        MsCalibrationState.MISSING,
        MsCalibrationState.MISSING,
    ]
    first = found[groups[0]]
    assert [(one.set_id, one.hours) for one in first.applied] == [
        (before.set_id, -23.9),
        (own.set_id, 0.1),
    ]
    assert first.flagged_as_converted == pytest.approx(0.015)
    assert (first.flagged_by_flagging, first.flagged_by_calibration) == (0.06, 0.09)
    assert [antenna.name for antenna in first.dead] == ["pad117", "pad3"]
    assert len(first.flagged_by_window) == 16
    for group in (groups[0], groups[4]):  # named beside the MS, and by an absolute path
        plot_path = found[group].flag_plot
        assert plot_path is not None
        assert (night.ledger.night_dir / plot_path).is_file()
    assert found[groups[2]].refused[0].set_id == "nearer"
    assert found[groups[2]].notes == ["pad9 is flagged"]
    assert found[groups[3]].problem == "none is valid"
    assert (found[groups[5]].flagged, found[groups[5]].flag_plot) == (None, None)
    assert report.totals.calibrated_sets == 3
    # After calibration where there is one, else after flagging.
    expected = (0.09 + 0.07 + 0.075 + 0.06 + 0.7) / 5
    assert report.totals.mean_flagged_fraction == pytest.approx(expected)
    assert "1 Measurement Set with solutions of another night" in report.losses
    assert "1 Measurement Set flagged by more than half" in report.losses
    assert [one.code for one in report.failures] == ["no_valid_calibration"]


def test_an_ms_without_a_trace_of_its_tasks_is_a_failure(
    night: NightMaker, groups: list[str]
) -> None:
    """Its task may have been killed before it could write anything."""
    (night.ledger.records_dir / "plans" / f"{groups[0]}.json").unlink()
    report = write_report(night.ledger)
    [failure] = report.failures
    assert (failure.kind, failure.group_id) == (FailureKind.MS, groups[0])
    assert "no outcome is on record" in failure.reason


def test_what_keeps_transits_from_being_used_is_a_loss(
    night: NightMaker, groups: list[str]
) -> None:
    save_plan(night, [], ["the catalogue /c.ecsv is not there", "a second one"])
    report = write_report(night.ledger)
    assert calibration_of(report).problems == ["the catalogue /c.ecsv is not there", "a second one"]
    assert report.losses == [
        "2 problems with calibrators, the first: the catalogue /c.ecsv is not there"
    ]
    assert report.verdict is Verdict.LOSSES


def test_stages_are_timed_with_their_steps_and_bear_their_provenance(
    night: NightMaker, groups: list[str]
) -> None:
    own = save_solve(night, groups[0])
    assert own
    for group in groups[:3]:
        save_flags(night, group, skipped=group == groups[2])
        save_applied(night, group, [(own, 0.0)])
    night.image(groups[0], "J1", draw=draw_plain)

    report = write_report(night.ledger)

    times = {(time.stage, time.part_of): time for time in report.stage_times}
    stages = [time.stage for time in report.stage_times if time.part_of is None]
    assert stages == ["conversion", "flagging", "solving", "calibration", "imaging"]
    assert times["flagging", None].count == times["flagdata", "flagging"].count == 2
    assert times["flagdata", "flagging"].total_s == pytest.approx(18.4)
    assert times["solving", None].total_s == pytest.approx(41.5)
    assert times["applycal", "calibration"].mean_s == pytest.approx(14.1)
    provenance = {stage.stage: stage for stage in report.stage_provenance}
    assert list(provenance) == stages
    assert provenance["flagging"].options == {"grow_percent": 50.0}
    assert provenance["solving"].products == 1
    assert provenance["calibration"].options == {"max_hours": 30.0}


def test_the_json_has_it_all_but_fingerprints(night: NightMaker, groups: list[str]) -> None:
    own = save_solve(night, groups[0])
    assert own
    quality = own.tables[0].quality.model_copy(update={"phase_scatter_deg": float("nan")})
    table = own.tables[0].model_copy(update={"quality": quality})
    save_solve(night, groups[0], solutions=own.model_copy(update={"tables": [table]}))
    save_flags(night, groups[0])
    save_applied(night, groups[0], [(own, 0.0)])
    report = write_report(night.ledger)
    text = night.ledger.report_json.read_bytes()
    assert NightReport.model_validate_json(text).model_dump_json() == report.model_dump_json()
    assert b"table.dat" not in text


def test_a_large_night_is_quick_and_small(night: NightMaker) -> None:
    """It takes 2 s of CPU time, most of it for 60 plots; the limit leaves room for a slow CPU."""
    groups = [night.add_group(k) for k in range(300)]
    plot = str(draw_flags(night, groups[0]))
    flags = save_flags(night, groups[0], plot=plot)
    sets = [make_solutions(night, group) for group in groups[::10]]
    applied = save_applied(night, groups[0], [(sets[0], 0.0)])
    record = NightRecord(
        date=DATE,
        calibrators=CalibratorPlan(
            min_apparent_jy=2.0, transits=[make_transit(group) for group in groups[::10]]
        ),
        solves=[
            SolveOutcome(
                group_id=one.group_id,
                calibrator=one.calibrator,
                state=SolveState.SOLVED,
                solutions=one,
            )
            for one in sets
        ],
        flaggings=[flags.model_copy(update={"group_id": group}) for group in groups],
        calibrations=[applied.model_copy(update={"group_id": group}) for group in groups],
    )
    night_dir = night.ledger.night_dir
    night_dir.mkdir(parents=True, exist_ok=True)
    start = time.process_time()
    report = summarize_night(record, night_dir, night.provenance(night_dir=str(night_dir)))
    html = render_html(report, night_dir)
    text = report.model_dump_json(indent=1)
    seconds = time.process_time() - start
    found = calibration_of(report)
    assert (len(found.transits), len(found.sets), len(found.measurement_sets)) == (30, 30, 300)
    assert html.count("data:image/webp") == 60  # of solutions; those of flags are linked
    assert html.count(">plot</a>") == 300
    assert len(html) < 3e6
    assert len(text) < 3e6
    assert seconds < 10.0
