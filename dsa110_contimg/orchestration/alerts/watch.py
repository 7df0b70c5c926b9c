"""What `housekeeping` does for alerts every hour."""

from __future__ import annotations

from dsa110_contimg.errors import TransientError
from dsa110_contimg.orchestration.alerts.raising import (
    deliver_owed,
    describe_outcome,
    prune_alerts,
)
from dsa110_contimg.orchestration.alerts.space import check_room
from dsa110_contimg.settings import get_settings


def keep_watch() -> str:
    """Look at the room of this machine, and deliver what could not be delivered before.

    Returns
    -------
    str
        What was raised, for the log and the UI.

    Raises
    ------
    TransientError
        If something still cannot be delivered: so Airflow's UI shows it to those who look.
    """
    settings = get_settings()
    raised = check_room(settings)
    prune_alerts(settings)
    if owed := deliver_owed(settings):
        first = owed[0]
        raise TransientError(
            f"{len(owed)} alerts could not be delivered, the first since {first.first_utc}: "
            f"{first.error or 'not tried'}",
            reason="alerts_owed",
            remedy="dsa110-contimg alerts lists them; see docs/operations/alerts.md",
        )
    return "; ".join(map(describe_outcome, raised)) or "there is room, and nothing is owed"
