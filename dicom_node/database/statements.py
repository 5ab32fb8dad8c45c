"""The few statements in which SQLite and PostgreSQL differ."""

from __future__ import annotations

import hashlib
from typing import Any

from sqlalchemy import Connection, Table, func, select
from sqlalchemy.dialects import postgresql, sqlite


def insert(tx: Connection, table: Table) -> postgresql.Insert | sqlite.Insert:
    """An INSERT that knows `on_conflict_do_nothing` and `on_conflict_do_update` on the engine of `tx`."""
    return postgresql.insert(table) if tx.dialect.name == "postgresql" else sqlite.insert(table)


def serialise(tx: Connection, key: str) -> None:
    """Let one transaction at a time pass for this key, until it ends.

    SQLite's BEGIN IMMEDIATE already does that for all writers; PostgreSQL needs an advisory lock.
    """
    if tx.dialect.name == "postgresql":
        number = int.from_bytes(hashlib.sha256(key.encode()).digest()[:8], "big", signed=True)
        tx.execute(select(func.pg_advisory_xact_lock(number)))


def changed_one(result: Any) -> bool:
    """Whether an UPDATE found its row."""
    return bool(result.rowcount == 1)
