"""What the runs of the DAGs are about: their nights, their ids, their parameters."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from datetime import UTC, date, datetime, time, timedelta
from pathlib import Path
from typing import Any, Final

from pydantic import Field, ValidationError

from dsa110_contimg.errors import InputError
from dsa110_contimg.models import Model
from dsa110_contimg.orchestration.forms import night_form
from dsa110_contimg.orchestration.refusals import refuse_unknown
from dsa110_contimg.orchestration.request_paths import allowed_path
from dsa110_contimg.settings import Settings, get_settings

NIGHT_DAG: Final = "nightly_transit"
CONVERT_TASK: Final = "process.convert"
"""One instance for each group of a night."""
IMAGE_TASK: Final = "process.image"
"""Likewise: waits for the run on its Measurement Set."""
IMAGE_DAG: Final = "image_ms"
IMAGE_DAG_LAST_TASK: Final = "summary"
"""It runs when all others have ended, however they did."""
HOUSEKEEPING_DAG: Final = "housekeeping"
FAILED_STATES: Final = frozenset({"failed", "upstream_failed"})
"""Of a task that will not be tried again."""
_PATHS: Final = {"input_dir": "the input directory", "sources_file": "the source catalogue"}
_MAX_ID = 240
"""Airflow's ids hold 250 characters."""
_DAY = timedelta(days=1)
IMAGE_PREFIX: Final = "image__"
"""Begin of the ids of the runs of `image_ms` that a night starts."""
COMMAND_PREFIX: Final = "night__"
"""Begin of the ids of the runs of `nightly_transit` that the command `night` starts."""
_START_S = 120.0
"""What Python and Airflow may take before a task's work begins, on a busy machine."""
_MOST_PATIENT_S = 60
"""Longest time between two questions whether a group's run is over."""


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
    dec_deg: float | None = Field(None, ge=-90.0, le=90.0)
    """Only groups that point at this declination of date (deg) are processed; None: all."""
    dec_tolerance_deg: float = Field(0.5, gt=0.0)
    """How far from it they may point, in degrees."""
    reprocess: bool = False
    """Whether all work is done again, from the raw files on, and its results replaced."""


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


