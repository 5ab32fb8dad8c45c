"""A SQLite ledger that is damaged is moved aside, never deleted: what can be saved of it is in the files beside it."""

from __future__ import annotations

import sqlite3
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from sqlalchemy import make_url

from dicom_node.durable import storage_error, sync_folder
from dicom_node.errors import LedgerError

_DAMAGE: Final = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)
_COMPANIONS: Final = ("", "-wal", "-shm")


def set_aside_if_damaged(url: str, now: float) -> Path | None:
    """Move the ledger's file aside if it is no sound database; where to, None when it is sound or missing.

    Reads all of it. A PostgreSQL database is its server's business.

    Args:
        url: SQLAlchemy URL of the ledger.
        now: UTC [s], part of the new name.

    Raises:
        LedgerError: the file cannot be looked at, e.g. because a process still uses it.
        StorageFailed: the disk refuses.
    """
    parsed = make_url(url)
    if parsed.get_backend_name() != "sqlite" or not parsed.database:
        return None
    path = Path(parsed.database)
    if path.exists() and path.stat().st_size:
        return _move(path, now) if _is_damaged(path) else None
    # Without its file a log of changes is worth nothing, and would be taken for that of the next one.
    if any(path.with_name(path.name + end).exists() for end in _COMPANIONS):
        _move(path, now)
    return None


def _is_damaged(path: Path) -> bool:
    try:
        with closing(sqlite3.connect(path, timeout=5)) as connection:
            found = connection.execute("PRAGMA integrity_check(1)").fetchone()
        return bool(found != ("ok",))
    except sqlite3.DatabaseError as error:
        code = getattr(error, "sqlite_errorcode", None)
        if code is not None and code & 0xFF in _DAMAGE:
            return True
        raise LedgerError(f"cannot look at the ledger {path}: {error}") from error


def _move(path: Path, now: float) -> Path:
    stamp = datetime.fromtimestamp(now, UTC).strftime("%Y%m%dT%H%M%SZ")
    target = path.with_name(f"{path.name}.damaged-{stamp}")
    number = 1
    while target.exists():
        target = path.with_name(f"{path.name}.damaged-{stamp}-{number}")
        number += 1
    try:
        for end in _COMPANIONS:
            one = path.with_name(path.name + end)
            if one.exists():
                one.rename(target.with_name(target.name + end))
        sync_folder(path.parent)
    except OSError as problem:
        raise storage_error(problem, path) from problem
    return target
