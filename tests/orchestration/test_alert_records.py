"""When an alert is told, what it says of a night, and when space is low."""

from __future__ import annotations

import multiprocessing
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from support.alert_box import raise_in_turn
from support.night_records import DATE, NightMaker

from dsa110_contimg.conversion.models import ConversionState
from dsa110_contimg.errors import InputError
from dsa110_contimg.orchestration.alerts import Alert, AlertKind
from dsa110_contimg.orchestration.alerts.models import AlertRecord, Delivery
from dsa110_contimg.orchestration.alerts.night import NightRun, list_failures, night_alerts
from dsa110_contimg.orchestration.alerts.space import measure_room
from dsa110_contimg.orchestration.alerts.store import AlertStore, note_raised
from dsa110_contimg.qa.models import NightReport
from dsa110_contimg.qa.report import write_report
from dsa110_contimg.settings import Settings

pytestmark = pytest.mark.unit

NOW = datetime(2026, 1, 26, 6, 0, tzinfo=UTC)
DAY = timedelta(days=1)
ALERT = Alert(kind=AlertKind.LOW_DISK, subject="host:/data", message="3 GB left", fingerprint="low")
RUN = NightRun(run_id="manual__2026-01-26T00:00:00+00:00")
ROOT = Path(__file__).resolve().parents[2]


def told(alert: Alert, when: datetime, delivery: Delivery = Delivery.SENT) -> AlertRecord:
    return note_raised(None, alert, when, DAY).model_copy(
        update={"delivery": delivery, "told_utc": when.isoformat()}
    )


def test_an_alert_is_told_once_until_it_changes_or_a_day_passes() -> None:
    first = note_raised(None, ALERT, NOW, DAY)
    assert first.is_owed
    known = told(ALERT, NOW)
    other_numbers = ALERT.model_copy(update={"message": "2 GB left"})
    again = note_raised(known, other_numbers, NOW + timedelta(hours=23), DAY)
    assert (again.is_owed, again.times, again.first_utc) == (False, 2, known.first_utc)
    assert again.alert.message == "2 GB left"
    changed = ALERT.model_copy(update={"fingerprint": "another limit"})
    assert note_raised(known, changed, NOW, DAY).is_owed
    assert note_raised(again, ALERT, NOW + DAY, DAY).is_owed


def test_without_a_fingerprint_the_message_counts() -> None:
    alert = Alert(kind=AlertKind.TEST, subject="x", message="one")
    known = told(alert, NOW)
    assert not note_raised(known, alert, NOW, DAY).is_owed
    assert note_raised(known, alert.model_copy(update={"message": "two"}), NOW, DAY).is_owed


def test_what_failed_stays_owed() -> None:
    failed = note_raised(None, ALERT, NOW, DAY).model_copy(
        update={"delivery": Delivery.FAILED, "attempts": 1, "error": "no answer in time"}
    )
    again = note_raised(failed, ALERT, NOW + timedelta(minutes=1), DAY)
    assert (again.is_owed, again.attempts, again.times) == (True, 1, 2)


@given(subject=st.text(st.characters(exclude_categories=["Cs"]), max_size=300))
def test_any_subject_can_be_filed(subject: str, tmp_path_factory: pytest.TempPathFactory) -> None:
    store = AlertStore(tmp_path_factory.getbasetemp() / "any_subject")
    record = told(ALERT.model_copy(update={"subject": subject}), NOW)
    store.save(record)
    assert store.find(ALERT.kind, subject) == record
    assert all(path.parent == store.root for path in store.root.rglob("*"))
    store.forget(ALERT.kind, subject)
    assert store.find(ALERT.kind, subject) is None


def test_damaged_records_are_as_none(tmp_path: Path) -> None:
    store = AlertStore(tmp_path)
    store.save(told(ALERT, NOW))
    [path] = tmp_path.glob("*.json")
    path.write_text(path.read_text()[:40])
    assert store.find(ALERT.kind, ALERT.subject) is None
    assert store.list_records() == []


def test_old_records_go_unless_they_are_owed(tmp_path: Path) -> None:
    store = AlertStore(tmp_path)
    for subject, delivery, age in (
        ("old", Delivery.SENT, 40),
        ("owed", Delivery.FAILED, 40),
        ("new", Delivery.SENT, 20),
    ):
        alert = ALERT.model_copy(update={"subject": subject})
        store.save(told(alert, NOW - age * DAY, delivery))
    store.prune(NOW, 30 * DAY)
    assert {record.alert.subject for record in store.list_records()} == {"owed", "new"}


