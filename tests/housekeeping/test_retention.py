"""What is finished is kept for ever, or for as long as the settings say and it is not wanted."""

from __future__ import annotations

import os
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.child_functions import Request, sleep
from support.house import DATE, HOLD, House, fates, kill, running

from dsa110_contimg.calibration.models import SolveOutcome, SolveState
from dsa110_contimg.conversion.hdf5_orchestrator import ConversionOptions, convert_group
from dsa110_contimg.conversion.models import ConversionState
from dsa110_contimg.errors import InputError
from dsa110_contimg.housekeeping.models import Fate
from dsa110_contimg.housekeeping.retention import MsFacts, find_reason_to_keep
from dsa110_contimg.processes import run_in_child
from dsa110_contimg.qa.record_models import ImagingPlan, MsFailure
from dsa110_contimg.storage.ms_access import exclusive_ms
from dsa110_contimg.storage.ms_change import Change, changing_ms
from dsa110_contimg.storage.publish import manifest_path, read_manifest
from dsa110_contimg.storage.removal import find_removed

pytestmark = pytest.mark.fault

DYING_JANITOR = """
import os, signal, sys
from pathlib import Path
from dsa110_contimg.housekeeping.keep_house import keep_house
from dsa110_contimg.housekeeping.models import HousekeepingOptions
from dsa110_contimg.storage import removal
print("ready", flush=True)
def die(*_):
    os.kill(os.getpid(), signal.SIGKILL)
setattr(removal, sys.argv[2], die)
keep_house(HousekeepingOptions.model_validate_json(Path(sys.argv[1]).read_text()))
"""

days = st.floats(1.0, 1000.0)
facts = st.builds(
    MsFacts,
    idle_s=st.floats(0.0, 1e8),
    is_published=st.booleans(),
    interrupted=st.none() | st.sampled_from(Change),
    wanted_by=st.none() | st.just("a run"),
    unfinished=st.none() | st.just("night 2026-01-25: it failed"),
)


@given(facts=facts, days=days)
def test_an_ms_goes_only_if_nothing_at_all_speaks_for_it(facts: MsFacts, days: float) -> None:
    reasons = (
        facts.idle_s < days * 86400,
        not facts.is_published,
        facts.interrupted is not None,
        facts.wanted_by is not None,
        facts.unfinished is not None,
    )
    reason = find_reason_to_keep(facts, days)
    assert (reason is None) == (not any(reasons))
    assert reason is None or reason.strip()


@given(facts=facts, days=days, longer=days)
def test_who_keeps_longer_keeps_more(facts: MsFacts, days: float, longer: float) -> None:
    if find_reason_to_keep(facts, days) is not None:
        assert find_reason_to_keep(facts, days + longer) is not None


def test_without_settings_all_is_kept_for_ever(house: House) -> None:
    house.process()
    (house.root / "logs" / "conversion").mkdir(parents=True)
    (house.root / "logs" / "conversion" / "g.log").touch()
    house.age(10_000)
    before = house.inventory()
    assert house.tidy().findings == []
    assert house.inventory() == before


def test_old_sets_of_a_processed_night_go_and_the_report_says_so(house: House) -> None:
    groups = house.process(2)
    house.age(31)
    house.retain(ms_days=30)
    before = house.inventory()
    assert set(fates(house.look()).values()) == {Fate.WOULD_GO}
    assert house.inventory() == before, "a dry run changes nothing"

    result = house.tidy()
    assert fates(result) == {f"{group}.ms": Fate.REMOVED for group in groups}
    assert result.nights == [DATE]
    gone = {name for name in before if name not in house.inventory()}
    parents = {f"ms/{DATE}/{group}.ms" for group in groups}
    assert {name.split(".ms")[0] + ".ms" for name in gone} == parents
    for group in groups:
        ms = house.night.ms_path(group)
        assert manifest_path(ms).exists()
        removed = find_removed(ms)
        assert removed.manifest.group_id == group
        assert removed.removal.removed[:10] == f"{datetime.now(UTC):%Y-%m-%d}"
    text = house.night.ledger.report_json.read_text()
    assert "was removed on " in text
    report = house.report()
    assert {ms["condition"] for ms in report["measurement_sets"]} == {"removed"}
    assert (report["verdict"], report["failures"]) == ("complete", [])
    assert "retain_ms_days" in house.night.ledger.report_html.read_text()
    assert house.tidy().findings == []


def test_use_keeps_an_ms_young(house: House) -> None:
    """Whoever held it a moment ago, for whatever, may come again."""
    (group,) = house.process()
    house.age(31)
    house.retain(ms_days=30)
    with exclusive_ms(house.night.ms_path(group), "an astronomer", timeout_s=5):
        pass
    assert house.tidy().findings == []
    assert read_manifest(house.night.ms_path(group)) is not None


def test_ms_that_somebody_holds_stays_however_old(house: House) -> None:
    (group,) = house.process()
    with running(HOLD, house.night.ms_path(group)) as holder:
        house.age(31)
        house.retain(ms_days=30)
        assert fates(house.tidy()) == {f"{group}.ms": Fate.KEPT}
        assert read_manifest(house.night.ms_path(group)) is not None
        kill(holder)
    assert fates(house.tidy()) == {f"{group}.ms": Fate.REMOVED}


