"""What all pages share: the book of nights, Airflow's facts, templates and addresses."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from fastapi import Depends, HTTPException, Request
from fastapi.responses import HTMLResponse

from dsa110_contimg.errors import InputError, TransientError
from dsa110_contimg.operator_page.airflow_state import AirflowFacts
from dsa110_contimg.operator_page.links import Links, served_roots
from dsa110_contimg.operator_page.night_book import NightBook
from dsa110_contimg.operator_page.night_view import NightView
from dsa110_contimg.operator_page.rows import LOST, PROBLEMS, UNLISTED, WAITING
from dsa110_contimg.qa.models import Verdict
from dsa110_contimg.qa.render import group_by_cause, make_environment
from dsa110_contimg.settings import Settings

if TYPE_CHECKING:
    import jinja2

AnswerT = TypeVar("AnswerT")

_TEMPLATES = Path(__file__).parent / "templates"
_QA_TEMPLATES = Path(__file__).parents[1] / "qa" / "templates"
STATIC: dict[str, tuple[str, list[Path]]] = {
    "page.css": ("text/css", [_QA_TEMPLATES / "report.css", _TEMPLATES / "page.css"]),
    "page.js": ("text/javascript", [_TEMPLATES / "page.js"]),
    "icon.svg": ("image/svg+xml", [_TEMPLATES / "icon.svg"]),
}
"""Name to media type and the files that it is made of."""

STATE_WORDS = {
    Verdict.COMPLETE.value: "Complete",
    Verdict.LOSSES.value: "With losses",
    Verdict.PARTIAL.value: "Partly failed",
    Verdict.FAILED.value: "Failed",
    Verdict.EMPTY.value: "Nothing observed",
    "open": "No report yet",
    "running": "In progress",
    "unreadable": "Unreadable",
}
"""What the calendar says of a night."""
ROW_WORDS = {
    PROBLEMS: "with problems",
    WAITING: "no outcome yet",
    LOST: "no outcome",
    UNLISTED: "not on record",
    "skipped": "there already",
    "missing": "none",
}
"""States of groups and sources that need more than their own word."""

SECURITY_HEADERS = {
    # What the pages need, and nothing else, should a record smuggle markup through.
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; script-src 'self'; img-src 'self'; "
        "form-action 'self'; base-uri 'none'; frame-ancestors 'self'"
    ),
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "same-origin",
    # Whoever uses the browser after the log-out shall not find the pages in its cache.
    "Cache-Control": "no-store",
}


@dataclass(frozen=True)
class Desk:
    """Serves the routes."""

    settings: Settings
    """Where things are."""
    book: NightBook
    """Reads nights."""
    airflow: AirflowFacts
    """What Airflow is doing."""
    templates: jinja2.Environment
    """The templates."""
    prefix: str
    """Where the pages are mounted below Airflow's root."""

    @classmethod
    def make(cls, settings: Settings, airflow: AirflowFacts, prefix: str) -> Desk:
        """Make the desk of an application.

        Parameters
        ----------
        settings : Settings
            Where things are.
        airflow : AirflowFacts
            What Airflow is doing.
        prefix : str
            Where the pages are mounted below Airflow's root.

        Returns
        -------
        Desk
            The desk.
        """
        templates = make_environment("dsa110_contimg.operator_page")
        templates.globals.update(
            state_words=STATE_WORDS, row_words=ROW_WORDS, group_by_cause=group_by_cause
        )
        return cls(settings, NightBook(settings.nights_dir), airflow, templates, prefix)

    def links(self, request: Request) -> Links:
        """Make the addresses for a request, which may have come through a proxy.

        Parameters
        ----------
        request : Request
            The request.

        Returns
        -------
        Links
            The addresses.
        """
        base: str = request.scope.get("root_path", "")
        return Links(base, base.removesuffix(self.prefix), served_roots(self.settings))

    def render(
        self, request: Request, template: str, *, status: int = 200, **context: Any
    ) -> HTMLResponse:
        """Render a page.

        Parameters
        ----------
        request : Request
            The request.
        template : str
            Name of the template.
        status : int, optional
            HTTP status.
        **context : object
            What the template shows.

        Returns
        -------
        HTMLResponse
            The page.
        """
        html = self.templates.get_template(template).render(
            links=self.links(request),
            # A request that was refused has none.
            visitor=getattr(request.state, "visitor", None),
            settings=self.settings,
            **context,
        )
        return HTMLResponse(html, status_code=status, headers=SECURITY_HEADERS)

    def find_night(self, date: str, *, has_run: bool = False) -> NightView:
        """Read a night that an address names.

        Parameters
        ----------
        date : str
            UTC date.
        has_run : bool, optional
            Whether Airflow has a run for it: then it is there, though nothing is recorded yet.

        Returns
        -------
        NightView
            The night.

        Raises
        ------
        HTTPException
            404, if there is none.
        """
        try:
            view = self.book.read_night(date) or (self.book.begin_night(date) if has_run else None)
        except InputError as error:
            raise HTTPException(404, str(error)) from error
        if view is None:
            raise HTTPException(404, f"Nothing is recorded for the night of {date}.")
        return view

    @staticmethod
    def ask(question: Callable[[], AnswerT], problems: list[str]) -> AnswerT | None:
        """Ask Airflow something that the page can do without.

        Parameters
        ----------
        question : callable
            Asks.
        problems : list of str
            Gets a sentence if there is no answer.

        Returns
        -------
        object or None
            The answer.
        """
        try:
            return question()
        except TransientError as error:
            if error.message not in problems:
                problems.append(error.message)
            return None


def get_desk(request: Request) -> Desk:
    """Find what all pages share.

    Parameters
    ----------
    request : Request
        The request.

    Returns
    -------
    Desk
        The desk of its application.
    """
    desk: Desk = request.app.state.desk
    return desk


AtDesk = Annotated[Desk, Depends(get_desk)]
