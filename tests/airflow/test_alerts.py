"""What an operator gets of nights in a running Airflow: mail, and metrics by OpenTelemetry."""

from __future__ import annotations

import contextlib
import shutil
import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import h5py
import pytest
from support.live_airflow import LiveAirflow, Run
from support.otlp import read_counter, read_gauge, read_times_ms
from support.receivers import (
    PASSWORD,
    PLAIN_AUTH,
    HttpReceiver,
    MailBox,
    http_receiver,
    mail_server,
    smtp_connection,
)

from dsa110_contimg.orchestration.alerts.models import AlertKind, Delivery
from dsa110_contimg.orchestration.alerts.raising import list_alerts, withdraw_alert
from dsa110_contimg.orchestration.embedded import EmbeddedAirflow
from dsa110_contimg.orchestration.runs import HOUSEKEEPING_DAG, IMAGE_DAG, NIGHT_DAG
from dsa110_contimg.settings import Settings
from dsa110_contimg.simulation.night import SimulationResult
from dsa110_contimg.storage.ms_access import exclusive_ms

pytestmark = [pytest.mark.airflow, pytest.mark.slow, PLAIN_AUTH]

TO = "ops@observatory.example"


@dataclass
class Observatory:
    """A running Airflow, and where its messages arrive."""

    live: LiveAirflow
    box: MailBox
    collector: HttpReceiver
    incoming: Path

    def night(self, **conf: Any) -> Run:
        run = self.live.trigger(NIGHT_DAG, conf)
        self.live.finish(run)
        return run

    def told(self, run: Run) -> str:
        """What the task says that became of the message."""
        return self.live.log(*run, "announce")

    def mail_of(self, subject: str) -> str:
        [number] = [
            number for number, mail in enumerate(self.box.mails) if subject in mail["Subject"]
        ]
        return self.box.text(number)


@pytest.fixture(scope="module")
def observatory(
    small_night: SimulationResult, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Observatory]:
    """Two groups, of which one is damaged beyond the quick look of the grouping."""
    root = tmp_path_factory.mktemp("observatory")
    incoming = root / "incoming"
    shutil.copytree(small_night.output_dir, incoming)
    damaged = Path(small_night.files[0]).name
    with h5py.File(incoming / damaged, "r+") as file:
        file["Header/ant_2_array"][100:200] = 0
    with contextlib.ExitStack() as stack:
        box = stack.enter_context(mail_server())
        collector = stack.enter_context(http_receiver())
        patch = stack.enter_context(pytest.MonkeyPatch.context())
        patch.setenv("AIRFLOW_CONN_DSA110_ALERTS", smtp_connection(box.port))
        settings = Settings(
            work_dir=root / "work",
            input_dir=incoming,
            sources_file=small_night.sources_path,
            calibration="off",
            alert_to=f"smtp:{TO}",
            alert_timeout_s=3,
            low_disk_gb=0,
            low_tmpfs_gb=0,
            otel_address=f"127.0.0.1:{collector.port}",
        )
        airflow = stack.enter_context(EmbeddedAirflow(settings, parallelism=3, schedule=False))
        airflow.client.set_paused(NIGHT_DAG, paused=False)
        live = LiveAirflow(airflow, settings)
        yield Observatory(live, box, collector, incoming)


@pytest.fixture(scope="module")
def date(small_night: SimulationResult) -> str:
    return small_night.groups[0].start_utc[:10]


@pytest.fixture(scope="module")
def failed_night(observatory: Observatory, date: str) -> Run:
    return observatory.night(date=date)


def damaged_group(observatory: Observatory, date: str) -> str:
    [failure] = observatory.live.report(date)["failures"]
    subject: str = failure["subject"]
    return subject


