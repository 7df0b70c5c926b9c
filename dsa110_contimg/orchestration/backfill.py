"""Process the nights of a range of dates through Airflow's own backfill, as its UI does."""

from __future__ import annotations

import contextlib
import select
import time
from collections.abc import Callable, Iterator
from datetime import date, datetime, timedelta
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import Field, ValidationError

from dsa110_contimg.errors import InputError
from dsa110_contimg.models import Model
from dsa110_contimg.orchestration.backfill_client import BackfillClient, date_range, make_request
from dsa110_contimg.orchestration.client import FINISHED_STATES, login_from_environment
from dsa110_contimg.orchestration.embedded import EmbeddedAirflow
from dsa110_contimg.orchestration.following import ended_with_us, follow
from dsa110_contimg.orchestration.night import (
    NightProgress,
    end_runs,
    read_progress,
    unpaused,
)
from dsa110_contimg.orchestration.pace import extrapolate
from dsa110_contimg.orchestration.refusals import check_paths
from dsa110_contimg.orchestration.runs import NIGHT_DAG
from dsa110_contimg.orchestration.waiting import read_obstacles
from dsa110_contimg.qa.models import NightReport, Totals, Verdict
from dsa110_contimg.settings import Settings

_POLL_S = 2.0
_CLOSING_S = 180.0
"""Airflow closes a backfill within 30 s, one that never got a run after 120 s."""
_NOT_RUN = "not run"
_NO_NIGHT = "no night begins on this date, or it is not over yet"
_WAS_RUNNING = "was running already: followed, not started again"

Wait = Callable[[float], None]
"""Waits so many seconds."""
Say = Callable[[str], None]
"""Gets a sentence when something else begins."""
ShowProgress = Callable[["BackfillProgress"], None]
"""Called whenever the backfill has got further."""


class BackfillOptions(Model):
    """Which nights are processed, and how."""

    first: date
    """First UTC date."""
    last: date
    """Last UTC date, included. A night belongs to the date on which its data begin."""
    input_dir: Path | None = None
    """Directory of the raw subband files; None: that of Airflow's settings."""
    sources_file: Path | None = None
    """Catalogue of the sources to image; None: that of Airflow's settings."""
    reprocess: bool = False
    """Do all work again and replace its results; else only what is not done."""
    max_active: int = Field(2, ge=1)
    """Nights at a time."""


class BackfillProgress(Model):
    """How far a backfill has got."""

    states: dict[str, str]
    """Night, by the time at which it begins, to the state of its run; in order of time."""
    nights: dict[str, NightProgress]
    """Night that is under way to how far it has got."""
    began: datetime | None = None
    """Start of the first run."""
    waits: tuple[str, ...] = ()
    """What keeps nights from being started, a sentence each."""

    def remaining_s(self, now: datetime) -> float | None:
        """Estimate how long the nights still take.

        Parameters
        ----------
        now : datetime
            The present time.

        Returns
        -------
        float or None
            In seconds; None while no group of any night is done.
        """
        if self.began is None or not self.states:
            return None
        done = self.done + sum(night.pace.fraction for night in self.nights.values())
        return extrapolate((now - self.began).total_seconds(), done / len(self.states))

    @property
    def done(self) -> int:
        """Number of nights that have ended."""
        return sum(state in FINISHED_STATES for state in self.states.values())


class BackfilledNight(Model):
    """What became of a night."""

    date: str
    """UTC date."""
    state: str
    """``success``, ``failed`` or ``not run``."""
    run_id: str | None = None
    """Run of `nightly_transit`."""
    verdict: Verdict | None = None
    """What the night came to; None without a report."""
    totals: Totals | None = None
    """The night in numbers; None if its report is not on this machine."""
    report_html: str | None = None
    """Path of the report."""
    note: str | None = None
    """What else there is to say."""


class BackfillResult(Model):
    """What became of all nights."""

    nights: list[BackfilledNight]
    """In order of time; every date of the range is there."""
    url: str
    """Address of the Airflow that ran them."""
    seconds: float
    """Wall time of the runs."""

    @property
    def failed(self) -> list[BackfilledNight]:
        """The nights that failed."""
        return [night for night in self.nights if night.state not in {"success", _NOT_RUN}]


