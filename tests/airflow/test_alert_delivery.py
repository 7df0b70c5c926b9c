"""Alerts through Airflow's notifiers, as they arrive at real servers of mail and HTTP."""

from __future__ import annotations

import json
import logging
import shutil
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from support.receivers import (
    PASSWORD,
    PLAIN_AUTH,
    SENDER,
    HttpReceiver,
    MailBox,
    http_receiver,
    mail_server,
    silent_server,
    smtp_connection,
)
from typer.testing import CliRunner

from dsa110_contimg.cli.main import app
from dsa110_contimg.orchestration.alerts import Alert, AlertKind, raise_alert
from dsa110_contimg.orchestration.alerts.models import AlertRecord, Delivery
from dsa110_contimg.orchestration.alerts.raising import deliver_owed, list_alerts, withdraw_alert
from dsa110_contimg.orchestration.alerts.space import check_room
from dsa110_contimg.orchestration.alerts.store import AlertStore
from dsa110_contimg.orchestration.embedded import choose_port
from dsa110_contimg.settings import Settings, get_settings

pytestmark = [pytest.mark.airflow, PLAIN_AUTH]

CONNECTION = "AIRFLOW_CONN_DSA110_ALERTS"
TO = "ops@observatory.example"
NAMES = "a<b>&{{ macros }}{% for %}.hdf5"
"""A name of a file that HTML, Slack and Jinja would each take for their own."""


def an_alert(subject: str = "2026-01-25", **fields: Any) -> Alert:
    message = f"1 of 7 groups failed.\n\n- group x: {NAMES} is truncated"
    return Alert(
        **{"kind": AlertKind.NIGHT_FAILED, "subject": subject, "message": message, **fields}
    )


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(
        work_dir=tmp_path / "work",
        sandbox_root=tmp_path / "sandboxes",
        alert_to=f"smtp:{TO}",
        alert_timeout_s=1,
        low_disk_gb=0,
        low_tmpfs_gb=0,
    )


@pytest.fixture
def box(monkeypatch: pytest.MonkeyPatch) -> Iterator[MailBox]:
    with mail_server() as box:
        monkeypatch.setenv(CONNECTION, smtp_connection(box.port))
        yield box


@pytest.fixture
def receiver() -> Iterator[HttpReceiver]:
    with http_receiver() as receiver:
        yield receiver


def changed(settings: Settings, **fields: Any) -> Settings:
    return Settings(**{**settings.model_dump(), **fields})


def files_hold(folder: Path, text: str) -> bool:
    return any(text in path.read_text() for path in folder.rglob("*") if path.is_file())


def test_a_mail_arrives_once(box: MailBox, settings: Settings) -> None:
    first = raise_alert(an_alert(), settings)
    second = raise_alert(an_alert(), settings)
    assert (first.delivery, first.times) == (Delivery.SENT, 1)
    assert (second.delivery, second.times) == (Delivery.SENT, 2)
    [mail] = box.mails
    assert mail["Subject"] == ("[dsa110-contimg] night 2026-01-25 FAILED: 1 of 7 groups failed.")
    assert (mail["From"], mail["To"]) == (SENDER, TO)
    assert mail["X-DSA110-Alert"] == "night_failed"
    assert "- group x: a&lt;b&gt;&amp;{{ macros }}{% for %}.hdf5 is truncated" in box.text(0)
    raise_alert(an_alert(message="2 of 7 groups failed."), settings)
    assert len(box.mails) == 2


def test_each_address_gets_it(box: MailBox, settings: Settings) -> None:
    raise_alert(an_alert(), changed(settings, alert_to=f"smtp:{TO},pi@observatory.example"))
    assert box.recipients == [[TO, "pi@observatory.example"]]


def test_a_subject_is_one_line(box: MailBox, settings: Settings) -> None:
    message = "first \N{GREEK SMALL LETTER ALPHA}\r\nBcc: victim@elsewhere.example\nrest"
    raise_alert(an_alert(subject="x\r\nBcc: victim@elsewhere.example", message=message), settings)
    [mail] = box.mails
    assert mail["Bcc"] is None
    assert box.recipients == [[TO]]
    assert mail["Subject"].startswith("[dsa110-contimg] night x Bcc: victim@elsewhere.example")


def refused_login(port: int) -> tuple[str, str]:
    return smtp_connection(port, password="wrong-" + PASSWORD), "535 "


def no_sender(port: int) -> tuple[str, str]:
    return smtp_connection(port, from_email=""), "names no sender"


def no_server(port: int) -> tuple[str, str]:
    return smtp_connection(choose_port()), "Connection refused"


def no_connection(port: int) -> tuple[str, str]:
    return "", "isn't defined"


