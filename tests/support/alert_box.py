"""An alert callback that keeps what it gets."""

from __future__ import annotations

from dsa110_contimg.orchestration.alerts import Alert

kept: list[Alert] = []


def keep(alert: Alert) -> None:
    kept.append(alert)
