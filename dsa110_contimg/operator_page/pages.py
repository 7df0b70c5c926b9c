"""The pages: calendar, night, sources, group, source, and what is running."""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import partial
from typing import Annotated

from fastapi import APIRouter, Depends, HTTPException, Request, Response

from dsa110_contimg.operator_page.desk import AtDesk
from dsa110_contimg.operator_page.machine import look_at_machine
from dsa110_contimg.operator_page.month import make_month
from dsa110_contimg.operator_page.night_view import NightView
from dsa110_contimg.operator_page.rows import GroupRow, select_page

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
    shown = make_month(desk.book, dates, running.keys(), month)
    return desk.render(
        request,
        "calendar.html.j2",
        month=shown,
        months=sorted({date[:7] for date in dates}, reverse=True),
        running=running,
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
    pools = None
    if request.state.visitor.sees_pools:
        pools = desk.ask(desk.airflow.list_pools, problems)
    return desk.render(
        request,
        "now.html.j2",
        machine=look_at_machine(desk.settings),
        pools=pools,
        tasks=desk.ask(desk.airflow.list_running_tasks, problems),
        runs=[run for run in runs if run.is_active],
        refresh_s=_REFRESH_S if refresh else None,
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
    view = desk.find_night(date)
    problems = list(view.notices)
    runs = desk.ask(desk.airflow.list_night_runs, problems) or []
    links = desk.links(request)
    dates, _ = desk.book.list_dates()
    return desk.render(
        request,
        "night.html.j2",
        view=view,
        runs=[run for run in runs if run.date == date],
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
    view = desk.find_night(date)
    return desk.render(
        request,
        "sources.html.j2",
        view=view,
        problems=list(view.notices),
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
    ask = partial(desk.airflow.list_group_tasks, date, group_id, row.ms_path)
    return desk.render(
        request,
        "group.html.j2",
        view=view,
        row=row,
        applied=view.applied_sets(row.calibration),
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
        raise HTTPException(404, f"No source {name} is on record in group {group_id} of {date}.")
    group = _find_group(view, group_id)
    problems = list(view.notices)
    ask = partial(desk.airflow.list_group_tasks, date, group_id, group.ms_path)
    tasks = desk.ask(ask, problems) or []
    return desk.render(
        request,
        "source.html.j2",
        view=view,
        row=row,
        group=group,
        applied=view.applied_sets(group.calibration),
        tasks=[task for task in tasks if task.task_id == "measure" or task.label == name],
        problems=problems,
    )


def _find_group(view: NightView, group_id: str) -> GroupRow:
    """Find a group that an address names."""
    row = view.groups.get(group_id)
    if row is None:
        raise HTTPException(404, f"No group {group_id} is on record for the night of {view.date}.")
    return row
