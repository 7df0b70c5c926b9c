"""What the DAG `housekeeping` does: tidy up after the dead."""

from __future__ import annotations

from dsa110_contimg.errors import TransientError
from dsa110_contimg.orchestration.alerts import Alert, raise_alert
from dsa110_contimg.settings import get_settings
from dsa110_contimg.storage.sandbox import reap_sandboxes


def remove_dead_sandboxes() -> list[str]:
    """Remove every sandbox whose owner has ended, in tmpfs and in scratch.

    Returns
    -------
    list of str
        The sandboxes that were removed.

    Raises
    ------
    TransientError
        If one could not be removed; the others are gone.
    """
    from dsa110_contimg.orchestration.metrics import count_sandboxes

    settings = get_settings()
    removed: list[str] = []
    failures: list[str] = []
    for root in settings.sandbox_roots:
        done, problems = reap_sandboxes(root)
        removed += [str(path) for path in done]
        failures += problems
    count_sandboxes(settings.sandbox_root, len(failures))
    for failure in failures:
        raise_alert(Alert(kind="cleanup_failure", subject="housekeeping", message=failure))
    if failures:
        raise TransientError(
            "; ".join(failures),
            reason="cleanup_failure",
            remedy="see docs/operations/sandboxes.md",
        )
    return removed