def test_a_night_that_fails_sends_one_mail(
    observatory: Observatory, failed_night: Run, date: str
) -> None:
    live, box = observatory.live, observatory.box
    assert live.client.dag_run(*failed_night)["state"] == "failed"
    report = live.settings.nights_dir / date / "report.html"
    text = observatory.mail_of(f"night {date} FAILED: 1 of 2 groups failed")
    assert box.recipients == [[TO]]
    assert f"- group {damaged_group(observatory, date)}" in text
    assert "Groups: 2 (1 converted, 1 failed)" in text
    assert f"Report: {report}" in text
    assert f"{live.airflow.url}/dags/{NIGHT_DAG}/runs/{failed_night[1]}" in text
    assert "night_failed: sent" in observatory.told(failed_night)


def test_the_dag_processor_knows_that_it_is_told(
    observatory: Observatory, failed_night: Run
) -> None:
    """Its callback for failed runs comes, and sends nothing more."""
    live = observatory.live

    def called() -> bool:
        logs = live.airflow.home.logs_dir.glob("parsing/**/*.log")
        return any("Executing on_failure dag callback" in path.read_text() for path in logs)

    live.wait_until(called, "the callback", 60)
    later = observatory.night(date="2026-02-01", input_dir=str(observatory.incoming))
    assert "no_data: sent" in observatory.told(later)
    assert observatory.box.kinds() == ["night_failed", "no_data"]


def test_a_refused_request_touches_nothing(
    observatory: Observatory, failed_night: Run, date: str
) -> None:
    """No record, report or alert of a night, also where its request can be read; no mail."""
    live, box = observatory.live, observatory.box
    [ms] = (live.settings.ms_dir / date).glob("*.ms")
    outside = [{"name": "outside", "ra_deg": 0.0, "dec_deg": -30.0}]
    requests = {
        "incomming does not exist": (
            NIGHT_DAG,
            {"date": date, "input_dir": str(live.settings.work_dir / "incomming")},
        ),
        "there is no parameter 'dat'": (NIGHT_DAG, {"dat": date}),
        "neither a date nor a data interval": (NIGHT_DAG, {}),
        "there is no parameter 'source'": (IMAGE_DAG, {"ms": str(ms), "source": outside}),
        "the phase centre": (IMAGE_DAG, {"ms": str(ms), "sources": outside}),
    }

    def written() -> dict[Path, bytes]:
        roots = (live.settings.nights_dir, live.settings.work_dir / "alerts")
        files = (path for root in roots for path in root.rglob("*") if path.is_file())
        return {path: path.read_bytes() for path in files}

    def n_called() -> int:
        logs = live.airflow.home.logs_dir.glob("parsing/**/*.log")
        return sum(path.read_text().count("Executing on_failure dag callback") for path in logs)

    before, mails, calls = written(), len(box.mails), n_called()
    runs = {words: live.trigger(*request) for words, request in requests.items()}
    assert set(live.finish(*runs.values())) == {"failed"}
    for words, (dag_id, run_id) in runs.items():
        for task in ("discover", "verdict") if dag_id == NIGHT_DAG else ("prepare",):
            assert words in live.log(dag_id, run_id, task)
    live.wait_until(lambda: n_called() >= calls + 3, "the callbacks", 60)
    live.airflow.wait(2)
    assert (written(), len(box.mails)) == (before, mails)


def test_what_was_done_is_counted(observatory: Observatory, failed_night: Run, date: str) -> None:
    collector = observatory.collector
    assert {post.path for post in collector.posts} == {"/v1/metrics"}
    assert read_counter(collector, "airflow.dsa110.groups_converted") == [({}, 1.0)]
    [(tags, failed)] = read_counter(collector, "airflow.dsa110.groups_failed")
    assert (set(tags), failed) == ({"reason"}, 1.0)
    named = read_counter(collector, f"airflow.dsa110.groups_failed.{tags['reason']}")
    assert named == [({}, 1.0)]
    # Two sources in the field of the one MS.
    assert read_counter(collector, "airflow.dsa110.sources_measured") == [({}, 2.0)]
    assert read_counter(collector, "airflow.dsa110.sources_failed") == []
    report = observatory.live.report(date)
    detections = sum(n for _, n in read_counter(collector, "airflow.dsa110.detections"))
    assert detections == report["totals"]["detections"] > 0
    assert ({"verdict": "partial"}, 1.0) in read_counter(collector, "airflow.dsa110.nights")
    assert min(read_times_ms(collector, "airflow.dsa110.night_duration")) > 1000
    [fill_ms] = read_times_ms(collector, "airflow.dsa110.stage_duration.fill")
    assert fill_ms > 0
    assert read_times_ms(collector, "airflow.dsa110.night_lateness") == [], "started by hand"
    assert max(read_gauge(collector, "airflow.dsa110.disk_free_bytes")) > 1e6
    assert ({"kind": "night_failed"}, 1.0) in read_counter(
        collector, "airflow.dsa110.alerts_raised"
    )


