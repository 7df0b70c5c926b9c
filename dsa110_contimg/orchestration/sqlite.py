"""SQLite's answer to several writers: wait for one another instead of failing."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

CONNECT_ARGS: dict[str, Any] = {"timeout": 60.0}
"""For ``[database] sql_alchemy_connect_args``: seconds to wait for another writer."""
API_SERVER_CONNECT_ARGS: dict[str, Any] = {"timeout": 5.0}
"""The same for the api-server. Airflow 3.3 commits an audit record inside its event loop; if one
of its other requests holds the database then, it cannot let go before the loop goes on, and both
stand still until this time is over. Those who asked ask again."""


def use_write_ahead_log(database: Path) -> None:
    """Let readers and one writer work at once; the setting stays with the file.

    Parameters
    ----------
    database : Path
        An existing SQLite file on a local disk.
    """
    connection = sqlite3.connect(database, timeout=CONNECT_ARGS["timeout"])
    try:
        connection.execute("PRAGMA journal_mode=WAL")
    finally:
        connection.close()
