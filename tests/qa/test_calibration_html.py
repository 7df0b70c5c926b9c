"""The page's part on calibration: whole, linked, and safe whatever the records hold."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import unquote

import numpy as np
import pytest
from PIL import Image
from support.calibration_records import (
    draw_flags,
    make_transit,
    save_applied,
    save_flags,
    save_plan,
    save_solve,
)
from support.html_pages import Page
from support.night_records import NightMaker

from dsa110_contimg.calibration.models import SolveState
from dsa110_contimg.qa import thumbnails
from dsa110_contimg.qa.calibration_models import CalibrationReport
from dsa110_contimg.qa.flag_strip import draw_flag_strip
from dsa110_contimg.qa.record_models import MsFailure
from dsa110_contimg.qa.report import write_report
from dsa110_contimg.qa.thumbnails import make_flag_gallery, make_solution_gallery

pytestmark = pytest.mark.unit

MINUS = "\N{MINUS SIGN}"
POOR = "poor_solutions: the gain has a median SNR of only 6.2 (limit 10)"


def read(night: NightMaker) -> Page:
    write_report(night.ledger)
    return Page(night.ledger.report_html.read_text(encoding="utf-8"))


def section_of(page: Page) -> str:
    return page.html.split('<section id="calibration">')[1].split("</section>")[0]


@pytest.fixture
def calibrated(night: NightMaker) -> NightMaker:
    """Three MSs: solved on, borrowing, failed; and a solve that was refused."""
    groups = [night.add_group(k) for k in range(3)]
    night.save_listing()
    for group in groups:
        night.convert(group)
    save_plan(
        night,
        [make_transit(groups[0]), make_transit(groups[1], "0954+556", 2.9)],
        ["1153+495 transits in an incomplete group"],
    )
    own = save_solve(night, groups[0])
    poor = save_solve(night, groups[1], "0954+556", SolveState.REFUSED, POOR)
    assert own
    assert poor
    for group in groups[:2]:
        save_flags(night, group, plot=str(draw_flags(night, group)))
    save_applied(night, groups[0], [(own, -0.0001)])
    save_applied(
        night,
        groups[1],
        [(own, -2.31)],
        refused=(poor.set_id,),
        notes=["antennas pad12, pad14 have no solutions"],
    )
    night.ledger.save_ms_failure(
        MsFailure(group_id=groups[2], reason="flagging_failed: the table is locked\nend of log")
    )
    return night


def test_the_section_tells_what_is_on_record(calibrated: NightMaker) -> None:
    page = read(calibrated)
    text = Page(f"<div>{section_of(page)}</div>").text
    for words in (
        "0834+555",
        "0954+556",
        f"{MINUS}0.18",
        "2.0 Jy or more",
        "1153+495 transits in an incomplete group",
        "reference antenna pad3",
        "applied to 2 Measurement Sets",
        "No bandpass of pad117",
        "gain99.14310.141.30.25",  # percent, SNR, degrees, degrees, percent
        "the gain has a median SNR of only 6.2 (limit 10)",
        f"{MINUS}2.3",
        "1 nearer set passed over",
        "it is 1.20 deg off",
        "antennas pad12, pad14 have no solutions",
        "pad117: its power is 0.01 of the median",
        "the table is locked",
        "end of log",
    ):
        assert words in text, words
    assert f"{MINUS}0.0" not in text  # a set's distance from its own group
    assert text.count("6.2 (limit 10)") == 1
    totals = page.html.split('class="tiles"')[1].split("</dl>")[0]
    assert "1 solution set made, 7.5 % flagged" in totals


def test_plots_are_shown_and_linked(calibrated: NightMaker) -> None:
    page = read(calibrated)
    section = section_of(page)
    assert section.count("data:image/webp") == 2 * 2 + 2  # of two sets, and of two MSs' flags
    ids = page.attributes("id")
    assert len(ids) == len(set(ids))
    for url in page.urls():
        if url.startswith("#"):
            assert url == "#" or url[1:] in ids, url
        elif not url.startswith("data:"):
            target = os.path.normpath(calibrated.ledger.night_dir / unquote(url))
            assert Path(target).exists(), url


def test_damaged_and_missing_plots_leave_a_gap(calibrated: NightMaker) -> None:
    pngs = sorted((calibrated.root / "calibration").rglob("*.png"))
    pngs[0].write_bytes(b"\x89PNG no")
    pngs[1].unlink()
    section = section_of(read(calibrated))
    assert section.count("data:image/webp") == 4
    assert section.count(f">{pngs[0].name}</a>") == 1


def test_hostile_names_and_reasons_stay_text(night: NightMaker) -> None:
    script = "</details><script>alert(1)</script>{{ 7*7 }}"
    group = night.add_group(0)
    night.save_listing()
    night.convert(group)
    save_plan(night, [make_transit(group)], [script])
    made = save_solve(night, group)
    assert made
    changed = {"refant": script, "notes": [script], "calibrator": script, "set_id": script}
    own = made.model_copy(update=changed)
    save_solve(night, group, "0834+555", SolveState.REFUSED, script, solutions=own)
    save_flags(night, group, dead=(script,))
    save_applied(night, group, [(own, 0.0)], refused=(script,), notes=[script])
    page = read(night)
    assert page.count("script") == 1
    assert section_of(page).count("&lt;script&gt;alert(1)") > 8
    assert script in page.text


def test_a_night_without_solutions_or_transits_says_so(night: NightMaker) -> None:
    group = night.add_group(0)
    night.save_listing()
    night.convert(group)
    save_plan(night, [])
    section = section_of(read(night))
    assert "No calibrator of 2.0 Jy or more" in section
    assert "There are no solutions." in section
    save_plan(night, [make_transit(group)])
    assert "No calibrator" not in section_of(read(night))


def test_many_dead_antennas_are_all_named(night: NightMaker) -> None:
    group = night.add_group(0)
    night.save_listing()
    night.convert(group)
    names = tuple(f"pad{number}" for number in range(40))
    save_flags(night, group, dead=names)
    text = read(night).text
    assert all(f"{name}: its power is 0.01 of the median" in text for name in names)


def test_the_budget_goes_to_refused_solutions(calibrated: NightMaker) -> None:
    pixels = np.random.default_rng(1).integers(0, 256, (290, 490, 3), dtype=np.uint8)
    for path in (calibrated.root / "calibration").rglob("*.png"):
        Image.fromarray(pixels).save(path)
    found = write_report(calibrated.ledger).calibration
    assert found is not None
    night_dir = calibrated.ledger.night_dir
    every = make_solution_gallery(found, night_dir)
    size = len(next(iter(every.values())).data)
    assert len(every) == 4
    few = make_solution_gallery(found, night_dir, budget_bytes=2 * size)
    assert few.keys() == {table.plot for table in found.sets[1].tables}
    many = make_solution_gallery(_repeated(found, night_dir), night_dir, budget_bytes=10**9)
    assert len(many) == thumbnails.MAX_SOLUTION_PICTURES
    assert {picture.width for picture in many.values()} == {400}  # of 490


def _repeated(found: CalibrationReport, night_dir: Path) -> CalibrationReport:
    """The first set so often that not all of its plots fit, each a file of its own."""
    first = found.sets[0]
    plot = first.tables[0].plot
    assert plot is not None
    sets = []
    for number in range(thumbnails.MAX_SOLUTION_PICTURES + 5):
        name = f"plot{number}.png"
        (night_dir / name).symlink_to(night_dir / plot)
        table = first.tables[0].model_copy(update={"plot": name})
        sets.append(first.model_copy(update={"tables": [table]}))
    return found.model_copy(update={"sets": sets})


def test_flags_of_many_sets_are_linked_only(calibrated: NightMaker) -> None:
    found = write_report(calibrated.ledger).calibration
    assert found is not None
    night_dir = calibrated.ledger.night_dir
    assert len(make_flag_gallery(found, night_dir)) == 2
    many = found.model_copy(update={"measurement_sets": found.measurement_sets * 20})
    assert make_flag_gallery(many, night_dir) == {}


def test_a_strip_has_a_cell_for_each_window() -> None:
    strip = draw_flag_strip([0.0, 0.05, 0.2, 0.9, 0.002])
    assert strip.keys() == {"f0", "f1", "f2", "f3"}
    assert strip["f0"].count("M") == 2
    assert "M4 0" in strip["f0"]
    assert strip["f3"].startswith("M3 0")
    assert draw_flag_strip([]) == {}
