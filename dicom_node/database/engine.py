"""`Database`: transactions for everyone who reads or writes ledger and index."""

from __future__ import annotations

import random
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import URL, Connection, Engine, create_engine, make_url
from sqlalchemy.exc import ArgumentError, DBAPIError, NoSuchModuleError, SQLAlchemyError

from dicom_node.database import migrate, sqlite
from dicom_node.errors import LedgerError, StorageFull

_PATIENCE_S = 15.0
"""Longest wait for other writers of a SQLite file [s]."""
_LOOK_AGAIN_S = (0.0005, 0.002)
"""Shortest and longest pause between two looks at its lock [s]; a write takes about as long."""


class Database:
    """An open database of the right schema. One for each process; its methods may be called from any thread."""

    def __init__(self, engine: Engine) -> None:
        self._reader = engine
        # told at once that the file is locked, a writer waits in `_connected` instead
        self._writer = engine.execution_options(**{sqlite.WRITES: 0})
        self._random = random.Random()

    @classmethod
    def open(cls, url: str) -> Database:
        """Open, create or migrate the database.

        Args:
            url: `sqlite:///path` or `postgresql+psycopg://user@host/name`. Folders of a SQLite file are created.

        Raises:
            LedgerError: it cannot be reached, is no database, or has a newer schema than this program.
        """
        try:
            parsed = make_url(url)
        except ArgumentError as error:
            raise LedgerError("node.database is not a database URL; use `sqlite` or postgresql+psycopg://…") from error
        place = parsed.render_as_string(hide_password=True)
        try:
            engine = _sqlite(parsed) if parsed.get_backend_name() == "sqlite" else _server(parsed)
            try:
                migrate.to_newest(engine)
            except BaseException:
                engine.dispose()
                raise
        except (SQLAlchemyError, sqlite3.Error, OSError, ImportError) as error:
            raise LedgerError(f"cannot open the database {place}: {_cause(error)}") from error
        return cls(engine)

    @contextmanager
    def begin(self) -> Iterator[Connection]:
        """A write transaction: committed at the end of the block, rolled back when it raises.

        Raises:
            LedgerError: the database is gone, or stayed locked; the whole block may be tried again.
            StorageFull: the database's disk is full.
        """
        with _as_ledger_error(), self._connected(self._writer) as connection:
            yield connection

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A read transaction that sees one state of the database from start to end (SQLite) or statement by statement.

        Raises:
            LedgerError: the database cannot be reached.
        """
        with _as_ledger_error(), self._connected(self._reader) as connection:
            yield connection

    def close(self) -> None:
        """Give all connections back."""
        self._reader.dispose()

    @contextmanager
    def _connected(self, engine: Engine) -> Iterator[Connection]:
        with engine.connect() as connection:
            give_up = time.monotonic() + _PATIENCE_S
            while True:
                try:
                    transaction = connection.begin()
                    break
                except DBAPIError as error:
                    if not _locked(error) or time.monotonic() > give_up:
                        raise
                    # short random pauses: SQLite's own ever longer ones starve a waiter for seconds
                    time.sleep(self._random.uniform(*_LOOK_AGAIN_S))
            with transaction:
                yield connection


def _sqlite(url: URL) -> Engine:
    if not url.database or url.database == ":memory:":
        raise LedgerError("a ledger in memory would lose what was acknowledged; name a file: sqlite:///path")
    Path(url.database).parent.mkdir(parents=True, exist_ok=True)
    engine = create_engine(url, hide_parameters=True)
    sqlite.prepare(engine)
    return engine


def _server(url: URL) -> Engine:
    if url.get_backend_name() != "postgresql":
        raise LedgerError(f"cannot use a {url.get_backend_name()} database; use sqlite or postgresql+psycopg://…")
    try:
        # pool_pre_ping: a server restart costs one reconnect, not one failed job
        return create_engine(url, hide_parameters=True, pool_pre_ping=True, connect_args={"connect_timeout": 10})
    except NoSuchModuleError as error:
        raise LedgerError(f"there is no driver {url.drivername}; use postgresql+psycopg://…") from error


@contextmanager
def _as_ledger_error() -> Iterator[None]:
    try:
        yield
    except SQLAlchemyError as error:
        if isinstance(error, DBAPIError) and _disk_full(error):
            raise StorageFull("the disk of the database is full; free space on it") from error
        raise LedgerError(f"the database refused: {_cause(error)}") from error


def _locked(error: DBAPIError) -> bool:
    code = getattr(error.orig, "sqlite_errorcode", None)
    return code is not None and code & 0xFF in (sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED)


def _disk_full(error: DBAPIError) -> bool:
    code = getattr(error.orig, "sqlite_errorcode", None)
    return code == sqlite3.SQLITE_FULL or getattr(error.orig, "sqlstate", None) == "53100"


def _cause(error: BaseException) -> str:
    """First line of the driver's own words: SQLAlchemy's would append the statement."""
    if isinstance(error, DBAPIError) and error.orig is not None:
        error = error.orig
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
