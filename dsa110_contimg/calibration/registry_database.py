"""The database under the registry: its connections, its schema, and its errors by name."""

from __future__ import annotations

import json
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import URL, Connection, Engine, create_engine, event, inspect, select, text
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError, DBAPIError
from sqlalchemy.pool import NullPool

from dsa110_contimg.calibration.registry_schema import SCHEMA_VERSION, metadata, schema_table
from dsa110_contimg.errors import ContimgError, InputError, TransientError, name_os_error

_LOCK_TIMEOUT_S = 30
_CONNECT_TIMEOUT_S = 10
_ADVISORY_LOCK = 0x110C0471
"""Any number will do, as long as every process takes the same."""

_PASSING_SQLSTATES = ("08", "40", "53", "55", "57", "58")
"""Classes: connection, rollback, resources, lock not available, operator, system."""


class Database:
    """Transactions on SQLite or PostgreSQL, in a schema that is made when it is first needed.

    Parameters
    ----------
    url : str
        SQLAlchemy URL: ``sqlite:///FILE`` or ``postgresql+psycopg://USER@HOST/DATABASE``.

    Raises
    ------
    InputError
        If it is no such URL, or the driver for it is not installed.
    """

    def __init__(self, url: str):
        self._url = _parse(url)
        self._file = Path(self._url.database or "") if _is_sqlite(self._url) else None
        self._engine = _make_engine(self._url)
        self._is_prepared = False

    @property
    def name(self) -> str:
        """The file, or the URL without its password."""
        return str(self._file) if self._file else self._url.render_as_string(hide_password=True)

    @contextmanager
    def transaction(self, *, write: bool) -> Iterator[Connection]:
        """Open a connection of its own, with one transaction: all of it is kept, or nothing.

        Parameters
        ----------
        write : bool
            Whether anything will be changed: writers wait for each other from the beginning.

        Yields
        ------
        sqlalchemy.Connection
            Rolled back if the body raises.

        Raises
        ------
        TransientError
            If the database is locked or cannot be reached, or its disk is full.
        InputError
            If it may not be read or written, is damaged, or is of a newer program.
        """
        try:
            if not self._is_prepared:
                self._prepare()
            with self._begin(write=write) as connection:
                yield connection
        except DBAPIError as error:
            raise self._named(error) from error

    def _prepare(self) -> None:
        """Check the version of the schema; make the schema if there is none."""
        if self._file:
            try:
                self._file.parent.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                raise name_os_error(
                    error, f"cannot write {self._file}", denied="registry_not_writable"
                ) from error
        with self._begin(write=False) as connection:
            version = _read_version(connection)
        if version is None:
            with self._begin(write=True) as connection:
                version = _create_schema(connection)
        if version != SCHEMA_VERSION:
            raise InputError(
                f"the registry {self.name} has version {version} of its tables; this program "
                f"knows version {SCHEMA_VERSION}",
                reason="registry_version",
                remedy="use the release of dsa110-contimg that wrote it, or a later one",
            )
        self._is_prepared = True

    @contextmanager
    def _begin(self, *, write: bool) -> Iterator[Connection]:
        """Begin a transaction."""
        with self._engine.connect() as connection:
            connection.execution_options(is_write=write)
            with connection.begin():
                yield connection

    def _named(self, error: DBAPIError) -> ContimgError:
        """Give a database error its place among the three ways to fail."""
        words = " ".join(str(error.orig).split())
        if self._url.password:
            words = words.replace(str(self._url.password), "***")
        if self._file is None:
            return _name_postgresql(getattr(error.orig, "sqlstate", None), self.name, words)
        return _name_sqlite(getattr(error.orig, "sqlite_errorname", ""), self._file, words)


def _parse(text_url: str) -> URL:
    """Read the URL; PostgreSQL is always reached through psycopg."""
    remedy = "write sqlite:///FILE, or postgresql+psycopg://USER:PASSWORD@HOST/DATABASE"
    try:
        url = make_url(text_url)
    except (ArgumentError, ValueError):
        # What cannot be read may hold a password: it is not repeated.
        raise InputError(
            "the URL of the registry of solutions cannot be read",
            reason="bad_registry_url",
            remedy=remedy,
        ) from None
    backend = url.get_backend_name()
    if backend not in ("sqlite", "postgresql"):
        raise InputError(
            f"the registry of solutions cannot be kept in {backend}",
            reason="bad_registry_url",
            remedy=remedy,
        )
    if backend == "sqlite" and url.database in (None, "", ":memory:"):
        raise InputError(
            f"the URL {text_url} of the registry of solutions names no file",
            reason="bad_registry_url",
            remedy=remedy,
        )
    if "password" in url.query:
        raise InputError(
            "the password of the registry of solutions stands behind the question mark",
            reason="bad_registry_url",
            remedy=remedy,
        )
    if backend == "sqlite":
        # CASA's processes change their directory.
        return url.set(drivername="sqlite", database=str(Path(url.database or "").absolute()))
    return url.set(drivername="postgresql+psycopg")