def spoil_failure(house: House, group: str) -> None:
    house.night.ledger.save_ms_failure(MsFailure(group_id=group, reason="timeout: too slow"))


def spoil_plan(house: House, group: str) -> None:
    house.night.ledger.save_plan(ImagingPlan(group_id=group, source_names=["a", "b", "c"]))


def spoil_source(house: House, group: str) -> None:
    house.night.image(group, "a", success=False, error="no fit")


def spoil_solve(house: House, group: str) -> None:
    house.night.ledger.save_solve(
        SolveOutcome(group_id=group, calibrator="c", state=SolveState.REFUSED)
    )


def spoil_record(house: House, group: str) -> None:
    (house.night.ledger.records_dir / "plans" / f"{group}.json").write_text("{")


def spoil_conversion(house: House, group: str) -> None:
    house.night.convert(group, ConversionState.FAILED, "bad_input: damaged")


def forget_night(house: House, group: str) -> None:
    (house.night.ledger.records_dir / "conversions" / f"{group}.json").unlink()


@pytest.mark.parametrize(
    ("spoil", "words"),
    [
        (spoil_failure, "it failed"),
        (spoil_plan, "without a result: c"),
        (spoil_source, "without a result: a"),
        (spoil_solve, "its solve failed"),
        (spoil_record, "damaged records"),
        (spoil_conversion, "its conversion is not done"),
        (forget_night, "no night has it on record"),
    ],
)
def test_what_is_not_done_with_is_kept(house: House, spoil, words: str) -> None:
    groups = house.process(2)
    spoil(house, groups[0])
    house.report()
    house.age(31)
    house.retain(ms_days=30)
    result = house.tidy()
    (kept,) = [
        found for found in result.findings if found.fate is Fate.KEPT and groups[0] in found.path
    ]
    assert words in kept.because
    assert read_manifest(house.night.ms_path(groups[0])) is not None
    assert result.problems == []


def test_what_was_done_since_the_report_is_kept(house: House) -> None:
    (group,) = house.process()
    house.age(31)
    house.retain(ms_days=30)
    house.night.image(group, "a")
    assert "since its report" in house.tidy().findings[0].because
    house.report()
    assert fates(house.tidy()) == {f"{group}.ms": Fate.REMOVED}


def test_night_without_a_report_is_kept(house: House) -> None:
    house.process()
    house.night.ledger.report_json.unlink()
    house.age(31)
    house.retain(ms_days=30)
    assert "since its report" in house.tidy().findings[0].because


def test_ms_that_is_not_whole_or_half_changed_is_kept(house: House) -> None:
    groups = house.process(2)
    (house.night.ms_path(groups[0]) / "table.f3_TSM0").unlink()
    with pytest.raises(KeyError), changing_ms(house.night.ms_path(groups[1]), Change.FLAGGING):
        raise KeyError
    house.age(31)
    house.retain(ms_days=30)
    whole, changed = house.tidy().findings
    assert "not published whole" in whole.because
    assert "in the middle of its flagging" in changed.because


def test_ms_that_a_run_is_about_is_kept(house: House) -> None:
    groups = house.process(2)
    house.age(31)
    house.retain(ms_days=30)
    kept = house.tidy(wanted_by="somebody")
    assert set(fates(kept).values()) == {Fate.KEPT}
    first, second = house.tidy(wanted={groups[0]: "the run image__x"}).findings
    assert (first.fate, first.because) == (Fate.KEPT, "the run image__x is going to use it")
    assert second.fate is Fate.REMOVED


def test_link_to_an_ms_elsewhere_is_not_followed(house: House, tmp_path: Path) -> None:
    (group,) = house.process()
    ms = house.night.ms_path(group)
    elsewhere = ms.rename(tmp_path / "elsewhere.ms")
    ms.symlink_to(elsewhere)
    house.age(31)
    house.retain(ms_days=30)
    assert house.tidy().findings == []
    assert ms.is_symlink()
    assert (elsewhere / "table.f3_TSM0").exists()


@pytest.mark.parametrize(
    ("step", "is_there"), [("write_text_atomic", True), ("hide", True), ("remove_for_sure", False)]
)
def test_killed_in_the_middle(house: House, step: str, is_there: bool, tmp_path: Path) -> None:
    """Either the MS is there and whole, or it is gone and on record; the next visit ends it."""
    (group,) = house.process()
    ms = house.night.ms_path(group)
    house.age(31)
    house.retain(ms_days=30)
    told = tmp_path / "options.json"
    told.write_text(house.options.model_copy(update={"apply": True}).model_dump_json())
    with running(DYING_JANITOR, told, step) as janitor:
        assert janitor.wait(60) == -9
    assert ms.exists() is is_there
    assert (read_manifest(ms) is not None) is is_there
    assert (find_removed(ms) is not None) is not is_there
    house.tidy()
    assert find_removed(ms) is not None
    left = {path.name for path in ms.parent.iterdir()}
    assert left == {f".{ms.name}.lock", f"{ms.name}.manifest.json", f"{ms.name}.removed.json"}


