"""The application that Airflow's api-server mounts."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from urllib.parse import quote, urlencode

from fastapi import Depends, FastAPI, HTTPException, Request, Response
from fastapi.responses import JSONResponse, RedirectResponse
from fastapi.routing import APIRoute

from dsa110_contimg.operator_page.access import NotLoggedInError
from dsa110_contimg.operator_page.airflow_state import AirflowFacts
from dsa110_contimg.operator_page.by_hand import router as by_hand
from dsa110_contimg.operator_page.desk import Desk
from dsa110_contimg.operator_page.files import router as files
from dsa110_contimg.operator_page.pages import router as pages
from dsa110_contimg.settings import Settings


def create_app(
    settings: Settings, admit: Callable[..., Any], airflow: AirflowFacts, *, prefix: str
) -> FastAPI:
    """Make the application.

    Parameters
    ----------
    settings : Settings
        Where the nights are.
    admit : callable
        Dependency of every route: refuses a request, or notes the visitor in its state.
    airflow : AirflowFacts
        What Airflow is doing.
    prefix : str
        Where it is mounted below Airflow's root.

    Returns
    -------
    FastAPI
        The application.
    """
    app = FastAPI(
        title="DSA-110 nights",
        # Pages about the pages would be routes without a guard.
        docs_url=None,
        redoc_url=None,
        openapi_url=None,
        dependencies=[Depends(admit)],
    )
    app.state.desk = Desk.make(settings, airflow, prefix)
    app.include_router(pages)
    app.include_router(by_hand)
    # Last, for one of its routes takes every address that is left.
    app.include_router(files)
    for route in app.routes:
        # Whoever only asks whether a page is there is answered as for the page, without it.
        if isinstance(route, APIRoute) and "GET" in route.methods:
            route.methods.add("HEAD")
    app.add_exception_handler(NotLoggedInError, _ask_to_log_in)
    app.add_exception_handler(HTTPException, _explain)
    return app


def _ask_to_log_in(request: Request, _: Exception) -> Response:
    """Send a reader to Airflow's login, and refuse everything else."""
    if not _is_for_a_reader(request):
        return JSONResponse({"detail": "Not authenticated"}, status_code=401)
    desk: Desk = request.app.state.desk
    here = quote(request.url.path) + (f"?{request.url.query}" if request.url.query else "")
    login = desk.links(request).airflow("/api/v2/auth/login")
    # A path, not an address: the host that a request names is not to be trusted.
    return RedirectResponse(f"{login}?{urlencode({'next': here})}", status_code=303)


def _explain(request: Request, error: Exception) -> Response:
    """Say in words what is wrong with a request."""
    status = error.status_code if isinstance(error, HTTPException) else 500
    detail = str(error.detail) if isinstance(error, HTTPException) else str(error)
    if not _is_for_a_reader(request):
        return JSONResponse({"detail": detail}, status_code=status)
    desk: Desk = request.app.state.desk
    return desk.render(request, "error.html.j2", status=status, code=status, detail=detail)


def _is_for_a_reader(request: Request) -> bool:
    """Whether a browser asks for a page."""
    return "text/html" in request.headers.get("accept", "")
