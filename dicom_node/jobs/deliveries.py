"""Deliveries: the outputs of one job on their way to one peer, under leases of their own."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, Row, func, select, update

from dicom_node.database.statements import changed_one, insert
from dicom_node.database.values import short
from dicom_node.errors import DeliveryError, LeaseLost, NodeError, WorkerLost
from dicom_node.jobs import rows
from dicom_node.jobs import tables as t
from dicom_node.jobs.clock import calm_clock
from dicom_node.jobs.model import Delivery, DeliveryLease
from dicom_node.jobs.retry import RetryPolicy
from dicom_node.jobs.states import DeliveryState, JobState
from dicom_node.jobs.transitions import claim_delivery, move_delivery, move_job

_OPEN = (DeliveryState.PENDING, DeliveryState.LEASED)
_OUT_OF_RESOURCES = 0xA7


class DeliveryLedger:
    """The delivery half of `JobLedger`.

    Args:
        retry: attempts and waits of deliveries.
    """

    def __init__(self, retry: RetryPolicy) -> None:
        self._delivery_retry = retry

    def lease_delivery(
        self, tx: Connection, owner: str, lease_s: float, now: float, *, exclude_peers: Collection[str] = ()
    ) -> DeliveryLease | None:
        """Lease the delivery that has waited longest, None when none is due. Expired leases are taken back first.

        Args:
            tx: write transaction.
            owner: who leases.
            lease_s: for how long [s].
            now: UTC [s].
            exclude_peers: peers that are being sent to; what waits for them stays free of a lease, and of its losses.
        """
        row, state = t.deliveries.c, DeliveryState
        longest = self._delivery_retry.max_backoff_s
        calm_clock(tx, t.deliveries, now, waiting=state.PENDING, leased=state.LEASED, longest_wait_s=longest)
        expired = select(t.deliveries).where(row.state == state.LEASED, row.expires_at < now)
        for lost in tx.execute(expired).all():
            self._lose_delivery(tx, lost, now, "the lease expired")
        claimed = claim_delivery(tx, owner, lease_s, now, exclude_peers)
        if claimed is None:
            return None
        return DeliveryLease(self._delivery(tx, claimed), claimed.token, claimed.expires_at)

    def heartbeat_delivery(self, tx: Connection, lease: DeliveryLease, lease_s: float, now: float) -> DeliveryLease:
        """Extend the lease.

        Raises:
            LeaseLost: it went to someone else, or the job was cancelled.
        """
        self._touch(tx, lease, now, expires_at=now + lease_s)
        return replace(lease, expires_at=now + lease_s)

    def instance_sent(
        self, tx: Connection, lease: DeliveryLease, sop_instance_uid: str, status: int, now: float
    ) -> None:
        """Keep the peer's C-STORE status for one instance.

        Raises:
            LeaseLost: the lease went to someone else, or the job was cancelled.
        """
        # an answer is a sign of life: earlier losses were not this delivery's fault
        self._touch(tx, lease, now, lost=0, setbacks=0)
        if status >> 8 != _OUT_OF_RESOURCES:
            _is_there(tx, lease.delivery.peer)
        answer = insert(tx, t.delivery_instances).values(
            delivery_id=lease.delivery.id, sop_instance_uid=sop_instance_uid, status=status, sent_at=now
        )
        tx.execute(
            answer.on_conflict_do_update(
                index_elements=["delivery_id", "sop_instance_uid"], set_={"status": status, "sent_at": now}
            )
        )

    def delivery_done(self, tx: Connection, lease: DeliveryLease, verified: str, now: float) -> None:
        """All instances are at the peer; `verified` says how that is known. The last one makes the job DELIVERED.

        Raises:
            LeaseLost: the lease went to someone else, or the job was cancelled.
        """
        _lock_job(tx, lease.delivery.job_id)
        self._finish(
            tx,
            lease,
            DeliveryState.DONE,
            now,
            code="Delivered",
            message=verified,
            values={"verified": short(verified), "error": None, "error_code": None},
        )
        _is_there(tx, lease.delivery.peer)
        self._settle_job(tx, lease.delivery.job_id, now)

    def delivery_failed(self, tx: Connection, lease: DeliveryLease, error: NodeError, now: float) -> DeliveryState:
        """Try again later, or give up; returns the new state.

        Raises:
            LeaseLost: the lease went to someone else, or the job was cancelled.
        """
        _lock_job(tx, lease.delivery.job_id)
        row = tx.execute(select(t.deliveries).where(t.deliveries.c.id == lease.delivery.id)).one()
        if row.token != lease.token or row.state != DeliveryState.LEASED:
            raise _lost(lease)
        if isinstance(error, WorkerLost):
            state = self._lose_delivery(tx, row, now, str(error))
            if state is None:
                raise _lost(lease)
            return state
        verdict = self._delivery_retry.after_error(error, attempts=row.attempts, setbacks=row.setbacks)
        values = {
            "attempts": row.attempts + verdict.charged,
            "setbacks": 0 if verdict.charged else row.setbacks + 1,
            "not_before": now + verdict.delay_s,
            "error": short(str(error)),
            "error_code": error.code,
        }
        target = DeliveryState.PENDING if verdict.again else DeliveryState.DEAD
        self._finish(tx, lease, target, now, code=error.code, message=str(error), values=values)
        if error.infrastructure and isinstance(error, DeliveryError):
            _defer(tx, lease.delivery.peer, now + verdict.delay_s)
            _is_away(tx, lease.delivery.peer, now)
        if target is DeliveryState.DEAD:
            self._settle_job(tx, lease.delivery.job_id, now)
        return target

    def release_delivery(self, tx: Connection, owner: str, now: float) -> int:
        """The delivering process died: its leases go back. Returns how many."""
        row = t.deliveries.c
        held = select(t.deliveries).where(row.state == DeliveryState.LEASED, row.owner == owner)
        found = tx.execute(held).all()
        return sum(self._lose_delivery(tx, lost, now, "the delivering process died") is not None for lost in found)

    def deliveries(self, tx: Connection, job_id: str) -> list[Delivery]:
        """All deliveries of a job, those of earlier derivations first."""
        found = tx.execute(select(t.deliveries).where(t.deliveries.c.job_id == job_id).order_by(t.deliveries.c.id))
        return [self._delivery(tx, row) for row in found.all()]

    def _delivery(self, tx: Connection, row: Row[Any]) -> Delivery:
        document = select(t.job_documents.c.outputs).where(t.job_documents.c.job_id == row.job_id)
        return rows.delivery(tx, row, rows.outputs(tx.execute(document).scalar_one()))

    def _lose_delivery(self, tx: Connection, row: Row[Any], now: float, how: str) -> DeliveryState | None:
        """Take a lease back; None when its holder was quicker."""
        _lock_job(tx, row.job_id)
        verdict = self._delivery_retry.after_loss(lost=row.lost)
        target = DeliveryState.PENDING if verdict.again else DeliveryState.DEAD
        values = {
            "lost": row.lost + 1,
            "not_before": now + verdict.delay_s,
            "error": how,
            "error_code": WorkerLost.__name__,
        }
        if not move_delivery(
            tx,
            row.id,
            DeliveryState.LEASED,
            target,
            now,
            code=WorkerLost.__name__,
            message=how,
            token=row.token,
            values=values,
        ):
            return None
        if target is DeliveryState.DEAD:
            self._settle_job(tx, row.job_id, now)
        return target

    def _finish(
        self,
        tx: Connection,
        lease: DeliveryLease,
        target: DeliveryState,
        now: float,
        *,
        code: str,
        message: str,
        values: dict[str, Any],
    ) -> None:
        if not move_delivery(
            tx,
            lease.delivery.id,
            DeliveryState.LEASED,
            target,
            now,
            code=code,
            message=message,
            token=lease.token,
            values=values,
        ):
            raise _lost(lease)

    def _touch(self, tx: Connection, lease: DeliveryLease, now: float, **values: float) -> None:
        row = t.deliveries.c
        mine = (row.id == lease.delivery.id) & (row.token == lease.token) & (row.state == DeliveryState.LEASED)
        if not changed_one(tx.execute(update(t.deliveries).where(mine).values(updated_at=now, **values))):
            raise _lost(lease)

    def _settle_job(self, tx: Connection, job_id: str, now: float) -> None:
        """The job follows its deliveries: DELIVERED when all are done, DEAD when one is and none is open."""
        token = tx.execute(select(t.jobs.c.derived_token).where(t.jobs.c.id == job_id)).scalar_one()
        row = t.deliveries.c
        present = select(row.state).where(row.job_id == job_id, row.derived_token == token)
        states = set(tx.execute(present).scalars())
        if states.isdisjoint(_OPEN):
            if states == {DeliveryState.DONE}:
                move_job(tx, job_id, JobState.DERIVED, JobState.DELIVERED, now, code="Delivered")
            elif DeliveryState.DEAD in states:
                why = "not delivered to every peer; see the deliveries"
                values = {"error": why, "error_code": "DeliveryDead"}
                move_job(
                    tx, job_id, JobState.DERIVED, JobState.DEAD, now, code="DeliveryDead", message=why, values=values
                )


def _defer(tx: Connection, peer: str, until: float) -> None:
    """The peer is away: what else waits for it need not find out one timeout after the other."""
    row = t.deliveries.c
    waiting = (row.peer == peer) & (row.state == DeliveryState.PENDING) & (row.not_before < until)
    tx.execute(update(t.deliveries).where(waiting).values(not_before=until))


def _is_away(tx: Connection, peer: str, now: float) -> None:
    """Note since when; only the first failure in a row counts."""
    since = func.coalesce(t.peers.c.unreachable_since, now)
    row = insert(tx, t.peers).values(name=peer, unreachable_since=now)
    tx.execute(row.on_conflict_do_update(index_elements=["name"], set_={"unreachable_since": since}))


def _is_there(tx: Connection, peer: str) -> None:
    row = t.peers.c
    away = (row.name == peer) & row.unreachable_since.is_not(None)
    tx.execute(update(t.peers).where(away).values(unreachable_since=None))


def _lock_job(tx: Connection, job_id: str) -> None:
    """Job before delivery, in every transaction that ends a delivery.

    So the second of two deliveries that end at once sees the first, and nobody waits in a circle (PostgreSQL).
    """
    tx.execute(select(t.jobs.c.seq).where(t.jobs.c.id == job_id).with_for_update(key_share=True))


def _lost(lease: DeliveryLease) -> LeaseLost:
    return LeaseLost(
        f"the delivery of job {lease.delivery.job_id} to {lease.delivery.peer} is no longer ours; stop sending"
    )
