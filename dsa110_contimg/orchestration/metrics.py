"""What the pipeline counts and measures, sent through Airflow's own statistics.

Every metric is declared here, and ``docs/operations/metrics.md`` lists the same ones. A metric
that is told apart by something (a reason, a stage) goes out twice, as Airflow's own do: under
its name, with a tag for OpenTelemetry and statsd servers that know tags, and under
``name.value`` for those that do not.
"""

from __future__ import annotations

import socket
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Final

from dsa110_contimg.conversion.models import ConversionResult, ConversionState
from dsa110_contimg.errors import ContimgError
from dsa110_contimg.storage.publish import read_manifest
from dsa110_contimg.storage.sandbox import sandbox_bytes

if TYPE_CHECKING:
    from collections.abc import Sequence

    from dsa110_contimg.calibration.models import SolveState
    from dsa110_contimg.photometry.models import SourceResult

PREFIX: Final = "dsa110"


class MetricKind(StrEnum):
    """How a metric adds up."""

    COUNTER = "counter"
    GAUGE = "gauge"
    TIMER = "timer"


@dataclass(frozen=True)
class Metric:
    """A metric as Airflow's statistics know it.

    Attributes
    ----------
    name : str
        Its name, after the prefixes of Airflow and of this project.
    kind : MetricKind
        How it adds up.
    unit : str
        What its values are.
    by : str or None
        What tells its parts from each other.
    """

    name: str
    kind: MetricKind
    unit: str
    by: str | None = None

    @property
    def full_name(self) -> str:
        """Name with the prefix of this project."""
        return f"{PREFIX}.{self.name}"


def _counter(name: str, unit: str, by: str | None = None) -> Metric:
    """Declare a counter."""
    return Metric(name, MetricKind.COUNTER, unit, by)


def _gauge(name: str, unit: str, by: str | None = None) -> Metric:
    """Declare a gauge."""
    return Metric(name, MetricKind.GAUGE, unit, by)


def _timer(name: str, by: str | None = None) -> Metric:
    """Declare a timer; Airflow's are in milliseconds."""
    return Metric(name, MetricKind.TIMER, "ms", by)


GROUPS_CONVERTED: Final = _counter("groups_converted", "groups")
GROUPS_REJECTED: Final = _counter("groups_rejected", "groups")
GROUPS_FAILED: Final = _counter("groups_failed", "groups", by="reason")
STAGE_DURATION: Final = _timer("stage_duration", by="stage")
SANDBOX_BYTES: Final = _gauge("sandbox_bytes", "bytes", by="host")
TMPFS_FREE_BYTES: Final = _gauge("tmpfs_free_bytes", "bytes", by="host")
DISK_FREE_BYTES: Final = _gauge("disk_free_bytes", "bytes", by="host")
CLEANUP_FAILURES: Final = _counter("cleanup_failures", "removals")
FLAGGED_FRACTION: Final = _gauge("flagged_fraction", "fraction")
SOLVES: Final = _counter("solves", "solves", by="state")
SOURCES_MEASURED: Final = _counter("sources_measured", "sources")
SOURCES_FAILED: Final = _counter("sources_failed", "sources")
DETECTIONS: Final = _counter("detections", "detections")
NIGHT_DURATION: Final = _timer("night_duration")
NIGHT_LATENESS: Final = _timer("night_lateness")
NIGHTS: Final = _counter("nights", "nights", by="verdict")
ALERTS_RAISED: Final = _counter("alerts_raised", "alerts", by="kind")
ALERT_DELIVERIES_FAILED: Final = _counter("alert_deliveries_failed", "attempts", by="kind")
ALERTS_OWED: Final = _gauge("alerts_owed", "alerts")

METRICS: Final = tuple(value for value in list(vars().values()) if isinstance(value, Metric))
"""All of them."""


def count(metric: Metric, n: int = 1, *, by: str | None = None) -> None:
    """Add to a counter.

    Parameters
    ----------
    metric : Metric
        The counter.
    n : int
        How many; nothing is sent for 0.
    by : str, optional
        What tells this part from the others.
    """
    from airflow.sdk.observability import stats

    if not n:
        return
    for name, tags in _names(metric, by):
        stats.incr(name, n, tags=tags)


