"""What `/metrics` and `/readyz` say, with the ledger and without it."""

from __future__ import annotations

import multiprocessing
import os
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import closing
from dataclasses import replace
from pathlib import Path
from socket import socket
from typing import Any

import pytest
from prometheus_client import CollectorRegistry, generate_latest
from prometheus_client.parser import text_string_to_metric_families
from sqlalchemy import event

from dicom_node.archive.tables import patients, quarantine, received
from dicom_node.contracts import FileRef
from dicom_node.database import Database
from dicom_node.errors import CorrectorFailed, LedgerError, PeerUnreachable
from dicom_node.jobs import JobInput, JobLedger, NewJob, OutputInstance, OutputSeries, RetryPolicy
from dicom_node.metrics import ChildState, MetricsServer, NodeStatus
from dicom_node.net.board import Board

T = 1_000_000.0
OUTPUTS = (OutputSeries("ct", "9.1", ("4.2",), (OutputInstance("9.1.1", "4.2", "1.dcm"),)),)


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    with closing(Database.open(f"sqlite:///{tmp_path / 'node.sqlite'}")) as opened:
        yield opened


@pytest.fixture
def status(tmp_path: Path, database: Database) -> NodeStatus:
    children = {"worker-0": ChildState(os.getpid(), True, 2, 1.5), "intake-0": ChildState(None, False, 7)}
    return NodeStatus(database, tmp_path, 0, lambda: children, peers=["pacs", "idle"], clock=lambda: T)


