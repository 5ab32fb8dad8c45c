"""A ledger, a book of notices, and jobs that end as a test wants."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import select

from dicom_node.archive.tables import notices, quarantine
from dicom_node.contracts import FileRef
from dicom_node.database import Database
from dicom_node.errors import NodeError
from dicom_node.jobs import JobInput, JobLedger, NewJob, OutputInstance, OutputSeries
from dicom_node.notices.book import NoticeBook

_OUTPUTS = (OutputSeries("ct", "9.1", ("4.2",), (OutputInstance("9.1.1", "4.2", "1.dcm"),)),)


@dataclass
class Site:
    """What happens at a node, and what its book says about it."""

    folder: Path
    database: Database
    book: NoticeBook
    ledger: JobLedger
    jobs: int = 0

    def submit(self, now: float, send_to: tuple[str, ...] = ("pacs",)) -> str:
        self.jobs += 1
        inputs = (JobInput("ct", f"1.2.{self.jobs}", "1.2", FileRef(Path("/a.dcm")), "aa", {}),)
        new = NewJob("hip", "hipct", "li", {}, send_to, inputs, f"set-{self.jobs}", "digest")
        with self.database.begin() as tx:
            job = self.ledger.submit(tx, new, now)
        assert job is not None
        return job.id

    def fail_job(self, error: NodeError, now: float) -> None:
        with self.database.begin() as tx:
            lease = self.ledger.lease(tx, "w", 60, now)
            assert lease is not None
            self.ledger.failed(tx, lease, error, now)

    def derive(self, now: float) -> str:
        """A job that waits for the peer `pacs`."""
        job_id = self.submit(now)
        with self.database.begin() as tx:
            lease = self.ledger.lease(tx, "w", 60, now)
            assert lease is not None
            self.ledger.derived(tx, lease, _OUTPUTS, (), {}, now)
        return job_id

    def fail_delivery(self, error: NodeError, now: float) -> None:
        with self.database.begin() as tx:
            lease = self.ledger.lease_delivery(tx, "d", 60, now)
            assert lease is not None
            self.ledger.delivery_failed(tx, lease, error, now)

    def deliver(self, now: float) -> None:
        with self.database.begin() as tx:
            lease = self.ledger.lease_delivery(tx, "d", 60, now)
            assert lease is not None
            self.ledger.instance_sent(tx, lease, "9.1.1", 0, now)
            self.ledger.delivery_done(tx, lease, "counted", now)

    def set_aside(self, count: int, now: float, reason: str = "x.dcm: truncated") -> None:
        one = {"path": "x", "reason": reason, "association_id": "a", "received_at": now, "quarantined_at": now}
        with self.database.begin() as tx:
            tx.execute(quarantine.insert(), [one] * count)

    def told(self) -> list[dict[str, Any]]:
        """Every document in the book, in the order of raising."""
        with self.database.read() as tx:
            found = tx.execute(select(notices.c.document).order_by(notices.c.raised_at, notices.c.key)).scalars()
            return [json.loads(document) for document in found]

    def events(self) -> list[str]:
        return [str(document["event"]) for document in self.told()]
