"""The index's first half: what receivers took, from their journals to files that wait to be filed."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from sqlalchemy import Connection, bindparam, delete, select, update

from dicom_node.archive import tables as t
from dicom_node.archive.model import AssociationClosed, AssociationOpened, Quarantined, Received
from dicom_node.database.statements import changed_one, insert, serialise
from dicom_node.database.values import StoredPaths, short
from dicom_node.errors import LedgerError

_MOST_AT_ONCE = 500
"""Values in one IN list; SQLite allows far more, and none of our batches needs it."""


class ReceivingIndex:
    """Journals, associations, received files and those set aside.

    Args:
        paths: how paths are written into columns.
    """

    def __init__(self, paths: StoredPaths) -> None:
        self._paths = paths

    def absorbed(self, tx: Connection) -> dict[str, int]:
        """How far [bytes] each journal has become rows, by its file name."""
        rows = tx.execute(select(t.journals.c.name, t.journals.c.absorbed))
        return {row.name: row.absorbed for row in rows}

    def absorb(
        self,
        tx: Connection,
        journal: str,
        start: int,
        end: int,
        *,
        receiver: str,
        opened: Sequence[AssociationOpened] = (),
        received: Sequence[Received] = (),
        closed: Sequence[AssociationClosed] = (),
    ) -> None:
        """Enter a stretch of a journal, once.

        Args:
            tx: write transaction.
            journal: file name of the journal.
            start: where the stretch begins [bytes]; 0, or the end of the last one.
            end: where it ends [bytes].
            receiver: who wrote it.
            opened: associations in it.
            received: files in it, in order.
            closed: ends of associations in it.

        Raises:
            LedgerError: the stretch before is missing, or this one is entered already.
        """
        serialise(tx, f"journal {journal}")
        self._advance(tx, journal, start, end)
        if opened:
            rows = [
                {
                    "id": one.id,
                    "calling_ae": short(one.calling_ae),
                    "called_ae": short(one.called_ae),
                    "address": short(one.address),
                    "receiver": receiver,
                    "opened_at": one.at,
                }
                for one in opened
            ]
            # A ledger that was copied back reads the same entry again.
            tx.execute(insert(tx, t.associations).on_conflict_do_nothing(), rows)
        if received:
            tx.execute(
                t.received.insert(),
                [
                    {
                        "path": self._paths.store(one.path),
                        "association_id": one.association_id,
                        "received_at": one.received_at,
                    }
                    for one in received
                ],
            )
        if closed:
            row = t.associations.c
            ended = (
                update(t.associations)
                .where(row.id == bindparam("association"), row.closed_at.is_(None))
                .values(closed_at=bindparam("at"), how=bindparam("ending"))
            )
            tx.execute(ended, [{"association": one.id, "at": one.at, "ending": one.how} for one in closed])

    def forget_journals(self, tx: Connection, names: Collection[str]) -> None:
        """The journals are gone for good: so go their rows."""
        if names:
            tx.execute(delete(t.journals).where(t.journals.c.name.in_(sorted(names))))

    def close_associations_of(self, tx: Connection, receiver: str, now: float) -> int:
        """The receiver process died: its open associations are lost. Returns how many."""
        row = t.associations.c
        result = tx.execute(
            update(t.associations)
            .where(row.receiver == receiver, row.closed_at.is_(None))
            .values(closed_at=now, how="lost")
        )
        return int(result.rowcount)

    def unfiled(self, tx: Connection, limit: int | None = None) -> list[Received]:
        """Oldest received files that are neither filed nor quarantined; all of them without a limit."""
        rows = tx.execute(select(t.received).order_by(t.received.c.id).limit(limit))
        return [Received(r.id, self._paths.load(r.path), r.association_id, r.received_at) for r in rows]

    def quarantine(self, tx: Connection, files: Sequence[Quarantined], now: float) -> None:
        """Note that received files cannot be filed, why, and where they lie now.

        Raises:
            LedgerError: one of them (with a number) is not waiting to be filed.
        """
        if not files:
            return
        self._take(tx, [one.received.id for one in files if one.received.id])
        tx.execute(
            t.quarantine.insert(),
            [
                {
                    "path": self._paths.store(one.path),
                    "reason": short(one.reason),
                    "association_id": one.received.association_id,
                    "received_at": one.received.received_at,
                    "quarantined_at": now,
                }
                for one in files
            ],
        )

    def forget(self, tx: Connection, files: Sequence[Received]) -> None:
        """Received files are not there after all: their senders were told so.

        Raises:
            LedgerError: one of them is not waiting to be filed.
        """
        self._take(tx, [one.id for one in files])

    def _take(self, tx: Connection, numbers: Sequence[int]) -> None:
        """Received rows leave the queue."""
        gone = 0
        for at in range(0, len(numbers), _MOST_AT_ONCE):
            some = numbers[at : at + _MOST_AT_ONCE]
            gone += tx.execute(delete(t.received).where(t.received.c.id.in_(some))).rowcount
        if gone != len(numbers):
            raise LedgerError(f"{len(numbers) - gone} of {len(numbers)} received files are not waiting to be filed")

    def _advance(self, tx: Connection, journal: str, start: int, end: int) -> None:
        row = t.journals.c
        moved = update(t.journals).where(row.name == journal, row.absorbed == start).values(absorbed=end)
        if changed_one(tx.execute(moved)):
            return
        first = insert(tx, t.journals).values(name=journal, absorbed=end).on_conflict_do_nothing().returning(row.name)
        if start or tx.execute(first).one_or_none() is None:
            raise LedgerError(f"journal {journal}: it is not absorbed up to {start}; another intake works on it")
