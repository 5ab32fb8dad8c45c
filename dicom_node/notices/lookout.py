"""`Lookout`: finds in the ledger and on the disk what needs a person."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TypeAlias

from sqlalchemy import Connection, select

from dicom_node.archive import tables as archive
from dicom_node.database.engine import Database
from dicom_node.database.values import StoredPaths
from dicom_node.durable import storage_error
from dicom_node.jobs import rows
from dicom_node.jobs import tables as t
from dicom_node.jobs.model import Job
from dicom_node.jobs.states import DeliveryState, JobState
from dicom_node.jobs.waiting import nothing_waits_for, queues
from dicom_node.notices import wording
from dicom_node.notices.book import NoticeBook
from dicom_node.notices.model import Event, Notice

NEWS_S = 7 * 86400.0
"""What is older is no news any more [s]: an old ledger does not tell its whole history when notices are new to it."""
KEPT_S = 30 * 86400.0
"""Sent notices are kept this long [s]."""
_GROUP_S = 300.0
_LOOK_EVERY_S = 2.0
_ENOUGH = 1.05
_BY_DELIVERY = "DeliveryDead"

Change: TypeAlias = Callable[[Connection], object]


class Lookout:
    """Each step is repeatable: a notice has a key, and a key is raised once."""

    def __init__(
        self,
        *,
        database: Database,
        book: NoticeBook,
        data_dir: Path,
        min_free_mb: float,
        unreachable_after_s: float,
    ) -> None:
        """Wire the lookout.

        Args:
            database: the ledger.
            book: where notices go.
            data_dir: folder whose free space counts.
            min_free_mb: watermark of `node.min_free_mb` [MB].
            unreachable_after_s: `notify.unreachable_after_s` [s].
        """
        self._database = database
        self._book = book
        self._data_dir = data_dir
        self._min_free_mb = min_free_mb
        self._unreachable_after_s = unreachable_after_s
        self._known: set[str] = set()
        self._grouped_until = 0.0

    def step(self, now: float) -> float:
        """Look at everything once; writes only when there is something new.

        Args:
            now: UTC [s].

        Returns:
            When to look again [s].

        Raises:
            LedgerError, StorageFull, StorageFailed: database or disk refused; the step may be repeated.
        """
        with self._database.read() as tx:
            changes = [
                *self._dead_jobs(tx, now),
                *self._dead_deliveries(tx, now),
                *self._peers(tx, now),
                *self._quarantine(tx, now),
                *self._disk(tx, now),
            ]
        if changes:
            with self._database.begin() as tx:
                for change in changes:
                    change(tx)
                self._book.forget(tx, now - KEPT_S)
        return _LOOK_EVERY_S

    def _raise(self, key: str, notice: Notice, now: float) -> Change:
        return lambda tx: self._book.raise_once(tx, key, notice, now)

    def _dead_jobs(self, tx: Connection, now: float) -> list[Change]:
        row, changes = t.jobs.c, []
        dead = select(row.id, row.updated_at, row.error_code).where(
            row.state == JobState.DEAD, row.updated_at > now - NEWS_S
        )
        for found in tx.execute(dead).all():
            # a job that died because of a delivery is told by the delivery
            key = f"{Event.JOB_DEAD}/{found.id}/{found.updated_at!r}"
            if found.error_code != _BY_DELIVERY and self._is_new(tx, key):
                changes.append(self._raise(key, wording.dead_job(_job(tx, found.id)), now))
        return changes

    def _dead_deliveries(self, tx: Connection, now: float) -> list[Change]:
        row, changes = t.deliveries.c, []
        dead = select(row.id, row.updated_at, row.job_id, row.peer, row.error, row.error_code).where(
            row.state == DeliveryState.DEAD, row.updated_at > now - NEWS_S
        )
        for found in tx.execute(dead).all():
            key = f"{Event.DELIVERY_DEAD}/{found.id}/{found.updated_at!r}"
            if self._is_new(tx, key):
                job = _job(tx, found.job_id)
                notice = wording.dead_delivery(job, found.peer, found.error, found.error_code)
                changes.append(self._raise(key, notice, now))
        return changes

    def _is_new(self, tx: Connection, key: str) -> bool:
        """The table is asked once for each key: what is dead stays dead, and is looked at in every step."""
        if key in self._known:
            return False
        stored = select(archive.notices.c.key).where(archive.notices.c.key == key)
        if tx.execute(stored).one_or_none() is None:
            return True
        self._known.add(key)
        return False

    def _peers(self, tx: Connection, now: float) -> list[Change]:
        lasting = self._book.keys(tx, Event.PEER_UNREACHABLE)
        changes: list[Change] = []
        for queue in queues(tx):
            key = f"{Event.PEER_UNREACHABLE}/{queue.peer}"
            since = queue.unreachable_since
            if queue.waiting and since is not None:
                if key not in lasting and now - since >= self._unreachable_after_s:
                    changes.append(self._raise(key, wording.peer_away(queue, now - since), now))
            elif key in lasting:
                changes.append(
                    self._ended(key, f"{Event.PEER_BACK}/{queue.peer}/{now!r}", wording.peer_back(queue), now)
                )
            if not queue.waiting and since is not None:
                changes.append(partial(nothing_waits_for, peer=queue.peer))
        return changes

    def _quarantine(self, tx: Connection, now: float) -> list[Change]:
        if now < self._grouped_until <= now + _GROUP_S:
            return []
        told = max((int(key.rpartition("/")[2]) for key in self._book.keys(tx, Event.QUARANTINED)), default=0)
        row = archive.quarantine.c
        found = tx.execute(
            select(row.id, row.reason).where(row.id > told, row.quarantined_at > now - NEWS_S).order_by(row.id)
        ).all()
        if not found:
            return []
        self._grouped_until = now + _GROUP_S
        return [
            self._raise(f"{Event.QUARANTINED}/{found[-1].id}", wording.set_aside([one.reason for one in found]), now)
        ]

    def _disk(self, tx: Connection, now: float) -> list[Change]:
        try:
            free_mb = shutil.disk_usage(self._data_dir).free / 1e6
        except OSError as error:
            raise storage_error(error, self._data_dir) from error
        key = f"{Event.DISK_LOW}/data"
        lasting = key in self._book.keys(tx, Event.DISK_LOW)
        if free_mb < self._min_free_mb and not lasting:
            return [self._raise(key, wording.disk_low(free_mb, self._min_free_mb), now)]
        if lasting and free_mb >= self._min_free_mb * _ENOUGH:
            return [self._ended(key, f"{Event.DISK_OK}/data/{now!r}", wording.disk_ok(free_mb), now)]
        return []

    def _ended(self, key: str, told_as: str, notice: Notice, now: float) -> Change:
        return lambda tx: self._book.end(tx, key) and self._book.raise_once(tx, told_as, notice, now)


def _job(tx: Connection, job_id: str) -> Job:
    return rows.job(tx.execute(rows.job_query().where(t.jobs.c.id == job_id)).one(), StoredPaths())
