"""`NoticeBook`: notices in the ledger, each raised once."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import ColumnElement, Connection, delete, func, not_, or_, select, update

from dicom_node import logs
from dicom_node.archive.tables import notices
from dicom_node.database.statements import changed_one, insert
from dicom_node.notices.model import LASTING, Event, Notice

log = logs.get("notices")

_ENDED = "ended/"


@dataclass(frozen=True)
class Unsent:
    """A notice that the webhook has not taken yet."""

    key: str
    document: str


class NoticeBook:
    """Rows of the table `notices`. Methods take a connection from `Database.begin()` or `.read()`."""

    def __init__(self, node: str, *, told: bool) -> None:
        """Holds no state.

        Args:
            node: AE title of the node, for the documents.
            told: whether there is a webhook; without one a notice is a log line and counts as sent.
        """
        self._node = node
        self._told = told

    def raise_once(self, tx: Connection, key: str, notice: Notice, now: float) -> bool:
        """Raise a notice unless this key has been raised already; returns whether it was new.

        Args:
            tx: write transaction.
            key: the event's name, a slash, and what tells this one from others of its kind.
            notice: what to say.
            now: UTC [s].
        """
        row = insert(tx, notices).values(
            key=key,
            raised_at=now,
            sent_at=None if self._told else now,
            document=notice.document(self._node, now),
        )
        new = changed_one(tx.execute(row.on_conflict_do_nothing()))
        if new:
            log.warning("notice", notice=notice.event, severity=notice.severity, reason=notice.reason, **notice.facts())
        return new

    def end(self, tx: Connection, key: str) -> bool:
        """A condition is over, so that it is raised again when it comes back; returns whether it lasted until now."""
        raised_at = tx.execute(select(notices.c.raised_at).where(notices.c.key == key)).scalar_one_or_none()
        if raised_at is None:
            return False
        tx.execute(update(notices).where(notices.c.key == key).values(key=f"{_ENDED}{key}/{raised_at!r}"))
        return True

    def keys(self, tx: Connection, event: Event) -> set[str]:
        """Keys of an event: of conditions those that last, of others all that are still kept."""
        return set(tx.execute(select(notices.c.key).where(_of(event))).scalars())

    def unsent(self, tx: Connection, limit: int) -> list[Unsent]:
        """What the webhook has not taken yet, oldest first."""
        row = notices.c
        found = tx.execute(
            select(row.key, row.document).where(row.sent_at.is_(None)).order_by(row.raised_at, row.key).limit(limit)
        )
        return [Unsent(one.key, one.document) for one in found]

    def taken(self, tx: Connection, document: str, now: float) -> None:
        """The webhook has taken it. By its document: the key may have changed since it was read."""
        unsent = (notices.c.document == document) & notices.c.sent_at.is_(None)
        tx.execute(update(notices).where(unsent).values(sent_at=now))

    def forget(self, tx: Connection, before: float) -> int:
        """Delete what was sent before a time, UTC [s], but for conditions that last; returns how many."""
        row = notices.c
        result = tx.execute(delete(notices).where(row.sent_at < before, not_(or_(*map(_of, LASTING)))))
        return int(result.rowcount)


def count_unsent(tx: Connection) -> int:
    """How many notices the webhook has not taken yet."""
    return int(tx.execute(select(func.count()).where(notices.c.sent_at.is_(None))).scalar_one())


def _of(event: Event) -> ColumnElement[bool]:
    return notices.c.key.startswith(f"{event}/", autoescape=True)
