"""What the runs of the DAGs are about: their nights, their ids, their parameters."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any, Final

from dsa110_contimg.errors import InputError
from dsa110_contimg.models import Model
from dsa110_contimg.settings import Settings

NIGHT_DAG: Final = "nightly_transit"
IMAGE_DAG: Final = "image_ms"
_MAX_ID = 240
"""Airflow's ids hold 250 characters."""
_START_S = 120.0
"""What Python and Airflow may take before a task's work begins, on a busy machine."""


class Night(Model):
    """The night that a run of `nightly_transit` is about."""

    date: str
    """UTC date that it is filed under, ``YYYY-MM-DD``."""
    start: datetime
    """Earliest start of a group, UTC."""
    end: datetime
    """First start of a group that belongs to the next night, UTC."""
    input_dir: Path
    """Directory of the raw subband files."""
    sources_file: Path
    """Catalogue of the sources to image."""


def task_limit(settings: Settings, work_s: float) -> timedelta:
    """Say how long a task that works on an MS may take.

    Parameters
    ----------
    settings : Settings
        The settings in force.
    work_s : float
        Limit for its work, in seconds.

    Returns
    -------
    timedelta
        Its work, its wait for the MS, and the start of Python.
    """
    return timedelta(seconds=work_s + settings.ms_lock_timeout_s + _START_S)


def plan_night(
    params: Mapping[str, Any],
    interval_start: datetime | None,
    interval_end: datetime | None,
    settings: Settings,
) -> Night:
    """Say which night a run is about.

    Parameters
    ----------
    params : mapping
        Parameters of the run: ``date``, ``input_dir`` and ``sources_file``, each may be empty.
    interval_start, interval_end : datetime or None
        Data interval of the run, where it has one; the date goes before it.
    settings : Settings
        The settings in force.

    Returns
    -------
    Night
        The night.

    Raises
    ------
    InputError
        If neither a date nor a data interval is given, or the date is none.
    """
    if text := params.get("date"):
        try:
            day = date.fromisoformat(text)
        except (TypeError, ValueError):
            raise InputError(
                f"{text!r} is not a date", reason="bad_date", remedy="write it as YYYY-MM-DD"
            ) from None
        start = datetime.combine(day, time(), UTC)
        end = start + timedelta(days=1)
    elif interval_start and interval_end and interval_end > interval_start:
        # Airflow hands pendulum's datetimes, whose sums with plain ones lose the time zone.
        start, end = (
            datetime.fromtimestamp(moment.timestamp(), UTC)
            for moment in (interval_start, interval_end)
        )
    else:
        raise InputError(
            "the run has neither a date nor a data interval",
            reason="no_date",
            remedy="give the parameter date",
        )
    return Night(
        date=start.date().isoformat(),
        start=start,
        end=end,
        input_dir=Path(params.get("input_dir") or settings.raw_dir).absolute(),
        sources_file=Path(params.get("sources_file") or settings.sources_path).absolute(),
    )


def image_conf(night: Night, ms_path: str) -> dict[str, Any]:
    """Make the parameters of the run of `image_ms` for an MS of a night.

    Parameters
    ----------
    night : Night
        The night; the results are filed under it.
    ms_path : str
        The MS.

    Returns
    -------
    dict
        For ``dag_run.conf``.
    """
    return {"ms": ms_path, "sources_file": str(night.sources_file), "night": night.date}


def image_run_id(parent_run_id: str, conf: Mapping[str, Any]) -> str:
    """Name the run of `image_ms` that a run of another DAG asks for.

    A run keeps its parameters when it is started again; so the name changes with them, and
    the same request always finds the same run.

    Parameters
    ----------
    parent_run_id : str
        Run that asks.
    conf : mapping
        Parameters of the run to start; ``ms`` among them.

    Returns
    -------
    str
        Deterministic in its arguments.
    """
    request = json.dumps([parent_run_id, dict(conf)], sort_keys=True)
    digest = hashlib.sha256(request.encode()).hexdigest()[:8]
    name = Path(conf["ms"]).name.removesuffix(".ms")
    return f"image__{name}__{parent_run_id}"[: _MAX_ID - 10] + f"__{digest}"
