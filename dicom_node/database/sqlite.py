"""SQLite as a ledger: write-ahead log, full sync, explicit transactions, a lock for migrations."""

from __future__ import annotations

import fcntl
import sqlite3
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, event

WRITES = "node_writes"
"""Execution option: the transaction takes the write lock at its start, so that it never fails half-way.

Its value is how long SQLite itself waits for that lock [ms].
"""
_BUSY_MS = 1000
"""How long a reader waits for the file [ms]."""


def prepare(engine: Engine) -> None:
    """Give every connection of the engine the settings, and take BEGIN out of the driver's hands."""
    event.listen(engine, "connect", _on_connect)
    event.listen(engine, "begin", _on_begin)


def use_write_ahead_log(path: Path) -> None:
    """Switch the file to WAL, which it then stays in; call under `migration_lock`.

    Raises:
        sqlite3.Error: the file is no database, or another process will not let go of it.
    """
    with closing(sqlite3.connect(path, timeout=30)) as connection:
        connection.execute("PRAGMA journal_mode=WAL")


@contextmanager
def migration_lock(path: Path) -> Iterator[None]:
    """Only one process at a time prepares the database; the lock goes when the process dies."""
    with path.with_name(path.name + ".lock").open("a") as handle:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _on_connect(connection: Any, _record: Any) -> None:
    connection.isolation_level = None
    for pragma in ("synchronous=FULL", "foreign_keys=ON", "temp_store=MEMORY"):
        connection.execute(f"PRAGMA {pragma}")


def _on_begin(connection: Connection) -> None:
    patience_ms = connection.get_execution_options().get(WRITES)
    connection.exec_driver_sql(f"PRAGMA busy_timeout={_BUSY_MS if patience_ms is None else patience_ms}")
    connection.exec_driver_sql("BEGIN" if patience_ms is None else "BEGIN IMMEDIATE")