def gauge(metric: Metric, value: float, *, by: str | None = None) -> None:
    """Set a gauge.

    Parameters
    ----------
    metric : Metric
        The gauge.
    value : float
        Its value.
    by : str, optional
        What tells this part from the others.
    """
    from airflow.sdk.observability import stats

    for name, tags in _names(metric, by):
        stats.gauge(name, value, tags=tags)


def time_s(metric: Metric, seconds: float, *, by: str | None = None) -> None:
    """Add a time to a timer.

    Parameters
    ----------
    metric : Metric
        The timer.
    seconds : float
        The time in seconds.
    by : str, optional
        What tells this part from the others.
    """
    from airflow.sdk.observability import stats

    for name, tags in _names(metric, by):
        stats.timing(name, 1000.0 * seconds, tags=tags)


def _names(metric: Metric, by: str | None) -> list[tuple[str, dict[str, str]]]:
    """Name a metric with a tag, and its part without."""
    if metric.by is None or by is None:
        return [(metric.full_name, {})]
    from airflow.sdk.observability import stats

    part = stats.normalize_name_for_stats(by.replace(".", "_"), log_warning=False)
    return [(metric.full_name, {metric.by: by}), (f"{metric.full_name}.{part}", {})]


def count_conversion(result: ConversionResult, sandbox_root: Path) -> None:
    """Count what became of a group.

    Parameters
    ----------
    result : ConversionResult
        Not a failure: those are counted by `count_failure`.
    sandbox_root : Path
        Directory of the sandboxes.
    """
    count_sandboxes(sandbox_root, len(result.cleanup_failures))
    if result.state is ConversionState.REJECTED:
        count(GROUPS_REJECTED)
    if result.state is not ConversionState.CONVERTED or result.ms_path is None:
        return
    count(GROUPS_CONVERTED)
    manifest = read_manifest(Path(result.ms_path))
    for stage, seconds in (manifest.stage_seconds if manifest else {}).items():
        time_s(STAGE_DURATION, seconds, by=stage)


def count_failure(error: ContimgError, sandbox_root: Path) -> None:
    """Count a group that failed, by reason.

    Parameters
    ----------
    error : ContimgError
        Why it failed.
    sandbox_root : Path
        Directory of the sandboxes.
    """
    count_sandboxes(sandbox_root, 0)
    count(GROUPS_FAILED, by=error.reason)


def count_sandboxes(sandbox_root: Path, cleanup_failures: int) -> None:
    """Measure what the sandboxes of this machine hold; count what could not be removed.

    Parameters
    ----------
    sandbox_root : Path
        Directory of the sandboxes.
    cleanup_failures : int
        Removals that failed.
    """
    gauge(SANDBOX_BYTES, sandbox_bytes(sandbox_root), by=socket.gethostname())
    count(CLEANUP_FAILURES, cleanup_failures)


def count_solve(state: SolveState) -> None:
    """Count what became of the solve on a calibrator.

    Parameters
    ----------
    state : SolveState
        Solved, refused or failed.
    """
    count(SOLVES, by=state.value)


def count_sources(results: Sequence[SourceResult]) -> None:
    """Count the sources of a field, and their detections.

    Parameters
    ----------
    results : sequence of SourceResult
        What was there already does not count again.
    """
    new = [result for result in results if not result.skipped]
    measured = [result for result in new if result.success]
    count(SOURCES_MEASURED, len(measured))
    count(SOURCES_FAILED, len(new) - len(measured))
    count(DETECTIONS, sum(len(result.detections) for result in new))


def count_night(verdict: str, started: datetime | None, data_ended: datetime | None = None) -> None:
    """Count a night by its verdict, and measure how long it took and how late it is.

    Parameters
    ----------
    verdict : str
        What it came to.
    started : datetime or None
        Start of its run.
    data_ended : datetime, optional
        End of its data, where the run follows them by the clock.
    """
    now = datetime.now(UTC)
    count(NIGHTS, by=verdict)
    if started is not None:
        time_s(NIGHT_DURATION, (now - started).total_seconds())
    if data_ended is not None:
        time_s(NIGHT_LATENESS, (now - data_ended).total_seconds())
