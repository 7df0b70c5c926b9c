"""An alert callback that keeps what it gets, and processes that raise the same alert."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

from dsa110_contimg.orchestration.alerts import Alert, AlertKind
from dsa110_contimg.orchestration.alerts.models import Delivery
from dsa110_contimg.orchestration.alerts.store import AlertStore, note_raised

kept: list[Alert] = []


def keep(alert: Alert) -> None:
    kept.append(alert)


def fail(alert: Alert) -> None:
    raise RuntimeError(f"no use for {alert.kind}")


def raise_in_turn(root: Path, tries: int, log: Path) -> None:
    """What `raise_alert` does in each of several processes, a line in a file for the delivery."""
    store = AlertStore(root)
    alert = Alert(kind=AlertKind.LOW_DISK, subject="host:/data", message="3 GB left")
    now, day = datetime.now(UTC), timedelta(days=1)
    for _ in range(tries):
        with store.locked(alert.kind):
            record = note_raised(store.find(alert.kind, alert.subject), alert, now, day)
            if record.is_owed:
                with log.open("a") as file:
                    file.write("told\n")
                told = {"delivery": Delivery.SENT, "told_utc": now.isoformat()}
                record = record.model_copy(update=told)
            store.save(record)
