"""How a study leaves: marked in one transaction, its files removed, then its rows. Any step can be killed and repeated.

Filing an instance takes the mark off again, in the transaction that files it. Files are removed under a transaction
that keeps filing out and sees the mark: what is sent again meanwhile is either kept, or gone and filed anew.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any, Final

from sqlalchemy import Connection, Row, delete, exists, select, update

from dicom_node import faults
from dicom_node.archive import tables as t
from dicom_node.archive.filing import FILING
from dicom_node.archive.store import ArchiveStore
from dicom_node.database.engine import Database
from dicom_node.database.statements import serialise
from dicom_node.database.values import StoredPaths
from dicom_node.durable import storage_error
from dicom_node.jobs.states import JobState
from dicom_node.keeping.holds import Hold, Study, hold, jobs_of
from dicom_node.worker.outbox import Outbox

_BATCH: Final = 128
"""Most instances removed under one lock: intake and workers wait for it."""
_LONGEST_HOLD_S: Final = 0.25
"""Large files take their time: no further one is begun after this [s]."""
_ENDED = frozenset({JobState.DELIVERED, JobState.UNCHANGED, JobState.REFUSED, JobState.CANCELLED})


class Leaving:
    """Takes studies out of archive and index. One of these works at a time."""

    def __init__(
        self,
        database: Database,
        paths: StoredPaths,
        store: ArchiveStore,
        outbox: Outbox,
        unverified_peers: Collection[str],
    ) -> None:
        """Wire it.

        Args:
            database: index and ledger.
            paths: how the index writes paths.
            store: the files.
            outbox: derived series of ended jobs; they leave with the study.
            unverified_peers: peers whose deliveries need no verification.
        """
        self._database = database
        self._paths = paths
        self._store = store
        self._outbox = outbox
        self._unverified_peers = frozenset(unverified_peers)

    def why_not(self, tx: Connection, study: Study) -> Hold | None:
        """Why the study must stay, None when it may go."""
        return hold(tx, study, self._unverified_peers)

    def mark(self, study: Study, now: float) -> Hold | None:
        """Decide for good that a study leaves; or why it does not.

        Args:
            study: as read before; one that got an image since stays.
            now: UTC [s].

        Raises:
            NodeError: the database refused.
        """
        with self._database.begin() as tx:
            serialise(tx, FILING)
            row = t.studies.c
            same = select(row.id).where(row.id == study.id, row.last_arrival == study.last_arrival)
            reason = self.why_not(tx, study) if tx.execute(same).first() is not None else Hold.BEING_SENT
            if reason is None:
                self._mark(tx, study, now)
        if reason is None:
            faults.reach("keeper.marked")
        return reason

    def step(self) -> int:
        """Remove one batch of marked instances, files first; returns how many, 0 when none is marked.

        Raises:
            NodeError: database or disk refused; the step may be repeated.
        """
        with self._database.read() as tx:
            if not self._marked(tx, 1):
                return 0
        with self._database.begin() as tx:
            serialise(tx, FILING)
            batch, paths = self._unlinked(self._marked(tx, _BATCH))
            jobs = sorted({job for study in _studies(batch) for job in _ended_jobs(tx, study)})
            faults.reach("keeper.unlinked")
        # Only what is gone for good may be forgotten: a file that came back without a row would never leave again.
        self._store.sync([path for path in paths if path.parent.exists()])
        for job_id in jobs:
            self._outbox.remove(job_id)
        faults.reach("keeper.synced")
        with self._database.begin() as tx:
            serialise(tx, FILING)
            forget(tx, [row.id for row in batch])
        faults.reach("keeper.forgotten")
        return len(batch)

    def _mark(self, tx: Connection, study: Study, now: float) -> None:
        row = t.instances.c
        own = (row.patient_key == study.patient_key) & (row.study_instance_uid == study.study_instance_uid)
        marked = tx.execute(update(t.instances).where(own).values(leaving_since=now))
        if not marked.rowcount:
            _forget_study(tx, study)

    def _marked(self, tx: Connection, limit: int) -> Sequence[Any]:
        row = t.instances.c
        found = select(row.id, row.sop_instance_uid, row.path, row.patient_key, row.study_instance_uid)
        return tx.execute(found.where(row.leaving_since.is_not(None)).order_by(row.leaving_since).limit(limit)).all()

    def _unlinked(self, rows: Sequence[Any]) -> tuple[list[Any], list[Path]]:
        """Remove files for as long as others may be kept waiting; of which rows, and where they lay."""
        batch: list[Any] = []
        paths: list[Path] = []
        end = time.monotonic() + _LONGEST_HOLD_S
        for row in rows:
            batch.append(row)
            paths.extend(self._unlink(row))
            if time.monotonic() > end:
                break
        return batch, paths

    def _unlink(self, row: Row[Any]) -> set[Path]:
        """Where the index says that it lies; and where it lies too if it was sent again since version 0.1."""
        places = {self._paths.load(row.path), self._store.path(row.sop_instance_uid)}
        for path in places:
            try:
                path.unlink(missing_ok=True)
            except OSError as problem:
                raise storage_error(problem, path) from problem
        return places


def forget(tx: Connection, numbers: Sequence[int]) -> int:
    """Delete rows of instances that are still marked, and whatever is empty after that; returns how many instances."""
    if not numbers:
        return 0
    row = t.instances.c
    gone = tx.execute(
        delete(t.instances)
        .where(row.id.in_(numbers), row.leaving_since.is_not(None))
        .returning(row.series_instance_uid, row.patient_key, row.study_instance_uid)
    ).all()
    one = t.series.c
    for (series, patient, study), count in sorted(Counter(map(tuple, gone)).items()):
        same = (one.series_instance_uid == series, one.patient_key == patient, one.study_instance_uid == study)
        tx.execute(update(t.series).where(*same).values(instances=one.instances - count))
        empty = delete(t.series).where(*same, one.instances <= 0).returning(one.series_instance_uid)
        if tx.execute(empty).first() is not None:
            told = t.explanations.c
            tx.execute(delete(t.explanations).where(told.patient_key == patient, told.series_instance_uid == series))
    for study in _studies(gone):
        _forget_study(tx, study)
    return len(gone)


def _forget_study(tx: Connection, study: Study) -> None:
    """Delete the study's row if it has no series, and the patient's if nothing is left or awaited of it."""
    one, row, patient = t.series.c, t.studies.c, t.patients.c
    has_series = exists().where(one.patient_key == row.patient_key, one.study_instance_uid == row.study_instance_uid)
    tx.execute(
        delete(t.studies).where(
            row.patient_key == study.patient_key, row.study_instance_uid == study.study_instance_uid, ~has_series
        )
    )
    others = exists().where(one.patient_key == patient.patient_key) | exists().where(
        row.patient_key == patient.patient_key
    )
    gone = delete(t.patients).where(
        patient.patient_key == study.patient_key, patient.generation <= patient.routed_generation, ~others
    )
    if tx.execute(gone.returning(patient.patient_key)).first() is not None:
        link, told = t.association_patients.c, t.explanations.c
        tx.execute(delete(t.association_patients).where(link.patient_key == study.patient_key))
        tx.execute(delete(t.explanations).where(told.patient_key == study.patient_key))


def _studies(rows: Sequence[Any]) -> list[Study]:
    pairs = sorted({(row.patient_key, row.study_instance_uid) for row in rows})
    return [Study(0, patient, study, 0.0) for patient, study in pairs]


def _ended_jobs(tx: Connection, study: Study) -> list[str]:
    return [job_id for job_id, (state, _) in jobs_of(tx, study).items() if state in _ENDED]
