"""The pages: calendar, night, sources, group, source, and what is running."""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Request, Response

from dsa110_contimg.operator_page.airflow_state import NightRun
from dsa110_contimg.operator_page.desk import AtDesk, Desk
from dsa110_contimg.operator_page.machine import look_at_machine
from dsa110_contimg.operator_page.month import make_month
from dsa110_contimg.operator_page.night_view import NightView
from dsa110_contimg.operator_page.rows import GroupRow, select_page
from dsa110_contimg.operator_page.waits import Wait

router = APIRouter()

_REFRESH_S = 15


@dataclass(frozen=True)
class TableQuery:
    """What part of a table an address asks for.

    Attributes
    ----------
    state : str
        Only rows of this state; empty: all.
    q : str
        Only rows with these words.
    page : str
        Page of the table.
    """

    state: str = ""
    q: str = ""
    page: str = ""

    @property
    def page_number(self) -> int:
        """Number of the page; anything that is none is the first."""
        return int(self.page) if re.fullmatch(r"[0-9]{1,6}", self.page) else 1


@router.get("/")
def show_calendar(request: Request, desk: AtDesk, month: str = "") -> Response:
    """Show a month of nights.

    Parameters
    ----------
    request : Request
        The request.
    desk : Desk
        What all pages share.
    month : str, optional
        ``YYYY-MM``; empty: that of the newest night.

    Returns
    -------
    Response
        The page.
    """
    dates, problems = desk.book.list_dates()
    runs = desk.ask(desk.airflow.list_night_runs, problems) or []
    running = {run.date: run for run in runs if run.is_active}
    waits = desk.ask(desk.airflow.list_waits, problems) or [] if running else []
    shown = make_month(desk.book, dates, running.keys(), month)
    return desk.render(
        request,
        "calendar.html.j2",
        month=shown,
        months=sorted({date[:7] for date in dates}, reverse=True),
        running=running,
        waits={wait.date: wait for wait in waits if wait.date and not wait.group_id},
        problems=problems,
    )


@router.get("/now")
def show_now(request: Request, desk: AtDesk, refresh: bool = False) -> Response:
    """Show what is running, and what the machine has left.

    Parameters
    ----------
    request : Request
        The request.
    desk : Desk
        What all pages share.
    refresh : bool, optional
        Whether the page shall be loaded again and again.

    Returns
    -------
    Response
        The page.
    """
    problems: list[str] = []
    runs = desk.ask(desk.airflow.list_night_runs, problems) or []
    active = [run for run in runs if run.is_active]
    pools = None
    if request.state.visitor.sees_pools:
        pools = desk.ask(desk.airflow.list_pools, problems)
    return desk.render(
        request,
        "now.html.j2",
        machine=look_at_machine(desk.settings),
        pools=pools,
        tasks=desk.ask(desk.airflow.list_running_tasks, problems),
        runs=active,
        paces=_describe_paces(desk, active, problems),
        waits=desk.ask(desk.airflow.list_waits, problems) or [],
        refresh_s=_REFRESH_S if refresh else None,
        refresh_every_s=_REFRESH_S,
        problems=problems,
    )


@router.get("/nights/{date}")
def show_night(
    request: Request, desk: AtDesk, date: str, chosen: Annotated[TableQuery, Depends()]
) -> Response:
    """Show a night and its groups.

    Parameters
    ----------
    request : Request
        The request.
    desk : Desk
        What all pages share.
    date : str
        UTC date.
    chosen : TableQuery
        Which groups.

    Returns
    -------
    Response
        The page.
    """
    problems: list[str] = []
    runs = _runs_of(desk, date, problems)
    view = desk.find_night(date, has_run=bool(runs))
    problems[:0] = view.notices
    active = [run for run in runs if run.is_active]
    links = desk.links(request)
    dates, _ = desk.book.list_dates()
    return desk.render(
        request,
        "night.html.j2",
        view=view,
        runs=runs,
        active=active,
        paces=_describe_paces(desk, active, problems),
        waits=_waits_of(desk, date, problems) if active else [],
        problems=problems,
        table=select_page(list(view.groups.values()), chosen.state, chosen.q, chosen.page_number),
        filters_chosen={"state": chosen.state, "q": chosen.q},
        bar_link=lambda bar: links.group(date, bar.group.group_id),
        group_url=partial(links.group, date),
        has_html=(view.night_dir / "report.html").is_file(),
        earlier=max((one for one in dates if one < date), default=None),
        later=min((one for one in dates if one > date), default=None),
    )


