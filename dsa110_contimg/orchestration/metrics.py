"""What conversions count, sent through Airflow's own statistics (statsd, OpenTelemetry)."""

from __future__ import annotations

from pathlib import Path

from dsa110_contimg.conversion.models import ConversionResult, ConversionState
from dsa110_contimg.errors import ContimgError
from dsa110_contimg.storage.publish import read_manifest
from dsa110_contimg.storage.sandbox import sandbox_bytes

PREFIX = "dsa110"


def count_conversion(result: ConversionResult, sandbox_root: Path) -> None:
    """Count what became of a group.

    Parameters
    ----------
    result : ConversionResult
        Not a failure: those are counted by `count_failure`.
    sandbox_root : Path
        Directory of the sandboxes.
    """
    from airflow.sdk.observability import stats

    count_sandboxes(sandbox_root, len(result.cleanup_failures))
    if result.state is not ConversionState.CONVERTED or result.ms_path is None:
        return
    stats.incr(f"{PREFIX}.groups_converted")
    manifest = read_manifest(Path(result.ms_path))
    for stage, seconds in (manifest.stage_seconds if manifest else {}).items():
        # Airflow's timings are in milliseconds.
        stats.timing(f"{PREFIX}.stage_seconds.{stage}", 1000.0 * seconds)


def count_failure(error: ContimgError, sandbox_root: Path) -> None:
    """Count a group that failed, by reason.

    Parameters
    ----------
    error : ContimgError
        Why it failed.
    sandbox_root : Path
        Directory of the sandboxes.
    """
    from airflow.sdk.observability import stats

    count_sandboxes(sandbox_root, 0)
    stats.incr(f"{PREFIX}.groups_failed.{error.reason}")


def count_sandboxes(sandbox_root: Path, cleanup_failures: int) -> None:
    """Count what the sandboxes hold, and how many could not be removed.

    Parameters
    ----------
    sandbox_root : Path
        Directory of the sandboxes.
    cleanup_failures : int
        Removals that failed.
    """
    from airflow.sdk.observability import stats

    stats.gauge(f"{PREFIX}.sandbox_bytes", sandbox_bytes(sandbox_root))
    if cleanup_failures:
        stats.incr(f"{PREFIX}.cleanup_failures", cleanup_failures)