def test_several_processes_tell_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    log = tmp_path / "log"
    children = [
        context.Process(target=raise_in_turn, args=(tmp_path / "alerts", 20, log)) for _ in range(3)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join(60)
        assert child.exitcode == 0
    assert log.read_text() == "told\n"
    [record] = AlertStore(tmp_path / "alerts").list_records()
    assert record.times == 60


@pytest.mark.parametrize(
    "value",
    ["smtp:a@b.example", "smtp:a@b.example,c@d.example", "slack", "webhook", "webhook:in/1"],
)
def test_whom_to_tell(value: str) -> None:
    assert Settings(alert_to=value).alert_to == value


@pytest.mark.parametrize(
    "value",
    [
        "smtp:user:hunter2@relay.example",
        "smtp://user:hunter2@relay.example",
        "https://hooks.slack.example/services/hunter2",
        "webhook:https://chat.example/hunter2",
        "smtp:hunter2",
    ],
)
def test_a_secret_in_the_settings_is_refused_unseen(value: str) -> None:
    with pytest.raises(InputError, match="alert_to is not smtp:ADDRESS") as refusal:
        Settings(alert_to=value)
    assert "hunter2" not in str(refusal.value)
    assert "alert_connection" in str(refusal.value)


def report_of(maker: NightMaker) -> NightReport:
    maker.save_listing()
    return write_report(maker.ledger)


def messages(report: NightReport) -> dict[str, str]:
    alerts = night_alerts(report, RUN, "/data/nights/report.html")
    assert {alert.subject for alert in alerts} == {DATE}
    return {alert.kind: alert.message for alert in alerts}


def test_a_good_night_is_summed_up(tmp_path: Path) -> None:
    maker = NightMaker(tmp_path)
    for number in range(3):
        maker.convert(maker.add_group(number))
    report = report_of(maker)
    [(kind, message)] = messages(report).items()
    assert kind == AlertKind.NIGHT_SUMMARY
    assert message.splitlines()[0] == report.headline
    assert "Groups: 3 (3 converted)" in message
    assert "Report: /data/nights/report.html" in message
    assert "/dags/nightly_transit/runs/manual__2026-01-26T00%3A00%3A00%2B00%3A00" in message


def test_a_bad_night_names_the_worst(tmp_path: Path) -> None:
    maker = NightMaker(tmp_path)
    maker.convert(maker.add_group(0))
    for number in range(1, 9):
        group_id = maker.add_group(number)
        maker.convert(group_id, ConversionState.FAILED, f"truncated_file: {group_id} is cut short")
    report = report_of(maker)
    [(kind, message)] = messages(report).items()
    assert kind == AlertKind.NIGHT_FAILED
    assert "8 of 9 groups failed" in message
    assert message.count("is cut short") == 5
    assert "and 3 more" in message
    assert report.failures[0].remedy in message
    assert list_failures(report)[-1] == "and 3 more"


def test_a_night_without_data(tmp_path: Path) -> None:
    [(kind, message)] = messages(report_of(NightMaker(tmp_path))).items()
    assert kind == AlertKind.NO_DATA
    assert "No subband file was found" in message


@pytest.mark.parametrize(
    ("applied", "kinds"),
    [
        (0, {AlertKind.NIGHT_SUMMARY, AlertKind.NO_CALIBRATOR}),
        (1, {AlertKind.NIGHT_SUMMARY}),
    ],
)
def test_a_night_without_solutions(tmp_path: Path, applied: int, kinds: set[str]) -> None:
    from dsa110_contimg.qa.calibration_models import CalibrationReport

    maker = NightMaker(tmp_path)
    maker.convert(maker.add_group(0))
    report = report_of(maker)
    calibration = CalibrationReport(
        min_apparent_jy=2.0, transits=[], problems=["/data/calibrators.ecsv is missing"], sets=[]
    )
    totals = report.totals.model_copy(update={"calibrated_sets": applied})
    found = messages(report.model_copy(update={"calibration": calibration, "totals": totals}))
    assert set(found) == kinds
    if AlertKind.NO_CALIBRATOR in kinds:
        assert "None of 1 Measurement Set found solutions" in found[AlertKind.NO_CALIBRATOR]
        assert "calibrators.ecsv is missing" in found[AlertKind.NO_CALIBRATOR]


def test_room_is_what_the_system_says(tmp_path: Path) -> None:
    sandbox_root = tmp_path / "sandboxes"
    settings = Settings(work_dir=tmp_path / "not" / "made", sandbox_root=sandbox_root)
    free = shutil.disk_usage(tmp_path).free
    disk, tmpfs = measure_room(settings)
    # Others write to the same disk while this runs.
    assert disk.room_bytes == pytest.approx(free, abs=200e6)
    assert disk.limit_bytes == settings.low_disk_gb * 1e9
    assert (disk.kind, tmpfs.kind) == (AlertKind.LOW_DISK, AlertKind.LOW_TMPFS)
    (sandbox_root / "group_1").mkdir(parents=True)
    (sandbox_root / "group_1" / "data").write_bytes(b"\1" * 500_000_000)
    with_sandbox = measure_room(settings)[1]
    assert with_sandbox.room_bytes == pytest.approx(tmpfs.room_bytes, abs=200e6)


def test_each_kind_has_its_place_in_the_docs() -> None:
    text = (ROOT / "docs/operations/alerts.md").read_text()
    documented = {
        line.removeprefix("## `").removesuffix("`")
        for line in text.splitlines()
        if line.startswith("## `")
    }
    assert documented == set(AlertKind)


def _columns(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip("|").split("|")]


def test_each_metric_has_its_place_in_the_docs() -> None:
    from dsa110_contimg.orchestration.metrics import METRICS

    text = (ROOT / "docs/operations/metrics.md").read_text()
    rows = [_columns(line) for line in text.splitlines() if line.startswith("| `dsa110.")]
    documented = {row[0]: tuple(row[1:3]) for row in rows}
    expected: dict[str, Any] = {}
    for metric in METRICS:
        names = f"`{metric.full_name}`"
        if metric.by:
            names += f", `.<{metric.by}>`"
        expected[names] = (metric.kind.value, metric.unit)
    assert documented == expected
    assert all(len(row) == 5 and all(row) for row in rows), "a row lacks its meaning or its limit"