@pytest.mark.parametrize("make", [refused_login, no_sender, no_server, no_connection])
def test_what_cannot_be_sent_is_kept_and_told_with_the_next(
    box: MailBox,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    make: Any,
) -> None:
    connection, words = make(box.port)
    monkeypatch.setenv(CONNECTION, connection)
    with caplog.at_level(logging.INFO):
        record = raise_alert(an_alert(), settings)
    assert (record.delivery, record.attempts) == (Delivery.FAILED, 1)
    assert words in (record.error or "")
    assert box.mails == []
    assert "NOT DELIVERED: alert night_failed of 2026-01-25" in caplog.text
    assert PASSWORD not in caplog.text
    assert not files_hold(settings.alerts_dir, PASSWORD)
    monkeypatch.setenv(CONNECTION, smtp_connection(box.port))
    raise_alert(an_alert(subject="2026-01-26"), settings)
    assert sorted(mail["Subject"][23:33] for mail in box.mails) == ["2026-01-25", "2026-01-26"]
    assert deliver_owed(settings) == []
    assert len(box.mails) == 2


def test_a_refused_address_is_named(box: MailBox, settings: Settings) -> None:
    nobody = changed(settings, alert_to="smtp:nobody@observatory.example")
    assert "550 no such mailbox" in (raise_alert(an_alert(), nobody).error or "")


