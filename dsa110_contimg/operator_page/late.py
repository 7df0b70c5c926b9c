"""An ASGI application that is built when its first request comes.

Airflow loads plugins in every one of its processes, tasks included; only the api-server
serves pages, and only there are their libraries worth importing.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

PREFIX = "/operator"
"""Where the pages are mounted below Airflow's root."""

Message = MutableMapping[str, Any]
AsgiApp = Callable[
    [Message, Callable[[], Awaitable[Message]], Callable[[Message], Awaitable[None]]],
    Awaitable[None],
]


class LateApp:
    """Stands for an application until somebody asks for it.

    Parameters
    ----------
    build : callable
        Makes the application; called once.
    """

    def __init__(self, build: Callable[[], AsgiApp]):
        self._build = build
        self._lock = threading.Lock()
        self._app: AsgiApp | None = None

    async def __call__(
        self,
        scope: Message,
        receive: Callable[[], Awaitable[Message]],
        send: Callable[[Message], Awaitable[None]],
    ) -> None:
        """Answer a request.

        Parameters
        ----------
        scope, receive, send
            As ASGI has them.
        """
        app = self._app
        if app is None:
            app = await asyncio.to_thread(self._get)
        await app(scope, receive, send)

    def _get(self) -> AsgiApp:
        """Build the application, if nobody has."""
        with self._lock:
            if self._app is None:
                self._app = self._build()
            return self._app


def make_app() -> AsgiApp:
    """Make the pages, with the settings in force and with Airflow's own login and database.

    Returns
    -------
    callable
        The ASGI application.
    """
    from dsa110_contimg.operator_page.access import admit
    from dsa110_contimg.operator_page.airflow_state import AirflowDatabase
    from dsa110_contimg.operator_page.app import create_app
    from dsa110_contimg.settings import get_settings

    settings = get_settings()
    return create_app(settings, admit, AirflowDatabase(settings), prefix=PREFIX)
