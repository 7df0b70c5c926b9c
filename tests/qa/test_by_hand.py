"""Results by hand stand beside the night's, and a night is judged by its newest plan."""

from __future__ import annotations

from pathlib import Path

import pytest
from support.night_records import DATE, NightMaker, draw_plain

from dsa110_contimg.errors import InputError, TransientError
from dsa110_contimg.qa.by_hand import group_of_run, name_run, products_of_run, withdraw
from dsa110_contimg.qa.models import Verdict
from dsa110_contimg.qa.record_models import ImagingPlan, MsFailure
from dsa110_contimg.qa.records import NightLedger
from dsa110_contimg.qa.report import write_report
from dsa110_contimg.storage.locks import hold_existing

pytestmark = pytest.mark.unit


@pytest.fixture
def group(night: NightMaker) -> str:
    """The group of a complete night."""
    group = night.add_group(0)
    night.save_listing()
    night.convert(group)
    night.image(group, "J0812+541", draw=draw_plain)
    return group


def ask_by_hand(night: NightMaker, group: str, run_id: str) -> str:
    """A run by hand in which one of two sources, of the night's name, fails."""
    name = name_run(group, run_id)
    ledger = NightLedger(night.root / "nights", DATE, name)
    names = ["J0812+541", "TYPO"]
    ledger.save_plan(ImagingPlan(group_id=group, source_names=names))
    products = products_of_run(night.root / "products", DATE, name)
    for source, good in zip(names, (True, False), strict=True):
        result = night.measure(group, source, 0.3, products_dir=str(products / source))
        (products / source).mkdir(parents=True)
        draw_plain(result, products / source)
        ledger.save_source(group, result.model_copy(update={"success": good}))
    return name


def test_they_do_not_touch_the_night(night: NightMaker, group: str) -> None:
    before = write_report(night.ledger)
    assert before.verdict is Verdict.COMPLETE
    name = ask_by_hand(night, group, "manual__2026-01-26T08:00:00+00:00")
    after = write_report(night.ledger)
    shown = {"verdict", "headline", "totals", "failures", "losses", "sources"}
    assert after.model_dump(include=shown) == before.model_dump(include=shown)
    [by_hand] = after.by_hand
    assert (by_hand.run, by_hand.group_id, by_hand.verdict) == (name, group, Verdict.PARTIAL)
    assert [failure.subject for failure in by_hand.failures] == ["TYPO"]
    assert "By hand" in night.ledger.report_html.read_text(encoding="utf-8")
    failure = MsFailure(group_id=group, reason="bad_sources: typed wrong")
    NightLedger(night.root / "nights", DATE, name).save_ms_failure(failure)
    assert write_report(night.ledger).verdict is Verdict.COMPLETE


def test_they_can_be_withdrawn(night: NightMaker, group: str) -> None:
    names = [ask_by_hand(night, group, run_id) for run_id in ("one", "two")]
    write_report(night.ledger)
    roots = night.root / "nights", night.root / "products"
    withdraw(*roots, DATE, names[0])
    assert night.ledger.list_by_hand() == names[1:]
    assert not products_of_run(roots[1], DATE, names[0]).exists()
    assert products_of_run(roots[1], DATE, names[1]).exists()
    assert names[0] not in night.ledger.report_json.read_text(encoding="utf-8")
    assert night.ledger.load().sources[group]
    for wrong in (names[0], "..", "../records", ""):
        with pytest.raises(InputError, match="no results of a run by hand"):
            withdraw(*roots, DATE, wrong)


def test_a_run_at_work_keeps_them(night: NightMaker, group: str) -> None:
    name = ask_by_hand(night, group, "one")
    roots = night.root / "nights", night.root / "products"
    with (
        hold_existing(night.ledger.by_hand_dir / name),
        pytest.raises(TransientError, match="is at work"),
    ):
        withdraw(*roots, DATE, name)
    assert night.ledger.list_by_hand() == [name]
    assert products_of_run(roots[1], DATE, name).exists()
    withdraw(*roots, DATE, name)
    assert night.ledger.list_by_hand() == []


def test_what_the_newest_plan_lacks_does_not_count(night: NightMaker, group: str) -> None:
    """As when a name of the catalogue was put right."""
    night.image(group, "J0812+54I", success=False, products_dir=None)
    assert write_report(night.ledger).verdict is Verdict.PARTIAL
    night.plan(group, ["J0812+541"])
    report = write_report(night.ledger)
    assert report.verdict is Verdict.COMPLETE
    assert [source.name for source in report.sources] == ["J0812+541"]
    assert report.measurement_sets[0].sources == 1


@pytest.mark.parametrize("run_id", ["manual__2026-01-26T08:00:00+00:00", "x" * 100_000, "../a b\0"])
def test_a_run_names_a_directory(tmp_path: Path, run_id: str) -> None:
    name = name_run("2026-01-25T02:41:07", run_id)
    assert group_of_run(name) == "2026-01-25T02:41:07"
    (tmp_path / name / "records").mkdir(parents=True)
    assert name != name_run("2026-01-25T02:41:07", f"{run_id}x")
