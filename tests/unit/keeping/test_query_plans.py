"""No statement of the hot path may read a table from end to end: SQLite is asked how it would do each of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from keeping_site import DAY_S, START, Site, bring, make_site, study
from sqlalchemy import event, text

from dicom_node.database import Database
from dicom_node.jobs import JobState, NewJob
from dicom_node.jobs.waiting import queues
from dicom_node.keeping.pruning import Pruning
from dicom_node.keeping.survey import survey

LARGE = {
    "instances", "series", "studies", "patients", "associations", "explanations", "jobs", "job_documents", "job_events",
    "job_series", "deliveries", "delivery_instances", "quarantine",
}  # fmt: skip
NEWEST_OR_OLDEST = re.compile(r"ORDER BY \w+\.(id|seq)( DESC)?\s+LIMIT", re.DOTALL)
"""Reads the end of a table that it wants, and stops."""
LATER = START + 11 * DAY_S


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    one = make_site(tmp_path / "var", Database.open(f"sqlite:///{tmp_path}/var/node.sqlite"))
    yield one
    one.database.close()


@contextmanager
def statements(database: Database) -> Iterator[list[tuple[str, Any]]]:
    """Everything that is executed meanwhile."""
    seen: list[tuple[str, Any]] = []

    def note(_connection: Any, _cursor: Any, statement: str, parameters: Any, _context: Any, many: bool) -> None:
        seen.append((statement, parameters[0] if many and parameters else parameters))

    event.listen(database._reader, "before_cursor_execute", note)
    yield seen
    event.remove(database._reader, "before_cursor_execute", note)


def scans(database: Database, seen: list[tuple[str, Any]]) -> list[str]:
    """Statements that read a large table from end to end, with what SQLite says about it."""
    found = []
    with database.read() as tx:
        raw = tx.connection.driver_connection
        for statement, parameters in dict(seen).items():
            if not re.match(r"\s*(SELECT|INSERT|UPDATE|DELETE|WITH)", statement):
                continue
            for row in raw.execute(f"EXPLAIN QUERY PLAN {statement}", parameters or ()):
                scanned = re.match(r"SCAN (\w+)", row[3])
                name = scanned and aliased(statement, scanned[1])
                if name in LARGE and not NEWEST_OR_OLDEST.search(statement):
                    found.append(f"{row[3]}: {statement}")
    return found


def aliased(statement: str, name: str) -> str:
    """The table behind an alias."""
    found = re.search(rf"\b(\w+) AS {name}\b", statement)
    return found[1] if found else name


def receive_and_route(site: Site) -> None:
    site.push(study(1), START)
    site.push(study(2), START + 1)
    site.push(study(1), START + 2)
    site.route(START + 2)


def correct_and_deliver(site: Site) -> None:
    for end in ("delivered", "dead", "delivery dead", "refused", "derived", "queued"):
        one = study(10 + len(end))
        site.job(one, end=end)
    with site.database.begin() as tx:
        lease = site.ledger.lease(tx, "w", 60, LATER)
        assert lease is not None
        site.ledger.heartbeat(tx, lease, 60, LATER)
        site.ledger.release_worker(tx, "w", LATER)
        sending = site.ledger.lease_delivery(tx, "d", 60, LATER, exclude_peers=["other"])
        assert sending is not None
        site.ledger.heartbeat_delivery(tx, sending, 60, LATER)
        site.ledger.release_delivery(tx, "d", LATER)
        new = NewJob("hip", "hipct", "li", {}, ("pacs",), (), "again", "1")
        for digest in ("1", "2", "2"):
            site.ledger.submit(tx, replace(new, input_digest=digest), LATER)


def look(site: Site) -> None:
    with site.database.read() as tx:
        survey(tx, site.ledger)
        queues(tx)
        site.ledger.find(tx)
        site.ledger.find(tx, state=JobState.DEAD)
        site.room.index.counts(tx)


def keep_order(site: Site) -> None:
    site.push(study(1), START)
    site.push(study(2), START)
    site.route(START)
    site.job(study(1))
    bring(site, site.job(study(2), end="queued"), "dead", START)
    site.keep(LATER)
    pruning = Pruning(site.database, site.folder, 365)
    while pruning.step(LATER + 400 * DAY_S) == 0.0:
        pass


@pytest.mark.parametrize("do", [receive_and_route, correct_and_deliver, look, keep_order])
def test_nothing_reads_a_large_table_from_end_to_end(site: Site, do: Callable[[Site], None]) -> None:
    with statements(site.database) as seen:
        do(site)
    assert len(seen) > 10
    assert scans(site.database, seen) == []


def test_a_scan_would_be_found(site: Site) -> None:
    with statements(site.database) as seen, site.database.read() as tx:
        tx.execute(text("SELECT count(*) FROM instances AS i WHERE i.received_at > 5"))
        tx.execute(text("SELECT id FROM jobs WHERE error LIKE '%x%' ORDER BY created_at LIMIT 3"))
    assert len(scans(site.database, seen)) == 2