def test_a_mail_server_that_is_down_fails_no_night(
    observatory: Observatory, failed_night: Run
) -> None:
    live, box = observatory.live, observatory.box
    before = len(box.mails)
    with box.down():
        run = observatory.night(date="2026-02-02", input_dir=str(observatory.incoming))
        assert live.client.dag_run(*run)["state"] == "success"
        assert "no_data: NOT delivered" in observatory.told(run)
        assert "Connection refused" in observatory.told(run)
        hourly = live.trigger(HOUSEKEEPING_DAG, {})
        live.wait_until(
            lambda: "1 alerts could not be delivered" in live.log(*hourly, "watch"),
            "the complaint of housekeeping",
            60,
        )
    assert len(box.mails) == before

    def n_failed() -> float:
        counted = read_counter(observatory.collector, "airflow.dsa110.alert_deliveries_failed")
        return sum(n for _, n in counted)

    # A task sends what it has counted when it ends.
    live.wait_until(lambda: n_failed() >= 2, "the count of both", 60)
    observatory.night(date="2026-02-03", input_dir=str(observatory.incoming))
    told = {mail["Subject"].split()[2] for mail in box.mails[before:]}
    assert told == {"2026-02-02", "2026-02-03"}
    assert {record.delivery for record in list_alerts(live.settings)} == {Delivery.SENT}
    assert 0.0 in read_gauge(observatory.collector, "airflow.dsa110.alerts_owed")


def converting(live: LiveAirflow, run: Run) -> bool:
    return any(
        task["state"] == "running"
        for (name, _), task in live.tasks(*run).items()
        if name == "process.convert"
    )


def test_a_run_that_dies_before_its_report_is_told_of(
    observatory: Observatory, failed_night: Run, date: str
) -> None:
    """The scheduler ends it, because it has taken a day; so no task of it can say a word."""
    live, box = observatory.live, observatory.box
    ms = live.settings.ms_dir / date / f"{damaged_group(observatory, date)}.ms"
    # The run will seem to have begun before the night was told of by the others.
    withdraw_alert(AlertKind.NIGHT_FAILED, date, live.settings)
    with exclusive_ms(ms, "somebody else's work", timeout_s=30):
        run = live.trigger(NIGHT_DAG, {"date": date})
        live.wait_until(
            lambda: converting(live, run),
            "a conversion that waits for its MS",
            90,
        )
        begun = (datetime.now(UTC) - timedelta(days=2)).isoformat(sep=" ")
        with contextlib.closing(sqlite3.connect(live.airflow.home.database, timeout=60)) as base:
            base.execute("UPDATE dag_run SET start_date = ? WHERE run_id = ?", (begun, run[1]))
            base.commit()
        assert live.finish(run, timeout_s=60) == ["failed"]
        assert live.tasks(*run)["announce", -1]["state"] == "skipped"
        live.wait_until(lambda: "timed_out" in box.text(-1), "the mail", 90)
    assert f"night {date} FAILED: The run {run[1]} failed" in box.mails[-1]["Subject"]
    assert "Airflow ended it (timed_out) before its report" in box.text(-1)


def test_the_password_is_in_no_file(observatory: Observatory, failed_night: Run) -> None:
    """Logs, records of alerts, Airflow's database and configuration."""
    files = [path for path in observatory.live.settings.work_dir.rglob("*") if path.is_file()]
    assert len(files) > 50
    assert [path for path in files if PASSWORD.encode() in path.read_bytes()] == []
