"""`NodeStatus`: the state of the node when asked. The ledger is the truth, so no process has to report anything."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client.core import Metric
from prometheus_client.registry import Collector
from sqlalchemy import select

from dicom_node.archive.index import ArchiveIndex
from dicom_node.archive.tables import journals
from dicom_node.database.engine import Database
from dicom_node.errors import NodeError
from dicom_node.jobs.ledger import JobLedger
from dicom_node.jobs.retry import RetryPolicy
from dicom_node.metrics import families
from dicom_node.metrics.durations import JobDurations
from dicom_node.metrics.processes import ChildState
from dicom_node.net.board import Board


@dataclass(frozen=True, eq=False)
class NodeStatus(Collector):
    """Answers `/metrics` and `/readyz`.

    Attributes:
        database: the ledger.
        data_dir: folder whose free space counts.
        min_free_mb: free space below which C-STORE is refused [MB].
        processes: the children by name.
        board: what the receivers count; None before there is one.
        peers: configured peers.
        clock: UTC [s].
    """

    database: Database
    data_dir: Path
    min_free_mb: float
    processes: Callable[[], Mapping[str, ChildState]]
    board: Callable[[], Board | None] = lambda: None
    peers: Sequence[str] = ()
    clock: Callable[[], float] = time.time
    _durations: JobDurations = field(default_factory=JobDurations)

    def collect(self) -> Iterator[Metric]:
        """Everything there is to measure; without the ledger what the machine itself can tell."""
        yield families.build_info()
        yield from families.children(self.processes())
        board = self.board()
        if board is not None:
            yield from families.receivers(board)
        yield from families.disk(self.data_dir, self.min_free_mb)
        try:
            found = self._ledger()
        except NodeError:
            yield families.ledger_up(False)
            return
        yield families.ledger_up(True)
        yield from found

    def _ledger(self) -> list[Metric]:
        with self.database.read() as tx:
            return [
                *families.counts(ArchiveIndex().counts(tx), JobLedger(RetryPolicy()).counts(tx)),
                *families.waiting(tx, self.clock()),
                *families.deliveries(tx, self.peers, self.clock()),
                families.notices(tx),
                families.durations(self._durations.follow(tx)),
            ]

    def free_bytes(self) -> int:
        """Free space in the data folder [bytes]."""
        return shutil.disk_usage(self.data_dir).free

    def not_ready(self) -> list[str]:
        """Reasons why the node cannot do its work, empty when it can. Counts nothing."""
        reasons = [f"process {name} is not ready" for name, child in self.processes().items() if not child.ready]
        try:
            if self.free_bytes() < self.min_free_mb * 1e6:
                reasons.append(f"less than {self.min_free_mb:g} MB of disk are free")
        except OSError as error:
            reasons.append(f"the data folder cannot be used ({type(error).__name__})")
        try:
            with self.database.read() as tx:
                tx.execute(select(journals.c.name).limit(1))
        except NodeError as error:
            reasons.append(f"the ledger cannot be read ({error.code})")
        return reasons

    def summary(self) -> str:
        """The node in a line, for whoever runs `systemctl status`."""
        children = self.processes().values()
        board = self.board()
        parts = [
            f"{sum(child.ready for child in children)} of {len(children)} processes ready",
            f"{board.seated() if board else 0} associations",
        ]
        try:
            with self.database.read() as tx:
                archive = ArchiveIndex().counts(tx)
                ledger = JobLedger(RetryPolicy()).counts(tx)
        except NodeError as error:
            return "; ".join([*parts, f"the ledger cannot be read ({error.code})"])
        waiting = ledger["delivery", "PENDING"] + ledger["delivery", "LEASED"]
        parts.append(f"{archive['unfiled']} images to file, {archive['quarantined']} in quarantine")
        parts.append(f"{ledger['job', 'QUEUED']} jobs queued, {ledger['job', 'LEASED']} running")
        parts.append(f"{ledger['job', 'DEAD']} dead; {waiting} deliveries wait")
        return "; ".join(parts)
