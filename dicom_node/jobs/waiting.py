"""What waits, since when, for whom: for metrics and notices. Costs grow with what waits, not with the ledger."""

from __future__ import annotations

from dataclasses import dataclass

from sqlalchemy import Connection, func, select, update

from dicom_node.jobs import tables as t
from dicom_node.jobs.states import DeliveryState, JobState

_OPEN = (DeliveryState.PENDING, DeliveryState.LEASED)


@dataclass(frozen=True)
class PeerQueue:
    """What waits for one peer.

    Attributes:
        peer: its name.
        waiting: open deliveries.
        oldest_at: when the oldest of their jobs was derived, UTC [s]; None when nothing waits.
        unreachable_since: since when the peer has taken nothing, UTC [s]; None when it took the last that it was sent.
    """

    peer: str
    waiting: int
    oldest_at: float | None
    unreachable_since: float | None


def queues(tx: Connection) -> list[PeerQueue]:
    """Every peer that something waits for, or that has once been away, by name."""
    job, delivery = t.jobs.c, t.deliveries.c
    found = tx.execute(
        select(delivery.peer, func.count(), func.min(job.updated_at))
        .join(t.jobs, delivery.job_id == job.id)
        .where(delivery.state.in_(_OPEN))
        .group_by(delivery.peer)
    )
    waiting = {peer: (number, oldest) for peer, number, oldest in found}
    away = {row.name: row.unreachable_since for row in tx.execute(select(t.peers))}
    return [
        PeerQueue(peer, *waiting.get(peer, (0, None)), away.get(peer)) for peer in sorted(waiting.keys() | away.keys())
    ]


def oldest_queued(tx: Connection) -> float | None:
    """When the oldest of the queued jobs was made, UTC [s]; None when there is none."""
    found = tx.execute(select(func.min(t.jobs.c.created_at)).where(t.jobs.c.state == JobState.QUEUED)).scalar_one()
    return None if found is None else float(found)


def nothing_waits_for(tx: Connection, peer: str) -> None:
    """Forget that a peer is away: what waited for it was cancelled, so nobody will find out when it is back."""
    row = t.peers.c
    tx.execute(update(t.peers).where(row.name == peer).values(unreachable_since=None))
