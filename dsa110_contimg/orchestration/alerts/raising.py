"""Raise an alert: log it, tell the callback, tell the operator once, and again if that failed.

Nothing that goes wrong here reaches the caller: a night does not fail for want of a mail
server. What could not be delivered is logged, counted and kept, and is tried again after the
next delivery that succeeds and by `housekeeping`.
"""

from __future__ import annotations

import logging
import pkgutil
import socket
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta

from filelock import Timeout

from dsa110_contimg.errors import TransientError
from dsa110_contimg.orchestration import metrics
from dsa110_contimg.orchestration.alerts.delivery import deliver
from dsa110_contimg.orchestration.alerts.models import (
    Alert,
    AlertKind,
    AlertRecord,
    Delivery,
)
from dsa110_contimg.orchestration.alerts.store import AlertStore, note_raised
from dsa110_contimg.settings import Settings, get_settings

_log = logging.getLogger("dsa110_contimg.alerts")

_KEPT = timedelta(days=30)
_NEXT_TRY = timedelta(minutes=5)
"""A night whose mail server hangs does not wait for it with each of its tasks."""
_NO_STATE = "cannot keep the state of alerts in %s: %s"
_NEWS = {AlertKind.NIGHT_SUMMARY, AlertKind.TEST}
"""What is no cause for concern."""


def raise_alert(alert: Alert, settings: Settings | None = None) -> AlertRecord:
    """Log an alert, hand it to the callback of the settings, and tell the operator once.

    Parameters
    ----------
    alert : Alert
        What happened.
    settings : Settings, optional
        Whom to tell, and how; those in force by default.

    Returns
    -------
    AlertRecord
        What became of it; `describe_outcome` puts that into words.
    """
    settings = settings or get_settings()
    level = logging.INFO if alert.kind in _NEWS else logging.ERROR
    _log.log(level, "ALERT %s: %s: %s", alert.kind, alert.subject, alert.message)
    metrics.count(metrics.ALERTS_RAISED, by=alert.kind)
    _call_back(alert, settings)
    store, now = AlertStore(settings.alerts_dir), datetime.now(UTC)
    repeat = timedelta(hours=settings.alert_repeat_hours)
    try:
        with store.locked(alert.kind):
            record = note_raised(store.find(alert.kind, alert.subject), alert, now, repeat)
            is_due = _is_due(record, now)
            if is_due:
                record = _tell(record, settings)
            _keep(store, record)
    except Timeout:
        # Another process has long been telling of this kind; housekeeping does the rest.
        return _keep(store, note_raised(None, alert, now, repeat))
    except OSError as error:
        _log.warning(_NO_STATE, store.root, error)
        return _tell(note_raised(None, alert, now, repeat), settings)
    if is_due and record.delivery is Delivery.SENT:
        deliver_owed(settings)
    return record


def alert_cleanup_failures(failures: Sequence[str]) -> None:
    """Raise one alert for all that could not be removed on this machine.

    Parameters
    ----------
    failures : sequence of str
        What could not be removed and why, a sentence each; nothing is raised for none.
    """
    if not failures:
        return
    message = "\n".join([*failures, "See docs/operations/sandboxes.md."])
    raise_alert(
        Alert(
            kind=AlertKind.CLEANUP_FAILURE,
            subject=socket.gethostname(),
            message=message,
            # Else each group of a night on this machine would send a mail of its own.
            fingerprint="",
        )
    )


def deliver_owed(settings: Settings) -> list[AlertRecord]:
    """Try again to deliver what could not be delivered, the oldest first, until one fails.

    Parameters
    ----------
    settings : Settings
        The settings in force.

    Returns
    -------
    list of AlertRecord
        What is still owed.
    """
    store = AlertStore(settings.alerts_dir)
    owed = [record for record in reversed(store.list_records()) if record.is_owed]
    left: list[AlertRecord] = []
    for record in owed:
        left += [record] if left else _deliver_one(store, record, settings)
    metrics.gauge(metrics.ALERTS_OWED, len(left))
    return left


