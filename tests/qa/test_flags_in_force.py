"""What a reader is shown of flags: those that an MS has now, never those of an earlier stage."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from support.calibration_records import save_applied, save_flags, save_solve, summarize
from support.night_records import NightMaker

from dsa110_contimg.qa import figures
from dsa110_contimg.qa.models import FlagStage, MsReport, NightReport
from dsa110_contimg.qa.report import write_report

pytestmark = pytest.mark.unit

FLAGGED, CALIBRATED = 0.174, 0.316
"""Of which window 5 has four times as much."""


@pytest.fixture
def night(tmp_path: Path) -> NightMaker:
    """A night of one group, as converted."""
    night = NightMaker(tmp_path)
    night.add_group(0)
    night.save_listing()
    night.convert(night.group_id(0))
    return night


def flag(night: NightMaker) -> None:
    save_flags(night, night.group_id(0), FLAGGED)


def calibrate(night: NightMaker, **changes: object) -> None:
    solutions = save_solve(night, night.group_id(0))
    assert solutions is not None
    save_applied(night, night.group_id(0), [(solutions, 0.1)], flagged=CALIBRATED, **changes)


def report(night: NightMaker) -> tuple[NightReport, MsReport, str]:
    """The report, its one MS, and the HTML."""
    made = write_report(night.ledger)
    [ms] = made.measurement_sets
    return made, ms, night.ledger.report_html.read_text("utf-8")


@pytest.mark.parametrize(
    ("is_calibrated", "fraction", "words"),
    [(False, FLAGGED, "after flagging"), (True, CALIBRATED, "after calibration")],
)
def test_every_drawing_shows_the_flags_in_force(
    night: NightMaker, is_calibrated: bool, fraction: float, words: str
) -> None:
    flag(night)
    if is_calibrated:
        calibrate(night)
    made, ms, html = report(night)
    by_window = summarize(fraction).by_window
    assert [window.flagged_fraction for window in ms.spectral_windows] == by_window
    assert (ms.flagged_fraction, ms.flag_stage.description) == (fraction, words)
    strip = figures.draw_strip(ms)
    assert strip.keys() == {figures.flag_class(fraction), figures.flag_class(4 * fraction)}
    timeline = figures.draw_timeline(made)
    assert timeline is not None
    assert timeline.cells.keys() == strip.keys()
    assert timeline.flags == words
    assert f"{100 * fraction:.1f} % flagged {words}" in timeline.bars[0].title
    assert f"flagged fraction per spectral window {words}" in html
    assert f"Flagged {words}:" in html
    [stored] = json.loads(night.ledger.report_json.read_text())["measurement_sets"]
    assert stored["flagged_fraction"] == fraction
    assert stored["spectral_windows"][5]["flagged_fraction"] == by_window[5]
    assert made.calibration is not None
    assert made.calibration.measurement_sets[0].flagged_by_window == by_window


def test_as_converted_is_said_too(night: NightMaker) -> None:
    _, ms, html = report(night)
    assert ms.flag_stage is FlagStage.CONVERSION
    assert "Flagged as converted:" in html
    assert figures.describe_flags([ms, ms.model_copy(update={"flag_stage": "flagging"})]) == (
        "1 after flagging, 1 as converted"
    )


def test_records_of_an_ms_that_was_converted_again_do_not_count(night: NightMaker) -> None:
    """Its flags and solutions went with the old one."""
    save_flags(night, night.group_id(0), FLAGGED, ms_created="2026-01-25T11:00:00.000+00:00")
    calibrate(night, ms_created="2026-01-25T11:00:00.000+00:00")
    made, ms, _ = report(night)
    assert ms.flag_stage is FlagStage.CONVERSION
    assert made.calibration is not None
    [calibration] = made.calibration.measurement_sets
    assert (calibration.state, calibration.applied, calibration.flagged) == ("missing", [], None)
    assert made.totals.calibrated_sets == 0
    assert made.totals.mean_flagged_fraction is None


def test_flagging_again_makes_the_calibration_void(night: NightMaker) -> None:
    calibrate(night)
    later = night.provenance().model_copy(update={"created": "2026-01-25T15:00:00.000+00:00"})
    save_flags(night, night.group_id(0), FLAGGED, provenance=later)
    made, ms, _ = report(night)
    assert (ms.flag_stage, ms.flagged_fraction) == (FlagStage.FLAGGING, FLAGGED)
    assert made.totals.calibrated_sets == 0


def test_an_older_calibration_that_does_not_count_windows(night: NightMaker) -> None:
    flag(night)
    calibrate(night, flagged_by_window=[])
    _, ms, _ = report(night)
    assert (ms.flag_stage, ms.flagged_fraction) == (FlagStage.FLAGGING, FLAGGED)
