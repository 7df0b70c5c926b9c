"""SQLite's answer to several writers: wait for one another instead of failing."""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Any

CONNECT_ARGS: dict[str, Any] = {"timeout": 60.0}
"""For ``[database] sql_alchemy_connect_args``: seconds to wait for another writer."""


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
