"""Tell the operator what must not wait for the night report."""

from __future__ import annotations

from dsa110_contimg.orchestration.alerts.models import Alert, AlertKind
from dsa110_contimg.orchestration.alerts.raising import alert_cleanup_failures, raise_alert

__all__ = ["Alert", "AlertKind", "alert_cleanup_failures", "raise_alert"]