def test_a_silent_server_is_not_waited_for_long(
    settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor by each task of a night: the same alert is not tried again at once."""
    with silent_server() as port:
        monkeypatch.setenv(CONNECTION, smtp_connection(port, timeout=60, retry_limit=5))
        start = time.monotonic()
        record = raise_alert(an_alert(), settings)
        took_s = time.monotonic() - start
        assert record.error is not None
        assert "no answer in time" in record.error
        # One try of one second; the rest is Airflow's import and a busy machine.
        assert took_s < 20
        start = time.monotonic()
        assert raise_alert(an_alert(), settings).attempts == 1
        assert time.monotonic() - start < 0.9


def test_slack_gets_plain_words(
    receiver: HttpReceiver, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    connection = {
        "conn_type": "slackwebhook",
        "host": f"http://127.0.0.1:{receiver.port}/services",
        "password": "T000/B000/token-of-slack",
    }
    monkeypatch.setenv(CONNECTION, json.dumps(connection))
    record = raise_alert(an_alert(), changed(settings, alert_to="slack"))
    assert record.delivery is Delivery.SENT, record.error
    [post] = receiver.posts
    assert post.path == "/services/T000/B000/token-of-slack"
    text = post.json()["text"]
    assert text.startswith("*[dsa110-contimg] night 2026-01-25 FAILED: 1 of 7 groups failed.*\n")
    assert "a&lt;b&gt;&amp;{{ macros }}{% for %}.hdf5 is truncated" in text


def webhook(receiver: HttpReceiver, **fields: Any) -> str:
    host = f"http://127.0.0.1:{receiver.port}"
    return json.dumps({"conn_type": "http", "host": host, **fields})


def test_a_webhook_gets_json(
    receiver: HttpReceiver, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    extra = {"Authorization": "Bearer token-of-the-webhook"}
    monkeypatch.setenv(CONNECTION, webhook(receiver, extra=extra))
    record = raise_alert(an_alert(), changed(settings, alert_to="webhook:in/alerts"))
    assert record.delivery is Delivery.SENT, record.error
    [post] = receiver.posts
    assert post.path == "/in/alerts"
    assert post.headers["Authorization"] == "Bearer token-of-the-webhook"
    payload = post.json()
    assert (payload["kind"], payload["subject"]) == ("night_failed", "2026-01-25")
    assert payload["message"].endswith(f"- group x: {NAMES} is truncated")
    assert payload["text"].startswith(payload["title"])


@pytest.mark.parametrize(
    ("status", "delay_s", "words"),
    [(500, 0.0, "500:Internal Server Error"), (200, 3.0, "no answer in time")],
    ids=["refuses", "hangs"],
)
def test_a_webhook_that_fails_keeps_its_secret(
    receiver: HttpReceiver,
    settings: Settings,
    monkeypatch: pytest.MonkeyPatch,
    status: int,
    delay_s: float,
    words: str,
) -> None:
    """The path of many webhooks is their password, and libraries quote it in their errors."""
    receiver.status, receiver.delay_s = status, delay_s
    host = f"http://127.0.0.1:{receiver.port}/hooks/hunter2"
    monkeypatch.setenv(CONNECTION, json.dumps({"conn_type": "http", "host": host}))
    record = raise_alert(an_alert(), changed(settings, alert_to="webhook"))
    assert record.delivery is Delivery.FAILED
    assert receiver.posts[0].path == "/hooks/hunter2"
    assert words in (record.error or "")
    assert not files_hold(settings.alerts_dir, "hunter2")


def test_an_absent_webhook(
    receiver: HttpReceiver, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    host = f"http://127.0.0.1:{choose_port()}/hooks/hunter2"
    monkeypatch.setenv(CONNECTION, json.dumps({"conn_type": "http", "host": host}))
    error = raise_alert(an_alert(), changed(settings, alert_to="webhook")).error or ""
    assert "Connection refused" in error
    assert "hunter2" not in error


@pytest.mark.parametrize("fields", [{"alert_to": None}, {"alert_silence": "low_disk,night_failed"}])
def test_silence(box: MailBox, settings: Settings, fields: dict[str, Any]) -> None:
    quiet = changed(settings, **fields)
    assert raise_alert(an_alert(), quiet).delivery is Delivery.LOGGED
    assert deliver_owed(quiet) == []
    assert box.mails == []


def test_the_callback_gets_each(
    box: MailBox, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    from support.alert_box import kept

    kept.clear()
    with_callback = changed(settings, alert_callback="support.alert_box:keep")
    raise_alert(an_alert(), with_callback)
    raise_alert(an_alert(), with_callback)
    assert kept == [an_alert(), an_alert()]
    assert len(box.mails) == 1
    failing = changed(settings, alert_callback="support.alert_box:fail")
    raise_alert(an_alert(subject="2026-01-27"), failing)
    assert "no use for night_failed" in caplog.text
    assert len(box.mails) == 2


def test_without_a_place_for_the_state_it_is_sent_all_the_same(
    box: MailBox, settings: Settings, tmp_path: Path
) -> None:
    (tmp_path / "file").touch()
    no_place = changed(settings, work_dir=tmp_path / "file" / "work")
    assert raise_alert(an_alert(), no_place).delivery is Delivery.SENT
    assert len(box.mails) == 1


def test_on_a_full_disk_it_is_sent_once(
    box: MailBox, settings: Settings, caplog: pytest.LogCaptureFixture
) -> None:
    """A record that cannot be written, where its lock can be."""
    store = AlertStore(settings.alerts_dir)
    store.save(AlertRecord(alert=an_alert(), first_utc="2026-01-01", last_utc="2026-01-01"))
    [path] = settings.alerts_dir.glob("*.json")
    path.unlink()
    path.mkdir()
    assert raise_alert(an_alert(), settings).delivery is Delivery.SENT
    assert len(box.mails) == 1
    assert "cannot keep the state of alerts" in caplog.text


def test_low_space_is_told_when_it_begins(box: MailBox, settings: Settings) -> None:
    settings.work_dir.mkdir()
    free_gb = shutil.disk_usage(settings.work_dir).free / 1e9
    low = changed(settings, low_disk_gb=free_gb + 10)
    assert [record.alert.kind for record in check_room(low)] == [AlertKind.LOW_DISK]
    check_room(low)
    assert box.kinds() == ["low_disk"]
    assert "GB of room in" in box.text(0)
    assert check_room(settings) == []
    check_room(low)
    assert box.kinds() == ["low_disk", "low_disk"]


def test_a_withdrawn_alert_is_told_again(box: MailBox, settings: Settings) -> None:
    raise_alert(an_alert(), settings)
    withdraw_alert(AlertKind.NIGHT_FAILED, "2026-01-25", settings)
    raise_alert(an_alert(), settings)
    assert len(box.mails) == 2


def test_after_a_day_it_is_told_again(box: MailBox, settings: Settings) -> None:
    raise_alert(an_alert(), settings)
    [path] = settings.alerts_dir.glob("*.json")
    record = AlertRecord.model_validate_json(path.read_text())
    yesterday = (datetime.now(UTC) - timedelta(hours=25)).isoformat()
    path.write_text(record.model_copy(update={"told_utc": yesterday}).model_dump_json())
    raise_alert(an_alert(), settings)
    assert "2 times, first" in box.text(1)


def run_command(settings: Settings, *options: str) -> Any:
    """The command ``alerts`` with the settings in its environment."""
    environment = {
        "DSA110_CONTIMG_ALERT_TO": settings.alert_to or "",
        "DSA110_CONTIMG_ALERT_TIMEOUT_S": "1",
    }
    settings.work_dir.mkdir(exist_ok=True)
    arguments = ["alerts", "--work-dir", str(settings.work_dir), *options]
    return CliRunner().invoke(app, arguments, env=environment)


def test_the_command_sends_a_test_and_lists(
    box: MailBox, settings: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    done = run_command(settings, "--test")
    assert done.exit_code == 0, done.output
    assert box.kinds() == ["test"]
    assert run_command(settings, "--test").exit_code == 0
    assert len(box.mails) == 2, "each test is sent"
    monkeypatch.setenv(CONNECTION, smtp_connection(choose_port()))
    failed = run_command(settings, "--test")
    assert failed.exit_code == 1
    assert "Connection refused" in failed.output
    listed = run_command(settings, "--json")
    assert listed.exit_code == 1
    [record] = json.loads(listed.stdout)
    assert (record["delivery"], record["alert"]["kind"]) == ("failed", "test")
    assert [alert.delivery for alert in list_alerts(settings)] == [Delivery.FAILED]


def test_the_command_needs_an_addressee(settings: Settings) -> None:
    done = run_command(changed(settings, alert_to=None), "--test")
    assert done.exit_code == 1
    assert getattr(done.exception, "reason", None) == "no_alert_to"


def test_settings_in_the_environment_are_in_force(
    box: MailBox, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DSA110_CONTIMG_WORK_DIR", str(tmp_path))
    monkeypatch.setenv("DSA110_CONTIMG_ALERT_TO", f"smtp:{TO}")
    get_settings.cache_clear()
    try:
        raise_alert(an_alert())
    finally:
        get_settings.cache_clear()
    assert len(box.mails) == 1
