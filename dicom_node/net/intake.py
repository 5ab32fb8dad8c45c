"""Intake: received files go into the archive and index, patients whose images have settled go to routing.

Every step can be killed and repeated: a file keeps its name in the spool until its row says that it is filed, and a
patient stays settled until the transaction that submits its jobs has said otherwise.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from sqlalchemy import Connection

from dicom_node import faults, logs
from dicom_node.archive.index import ArchiveIndex
from dicom_node.archive.model import Filing, Received, Settled
from dicom_node.archive.store import ArchiveStore
from dicom_node.contracts import FileRef, InstanceHeader, SeriesView
from dicom_node.database.engine import Database
from dicom_node.dicom.headers import read_header
from dicom_node.durable import storage_error
from dicom_node.errors import InputError, LedgerError, NodeError
from dicom_node.jobs.ledger import JobLedger
from dicom_node.jobs.model import NewJob
from dicom_node.net.spool import sync_folder

log = logs.get("net.intake")

Plan = Callable[[Sequence[SeriesView]], tuple[Sequence[NewJob], Sequence[Mapping[str, object]]]]
"""Routing as intake sees it: all series of a patient -> jobs, and one explanation for each series."""


@dataclass(frozen=True)
class _Read:
    """A received file after its header was read: `header` or `reason` is set."""

    received: Received
    header: InstanceHeader | None
    reason: str


class Intake:
    """One of these runs at a time."""

    def __init__(
        self,
        *,
        database: Database,
        index: ArchiveIndex,
        ledger: JobLedger,
        store: ArchiveStore,
        quarantine: Path,
        quiet_s: float,
        plan: Plan,
        batch: int = 32,
    ) -> None:
        """Wire the intake.

        Args:
            database: where rows go.
            index: rows of files and patients.
            ledger: rows of jobs.
            store: where files go.
            quarantine: folder for files that cannot be filed.
            quiet_s: quiet period of `intake.quiet_s` [s].
            plan: routing.
            batch: files filed in one transaction, and read in one step.
        """
        self._database = database
        self._index = index
        self._ledger = ledger
        self._store = store
        self._quarantine = quarantine
        self._quiet_s = quiet_s
        self._plan = plan
        self._batch = batch

    def step(self, now: float) -> int:
        """File one batch and route one settled patient; returns how many files and patients it did.

        Args:
            now: UTC [s].

        Raises:
            NodeError: database or disk refused; nothing is lost and the step may be repeated.
        """
        return self._file_batch(now) + self._route_one(now)

    def _file_batch(self, now: float) -> int:
        with self._database.read() as tx:
            waiting = self._index.unfiled(tx, self._batch)
        # Reading and hashing happen outside the transaction: receivers wait for its lock.
        read = [self._read(received) for received in waiting]
        if not read:
            return 0
        with self._database.begin() as tx:
            for one in read:
                self._settle_file(tx, one, now)
            faults.reach("intake.linked")
        faults.reach("intake.committed")
        for one in read:
            one.received.path.unlink(missing_ok=True)
            faults.reach("intake.unlinked")
        return len(read)

    def _read(self, received: Received) -> _Read:
        try:
            return _Read(received, read_header(FileRef(received.path)), "")
        except InputError as problem:
            return _Read(received, None, str(problem))
        except NodeError:
            raise
        except Exception as problem:  # noqa: BLE001  one poisonous file must not stop every file behind it
            return _Read(received, None, f"{received.path.name}: the header reader failed ({type(problem).__name__})")

    def _settle_file(self, tx: Connection, one: _Read, now: float) -> None:
        received, header = one.received, one.header
        if header is None:
            self._set_aside(tx, received, one.reason, now)
            return
        uid = header.sop_instance_uid
        # A conflict undoes its own entry, so that the row can go to quarantine instead.
        entry = tx.begin_nested()
        filing = self._index.file(tx, received.id, replace(header, file=FileRef(self._store.path(uid))), now)
        if filing is Filing.CONFLICT:
            entry.rollback()
            self._set_aside(tx, received, f"SOP Instance UID {uid} is already archived with other content", now)
            return
        if filing is Filing.NEW:
            self._store.place(received.path, uid)
        entry.commit()
        log.debug("instance_filed", sop_instance_uid=uid, filing=str(filing), association=received.association_id)

    def _set_aside(self, tx: Connection, received: Received, reason: str, now: float) -> None:
        path = self._quarantine / received.path.name
        try:
            self._quarantine.mkdir(parents=True, exist_ok=True)
            if received.path.exists() and not path.exists():
                os.link(received.path, path)
            sync_folder(self._quarantine)
        except OSError as problem:
            raise storage_error(problem, path) from problem
        self._index.quarantine(tx, received.id, path, reason, now)
        log.error("instance_quarantined", file=path.name, reason=reason, association=received.association_id)

    def _route_one(self, now: float) -> int:
        # One transaction for both, so that no instance newer than the generation gets into the jobs.
        with self._database.read() as tx:
            patient = next(iter(self._index.settled_patients(tx, self._quiet_s, now)), None)
            if patient is None:
                return 0
            series = self._index.series_of_patient(tx, patient.patient_key)
        jobs, explanations = self._planned(series)
        self._submit(patient, jobs, explanations, now)
        return 1

    def _planned(self, series: Sequence[SeriesView]) -> tuple[Sequence[NewJob], Sequence[Mapping[str, object]]]:
        try:
            return self._plan(series)
        except LedgerError:
            raise
        except Exception as problem:  # noqa: BLE001  one patient that routing trips over must not stop the others
            log.error("routing_failed", code=type(problem).__name__, series=len(series))
            reason = f"routing failed: {problem if isinstance(problem, NodeError) else type(problem).__name__}"
            explanations = [
                {
                    "series_instance_uid": s.series_instance_uid,
                    "taken": False,
                    "rule": None,
                    "role": None,
                    "reasons": [reason],
                }
                for s in series
            ]
            return [], explanations

    def _submit(
        self, patient: Settled, jobs: Sequence[NewJob], explanations: Sequence[Mapping[str, object]], now: float
    ) -> None:
        with self._database.begin() as tx:
            submitted = [self._ledger.submit(tx, job, now) for job in jobs]
            # The generation that was read, not the newest: what came since is routed again after its own quiet period.
            self._index.mark_routed(tx, patient.patient_key, patient.generation, explanations, now)
            faults.reach("intake.submitted")
        faults.reach("intake.routed")
        for job in submitted:
            if job is not None:
                log.info("job_submitted", job=job.id, route=job.route, corrector=job.corrector, version=job.version)
        log.info("patient_routed", series=len(explanations), jobs=sum(job is not None for job in submitted))
