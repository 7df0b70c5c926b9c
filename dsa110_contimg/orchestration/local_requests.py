"""Refuse what a foreign web page asks an Airflow that takes everybody for its administrator.

Such an Airflow trusts that only its user reaches its port; a page in the user's browser does, too.
A page whose name leads to this machine (DNS rebinding) gives itself away by the ``Host`` that it
asks for, any other page that may send data by its ``Origin``.
"""

from __future__ import annotations

import re
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any, Final

_THIS_MACHINE: Final = re.compile(r"(127\.0\.0\.1|localhost|\[::1\])(:\d+)?", re.IGNORECASE)
"""On the loopback interface; the port is another one at the end of a tunnel."""

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
AsgiApp = Callable[[Message, Receive, Send], Awaitable[None]]


class LocalRequests:
    """Middleware of the whole api-server: only requests to this machine, from its own pages.

    Parameters
    ----------
    app : callable
        The ASGI application behind it.
    """

    def __init__(self, app: AsgiApp):
        self._app = app

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        """Pass a request on, or answer it with status 421.

        Parameters
        ----------
        scope, receive, send
            As ASGI has them.
        """
        refusal = find_refusal(scope["headers"]) if "headers" in scope else None
        if refusal is None:
            await self._app(scope, receive, send)
            return
        # Plugins are loaded by every process of Airflow; only the api-server comes here.
        from starlette.responses import PlainTextResponse

        await PlainTextResponse(f"{refusal}\n", status_code=421)(scope, receive, send)


def find_refusal(headers: list[tuple[bytes, bytes]]) -> str | None:
    """Say why a request is refused.

    Parameters
    ----------
    headers : list of tuple of bytes
        Its headers, names in lower case.

    Returns
    -------
    str or None
        A sentence; None if it is let in.
    """
    hosts, origins = (
        [value.decode("latin-1") for name, value in headers if name == wanted]
        for wanted in (b"host", b"origin")
    )
    if len(hosts) != 1 or not _THIS_MACHINE.fullmatch(hosts[0]):
        return (
            "refused: the address names another host than 127.0.0.1, localhost or [::1], at which "
            "alone this Airflow without passwords answers (another machine: ssh -L)"
        )
    # A browser names the page that sends data; a page of this very Airflow has the same address.
    if any(origin != f"http://{hosts[0]}" for origin in origins):
        return "refused: the request comes from a page of another site"
    return None