def _is_sqlite(url: URL) -> bool:
    """Tell the two kinds of database apart."""
    return url.get_backend_name() == "sqlite"


def _make_engine(url: URL) -> Engine:
    """Make an engine whose transactions are real ones and whose waits end."""
    if _is_sqlite(url):
        # The driver would begin transactions too late; and the journal stays SQLite's default,
        # for the write-ahead log does not work on network file systems.
        arguments: dict[str, Any] = {"isolation_level": None, "timeout": _LOCK_TIMEOUT_S}
        begin = {True: "BEGIN IMMEDIATE", False: "BEGIN"}
    else:
        arguments = {"connect_timeout": _CONNECT_TIMEOUT_S} | dict(url.query)
        begin = dict.fromkeys((True, False), f"SET LOCAL lock_timeout = '{_LOCK_TIMEOUT_S}s'")
    try:
        # Without a pool no connection is ever shared with a forked process.
        engine = create_engine(
            url, connect_args=arguments, poolclass=NullPool, json_deserializer=_read_json
        )
    except ImportError as error:
        raise InputError(
            f"{url.render_as_string(hide_password=True)} needs {error.name}, which is not "
            "installed",
            reason="missing_driver",
            remedy="install psycopg[binary]",
        ) from error

    @event.listens_for(engine, "begin")
    def _begin(connection: Connection) -> None:
        connection.exec_driver_sql(begin[connection.get_execution_options()["is_write"]])

    return engine


def _read_json(document: str) -> Any:
    """Read a JSON column; a damaged one stays text, for its reader to refuse."""
    try:
        return json.loads(document)
    except ValueError:
        return document


def _read_version(connection: Connection) -> int | None:
    """Read the version of the schema; None if there is no schema."""
    if not inspect(connection).has_table(schema_table.name):
        return None
    return connection.execute(select(schema_table.c.version)).scalar()


def _create_schema(connection: Connection) -> int:
    """Make the schema, unless another process has just done so; the version that is there."""
    if connection.dialect.name == "postgresql":
        # SQLite's writers are alone already.
        connection.execute(text("SELECT pg_advisory_xact_lock(:key)"), {"key": _ADVISORY_LOCK})
    if (version := _read_version(connection)) is not None:
        return version
    metadata.create_all(connection)
    connection.execute(schema_table.insert().values(id=1, version=SCHEMA_VERSION))
    return SCHEMA_VERSION


def _name_sqlite(code: str, file: Path, words: str) -> ContimgError:
    """Name an error by SQLite's extended code, e.g. ``SQLITE_BUSY_SNAPSHOT``."""
    kind = "_".join(code.split("_")[:2])
    if kind in ("SQLITE_BUSY", "SQLITE_LOCKED"):
        return TransientError(
            f"the registry {file} is locked: another process has held it for {_LOCK_TIMEOUT_S} s",
            reason="registry_locked",
        )
    if kind == "SQLITE_FULL":
        return TransientError(
            f"cannot write the registry {file}: {words}",
            reason="disk_full",
            remedy="free space there",
        )
    if kind in ("SQLITE_CANTOPEN", "SQLITE_READONLY", "SQLITE_PERM", "SQLITE_IOERR"):
        return _name_refused_file(file, words, is_passing=kind == "SQLITE_IOERR")
    return InputError(
        f"the registry {file} is damaged: {words}",
        reason="damaged_registry",
        remedy="bring back a copy; or move it away, and solve the calibrators again",
    )


def _name_refused_file(file: Path, words: str, *, is_passing: bool) -> ContimgError:
    """Ask the operating system why SQLite cannot use a file; SQLite does not say."""
    try:
        with file.open("ab"):
            pass
    except OSError as error:
        return name_os_error(error, f"cannot use {file}", denied="registry_not_writable")
    cls = TransientError if is_passing else InputError
    return cls(
        f"cannot use the registry {file}: {words}",
        reason="registry_unreachable" if is_passing else "registry_not_writable",
        remedy="check the disk, and who may write the file and its directory",
    )


def _name_postgresql(sqlstate: str | None, name: str, words: str) -> ContimgError:
    """Name an error by PostgreSQL's code, which a failed connection does not have."""
    if sqlstate is None or sqlstate.startswith(_PASSING_SQLSTATES):
        locked = sqlstate == "55P03"
        return TransientError(
            f"the registry {name} is {'locked' if locked else 'out of reach'}: {words}",
            reason="registry_locked" if locked else "registry_unreachable",
            remedy=None if locked else "check the server, and calibration_registry",
        )
    return InputError(
        f"the registry {name} refuses: {words}",
        reason="registry_refused",
        remedy="check the rights of its user and its tables",
    )