@router.get("/nights/{date}/sources")
def show_sources(
    request: Request, desk: AtDesk, date: str, chosen: Annotated[TableQuery, Depends()]
) -> Response:
    """Show the sources of a night.

    Parameters
    ----------
    request : Request
        The request.
    desk : Desk
        What all pages share.
    date : str
        UTC date.
    chosen : TableQuery
        Which sources.

    Returns
    -------
    Response
        The page.
    """
    problems: list[str] = []
    view = desk.find_night(date, has_run=bool(_runs_of(desk, date, problems)))
    return desk.render(
        request,
        "sources.html.j2",
        view=view,
        problems=[*view.notices, *problems],
        table=select_page(list(view.sources.values()), chosen.state, chosen.q, chosen.page_number),
        filters_chosen={"state": chosen.state, "q": chosen.q},
    )


@router.get("/nights/{date}/groups/{group_id}")
def show_group(request: Request, desk: AtDesk, date: str, group_id: str) -> Response:
    """Show a group, its MS, its calibration and its sources.

    Parameters
    ----------
    request : Request
        The request.
    desk : Desk
        What all pages share.
    date : str
        UTC date.
    group_id : str
        The group.

    Returns
    -------
    Response
        The page.
    """
    view = desk.find_night(date)
    row = _find_group(view, group_id)
    ids = list(view.groups)
    place = ids.index(group_id)
    problems = list(view.notices)
    active = [run for run in _runs_of(desk, date, problems) if run.is_active]
    waits = _waits_of(desk, date, problems) if active else []
    ask = partial(desk.airflow.list_group_tasks, date, group_id, row.ms_path)
    return desk.render(
        request,
        "group.html.j2",
        view=view,
        row=row,
        applied=view.applied_sets(row.calibration),
        pictured=view.pictured_sets(row.calibration, group_id),
        is_open=bool(active) or not view.is_reported,
        waits=[wait for wait in waits if wait.group_id in {None, group_id}],
        field=view.fields.get(group_id),
        sources=view.sources_by_group.get(group_id, []),
        failures=[f for f in view.failures if f.group_id == group_id],
        tasks=desk.ask(ask, problems) or [],
        problems=problems,
        earlier=ids[place - 1] if place else None,
        later=ids[place + 1] if place + 1 < len(ids) else None,
    )


@router.get("/nights/{date}/groups/{group_id}/sources/{name}")
def show_source(request: Request, desk: AtDesk, date: str, group_id: str, name: str) -> Response:
    """Show a source in the MS of a group.

    Parameters
    ----------
    request : Request
        The request.
    desk : Desk
        What all pages share.
    date : str
        UTC date.
    group_id : str
        The group.
    name : str
        The source.

    Returns
    -------
    Response
        The page.

    Raises
    ------
    HTTPException
        404, if there is no such source.
    """
    view = desk.find_night(date)
    row = view.sources.get((group_id, name))
    if row is None:
        raise HTTPException(404, f"No source {name} is recorded in group {group_id} of {date}.")
    group = _find_group(view, group_id)
    problems = list(view.notices)
    ask = partial(desk.airflow.list_group_tasks, date, group_id, group.ms_path)
    tasks = desk.ask(ask, problems) or []
    is_active = any(run.is_active for run in _runs_of(desk, date, problems))
    return desk.render(
        request,
        "source.html.j2",
        view=view,
        row=row,
        group=group,
        applied=view.applied_sets(group.calibration),
        is_open=is_active or not view.is_reported,
        tasks=[task for task in tasks if task.task_id == "measure" or task.label == name],
        problems=problems,
    )


def _runs_of(desk: Desk, date: str, problems: list[str]) -> list[NightRun]:
    """List Airflow's runs of a night, newest first."""
    runs = desk.ask(desk.airflow.list_night_runs, problems) or []
    return [run for run in runs if run.date == date]


def _waits_of(desk: Desk, date: str, problems: list[str]) -> list[Wait]:
    """List what a night in progress waits for."""
    waits = desk.ask(desk.airflow.list_waits, problems) or []
    return [wait for wait in waits if wait.date in {None, date}]


def _describe_paces(desk: Desk, active: list[NightRun], problems: list[str]) -> dict[str, str]:
    """Say of each run in progress how long it still takes."""
    now = datetime.now(UTC)
    paces = {
        run.run_id: desk.ask(partial(desk.airflow.read_pace, run.run_id), problems)
        for run in active
    }
    return {run_id: pace.describe(now) if pace else "" for run_id, pace in paces.items()}


def _find_group(view: NightView, group_id: str) -> GroupRow:
    """Find a group that an address names."""
    row = view.groups.get(group_id)
    if row is None:
        raise HTTPException(404, f"No group {group_id} is recorded for the night of {view.date}.")
    return row