def test_later_run_does_not_make_a_removed_ms_again(house: House) -> None:
    """Neither its conversion nor a visit by hand; the night stays as good as it was."""
    from dsa110_contimg.orchestration.ms_requests import read_group_id

    (group,) = house.process()
    house.age(31)
    house.retain(ms_days=30)
    house.tidy()
    options = ConversionOptions(
        group=house.night.groups[0],
        output_dir=house.root / "ms",
        sandbox_roots=[house.root / "tmpfs"],
        log_dir=house.root / "logs" / "conversion",
    )
    result = convert_group(options)
    assert (result.state, result.ms_path) == (ConversionState.SKIPPED, None)
    assert result.reason.startswith("its MS was removed on ")
    house.night.ledger.save_conversion(result)
    report = house.report()
    assert report["verdict"] == "complete"
    assert report["groups"][0]["reason"] == result.reason
    assert report["measurement_sets"][0]["condition"] == "removed"
    with pytest.raises(InputError, match="was removed on") as caught:
        read_group_id(house.night.ms_path(group))
    assert caught.value.reason == "ms_removed"
    # Asked to reprocess, it turns to the raw files, which do not exist here.
    with pytest.raises(InputError) as caught:
        convert_group(options.model_copy(update={"skip_existing": False}))
    assert caught.value.reason == "vanished_input"


def test_ms_made_again_is_not_taken_for_the_removed_one(house: House) -> None:
    (group,) = house.process()
    house.age(31)
    house.retain(ms_days=30)
    house.tidy()
    ms = house.night.ms_path(group)
    house.night.publish(group)
    assert find_removed(ms) is None
    manifest = manifest_path(ms)
    manifest.write_text(manifest.read_text().replace("2026-01-25T14:03:11", "2026-01-26T14:03:11"))
    for file in (*ms.iterdir(), ms):
        file.rmdir() if file.is_dir() else file.unlink()
    assert find_removed(ms) is None, "the later one went some other way"


def test_products_go_after_their_ms_and_results_stay(house: House) -> None:
    (group,) = house.process()
    house.age(31)
    house.retain(products_days=30)
    kept = house.tidy()
    assert fates(kept) == {"a": Fate.KEPT, "b": Fate.KEPT}
    assert "its Measurement Set is there" in kept.findings[0].because
    house.retain(ms_days=30, products_days=30)
    removed = house.tidy()
    assert fates(removed) == {f"{group}.ms": Fate.REMOVED, "a": Fate.REMOVED, "b": Fate.REMOVED}
    report = house.report()
    assert [len(source["detections"]) for source in report["sources"]] == [4, 4]
    assert report["verdict"] == "complete"
    products = house.root / "products" / DATE / group
    assert {path.name for path in products.iterdir()} == {".a.lock", ".b.lock"}


def make_log(path: Path, days: float) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(b"x" * 1000)
    then = datetime.now(UTC).timestamp() - days * 86400
    os.utime(path, (then, then))
    return path


def test_old_logs_go(house: House) -> None:
    logs = house.root / "logs"
    old = [
        make_log(logs / "conversion" / "g_12345678.log", 8),
        make_log(logs / "imaging" / "g" / "a.log", 8),
        make_log(logs / "airflow/tasks/dag_id=x/run_id=y/task_id=z/attempt=1.log", 8),
        make_log(logs / "airflow/parsing/2026-01-25/dags.log", 8),
    ]
    young = [
        make_log(logs / "conversion" / "h_12345678.log", 6),
        make_log(logs / "conversion" / "forkserver.log", 8),
        make_log(logs / "airflow" / "scheduler.log", 8),
        make_log(logs / "ms_access.jsonl", 8),
    ]
    house.retain(logs_days=7)
    assert house.look().findings[0].why == "1 logs that nobody has written for 7 days"
    assert all(path.exists() for path in old)
    result = house.tidy()
    assert fates(result) == dict.fromkeys(
        ("conversion", "imaging", "tasks", "parsing"), Fate.REMOVED
    )
    assert not any(path.exists() for path in old)
    assert all(path.exists() for path in young)


def test_child_that_says_nothing_uses_its_log(
    house: House, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[1]))
    log = make_log(house.root / "logs" / "flagging" / "g.log", 30)
    run_in_child(sleep, Request(text="0"), timeout_s=60, log_path=log)
    assert log.stat().st_size == 1000
    house.retain(logs_days=7)
    assert house.tidy().findings == []


def test_logs_outside_are_not_reached_by_a_link(house: House, tmp_path: Path) -> None:
    outside = make_log(tmp_path / "outside" / "a.log", 30)
    (house.root / "logs").mkdir()
    (house.root / "logs" / "imaging").mkdir()
    (house.root / "logs" / "imaging" / "g").symlink_to(outside.parent)
    (house.root / "logs" / "imaging" / "b.log").symlink_to(outside)
    house.retain(logs_days=7)
    assert house.tidy().findings == []
    assert outside.exists()