def run_backfill(
    options: BackfillOptions,
    settings: Settings,
    *,
    url: str | None = None,
    on_progress: ShowProgress | None = None,
    on_stage: Say | None = None,
) -> BackfillResult:
    """Have Airflow process the nights of a range of dates, and wait until it has.

    Nights do not wait for one another, and one that fails does not hold up the others. What is
    done already is not done again.

    Parameters
    ----------
    options : BackfillOptions
        The nights.
    settings : Settings
        Where an Airflow works that is started for this.
    url : str, optional
        Address of an Airflow that is running; without, one is started on this machine, and
        ended with the backfill.
    on_progress : callable, optional
        Called whenever the backfill has got further.
    on_stage : callable, optional
        Called with a sentence when something else begins.

    Returns
    -------
    BackfillResult
        What became of each night.

    Raises
    ------
    InputError
        If there is no night to be processed, or Airflow cannot or will not backfill, or (without
        `url`) a path of the options cannot be read.
    TransientError
        If Airflow does not start, does not answer for minutes, or dies.
    """
    if options.first > options.last:
        raise InputError(
            f"the range ends on {options.last}, before it begins on {options.first}",
            reason="bad_range",
        )
    say = on_stage or (lambda _: None)
    if url is None:
        check_paths(options.input_dir, options.sources_file)
    with _running_airflow(options, settings, url, say) as (client, wait):
        clock = time.monotonic()
        backfill = _Backfill(options, client, say)
        ending = ended_with_us(partial(_end_backfilled_runs, client))
        with ending if url is None else contextlib.nullcontext():
            backfill.start(wait)
            backfill.follow(wait, on_progress or (lambda _: None))
        return BackfillResult(
            nights=backfill.describe_nights(),
            url=client.url,
            seconds=round(time.monotonic() - clock, 1),
        )


@contextlib.contextmanager
def _running_airflow(
    options: BackfillOptions, settings: Settings, url: str | None, say: Say
) -> Iterator[tuple[BackfillClient, Wait]]:
    """Talk to the Airflow at an address, or start one."""
    if url is not None:
        with contextlib.closing(BackfillClient(url.rstrip("/"), login_from_environment())) as there:
            yield there, _wait
        return
    say("starting Airflow")
    with EmbeddedAirflow(_for_embedded(options, settings), clock=False) as airflow:
        say(f"Airflow runs at {airflow.url}")
        with contextlib.closing(BackfillClient(airflow.url)) as here:
            # A backfill that was killed with its Airflow would go on: this one takes its place.
            _end_backfilled_runs(here)
            with unpaused(here):
                yield here, airflow.wait
        say("ending Airflow")


def _for_embedded(options: BackfillOptions, settings: Settings) -> Settings:
    """Let the paths of the options be allowed, and have a timetable, without which no backfill."""
    changes: dict[str, Any] = {
        name: path.absolute()
        for name, path in (
            ("input_dir", options.input_dir),
            ("sources_file", options.sources_file),
        )
        if path is not None
    }
    if not settings.schedule:
        changes["schedule"] = Settings.model_fields["schedule"].default
    return settings.model_copy(update=changes)


def _end_backfilled_runs(client: BackfillClient) -> None:
    """End all runs of backfills; those that wait first, for each that ends lets one begin."""
    runs = [
        run
        for run in client.dag_runs(NIGHT_DAG)
        if run["run_type"] == "backfill" and run["state"] not in FINISHED_STATES
    ]
    for run in sorted(runs, key=lambda run: run["state"] == "running"):
        end_runs(client, run["dag_run_id"])


def _wait(seconds: float) -> None:
    """Wait while another machine works."""
    select.select([], [], [], seconds)


