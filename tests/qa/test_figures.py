"""The drawings: each group and window in its place."""

from __future__ import annotations

import re

import pytest
from support.night_records import NightMaker

from dsa110_contimg.conversion.models import ConversionState
from dsa110_contimg.instrument import GROUP_DURATION_S
from dsa110_contimg.qa import figures
from dsa110_contimg.qa.models import SourceReport
from dsa110_contimg.qa.report import write_report

pytestmark = pytest.mark.unit


def test_groups_stand_at_their_times(night: NightMaker) -> None:
    for k in (0, 1, 5):
        night.convert(night.add_group(k))
    night.save_listing()
    drawn = figures.draw_timeline(write_report(night.ledger))
    assert drawn is not None
    a, b, c = drawn.bars
    # 309.6 s apart, 309.24 s long; positions are rounded to 0.01
    assert (c.x - a.x) / (b.x - a.x) == pytest.approx(1548 / 309, rel=1e-3)
    assert a.width / (b.x - a.x) == pytest.approx(GROUP_DURATION_S / 309, rel=1e-3)
    assert drawn.left <= a.x
    assert c.x + c.width <= drawn.right
    assert {tick.label for tick in drawn.ticks} >= {"02:45", "03:05"}
    assert all(drawn.left <= tick.x <= drawn.right for tick in drawn.ticks)


def test_a_day_fits_and_names_the_date_at_midnight(night: NightMaker) -> None:
    for k in range(280):
        night.add_group(k)
    night.save_listing()
    drawn = figures.draw_timeline(write_report(night.ledger))
    assert drawn is not None
    assert len(drawn.bars) == 280
    assert max(bar.x + bar.width for bar in drawn.bars) <= drawn.right
    assert "2026-01-26" in {tick.label for tick in drawn.ticks}
    gaps = [b.x - a.x for a, b in zip(drawn.ticks, drawn.ticks[1:], strict=False)]
    assert min(gaps) > 40  # room for a label


def test_groups_that_interleave_do_not_hide_each_other(night: NightMaker) -> None:
    first = night.add_group(0)
    night.add_group(1, group_id=f"{first[:-2]}50")
    night.add_group(2)
    night.save_listing()
    drawn = figures.draw_timeline(write_report(night.ledger))
    assert drawn is not None
    assert len({bar.y for bar in drawn.bars}) == 2


def test_every_subband_of_every_group_is_a_cell(night: NightMaker) -> None:
    night.convert(night.add_group(0, missing=["sb05"]))
    night.convert(night.add_group(1), ConversionState.FAILED, reason="x")
    night.save_listing()
    report = write_report(night.ledger)
    drawn = figures.draw_timeline(report)
    assert drawn is not None
    cells = {name: path.count("M") for name, path in drawn.cells.items()}
    assert cells.pop("missing") == 1
    assert cells.pop("waiting") == 16
    assert sum(cells.values()) == 15
    assert cells.keys() <= {"f0", "f1", "f2", "f3"}
    y = float(re.findall(r"M\S+ (\S+?)h", drawn.cells["missing"])[0])
    assert (y - drawn.cells_top) / (drawn.cells_height / 16) == pytest.approx(5)
    strip = figures.draw_strip(report.measurement_sets[0])
    assert strip["missing"].startswith("M10 ")  # low frequency first: 15 - 5
    assert sum(path.count("M") for path in strip.values()) == 16


def test_flag_levels() -> None:
    levels = [figures.flag_class(f) for f in (0.0, 0.0099, 0.01, 0.1, 0.3, 1.0)]
    assert levels == ["f0", "f0", "f1", "f2", "f3", "f3"]


def test_no_group_with_a_time_is_no_timeline(night: NightMaker) -> None:
    night.add_group(0, group_id="not a time")
    night.save_listing()
    assert figures.draw_timeline(write_report(night.ledger)) is None


def spectrum(night: NightMaker, **fields: object) -> SourceReport:
    night.image(night.add_group(0), "J1", **fields)
    night.save_listing()
    return write_report(night.ledger).sources[0]


def test_a_spectrum_lies_within_its_frame(night: NightMaker) -> None:
    drawn = figures.draw_sparkline(spectrum(night, flux_jy=0.02))
    assert drawn is not None
    points = [(float(x), float(y)) for x, y in re.findall(r"M(\S+) (\S+?)h0", drawn.points)]
    assert len(points) == 16
    xs, ys = zip(*points, strict=True)
    assert list(xs) == sorted(xs)
    assert min(xs) > 0
    assert max(xs) < figures.SPARK_WIDTH
    assert min(ys) > 0
    assert max(ys) < drawn.zero < figures.SPARK_HEIGHT
    assert drawn.bins.count("M") == 4


def test_what_is_not_finite_is_left_out_of_the_spectrum(night: NightMaker) -> None:
    source = spectrum(night)
    nan = float("nan")
    spws = [s.model_copy(update={"flux_jy": nan}) for s in source.spws[:3]] + source.spws[3:]
    drawn = figures.draw_sparkline(source.model_copy(update={"spws": spws}))
    assert drawn is not None
    assert drawn.points.count("M") == 13
    assert "nan" not in drawn.points + drawn.errors + drawn.bins
    assert figures.draw_sparkline(source.model_copy(update={"spws": spws[:3]})) is None


def test_a_source_without_any_flux_is_drawn_too(night: NightMaker) -> None:
    source = spectrum(night)
    zero = [s.model_copy(update={"flux_jy": 0.0, "rms_jy": 0.0}) for s in source.spws]
    drawn = figures.draw_sparkline(source.model_copy(update={"spws": zero}))
    assert drawn is not None
    assert drawn.points.count("M") == 16
