"""Opening, migrating and sharing the database."""

import multiprocessing
import sqlite3
from contextlib import closing

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import text

from dicom_node.archive import tables as archive_tables
from dicom_node.database import Database, engine, metadata, migrate
from dicom_node.errors import LedgerError, StorageFull
from dicom_node.jobs import tables as jobs_tables


@pytest.fixture
def url(tmp_path):
    return f"sqlite:///{tmp_path}/new/folder/node.sqlite"


@pytest.fixture
def database(url):
    database = Database.open(url)
    yield database
    database.close()


def test_the_migrations_make_exactly_the_declared_schema(database):
    assert {archive_tables.instances.name, jobs_tables.jobs.name} <= set(metadata.tables)
    with database.read() as tx:
        context = MigrationContext.configure(tx, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []


def test_the_newest_revision_is_the_head_of_the_scripts():
    assert ScriptDirectory(migrate.script_folder()).get_heads() == [migrate.NEWEST]


def test_a_new_file_is_durable_and_strict(database):
    with database.read() as tx:
        pragmas = {name: tx.execute(text(f"PRAGMA {name}")).scalar() for name in ("journal_mode", "synchronous")}
        assert pragmas == {"journal_mode": "wal", "synchronous": 2}
        assert tx.execute(text("PRAGMA foreign_keys")).scalar() == 1


def test_opening_again_keeps_what_is_there(database, url):
    with database.begin() as tx:
        tx.execute(
            archive_tables.patients.insert().values(
                patient_key="p", generation=1, routed_generation=0, last_arrival=1.0
            )
        )
    again = Database.open(url)
    with again.read() as tx:
        assert tx.execute(text("SELECT patient_key FROM patients")).scalars().all() == ["p"]
    again.close()


def test_a_newer_schema_is_refused_with_what_to_do(database, url):
    with database.begin() as tx:
        tx.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(LedgerError, match=r"schema 9999, newer than this program's .*install the version"):
        Database.open(url)


def test_a_file_that_is_no_database_is_named(tmp_path):
    path = tmp_path / "node.sqlite"
    path.write_bytes(b"not a database at all" * 100)
    with pytest.raises(LedgerError, match=f"{path}.*not a database"):
        Database.open(f"sqlite:///{path}")
    assert path.read_bytes() == b"not a database at all" * 100


@pytest.mark.parametrize(
    ("bad", "says"),
    [
        ("no url", "not a database URL"),
        ("sqlite://", "in memory"),
        ("sqlite:////proc/nowhere/node.sqlite", "cannot open the database"),
        ("mysql://user:secret@host/name", "cannot use a mysql database|there is no driver"),
        ("postgresql+psycopg://user:secret@127.0.0.1:1/name", "cannot open the database postgresql"),
    ],
)
def test_a_database_that_cannot_be_is_a_clear_error(bad, says):
    with pytest.raises(LedgerError, match=says) as caught:
        Database.open(bad)
    assert "secret" not in str(caught.value)


def test_what_raises_leaves_nothing_behind(database):
    with pytest.raises(ZeroDivisionError), database.begin() as tx:
        tx.execute(
            text(
                "INSERT INTO associations (id, calling_ae, called_ae, address, receiver, opened_at) "
                "VALUES ('a', 'b', 'c', 'd', 'e', 1)"
            )
        )
        _ = 1 / 0
    with database.read() as tx:
        assert tx.execute(text("SELECT count(*) FROM associations")).scalar() == 0


def test_errors_carry_no_stored_values(database):
    row = {"patient_key": "YAMADA^TARO", "generation": 1, "routed_generation": 0, "last_arrival": 1.0}
    with pytest.raises(LedgerError) as caught, database.begin() as tx:
        tx.execute(archive_tables.patients.insert().values(**row))
        tx.execute(archive_tables.patients.insert().values(**row))
    shown, error = "", caught.value
    while error is not None:
        shown, error = shown + str(error), error.__cause__
    assert "patients.patient_key" in shown
    assert "YAMADA" not in shown


def test_a_lock_that_stays_is_a_ledger_error_and_one_that_goes_is_waited_for(url, monkeypatch):
    monkeypatch.setattr(engine, "_PATIENCE_S", 0.05)
    database = Database.open(url)
    with closing(sqlite3.connect(database._reader.url.database, isolation_level=None)) as other:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerError, match="locked"), database.begin():
            pass
        with database.read() as tx:
            assert tx.execute(text("SELECT count(*) FROM jobs")).scalar() == 0
        monkeypatch.setattr(engine.time, "sleep", lambda _: other.in_transaction and other.execute("COMMIT"))
        with database.begin() as tx:
            tx.execute(text("DELETE FROM jobs"))
    database.close()


def test_a_full_disk_is_told_apart(database):
    with pytest.raises(StorageFull, match="disk of the database"), database.begin() as tx:
        tx.execute(text(f"PRAGMA max_page_count={tx.execute(text('PRAGMA page_count')).scalar()}"))
        tx.execute(archive_tables.received.insert().values(path="x" * 10**6, association_id="a", received_at=1.0))


def _open_when_told(url, start, results):
    start.wait()
    try:
        database = Database.open(url)
        with database.begin() as tx:
            tx.execute(text("INSERT INTO received (path, association_id, received_at) VALUES ('p', 'a', 1)"))
        database.close()
        results.put("ok")
    except LedgerError as error:
        results.put(str(error))


def test_processes_that_start_together_make_one_schema(url):
    spawn = multiprocessing.get_context("spawn")
    start, results = spawn.Event(), spawn.Queue()
    processes = [spawn.Process(target=_open_when_told, args=(url, start, results)) for _ in range(3)]
    for process in processes:
        process.start()
    start.set()
    assert [results.get(timeout=60) for _ in processes] == ["ok"] * 3
    for process in processes:
        process.join()
    database = Database.open(url)
    with database.read() as tx:
        assert tx.execute(text("SELECT count(*) FROM received")).scalar() == 3
    database.close()
