"""The command ``alerts``."""

from __future__ import annotations

import os
import socket
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.text import Text

from dsa110_contimg.cli.options import settings_for
from dsa110_contimg.cli.output import Column, open_screen, print_json, print_table, say

if TYPE_CHECKING:
    from dsa110_contimg.orchestration.alerts.models import AlertRecord
    from dsa110_contimg.settings import Settings

_STYLES = {"sent": "green", "logged": "dim", "pending": "yellow", "failed": "red"}


def alerts(
    test: Annotated[
        bool,
        typer.Option(
            "--test",
            help="Send a test alert to whom the setting alert_to names, through the connection in "
            "the environment (AIRFLOW_CONN_DSA110_ALERTS); one that is kept in Airflow's own "
            "database is only seen by tasks.",
        ),
    ] = False,
    work_dir: Annotated[
        Path | None,
        typer.Option(
            help="Root of everything the pipeline writes; default DSA110_CONTIMG_WORK_DIR, or"
            " 'work' in the current directory.",
            exists=True,
            file_okay=False,
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print what is on record as JSON on standard output.")
    ] = False,
) -> None:
    """List the alerts of the last month and whether they arrived, or send a test.

    An alert is sent once for each kind and subject, and again when it changes or a day has
    passed (the setting alert_repeat_hours). One that could not be delivered is tried again with
    the next, and every hour. Kinds in the setting alert_silence, and all if alert_to is empty,
    are logged only.

    Exit status: 0 if nothing waits to be delivered; 1 if something does; 2 for wrong usage.

    Example: dsa110-contimg alerts --test
    """
    from dsa110_contimg.orchestration.alerts.raising import list_alerts

    settings = settings_for(work_dir)
    records = [_send_test(settings)] if test else list_alerts(settings)
    if as_json:
        print_json([record.model_dump(mode="json") for record in records])
    else:
        _print(records, settings)
    if any(record.is_owed for record in records):
        raise typer.Exit(1)


def _send_test(settings: Settings) -> AlertRecord:
    """Raise an alert that differs from all before."""
    from dsa110_contimg.errors import InputError
    from dsa110_contimg.orchestration.alerts import Alert, AlertKind, raise_alert

    if settings.alert_to is None:
        raise InputError(
            "the setting alert_to names nobody",
            reason="no_alert_to",
            remedy="set DSA110_CONTIMG_ALERT_TO, e.g. to smtp:operators@example.org",
        )
    # Airflow makes its home, wherever it is imported.
    os.environ.setdefault("AIRFLOW_HOME", str((settings.work_dir / "airflow").absolute()))
    now = datetime.now(UTC).isoformat(timespec="seconds")
    return raise_alert(
        Alert(
            kind=AlertKind.TEST,
            subject=socket.gethostname(),
            message=f"Alerts arrive. Somebody asked for this test at {now}.",
            fingerprint=datetime.now(UTC).isoformat(),
        ),
        settings,
    )


def _print(records: list[AlertRecord], settings: Settings) -> None:
    """Print alerts as a table, then why some have not arrived, in lines that can be copied."""
    screen = open_screen()
    if not records:
        say(f"no alert on record in {settings.alerts_dir}", screen)
        return
    print_table(
        (
            Column("Last (UTC)"),
            Column("Times", rank=1),
            Column("Kind"),
            Column("Subject"),
            Column("Delivery"),
        ),
        [
            (
                record.last_utc[:19],
                str(record.times),
                record.alert.kind,
                record.alert.subject,
                Text(record.delivery, style=_STYLES[record.delivery]),
            )
            for record in records
        ],
        screen,
    )
    for record in records:
        say(
            f"{record.alert.kind} {record.alert.subject}: {record.error or record.alert.headline}",
            screen,
        )
