"""Rows that nobody needs: ended jobs and closed associations whose images are gone, quarantined files dealt with."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from sqlalchemy import Connection, and_, delete, exists, func, select, tuple_

from dicom_node import logs
from dicom_node.archive import tables as archive
from dicom_node.database.engine import Database
from dicom_node.database.totals import fold_totals
from dicom_node.database.values import StoredPaths
from dicom_node.jobs import tables as jobs
from dicom_node.jobs.states import JobState
from dicom_node.keeping.rejects import forget_missing

log = logs.get("keeping.pruning")

_DAY_S: Final = 86400.0
_PAGE: Final = 500
_MARGIN_S: Final = _DAY_S
"""Files are filed in about the order in which they came, not exactly so."""
_REST_S: Final = 3600.0
_ENDED: Final = (JobState.DELIVERED, JobState.UNCHANGED, JobState.REFUSED, JobState.CANCELLED)


class Pruning:
    """Goes through the ledger a page at a time, and rests an hour after each round."""

    def __init__(self, database: Database, data_dir: Path, keep_days: float) -> None:
        """Nothing is looked at yet.

        Args:
            database: index and ledger.
            data_dir: the node's folder.
            keep_days: `retention.keep_ledger_days` [days].
        """
        self._database = database
        self._data_dir = data_dir
        self._keep_s = keep_days * _DAY_S
        self._after = dict.fromkeys(_ENDED, 0)
        self._left = list(_ENDED)

    def step(self, now: float) -> float:
        """Look at one page; how long to wait before the next [s].

        Args:
            now: UTC [s].

        Raises:
            NodeError: the database refused; the step may be repeated.
        """
        with self._database.begin() as tx:
            if self._left:
                if self._prune_jobs(tx, self._left[0], now - self._keep_s) < _PAGE:
                    self._left.pop(0)
                return 0.0
            gone = _drop_links(tx) + self._prune_associations(tx, now)
            fold_totals(tx)
        if gone >= _PAGE:
            return 0.0
        forget_missing(self._database, self._data_dir / "quarantine", StoredPaths(self._data_dir))
        self._after, self._left = dict.fromkeys(_ENDED, 0), list(_ENDED)
        return _REST_S

    def _prune_jobs(self, tx: Connection, state: JobState, before: float) -> int:
        """Delete what may go of the next page of ended jobs; returns how many it looked at.

        A job is never younger than its row is old, so the first that was made later ends the round.
        """
        row = jobs.jobs.c
        page = tx.execute(
            select(row.seq, row.id, row.updated_at, row.created_at)
            .where(row.state == state, row.seq > self._after[state])
            .order_by(row.seq)
            .limit(_PAGE)
        ).all()
        page = [one for one in page if one.created_at < before]
        if not page:
            return 0
        self._after[state] = page[-1].seq
        link, one = jobs.job_series.c, archive.series.c
        has_images = exists().where(link.job_id == row.id, one.series_instance_uid == link.series_instance_uid)
        old = [found.id for found in page if found.updated_at < before]
        gone = tx.execute(delete(jobs.jobs).where(row.id.in_(old), row.state == state, ~has_images)).rowcount
        if gone:
            log.info("jobs_pruned", jobs=gone, state=str(state))
        return len(page)

    def _prune_associations(self, tx: Connection, now: float) -> int:
        """Delete closed associations that ended before the oldest image that is still here came."""
        instance, received, row = archive.instances.c, archive.received.c, archive.associations.c
        oldest = tx.execute(select(instance.received_at).order_by(instance.id).limit(1)).scalar_one_or_none()
        waiting = tx.execute(select(func.min(received.received_at))).scalar_one()
        times = [t - _MARGIN_S for t in (oldest, waiting) if t is not None]
        before = min([now - self._keep_s, *times])
        old = select(row.id).where(row.closed_at < before).order_by(row.closed_at).limit(_PAGE)
        return int(tx.execute(delete(archive.associations).where(row.id.in_(old))).rowcount)


def _drop_links(tx: Connection) -> int:
    """Forget who sent something of whom, for associations that are over: only open ones hold a patient back."""
    link, row, received = archive.association_patients.c, archive.associations.c, archive.received.c
    is_open = exists().where(row.id == link.association_id, row.closed_at.is_(None))
    unfiled = exists().where(received.association_id == link.association_id)
    over = select(link.patient_key, link.association_id).where(and_(~is_open, ~unfiled)).limit(_PAGE)
    gone = delete(archive.association_patients).where(tuple_(link.patient_key, link.association_id).in_(over))
    return int(tx.execute(gone).rowcount)
