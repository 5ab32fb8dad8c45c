"""An intake with a real spool, ledger and archive around it, and receivers that live and die as the test says."""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from pydicom import dcmread

from dicom_node.archive.index import ArchiveIndex
from dicom_node.archive.model import AssociationClosed, AssociationOpened, InstanceReceived
from dicom_node.archive.store import ArchiveStore
from dicom_node.contracts import SeriesView
from dicom_node.database.engine import Database
from dicom_node.jobs.ledger import JobLedger
from dicom_node.jobs.model import JobInput, NewJob
from dicom_node.jobs.retry import RetryPolicy
from dicom_node.net.intake import Intake
from dicom_node.net.journals import Journals
from dicom_node.net.spool import Spool, SpoolFile, SpoolFolders, SpoolNames

QUIET_S = 30.0


class ReceiverStandIn:
    """Does to the spool what a receiver does, with one association."""

    def __init__(self, folder: Path) -> None:
        self.spool = Spool(folder)
        self.association = uuid.uuid4().hex
        self._opened = False

    def receive(self, path: Path, now: float) -> Path:
        """Take a copy of `path`; acknowledged when this returns."""
        file = self.write(path.read_bytes())
        file.sync()
        opened = AssociationOpened(self.association, "SCANNER", "NODE", "127.0.0.1", now)
        uid = str(dcmread(path, force=True).get("SOPInstanceUID", "1.2.3"))
        received = InstanceReceived(self.association, file.path.name, uid, file.size, now)
        self.spool.record([received] if self._opened else [opened, received])
        self._opened = True
        return file.path

    def write(self, content: bytes) -> SpoolFile:
        """A file that is being received."""
        file = SpoolNames(self.spool).create()
        file.write(content)
        return file

    def release(self, now: float) -> None:
        """The association ends."""
        self.spool.record([AssociationClosed(self.association, "released", now)])

    def die(self) -> None:
        """As `kill -9`: the kernel drops the lock, and that is all that happens."""
        self.spool._lock.close()


@dataclass
class Room:
    """An intake with everything around it."""

    folder: Path
    database: Database
    index: ArchiveIndex
    ledger: JobLedger
    store: ArchiveStore
    receiver: ReceiverStandIn
    plans: list[list[str]] = field(default_factory=list)

    def intake(self) -> Intake:
        """A new intake process, so to speak."""
        journals = Journals(database=self.database, index=self.index, store=self.store, folders=self.spool)
        return Intake(
            database=self.database, index=self.index, ledger=self.ledger, store=self.store, journals=journals,
            spool=self.folder / "spool", quarantine=self.folder / "quarantine", quiet_s=QUIET_S, plan=self.plan,
        )  # fmt: skip

    def entered(self, now: float) -> None:
        """What stands in journals becomes rows, and no file is filed."""
        Journals(database=self.database, index=self.index, store=self.store, folders=self.spool).absorb(now)

    @property
    def spool(self) -> SpoolFolders:
        return SpoolFolders(self.folder / "spool")

    def plan(self, series: Sequence[SeriesView]) -> tuple[Sequence[NewJob], Sequence[Mapping[str, object]]]:
        self.plans.append(sorted(i.sop_instance_uid for s in series for i in s.instances))
        inputs = tuple(
            JobInput("ct", i.sop_instance_uid, i.series_instance_uid, i.file, sha256=i.sha256)
            for s in series
            for i in s.instances
        )
        digest = ",".join(self.plans[-1])
        job = NewJob("route", "corrector", "method", {}, (), inputs, set_key="one", input_digest=digest)
        return [job], [{"series_instance_uid": s.series_instance_uid, "taken": True} for s in series]

    def counts(self) -> dict[str, int]:
        with self.database.read() as tx:
            return dict(self.index.counts(tx))

    def jobs(self) -> list[int]:
        """Versions of all jobs, oldest first."""
        with self.database.read() as tx:
            return [job.version for job in reversed(self.ledger.find(tx))]

    def offsets(self) -> dict[str, int]:
        with self.database.read() as tx:
            return self.index.absorbed(tx)

    def reasons(self) -> list[str]:
        """Why files are in quarantine."""
        with self.database.read() as tx:
            return [row.reason for row in tx.exec_driver_sql("SELECT reason FROM quarantine ORDER BY id")]

    def archived(self) -> set[bytes]:
        """Content of every file in the archive, orphans among them."""
        return {path.read_bytes() for path in (self.folder / "archive").rglob("*") if path.is_file()}

    def spooled(self) -> set[Path]:
        return set(self.spool.files.iterdir())


@contextmanager
def make_room(folder: Path) -> Iterator[Room]:
    """A room in `folder`; what it holds open is closed at the end."""
    database = Database.open(f"sqlite:///{folder / 'node.sqlite'}")
    ledger = JobLedger(RetryPolicy(), data_dir=folder)
    receiver = ReceiverStandIn(folder / "spool")
    try:
        yield Room(folder, database, ArchiveIndex(folder), ledger, ArchiveStore(folder / "archive"), receiver)
    finally:
        database.close()
        receiver.die()


def work(intake: Intake, now: float) -> None:
    """Step until there is nothing to do."""
    while intake.step(now):
        pass
