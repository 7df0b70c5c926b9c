"""Tell the operator what must not wait for the night report."""

from __future__ import annotations

import logging
import pkgutil

from dsa110_contimg.models import Model
from dsa110_contimg.settings import get_settings

_log = logging.getLogger("dsa110_contimg.alerts")


class Alert(Model):
    """Something that an operator should know now."""

    kind: str
    """A short slug, e.g. ``cleanup_failure``."""
    subject: str
    """What it is about, e.g. a group."""
    message: str
    """What happened and what to do, in words."""


def raise_alert(alert: Alert) -> None:
    """Log an alert, and hand it to the callback of the settings, if there is one.

    Parameters
    ----------
    alert : Alert
        What happened.
    """
    _log.error("ALERT %s: %s: %s", alert.kind, alert.subject, alert.message)
    callback = get_settings().alert_callback
    if callback is not None:
        pkgutil.resolve_name(callback)(alert)