class _Backfill:
    """One backfill, from its request to its results."""

    def __init__(self, options: BackfillOptions, client: BackfillClient, say: Say):
        self._options, self._client, self._say = options, client, say
        self._range = date_range(options.first, options.last)
        self._followed: dict[datetime, str | None] = {}
        self._runs: list[dict[str, Any]] = []

    def start(self, wait: Wait) -> None:
        """Find out which nights there are, and start them."""
        self._check_dag()
        self._await_turn(wait)
        options = self._options
        request = make_request(
            NIGHT_DAG,
            options.first,
            options.last,
            self._conf(),
            max_active=options.max_active,
        )
        planned = self._client.plan_backfill(request)
        self._followed = dict.fromkeys(planned) | {
            _logical_date(run): _WAS_RUNNING
            for run in self._client.runs_between(NIGHT_DAG, *self._range)
            if run["state"] not in FINISHED_STATES
        }
        if not self._followed:
            raise InputError(
                f"there is no night to process from {options.first} to {options.last}: {_NO_NIGHT}",
                reason="no_nights",
            )
        if planned:
            number = self._client.start_backfill(request)
            self._say(f"backfill {number}: {len(planned)} nights")

    def follow(self, wait: Wait, on_progress: ShowProgress) -> None:
        """Wait until all nights have ended."""
        follow(
            self._look,
            is_over=lambda progress: progress.done == len(self._followed),
            wait=partial(wait, _POLL_S),
            on_progress=on_progress,
        )

    def describe_nights(self) -> list[BackfilledNight]:
        """Say what became of each date."""
        nights = [self._describe(run) for run in self._runs]
        there = {night.date for night in nights}
        day = timedelta(days=1)
        span = (self._options.last - self._options.first) // day
        dates = [(self._options.first + n * day).isoformat() for n in range(span + 1)]
        nights += [
            BackfilledNight(date=one, state=_NOT_RUN, note=_NO_NIGHT)
            for one in dates
            if one not in there
        ]
        return sorted(nights, key=lambda night: night.date)

    def _conf(self) -> dict[str, Any]:
        """Make the parameters of the runs."""
        options = self._options
        paths = {"input_dir": options.input_dir, "sources_file": options.sources_file}
        conf: dict[str, Any] = {
            name: str(path.absolute()) for name, path in paths.items() if path is not None
        }
        return {**conf, "reprocess": True} if options.reprocess else conf

    def _check_dag(self) -> None:
        """Refuse what would wait for ever, or what Airflow cannot do."""
        dag = self._client.dag(NIGHT_DAG)
        if dag is None:
            raise InputError(
                f"Airflow at {self._client.url} does not know {NIGHT_DAG}", reason="no_dag"
            )
        if not dag["is_backfillable"]:
            raise InputError(
                f"{NIGHT_DAG} has no schedule, so Airflow does not know where nights begin",
                reason="no_schedule",
                remedy="set DSA110_CONTIMG_SCHEDULE for all services of Airflow; as long as the "
                "DAG is paused, nothing starts by the clock",
            )
        if dag["is_paused"]:
            raise InputError(
                f"{NIGHT_DAG} is paused: Airflow would start none of the nights",
                reason="dag_paused",
                remedy="unpause it in the UI; it then runs by the clock too",
            )

    def _look(self) -> BackfillProgress:
        """Read how far all nights have got."""
        found = self._client.runs_between(NIGHT_DAG, *self._range)
        self._runs = [run for run in found if _logical_date(run) in self._followed]
        # Airflow names a run by the end of its night.
        by_start = {f"{_logical_date(run):%Y-%m-%dT%H:%M}": run for run in self._runs}
        begun = [run for run in self._runs if run["state"] != "queued" and run["start_date"]]
        is_held_up = self._runs and not begun
        return BackfillProgress(
            states={start: run["state"] for start, run in by_start.items()},
            began=min((datetime.fromisoformat(run["start_date"]) for run in begun), default=None),
            waits=tuple(read_obstacles(self._client)) if is_held_up else (),
            nights={
                start: read_progress(self._client, run["dag_run_id"])
                for start, run in by_start.items()
                if run["state"] == "running"
            },
        )

    def _await_turn(self, wait: Wait) -> None:
        """Wait until Airflow has noticed that an earlier backfill is over."""
        until_s = time.monotonic() + _CLOSING_S
        while self._client.unfinished_backfills(NIGHT_DAG) and time.monotonic() < until_s:
            if any(
                run["run_type"] == "backfill" and run["state"] not in FINISHED_STATES
                for run in self._client.dag_runs(NIGHT_DAG)
            ):
                # Airflow says what is in the way.
                return
            wait(_POLL_S)

    def _describe(self, run: dict[str, Any]) -> BackfilledNight:
        """Say what became of a night, from its run and its report."""
        moment = _logical_date(run)
        returned = self._client.returned(NIGHT_DAG, run["dag_run_id"], "report")
        night = BackfilledNight(
            date=f"{moment:%Y-%m-%d}",
            state=run["state"],
            run_id=run["dag_run_id"],
            note=self._followed[moment],
        )
        if not returned:
            missing = "its run ended without a report; the logs of its tasks say why"
            return night.model_copy(update={"note": night.note or missing})
        if "refusal" in returned:
            return night.model_copy(update={"note": night.note or returned["refusal"]})
        html = Path(returned["report"])
        return night.model_copy(
            update={
                "verdict": Verdict(returned["verdict"]),
                "totals": _read_totals(html.with_name("report.json")),
                "report_html": str(html),
                "note": night.note or returned["headline"],
            }
        )


def _logical_date(run: dict[str, Any]) -> datetime:
    """Read when the data of a run begin."""
    return datetime.fromisoformat(run["logical_date"])


def _read_totals(path: Path) -> Totals | None:
    """Read the figures of a night, if its report is on this machine."""
    try:
        return NightReport.model_validate_json(path.read_bytes()).totals
    except (OSError, ValidationError):
        return None
