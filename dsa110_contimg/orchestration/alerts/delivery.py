"""Hand an alert to one of Airflow's notifiers: mail, Slack, or any server that takes JSON.

Server, sender and credentials stand in an Airflow connection, and nowhere else. The notifiers
are called past their templates: an alert holds names of files, which may look like one.
"""

from __future__ import annotations

import contextlib
import html
import math
import smtplib
import socket
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from dsa110_contimg.errors import ContimgError, InputError, TransientError
from dsa110_contimg.orchestration.alerts.models import AlertKind, AlertRecord
from dsa110_contimg.settings import Settings

if TYPE_CHECKING:
    from airflow.providers.smtp.hooks.smtp import SmtpHook

_MAX_SUBJECT = 150
_SENDER = "dsa110-contimg"
_TITLES = {
    AlertKind.NIGHT_SUMMARY: "night {}",
    AlertKind.NIGHT_FAILED: "night {} FAILED",
    AlertKind.NO_DATA: "night {} without data",
    AlertKind.NO_CALIBRATOR: "night {} without calibration",
    AlertKind.CLEANUP_FAILURE: "cannot clean up {}",
    AlertKind.LOW_DISK: "disk nearly full: {}",
    AlertKind.LOW_TMPFS: "little tmpfs: {}",
    AlertKind.TEST: "test from {}",
}


def deliver(record: AlertRecord, settings: Settings) -> None:
    """Send an alert to whom the settings name.

    Parameters
    ----------
    record : AlertRecord
        The alert.
    settings : Settings
        The settings in force; ``alert_to`` is set.

    Raises
    ------
    TransientError
        If it could not be delivered, for whatever reason; the message holds no credentials.
    """
    means, _, target = (settings.alert_to or "").partition(":")
    try:
        _MEANS[means](record, target, settings)
    except Exception as error:  # noqa: BLE001 - whatever notifiers raise must not fail a night
        raise TransientError(
            f"no {means} message through the connection {settings.alert_connection!r}: "
            f"{describe_failure(error)}",
            reason="alert_not_delivered",
            remedy="see docs/operations/alerts.md",
        ) from None


def describe_title(record: AlertRecord) -> str:
    """Put an alert into one line.

    Parameters
    ----------
    record : AlertRecord
        The alert.

    Returns
    -------
    str
        Fit for the subject of a mail.
    """
    alert = record.alert
    title = f"[{_SENDER}] {_TITLES[alert.kind].format(alert.subject)}: {alert.headline}"
    return " ".join(title.split())[:_MAX_SUBJECT]


def describe_failure(error: BaseException) -> str:
    """Say why a delivery failed, without what the libraries quote of addresses and tokens.

    Parameters
    ----------
    error : BaseException
        What a notifier raised, with the errors that led to it.

    Returns
    -------
    str
        Answers of servers, words of the operating system and of Airflow, else names of errors.
    """
    words = [_safe_words(link) for link in _chain(error)]
    told = list(dict.fromkeys(word for word in words if word))
    return ": ".join(told) or type(error).__name__


def _chain(error: BaseException | None) -> Iterator[BaseException]:
    """Follow an error to what led to it."""
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__


def _safe_words(error: BaseException) -> str | None:
    """Quote an error if its text is known to hold no secret."""
    from airflow.sdk.exceptions import AirflowException, AirflowRuntimeError

    words: str | None
    match error:
        case smtplib.SMTPResponseException():
            words = f"{error.smtp_code} {_as_text(error.smtp_error)}"
        case smtplib.SMTPRecipientsRefused():
            answers = error.recipients.items()
            words = "; ".join(f"{who}: {code} {_as_text(text)}" for who, (code, text) in answers)
        case TimeoutError():
            words = "no answer in time"
        case ContimgError() | AirflowException() | AirflowRuntimeError():
            words = str(error)
        case ImportError() | smtplib.SMTPException():
            words = f"{type(error).__name__}: {error}"
        case OSError():
            words = error.strerror
        case _:
            words = None
    return words


def _as_text(answer: bytes | str) -> str:
    """Read the answer of a mail server."""
    return answer.decode(errors="replace") if isinstance(answer, bytes) else answer