def withdraw_alert(kind: AlertKind, subject: str, settings: Settings | None = None) -> None:
    """Forget an alert whose cause is gone, so that it is told of again when it comes back.

    Parameters
    ----------
    kind : AlertKind
        Its kind.
    subject : str
        What it is about.
    settings : Settings, optional
        Where it is on record; those in force by default.
    """
    store = AlertStore((settings or get_settings()).alerts_dir)
    if store.find(kind, subject) is None:
        return
    try:
        with store.locked(kind):
            store.forget(kind, subject)
    except OSError as error:
        _log.warning("cannot forget the alert %s of %s: %s", kind, subject, error)


def list_alerts(settings: Settings) -> list[AlertRecord]:
    """Read the alerts of the last month, and what became of them.

    Parameters
    ----------
    settings : Settings
        The settings in force.

    Returns
    -------
    list of AlertRecord
        The newest first.
    """
    return AlertStore(settings.alerts_dir).list_records()


def prune_alerts(settings: Settings) -> None:
    """Forget alerts that were told, and not raised again, for a month.

    Parameters
    ----------
    settings : Settings
        The settings in force.
    """
    AlertStore(settings.alerts_dir).prune(datetime.now(UTC), _KEPT)


def describe_outcome(record: AlertRecord) -> str:
    """Say what became of an alert.

    Parameters
    ----------
    record : AlertRecord
        The alert.

    Returns
    -------
    str
        For the log and the UI.
    """
    match record.delivery:
        case Delivery.SENT:
            return f"{record.alert.kind}: sent {record.told_utc}"
        case Delivery.LOGGED:
            return f"{record.alert.kind}: logged only, by the settings"
        case Delivery.FAILED:
            return f"{record.alert.kind}: NOT delivered, will be tried again: {record.error}"
        case Delivery.PENDING:
            return f"{record.alert.kind}: left to housekeeping"


def _is_due(record: AlertRecord, now: datetime) -> bool:
    """Whether to deliver an alert now."""
    tried = record.tried_utc and datetime.fromisoformat(record.tried_utc)
    return record.is_owed and not (tried and tried > now - _NEXT_TRY)


def _call_back(alert: Alert, settings: Settings) -> None:
    """Hand an alert to the callback of the settings, if there is one."""
    if settings.alert_callback is None:
        return
    try:
        pkgutil.resolve_name(settings.alert_callback)(alert)
    except Exception:  # noqa: BLE001 - the callback is the operator's code
        _log.exception("the callback %s failed", settings.alert_callback)


def _keep(store: AlertStore, record: AlertRecord) -> AlertRecord:
    """Write what became of an alert, if that can be: a full disk is a thing to be told of."""
    try:
        store.save(record)
    except OSError as error:
        _log.warning(_NO_STATE, store.root, error)
    return record


def _deliver_one(store: AlertStore, record: AlertRecord, settings: Settings) -> list[AlertRecord]:
    """Try to deliver an alert that is owed; return it if that failed."""
    try:
        with store.locked(record.alert.kind):
            # Meanwhile another process may have told it, or it may be gone.
            current = store.find(record.alert.kind, record.alert.subject)
            if current is None or not current.is_owed:
                return []
            tried = _keep(store, _tell(current, settings))
    except OSError as error:
        _log.warning(_NO_STATE, store.root, error)
        return [record]
    return [tried] if tried.is_owed else []


def _tell(record: AlertRecord, settings: Settings) -> AlertRecord:
    """Deliver an alert, unless nobody is to be told, and say what became of it."""
    kind = record.alert.kind
    now = datetime.now(UTC).isoformat(timespec="seconds")
    told: dict[str, object] = {"told_utc": now, "error": None}
    if settings.alert_to is None or kind in settings.alert_silence.split(","):
        return record.model_copy(update={**told, "delivery": Delivery.LOGGED})
    try:
        deliver(record, settings)
    except TransientError as error:
        _log.error("NOT DELIVERED: alert %s of %s: %s", kind, record.alert.subject, error)
        metrics.count(metrics.ALERT_DELIVERIES_FAILED, by=kind)
        failed = {"attempts": record.attempts + 1, "tried_utc": now, "error": str(error)}
        return record.model_copy(update={**failed, "delivery": Delivery.FAILED})
    return record.model_copy(update={**told, "delivery": Delivery.SENT})