def page(status: NodeStatus) -> dict[tuple[str, tuple[str, ...]], float]:
    """Samples of a scrape by name and label values, as Prometheus reads them."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(status)
    text = generate_latest(registry).decode()
    return {
        (sample.name, tuple(value for _, value in sorted(sample.labels.items()))): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


def submit(ledger: JobLedger, tx: Any, name: str, now: float) -> None:
    inputs = (JobInput("ct", name, "1.2", FileRef(Path("/a.dcm")), "aa", {}),)
    assert ledger.submit(tx, NewJob("hip", "hipct", "li", {}, ("pacs",), inputs, name, "digest"), now)


def test_what_waits_and_since_when(status: NodeStatus, database: Database) -> None:
    ledger = JobLedger(RetryPolicy())
    with database.begin() as tx:
        tx.execute(received.insert().values(path="x", association_id="a", received_at=T - 12))
        tx.execute(
            patients.insert().values(
                patient_key="p", generation=1, routed_generation=0, last_arrival=T - 30, waiting_since=T - 30
            )
        )
        tx.execute(
            quarantine.insert().values(path="q", reason="r", association_id="a", received_at=T, quarantined_at=T)
        )
        submit(ledger, tx, "a", T - 300)
        lease = ledger.lease(tx, "w", 60, T - 300)
        assert lease is not None
        ledger.derived(tx, lease, OUTPUTS, (), {}, T - 200)
        submit(ledger, tx, "b", T - 100)
        delivery = ledger.lease_delivery(tx, "d", 60, T - 150)
        assert delivery is not None
        ledger.delivery_failed(tx, delivery, PeerUnreachable("refused"), T - 140)
    found = page(status)
    for stage, age_s in (("filing", 12), ("routing", 30), ("correcting", 100)):
        assert found["dicom_node_oldest_waiting_seconds", (stage,)] == age_s
    assert found["dicom_node_delivery_oldest_waiting_seconds", ("pacs",)] == 200
    assert found["dicom_node_peer_unreachable_since_timestamp_seconds", ("pacs",)] == T - 140
    assert found["dicom_node_peer_unreachable_since_timestamp_seconds", ("idle",)] == 0
    assert found["dicom_node_deliveries_waiting", ("idle",)] == 0
    assert found["dicom_node_archive", ("quarantined",)] == 1
    assert found["dicom_node_jobs", ("QUEUED", "job")] == 1
    assert found["dicom_node_ledger_up", ()] == 1
    assert "1 jobs queued" in status.summary()


def test_processes_are_measured(status: NodeStatus) -> None:
    found = page(status)
    assert found["dicom_node_process_restarts_total", ("intake-0",)] == 7
    assert found["dicom_node_process_silent_seconds", ("worker-0",)] == 1.5
    assert found["dicom_node_process_resident_memory_bytes", ("worker-0",)] > 10e6
    assert found["dicom_node_process_cpu_seconds_total", ("supervisor",)] > 0.1
    assert ("dicom_node_process_resident_memory_bytes", ("intake-0",)) not in found


def test_receivers_counters_are_told_with_their_reasons(tmp_path: Path, status: NodeStatus) -> None:
    board = Board.create(multiprocessing.get_context("spawn"), 2, 8, tmp_path / "seats.lock")
    board.place(1).count("bytes", 4096)
    board.place(1).count("rejected_access")
    assert board.place(0).sit("10.0.0.1", 5) is not None
    found = page(replace(status, board=lambda: board))
    assert found["dicom_node_receiver_received_bytes_total", ("1",)] == 4096
    assert found["dicom_node_receiver_refused_total", ("access", "1")] == 1
    assert found["dicom_node_receiver_refused_total", ("limit", "1")] == 0
    assert found["dicom_node_associations_open", ()] == 1


def test_job_durations_are_followed_and_survive_no_scrape_in_between(status: NodeStatus, database: Database) -> None:
    ledger = JobLedger(RetryPolicy(backoff_s=0.001))
    with database.begin() as tx:
        submit(ledger, tx, "under-way", T)
        under_way = ledger.lease(tx, "w", 600, T)
    assert under_way is not None
    assert not [key for key in page(status) if key[0].startswith("dicom_node_job_duration")]
    with database.begin() as tx:
        ledger.derived(tx, under_way, OUTPUTS, (), {}, T + 40)
        submit(ledger, tx, "again", T)
        lease = ledger.lease(tx, "w", 60, T)
        assert lease is not None
        ledger.failed(tx, lease, CorrectorFailed("x"), T + 2)
        lease = ledger.lease(tx, "w", 60, T + 100)
        assert lease is not None
        ledger.unchanged(tx, lease, "no metal", T + 107)
    for _ in range(2):
        found = page(status)
        for ended, seconds in (("derived", 40), ("retry", 2), ("unchanged", 7)):
            assert found["dicom_node_job_duration_seconds_sum", ("hipct", ended)] == seconds
    assert found["dicom_node_job_duration_seconds_bucket", ("hipct", "derived", "30.0")] == 0
    assert found["dicom_node_job_duration_seconds_bucket", ("hipct", "derived", "60.0")] == 1
    assert found["dicom_node_job_duration_seconds_count", ("hipct", "unchanged")] == 1


class Down:
    """A ledger that cannot be reached."""

    def read(self) -> Any:
        raise LedgerError("the database refused: gone")


def test_without_the_ledger_the_machine_is_still_measured(status: NodeStatus) -> None:
    down = replace(status, database=Down())  # type: ignore[arg-type]
    found = page(down)
    assert found["dicom_node_ledger_up", ()] == 0
    assert found["dicom_node_disk_free_bytes", ()] > 0
    assert "the ledger cannot be read (LedgerError)" in down.not_ready()
    assert "the ledger cannot be read" in down.summary()


def test_ready_or_not_is_said_without_counting(status: NodeStatus, database: Database) -> None:
    asked: list[str] = []
    event.listen(database._reader, "before_cursor_execute", lambda *given: asked.append(given[2].lower()))
    assert status.not_ready() == ["process intake-0 is not ready"]
    assert any("journals" in statement for statement in asked)
    assert not [statement for statement in asked if "count" in statement or "sum" in statement]
    assert "1e+15 MB of disk are free" in " ".join(replace(status, min_free_mb=1e15).not_ready())


def test_the_pages_are_served(status: NodeStatus) -> None:
    with socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    server = MetricsServer("127.0.0.1", port, status)
    server.start()
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=5) as answer:
            assert answer.headers["Content-Type"].startswith("text/plain; version=")
            assert b"dicom_node_build_info{python=" in answer.read()
        with pytest.raises(urllib.error.HTTPError, match="503"):
            urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/healthz", timeout=5) as answer:
            assert answer.status == 200
    finally:
        server.stop()
