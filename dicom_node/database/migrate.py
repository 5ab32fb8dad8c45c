"""Brings a database to the newest schema, once, however many processes open it at the same time."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import Connection, Engine, inspect, text
from sqlalchemy.exc import OperationalError

from dicom_node.database import sqlite
from dicom_node.errors import LedgerError

NEWEST = "0003"
"""Revision of the newest script in `migrations/versions`; saves every process the import of Alembic."""
_PATIENCE_MS = 30_000
"""Wait for a process that writes already, because it was quicker to open the same new file [ms]."""
_LOCK_NUMBER = 0x6469636F6D6E6F64


def to_newest(engine: Engine) -> None:
    """Create or migrate the schema where it is not the newest already.

    Raises:
        LedgerError: the schema is newer than this program.
        sqlalchemy.exc.SQLAlchemyError: the database cannot be reached or changed.
    """
    if _file_is_new(engine) or _is_not_newest(engine):
        with _alone(engine) as connection:
            _upgrade(connection)


def script_folder() -> Path:
    """The folder of Alembic's environment and scripts, as installed."""
    return Path(__file__).parent / "migrations"


def _file_is_new(engine: Engine) -> bool:
    """A SQLite file that no one has prepared: not even reading it is safe before it is in WAL mode."""
    if engine.dialect.name != "sqlite":
        return False
    path = Path(str(engine.url.database))
    return not path.exists() or path.stat().st_size == 0


def _is_not_newest(engine: Engine) -> bool:
    try:
        with engine.connect() as connection:
            return _revision(connection) != NEWEST
    except OperationalError:
        if engine.dialect.name != "sqlite":
            raise
        # another process holds the file while it prepares it: wait for it at the lock, and look again there
        return True


def _revision(connection: Connection) -> str | None:
    if not inspect(connection).has_table("alembic_version"):
        return None
    found = connection.execute(text("SELECT version_num FROM alembic_version")).scalar_one_or_none()
    return None if found is None else str(found)


@contextmanager
def _alone(engine: Engine) -> Iterator[Connection]:
    """One transaction in which no other process migrates."""
    if engine.dialect.name == "sqlite":
        path = Path(str(engine.url.database))
        with sqlite.migration_lock(path):
            sqlite.use_write_ahead_log(path)
            with engine.execution_options(**{sqlite.WRITES: _PATIENCE_MS}).begin() as connection:
                yield connection
    else:
        with engine.begin() as connection:
            connection.execute(text("SELECT pg_advisory_xact_lock(:number)"), {"number": _LOCK_NUMBER})
            yield connection


def _upgrade(connection: Connection) -> None:
    # imported here because it costs a third of a second, and only the first process ever needs it
    from alembic import command
    from alembic.config import Config
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(script_folder()).replace("%", "%%"))
    config.set_main_option("path_separator", "os")
    found = _revision(connection)
    known = {script.revision for script in ScriptDirectory.from_config(config).walk_revisions()}
    if found is not None and found not in known:
        raise LedgerError(
            f"the database has schema {found}, newer than this program's {NEWEST}; "
            "install the version of the node that wrote it, or point node.data_dir elsewhere"
        )
    if found != NEWEST:
        config.attributes["connection"] = connection
        command.upgrade(config, "head")
