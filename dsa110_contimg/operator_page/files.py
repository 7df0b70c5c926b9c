"""Files: reports, pictures and tables that are on record, style and script; nothing else."""

from __future__ import annotations

import os
from pathlib import Path

from fastapi import APIRouter, HTTPException, Request, Response
from fastapi.responses import FileResponse

from dsa110_contimg.operator_page.by_hand import find_files
from dsa110_contimg.operator_page.desk import SECURITY_HEADERS, STATIC, AtDesk, Desk
from dsa110_contimg.operator_page.links import served_roots
from dsa110_contimg.qa.records import BY_HAND

router = APIRouter()

_MEDIA_TYPES = {
    ".png": "image/png",
    ".json": "application/json",
    ".ecsv": "text/plain; charset=utf-8",
    ".html": "text/html; charset=utf-8",
}
"""Suffixes of the files that are handed out."""
_REPORT_POLICY = "frame-ancestors 'self'"
_PICTURE_POLICY = (
    # The browser centres a picture on a dark page with a style of its own.
    "default-src 'none'; img-src 'self'; style-src 'unsafe-inline'; frame-ancestors 'self'"
)


@router.get("/nights/{date}/report.html")
@router.get("/nights/{date}/report.json")
def send_report(request: Request, desk: AtDesk, date: str) -> Response:
    """Hand out the night's report.

    Parameters
    ----------
    request : Request
        The request; the end of its path is the file.
    desk : Desk
        What all pages share.
    date : str
        UTC date.

    Returns
    -------
    Response
        The file.
    """
    return _send_file(desk, "nights", f"{date}/{request.url.path.rpartition('/')[2]}", date)


@router.get("/static/{name}")
def send_static(name: str) -> Response:
    """Hand out style, script and icon.

    Parameters
    ----------
    name : str
        Name of the file.

    Returns
    -------
    Response
        The file.

    Raises
    ------
    HTTPException
        404, if there is no such file.
    """
    if name not in STATIC:
        raise HTTPException(404, "There is no such file.")
    media_type, parts = STATIC[name]
    content = "".join(part.read_text(encoding="utf-8") for part in parts)
    headers = {**SECURITY_HEADERS, "Cache-Control": "private, max-age=600"}
    return Response(content, media_type=media_type, headers=headers)


@router.get("/{root}/{date}/{rest:path}")
def send_product(desk: AtDesk, root: str, date: str, rest: str, night: str = "") -> Response:
    """Hand out a picture or table that a night's report names.

    Parameters
    ----------
    desk : Desk
        What all pages share.
    root : str
        First part of the address.
    date : str
        UTC date, as directories are named after it.
    rest : str
        Path below it.
    night : str, optional
        The night whose report names the file; empty: that of `date`.

    Returns
    -------
    Response
        The file.
    """
    return _send_file(desk, root, f"{date}/{rest}", night or date)


@router.get("/{_rest:path}")
def find_nothing(_rest: str) -> Response:
    """Refuse every other address, behind the same guard.

    Parameters
    ----------
    _rest : str
        The address.

    Raises
    ------
    HTTPException
        404.
    """
    raise HTTPException(404, "There is no such page.")


def _send_file(desk: Desk, root_name: str, path: str, night: str) -> FileResponse:
    """Hand out a file that the night's report names and that lies where products lie."""
    missing = HTTPException(404, "There is no such file on record.")
    root = served_roots(desk.settings).get(root_name)
    if root is None:
        raise missing
    wanted = Path(os.path.normpath(root / path))
    media_type = _MEDIA_TYPES.get(wanted.suffix)
    is_by_hand = BY_HAND in wanted.parts
    if media_type is None:
        raise missing
    if wanted not in (find_files(desk, night) if is_by_hand else desk.find_night(night).files):
        raise missing
    try:
        # Links that lead out of the directory are not followed.
        real = wanted.resolve(strict=True)
        is_inside = real.is_relative_to(root.resolve(strict=True)) and real.is_file()
    except OSError:
        raise missing from None
    if not is_inside:
        raise missing
    # The report brings a policy of its own, which knows its script.
    policy = _REPORT_POLICY if wanted.suffix == ".html" else _PICTURE_POLICY
    headers = {**SECURITY_HEADERS, "Content-Security-Policy": policy}
    return FileResponse(real, media_type=media_type, headers=headers)