def wait_in_turn(context: Mapping[str, Any]) -> None:
    """Let a group be asked for the less often, the later in the night its turn comes.

    Those before it take their time, and a day of groups that are all asked for every 2 s would
    keep the triggerer busy with nothing else. The end of a run is noticed that much later.

    Parameters
    ----------
    context : mapping
        Airflow's, of a task that waits for a run; its ``poke_interval`` is set, in seconds.
    """
    place = max(context["ti"].map_index, 0)
    context["task"].poke_interval = min(2 * (1 + place), _MOST_PATIENT_S)


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
        Parameters of the run: ``date``, or ``start`` and ``end``; ``input_dir``,
        ``sources_file``, ``dec_deg``, ``dec_tolerance_deg`` and ``reprocess``. Each may be
        empty.
    interval_start, interval_end : datetime or None
        Data interval of the run, where it has one; what the parameters say goes before it.
    settings : Settings
        The settings in force.

    Returns
    -------
    Night
        The night. It is filed under the UTC date on which it starts: where the intervals of a
        schedule are shorter than a day, two of them may share a date, and its records.

    Raises
    ------
    InputError
        If neither a date nor an interval is given, or one makes no sense, or a path leads out
        of the directories that runs may name, or there is no such parameter.
    """
    refuse_unknown(params.keys(), night_form(settings).keys())
    start, end = _asked_interval(params) or _data_interval(interval_start, interval_end)
    fields: dict[str, Any] = {
        "date": start.date().isoformat(),
        "start": start,
        "end": end,
        "input_dir": _read_path(params, "input_dir", settings) or settings.raw_dir,
        "sources_file": _read_path(params, "sources_file", settings) or settings.sources_path,
        "reprocess": bool(params.get("reprocess")),
    }
    for name in ("dec_deg", "dec_tolerance_deg"):
        if params.get(name) is not None:
            fields[name] = params[name]
    try:
        return Night.model_validate(fields)
    except ValidationError as error:
        first = error.errors()[0]
        raise InputError(
            f"parameter {first['loc'][0]}: {first['msg']}, not {first['input']!r}",
            reason="bad_parameter",
            remedy="give degrees",
        ) from None


def plan_run(context: Mapping[str, Any]) -> Night:
    """Say which night a run is about, with the settings in force.

    Parameters
    ----------
    context : mapping
        Airflow's, of a task of the run or of a callback.

    Returns
    -------
    Night
        The night.

    Raises
    ------
    InputError
        As `plan_night` raises it.
    """
    interval = (context.get("data_interval_start"), context.get("data_interval_end"))
    return plan_night(context.get("params") or {}, *interval, get_settings())


def _read_path(params: Mapping[str, Any], name: str, settings: Settings) -> Path | None:
    """Read a path that the parameters name, if they do."""
    given = params.get(name)
    return allowed_path(str(given), _PATHS[name], settings) if given else None


def _asked_interval(params: Mapping[str, Any]) -> tuple[datetime, datetime] | None:
    """Read the date or the interval that the parameters name, if they do."""
    day, first, last = (params.get(name) for name in ("date", "start", "end"))
    if day and (first or last):
        raise InputError(
            "both a date and a time range are given",
            reason="date_and_range",
            remedy="leave either date empty, or start and end",
        )
    if day:
        start = datetime.combine(_read_date(day), time(), UTC)
        return start, start + _DAY
    if bool(first) != bool(last):
        raise InputError(
            f"of a time range only the {'start' if first else 'end'} is given",
            reason="half_range",
            remedy="give both start and end",
        )
    return _check_range(_read_time("start", first), _read_time("end", last)) if first else None


def _check_range(start: datetime, end: datetime) -> tuple[datetime, datetime]:
    """Refuse an interval that ends before it starts, or that is more than a night."""
    if end <= start:
        raise InputError(
            f"the end {end:%Y-%m-%dT%H:%M:%SZ} is not after the start {start:%Y-%m-%dT%H:%M:%SZ}",
            reason="empty_interval",
            remedy="give an end after the start",
        )
    if end - start > _DAY:
        raise InputError(
            f"from {start:%Y-%m-%dT%H:%M:%SZ} to {end:%Y-%m-%dT%H:%M:%SZ} is more than a day",
            reason="long_interval",
            remedy="a run is about one night: backfill a range of dates",
        )
    return start, end


def _data_interval(start: datetime | None, end: datetime | None) -> tuple[datetime, datetime]:
    """Take the interval that the schedule gave the run."""
    if start is None or end is None or end <= start:
        raise InputError(
            "the run has neither a date nor a data interval",
            reason="no_date",
            remedy="give the parameter date",
        )
    # Airflow hands pendulum's datetimes, whose sums with plain ones lose the time zone.
    first, last = (datetime.fromtimestamp(moment.timestamp(), UTC) for moment in (start, end))
    return first, last


def _read_date(text: Any) -> date:
    """Read a date."""
    try:
        return date.fromisoformat(text)
    except (TypeError, ValueError):
        raise InputError(
            f"{text!r} is not a date", reason="bad_date", remedy="write it as YYYY-MM-DD"
        ) from None


def _read_time(name: str, text: Any) -> datetime:
    """Read a time; without a time zone it is UTC."""
    try:
        moment = datetime.fromisoformat(text)
    except (TypeError, ValueError):
        raise InputError(
            f"the {name} {text!r} is not a time",
            reason="bad_time",
            remedy="write it as 2026-01-25T08:00:00Z",
        ) from None
    return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)


def name_night_run(start: datetime) -> str:
    """Name the runs about a stretch of time that the clock or a backfill makes.

    Parameters
    ----------
    start : datetime
        Its start; with its date the night is filed.

    Returns
    -------
    str
        The second part of the run's id, after its kind.
    """
    return f"night_{start.astimezone(UTC):%Y-%m-%dT%H:%M:%SZ}"


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
    conf = {"ms": ms_path, "sources_file": str(night.sources_file), "night": night.date}
    return {**conf, "reprocess": True} if night.reprocess else conf


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
    return f"{IMAGE_PREFIX}{name}__{parent_run_id}"[: _MAX_ID - 10] + f"__{digest}"


def group_of_image_run(run_id: str) -> str | None:
    """Tell from the id of a run of `image_ms` which group it is about.

    Parameters
    ----------
    run_id : str
        As `image_run_id` makes it, or any other.

    Returns
    -------
    str or None
        None if somebody else named the run.
    """
    group_id, _, parent = run_id.removeprefix(IMAGE_PREFIX).partition("__")
    return group_id if run_id.startswith(IMAGE_PREFIX) and group_id and parent else None


def parent_of_image_run(run_id: str) -> str | None:
    """Tell from the id of a run of `image_ms` which run has started it.

    Parameters
    ----------
    run_id : str
        As `image_run_id` makes it, or any other.

    Returns
    -------
    str or None
        None if somebody else named the run; cut off where the id was too long.
    """
    if group_of_image_run(run_id) is None:
        return None
    return run_id.removeprefix(IMAGE_PREFIX).partition("__")[2].rpartition("__")[0] or None
