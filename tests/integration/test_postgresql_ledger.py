"""The same promises on a real PostgreSQL, and those that only a server with many writers can break."""

import sys
import threading
from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.migration import MigrationContext
from postgresql import run_server
from sqlalchemy import text

from dicom_node.archive.model import Filing
from dicom_node.database import Database, metadata
from dicom_node.errors import LedgerError
from dicom_node.jobs import JobLedger, JobState

_UNIT = Path(__file__).parents[1] / "unit"
sys.path[:0] = [str(_UNIT / "jobs"), str(_UNIT / "archive")]
import clock_behaviours  # noqa: E402
import index_behaviours  # noqa: E402
import ledger_behaviours  # noqa: E402

steps = ledger_behaviours.steps
index = index_behaviours.index


@pytest.fixture(scope="module")
def server(need_program):
    with run_server(need_program("initdb").resolve().parent) as server:
        yield server


@pytest.fixture(scope="module")
def opened(server):
    database = Database.open(server.url())
    yield database
    database.close()


@pytest.fixture
def database(opened):
    with opened.begin() as tx:
        tx.execute(text(f"TRUNCATE {', '.join(metadata.tables)} CASCADE"))
    return opened


class TestSubmit(ledger_behaviours.SubmitBehaviour):
    pass


class TestLease(ledger_behaviours.LeaseBehaviour):
    pass


class TestFailure(ledger_behaviours.FailureBehaviour):
    pass


class TestDelivery(ledger_behaviours.DeliveryBehaviour):
    pass


class TestLooking(ledger_behaviours.LookingBehaviour):
    pass


class TestClock(clock_behaviours.ClockBehaviour):
    pass


class TestIndex(index_behaviours.IndexBehaviour):
    pass


def test_the_migrations_make_exactly_the_declared_schema(database):
    with database.read() as tx:
        context = MigrationContext.configure(tx, opts={"compare_type": True, "compare_server_default": True})
        assert compare_metadata(context, metadata) == []


def test_many_that_open_a_new_database_together_make_one_schema(server, database):
    with database._reader.connect().execution_options(isolation_level="AUTOCOMMIT") as connection:
        connection.execute(text("CREATE DATABASE fresh"))
    barrier = threading.Barrier(4)

    def open_together(_):
        barrier.wait()
        Database.open(server.url("fresh")).close()

    with ThreadPoolExecutor(4) as pool:
        list(pool.map(open_together, range(4)))
    fresh = Database.open(server.url("fresh"))
    with fresh.begin() as tx:
        tx.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    fresh.close()
    with pytest.raises(LedgerError, match="schema 9999"):
        Database.open(server.url("fresh"))


def test_workers_that_lease_at_the_same_time_never_share_a_job(database):
    ledger = JobLedger(ledger_behaviours.RETRY)
    with database.begin() as tx:
        for n in range(60):
            ledger.submit(tx, replace(ledger_behaviours.NEW, set_key=f"set-{n}"), 0.0)

    def work(owner):
        leased = []
        while True:
            with database.begin() as tx:
                lease = ledger.lease(tx, owner, 60, 1.0)
                if lease is None:
                    return leased
                ledger.derived(tx, lease, ledger_behaviours.OUTPUTS, (), {}, 1.0)
                leased.append(lease.job.id)

    def deliver(owner):
        sent = []
        while True:
            with database.begin() as tx:
                lease = ledger.lease_delivery(tx, owner, 60, 2.0)
            if lease is None:
                return sent
            with database.begin() as tx:
                ledger.delivery_done(tx, lease, "counted", 2.0)
            sent.append(lease.delivery.id)

    for step, expected in ((work, 60), (deliver, 120)):
        with ThreadPoolExecutor(4) as pool:
            done = Counter(item for items in pool.map(step, "abcd") for item in items)
        assert len(done) == expected
        assert set(done.values()) == {1}
    with database.read() as tx:
        assert ledger.counts(tx)["job", JobState.DELIVERED] == 60, "two deliveries that end at once must see each other"


def test_the_same_submission_from_many_sides_makes_one_job_and_versions_stay_in_line(database):
    ledger = JobLedger(ledger_behaviours.RETRY)
    barrier = threading.Barrier(4)

    def submit(n):
        barrier.wait()
        with database.begin() as tx:
            same = ledger.submit(tx, ledger_behaviours.NEW, 0.0)
        with database.begin() as tx:
            ledger.submit(tx, replace(ledger_behaviours.NEW, input_digest=f"late-{n}"), 0.0)
        return same

    with ThreadPoolExecutor(4) as pool:
        same = list(pool.map(submit, range(4)))
    assert sum(job is not None for job in same) == 1
    with database.read() as tx:
        jobs = ledger.find(tx)
    assert sorted(job.version for job in jobs) == [1, 2, 3, 4, 5]
    assert [job.version for job in jobs if job.state is JobState.QUEUED] == [5]


def test_the_same_instance_filed_from_many_sides_is_new_once(database):
    index = index_behaviours.Steps(database)
    association = index.open()
    barrier = threading.Barrier(4)

    def file(n):
        number = index.receive(association, float(n))
        barrier.wait()
        return index.file_one(number, index_behaviours.HEADER, 5.0)

    with ThreadPoolExecutor(4) as pool:
        filings = Counter(pool.map(file, range(4)))
    assert filings == {Filing.NEW: 1, Filing.DUPLICATE: 3}
    index.close_association(association, "released", 6.0)
    assert [settled.generation for settled in index.settled_patients(0, 10.0)] == [1]


def test_a_server_that_goes_away_is_an_infrastructure_error_and_comes_back(server, database):
    server.stop()
    with pytest.raises(LedgerError) as caught, database.read() as tx:
        tx.execute(text("SELECT 1"))
    assert caught.value.infrastructure
    server.start()
    with database.read() as tx:
        assert tx.execute(text("SELECT 1")).scalar() == 1
