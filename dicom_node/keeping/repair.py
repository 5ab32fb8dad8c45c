"""Brings ledger and files together again after the ledger was lost, damaged or copied back.

The files are the truth: what lies in the archive is entered, what does not is taken out, and the patients concerned are
routed anew when the node starts. Jobs are made again from what routing says; their derived UIDs are hashes, so a PACS
sees the instances that it has already. What lies in the spool needs nothing: intake reads the journals again, and knows
what is filed. Every step can be killed and repeated.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from sqlalchemy import delete, select, update

from dicom_node import faults, logs
from dicom_node.archive import tables as t
from dicom_node.archive.filing import FILING
from dicom_node.archive.index import ArchiveIndex
from dicom_node.archive.model import Arrival, Filing, Received
from dicom_node.archive.store import ArchiveStore
from dicom_node.contracts import FileRef, InstanceHeader
from dicom_node.database.engine import Database
from dicom_node.database.statements import serialise
from dicom_node.database.totals import recount
from dicom_node.database.values import StoredPaths
from dicom_node.dicom.headers import read_header
from dicom_node.errors import InputError, NodeError
from dicom_node.keeping import milestones
from dicom_node.keeping.archive_names import Advance, ArchiveNames, Folder
from dicom_node.keeping.rejects import Rejects
from dicom_node.keeping.removal import take_out
from dicom_node.keeping.verifying import verify_files
from dicom_node.keeping.work_rows import mend_jobs, mend_outbox
from dicom_node.worker.outbox import Outbox

log = logs.get("keeping.repair")

_BATCH: Final = 128
_READERS: Final = 4
_PAGE: Final = 500
_OTHER_CONTENT: Final = "SOP Instance UID {} is already archived with other content"
SENDER: Final = "repair"
"""Stands for the association of files that are found in the archive: who sent them is forgotten."""


@dataclass
class Findings:
    """What was found, and put right.

    Attributes:
        entered: files of the archive that the index did not know.
        lost: instances of the index whose file is gone; they must be sent again.
        verified: files whose content was compared with its digest.
        altered: of these, files whose content is another; now in the quarantine.
        set_aside: files of the archive that cannot be used; now in the quarantine.
        removed: half-written copies and second copies of what is archived.
        quarantine_entered: files of the quarantine that had no row.
        quarantine_lost: rows of the quarantine whose file is gone.
        spool_forgotten: rows of received files that are filed already, or gone.
        outbox_removed: outbox folders of jobs that the ledger does not know.
        jobs_queued: jobs whose derived series are gone before all were sent; they run again.
        strange: files in the archive that the node has not put there; left alone.
    """

    entered: int = 0
    lost: int = 0
    verified: int = 0
    altered: int = 0
    set_aside: int = 0
    removed: int = 0
    quarantine_entered: int = 0
    quarantine_lost: int = 0
    spool_forgotten: int = 0
    outbox_removed: int = 0
    jobs_queued: int = 0
    strange: int = 0


class Repair:
    """Works on a node that is stopped; whoever calls holds the lock of its data folder."""

    def __init__(self, data_dir: Path, database: Database, advance: Advance) -> None:
        """Nothing is changed yet.

        Args:
            data_dir: the node's folder.
            database: the ledger, opened; a lost one is empty by then.
            advance: told how far it is.
        """
        self._data_dir = data_dir
        self._database = database
        self._advance = advance
        self._index = ArchiveIndex(data_dir)
        self._archive = data_dir / "archive"
        self._store = ArchiveStore(self._archive)
        self._paths = StoredPaths(data_dir)
        self._rejects = Rejects(database, data_dir)
        self.findings = Findings()

    def run(self, now: float, *, verify: bool) -> Findings:
        """Do it all; may be repeated after it was interrupted, and goes on where it was.

        Args:
            now: UTC [s].
            verify: compare the content of every file with its digest too.

        Raises:
            NodeError: database or disk refused.
        """
        found = self.findings
        found.spool_forgotten = self._forget_received()
        self._close_associations(now)
        names = ArchiveNames.read(self._database, self._paths, self._advance)
        for number, folder in enumerate(names.compare(self._archive), 1):
            self._mend(folder, now)
            self._advance("comparing the archive", number, 16)
        if verify:
            found.verified, found.altered = verify_files(
                self._database, self._paths, self._rejects, names.largest, now, self._advance
            )
        found.quarantine_entered, found.quarantine_lost = self._rejects.mend(now)
        outbox = Outbox(self._data_dir / "outbox")
        found.outbox_removed = mend_outbox(self._database, outbox)
        found.jobs_queued = mend_jobs(self._database, outbox, now)
        with self._database.begin() as tx:
            recount(tx)
            milestones.note(tx, milestones.REPAIR, now, asdict(found))
        log.info("repaired", **asdict(found))
        return found

    def _forget_received(self) -> int:
        """Rows whose file intake has filed since, or that is gone: the journals know what was acknowledged."""
        row, after, gone = t.received.c, 0, 0
        while True:
            with self._database.begin() as tx:
                page = tx.execute(select(row.id, row.path).where(row.id > after).order_by(row.id).limit(_PAGE)).all()
                missing = [one.id for one in page if not self._paths.load(one.path).exists()]
                if missing:
                    gone += tx.execute(delete(t.received).where(row.id.in_(missing))).rowcount
            if not page:
                return gone
            after = page[-1].id

    def _close_associations(self, now: float) -> None:
        """Nobody sends to a node that is stopped; who was sending when the ledger was copied has long ended."""
        row = t.associations.c
        with self._database.begin() as tx:
            tx.execute(update(t.associations).where(row.closed_at.is_(None)).values(closed_at=now, how="lost"))

    def _mend(self, folder: Folder, now: float) -> None:
        found = self.findings
        for path in folder.half:
            path.unlink(missing_ok=True)
        found.removed += len(folder.half)
        found.strange += len(folder.strange)
        for path in folder.strange:
            log.warning("strange_file", file=str(path.relative_to(self._data_dir)))
        waiting = iter(folder.unknown)
        while batch := list(islice(waiting, _BATCH)):
            self._enter(batch, now)
        for path in folder.aside:
            self._examine(path, now)
        for at in range(0, len(folder.lost), _BATCH):
            # one of them may have taken its place again from beside it
            found.lost += take_out(self._database, self._without_file(folder.lost[at : at + _BATCH]))
        for path in folder.twice:
            self._examine(path, now)

    def _without_file(self, numbers: Sequence[int]) -> list[int]:
        row = t.instances.c
        with self._database.read() as tx:
            found = tx.execute(select(row.id, row.path).where(row.id.in_(numbers))).all()
        return [one.id for one in found if not self._paths.load(one.path).exists()]

    def _enter(self, paths: Sequence[Path], now: float) -> None:
        """Enter files that lie in an instance's place without a row."""
        arrivals = []
        for path, header in zip(paths, self._headers(paths), strict=True):
            if isinstance(header, str):
                self._reject(path, header, now)
            elif self._store.path(header.sop_instance_uid).name != path.name:
                self._reject(path, f"is not named after its SOP Instance UID {header.sop_instance_uid}", now)
            else:
                arrivals.append((path, header))
        if not arrivals:
            return
        with self._database.begin() as tx:
            serialise(tx, FILING)
            rows = [
                {"path": self._paths.store(path), "association_id": SENDER, "received_at": min(_changed(path), now)}
                for path, _ in arrivals
            ]
            numbers = tx.execute(t.received.insert().returning(t.received.c.id, sort_by_parameter_order=True), rows)
            entered = [
                Arrival(Received(number, path, SENDER, float(str(row["received_at"]))), header)
                for number, (path, header), row in zip(numbers.scalars(), arrivals, rows, strict=True)
            ]
            filings = list(zip(entered, self._index.file(tx, entered, now), strict=True))
            conflicts = [one for one, filing in filings if filing is Filing.CONFLICT]
            tx.execute(delete(t.received).where(t.received.c.id.in_([one.received.id for one in conflicts])))
        faults.reach("repair.entered")
        self.findings.entered += sum(filing is Filing.NEW for _, filing in filings)
        for one in conflicts:
            self._reject(one.received.path, _OTHER_CONTENT.format(one.header.sop_instance_uid), now)

    def _headers(self, paths: Sequence[Path]) -> Iterator[InstanceHeader | str]:
        """Headers of files, or why there is none; read by a few threads, because hashing lets others run."""
        with ThreadPoolExecutor(_READERS) as readers:
            yield from readers.map(_header, paths)

    def _examine(self, path: Path, now: float) -> None:
        """A file beside an instance: a second copy goes, one of an instance that is not there takes its place."""
        header = _header(path)
        if isinstance(header, str):
            self._reject(path, header, now)
            return
        place = self._place(header.sop_instance_uid)
        if not place.exists():
            if path.name != place.name:
                path.rename(place)
                self._store.sync([place])
                path = place
            self._enter([path], now)
            return
        there = _header(place)
        if not isinstance(there, str) and there.sha256 == header.sha256:
            path.unlink()
            self.findings.removed += 1
            return
        self._reject(path, _OTHER_CONTENT.format(header.sop_instance_uid), now)

    def _place(self, sop_instance_uid: str) -> Path:
        """Where the index says that the instance lies, or where it would lie."""
        row = t.instances.c
        with self._database.read() as tx:
            path = tx.execute(select(row.path).where(row.sop_instance_uid == sop_instance_uid)).scalar_one_or_none()
        return self._store.path(sop_instance_uid) if path is None else self._paths.load(path)

    def _reject(self, path: Path, reason: str, now: float) -> None:
        self._rejects.add(path, reason, now)
        self.findings.set_aside += 1


def _header(path: Path) -> InstanceHeader | str:
    try:
        header = read_header(FileRef(path))
    except InputError as problem:
        return str(problem)
    except NodeError:
        raise
    except Exception as problem:  # noqa: BLE001  one poisonous file must not stop the repair
        return f"{path.name}: the header reader failed ({type(problem).__name__})"
    return header


def _changed(path: Path) -> float:
    """When the file was received: archiving gives it a second name and leaves its time alone."""
    return path.stat().st_mtime