def _mail(record: AlertRecord, target: str, settings: Settings) -> None:
    """Send a mail with Airflow's `SmtpNotifier`."""
    from airflow.providers.smtp.notifications.smtp import SmtpNotifier
    from airflow.sdk import BaseHook

    if not BaseHook.get_connection(settings.alert_connection).extra_dejson.get("from_email"):
        raise InputError("the connection names no sender", remedy="put from_email in its extra")
    notifier = SmtpNotifier(
        to=target.split(","),
        subject=describe_title(record),
        html_content=_as_html(record),
        smtp_conn_id=settings.alert_connection,
        custom_headers={
            "Auto-Submitted": "auto-generated",
            "X-DSA110-Alert": record.alert.kind.value,
        },
    )
    notifier.hook = _impatient_hook(settings)
    notifier.notify({})


def _impatient_hook(settings: Settings) -> SmtpHook:
    """Connect as Airflow does, but for no longer than the settings allow, and once."""
    from airflow.providers.smtp.hooks.smtp import SmtpHook

    class ImpatientSmtpHook(SmtpHook):
        """Leaves further tries to the next alert."""

        def get_conn(self) -> SmtpHook:
            """Log in; hang up if that is refused."""
            with contextlib.ExitStack() as unless_logged_in:
                unless_logged_in.callback(self._hang_up)
                connected = super().get_conn()
                unless_logged_in.pop_all()
            return connected

        def _hang_up(self) -> None:
            """Leave no connection open."""
            if isinstance(self._smtp_client, smtplib.SMTP):
                self._smtp_client.close()

        @property
        def timeout(self) -> int:
            """Seconds for each answer of the server."""
            return min(super().timeout, math.ceil(settings.alert_timeout_s))

        @property
        def smtp_retry_limit(self) -> int:
            """Tries after the first."""
            return 0

    return ImpatientSmtpHook(settings.alert_connection)


def _as_html(record: AlertRecord) -> str:
    """Write the message of a mail."""
    text = html.escape(f"{record.alert.message}\n\n{_footer(record)}")
    return f'<pre style="white-space: pre-wrap; font: inherit">{text}</pre>'


def _slack(record: AlertRecord, _: str, settings: Settings) -> None:
    """Post with Airflow's `SlackWebhookNotifier`."""
    from airflow.providers.slack.notifications.slack_webhook import SlackWebhookNotifier

    message = f"*{describe_title(record)}*\n{record.alert.message}\n_{_footer(record)}_"
    notifier = SlackWebhookNotifier(
        slack_webhook_conn_id=settings.alert_connection,
        # The three characters that mean something to Slack.
        text=html.escape(message, quote=False),
        timeout=math.ceil(settings.alert_timeout_s),
    )
    notifier.notify({})  # type: ignore[no-untyped-call]


def _webhook(record: AlertRecord, target: str, settings: Settings) -> None:
    """Post JSON with Airflow's `HttpNotifier`."""
    from airflow.providers.http.notifications.http import HttpNotifier
    from airflow.sdk import BaseHook
    from airflow.sdk.log import mask_secret

    # Where the path of a webhook is its password, logs must not have it.
    path = urlsplit(BaseHook.get_connection(settings.alert_connection).host or "").path
    if path.strip("/"):
        mask_secret(path)
    alert = record.alert
    HttpNotifier(
        http_conn_id=settings.alert_connection,
        endpoint=target or None,
        json={
            "sender": _SENDER,
            "host": socket.gethostname(),
            "kind": alert.kind.value,
            "subject": alert.subject,
            "title": describe_title(record),
            "message": alert.message,
            "text": f"{describe_title(record)}\n{alert.message}",
            "first_utc": record.first_utc,
            "last_utc": record.last_utc,
            "times": record.times,
        },
        extra_options={"timeout": settings.alert_timeout_s},
    ).notify({})


def _footer(record: AlertRecord) -> str:
    """Say when and where an alert was raised."""
    often = f", {record.times} times, first {record.first_utc}" if record.times > 1 else ""
    return f"{record.alert.kind} raised {record.last_utc}{often} on {socket.gethostname()}"


_MEANS: dict[str, Callable[[AlertRecord, str, Settings], None]] = {
    "smtp": _mail,
    "slack": _slack,
    "webhook": _webhook,
}
