"""Results by hand: their page, and the button that withdraws them."""

from __future__ import annotations

import os
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from urllib.parse import urlsplit

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import RedirectResponse

from dsa110_contimg.dates import is_date
from dsa110_contimg.errors import InputError, TransientError
from dsa110_contimg.operator_page.desk import AtDesk, Desk
from dsa110_contimg.orchestration.runs import IMAGE_DAG
from dsa110_contimg.qa.by_hand import group_of_run, name_run, withdraw
from dsa110_contimg.qa.models import ByHandReport
from dsa110_contimg.qa.records import BY_HAND, NightLedger
from dsa110_contimg.qa.summary import report_by_hand

router = APIRouter()


@dataclass(frozen=True)
class ByHandView:
    """The results by hand of one night."""

    date: str
    """UTC date."""
    night_dir: Path
    """Paths in the results are relative to this."""
    runs: list[ByHandReport]
    """In order of group."""

    def absolute(self, relative: str) -> Path:
        """Find where a path of the results leads.

        Parameters
        ----------
        relative : str
            Relative to the night.

        Returns
        -------
        Path
            Absolute, without detours.
        """
        return Path(os.path.normpath(self.night_dir.absolute() / relative))

    @property
    def files(self) -> frozenset[Path]:
        """The files that may be handed out."""
        sources = (source for run in self.runs for source in run.sources)
        return frozenset(
            self.absolute(path) for source in sources for path in source.products.values()
        )


def read_by_hand(nights_dir: Path, date: str) -> ByHandView:
    """Read the results by hand of a night.

    Parameters
    ----------
    nights_dir : Path
        Root of the nights.
    date : str
        UTC date.

    Returns
    -------
    ByHandView
        Without runs if the night has none.
    """
    night = NightLedger(nights_dir, date)
    runs = [
        report_by_hand(run, NightLedger(nights_dir, date, run).load(), night.night_dir)
        for run in night.list_by_hand()
    ]
    return ByHandView(date, night.night_dir, runs)


@router.get("/by_hand")
def show_by_hand(request: Request, desk: AtDesk, date: str = "") -> Response:
    """Show what runs of `image_ms` by hand measured.

    Parameters
    ----------
    request : Request
        The request.
    desk : Desk
        What all pages share.
    date : str, optional
        Only of this night; anything that is no date: of all nights.

    Returns
    -------
    Response
        The page.
    """
    nights_dir = desk.settings.nights_dir
    found = sorted({path.parents[1].name for path in nights_dir.glob(f"*/{BY_HAND}/*")})
    dates = [date] if is_date(date) else [one for one in reversed(found) if is_date(one)]
    views = [read_by_hand(nights_dir, one) for one in dates]
    links = desk.links(request)
    return desk.render(
        request,
        "by_hand.html.j2",
        date=date if is_date(date) else "",
        views=[view for view in views if view.runs],
        file_of=lambda view: partial(links.file, view),
        is_by_hand=True,
    )


@router.post("/nights/{date}/by_hand/{run}/withdraw")
def withdraw_by_hand(request: Request, desk: AtDesk, date: str, run: str) -> Response:
    """Withdraw the results of a run by hand.

    Parameters
    ----------
    request : Request
        The request.
    desk : Desk
        What all pages share.
    date, run : str
        Night and run.

    Returns
    -------
    Response
        Leads back to the page.

    Raises
    ------
    HTTPException
        403, if the visitor may not start runs of `image_ms`, or a page of another site asks; 404,
        if there is no such run; 503, if the run is not over, or something could not be removed.
    """
    if not request.state.visitor.may_withdraw or not _is_from_here(request):
        raise HTTPException(403, "Results by hand are withdrawn by those who may ask for them.")
    settings = desk.settings
    try:
        _check_is_over(desk, run)
        withdraw(settings.nights_dir, settings.products_dir, date, run)
    except InputError as error:
        raise HTTPException(404, str(error)) from error
    except TransientError as error:
        raise HTTPException(503, str(error)) from error
    return RedirectResponse(desk.links(request).page(BY_HAND), status_code=303)


def _check_is_over(desk: Desk, run: str) -> None:
    """Refuse to withdraw the results of a run whose tasks run or wait."""
    group_id = group_of_run(run)
    tasks = (task for task in desk.airflow.list_running_tasks() if task.dag_id == IMAGE_DAG)
    if any(name_run(group_id, task.run_id) == run for task in tasks):
        raise TransientError(f"The run {run} is not over: it would write its results again.")


def find_files(desk: Desk, date: str) -> frozenset[Path]:
    """List the files of results by hand that may be handed out.

    Parameters
    ----------
    desk : Desk
        What all pages share.
    date : str
        Night; anything that is no date has none.

    Returns
    -------
    frozenset of Path
        Absolute paths.
    """
    return read_by_hand(desk.settings.nights_dir, date).files if is_date(date) else frozenset()


def _is_from_here(request: Request) -> bool:
    """Whether no page of another site sends a request with a browser's cookie."""
    site, origin = (request.headers.get(name) for name in ("sec-fetch-site", "origin"))
    if site is not None:
        return site == "same-origin"
    if origin is not None:
        return urlsplit(origin).netloc == request.headers.get("host")
    # A program: it sends a token, which no browser adds by itself.
    return "authorization" in request.headers
