"""The only place that changes a state: checks table, fencing token and present state, and writes the event."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any

from sqlalchemy import Connection, Row, Table, exists, select, update

from dicom_node.database.statements import changed_one
from dicom_node.database.values import short
from dicom_node.errors import IllegalTransition
from dicom_node.jobs import tables as t
from dicom_node.jobs.states import DELIVERY_TRANSITIONS, JOB_TRANSITIONS, DeliveryState, JobState

_NO_LEASE: Mapping[str, object] = {"owner": None, "expires_at": None}


def move_job(
    tx: Connection,
    job_id: str,
    origin: JobState,
    target: JobState,
    now: float,
    *,
    code: str,
    message: str = "",
    token: int | None = None,
    values: Mapping[str, Any] | None = None,
) -> bool:
    """Move a job from one state to another; False when it is not in `origin` (under `token`) any more.

    Raises:
        IllegalTransition: the table has no such change.
    """
    if target not in JOB_TRANSITIONS[origin]:
        raise IllegalTransition(f"job {job_id} cannot go from {origin} to {target}")
    lease = _NO_LEASE if origin is JobState.LEASED else {}
    changed = _move(tx, t.jobs, job_id, origin, token, {"state": target, "updated_at": now, **lease, **(values or {})})
    if changed:
        record(tx, job_id, now, origin=origin, target=target, code=code, message=message)
    return changed


def move_delivery(
    tx: Connection,
    delivery_id: int,
    origin: DeliveryState,
    target: DeliveryState,
    now: float,
    *,
    code: str,
    message: str = "",
    token: int | None = None,
    values: Mapping[str, Any] | None = None,
) -> bool:
    """Move a delivery from one state to another; False when it is not in `origin` (under `token`) any more.

    Raises:
        IllegalTransition: the table has no such change.
    """
    if target not in DELIVERY_TRANSITIONS[origin]:
        raise IllegalTransition(f"delivery {delivery_id} cannot go from {origin} to {target}")
    row = t.deliveries.c
    lease = _NO_LEASE if origin is DeliveryState.LEASED else {}
    written = {"state": target, "updated_at": now, **lease, **(values or {})}
    changed = _move(tx, t.deliveries, delivery_id, origin, token, written)
    if changed:
        found = tx.execute(select(row.job_id, row.peer).where(row.id == delivery_id)).one()
        record(tx, found.job_id, now, peer=found.peer, origin=origin, target=target, code=code, message=message)
    return changed


def record(
    tx: Connection,
    job_id: str,
    now: float,
    *,
    origin: str | None,
    target: str,
    code: str,
    message: str,
    peer: str | None = None,
) -> None:
    """Add a line to the audit trail."""
    tx.execute(
        t.job_events.insert().values(
            job_id=job_id, at=now, peer=peer, origin=origin, target=target, code=code, message=short(message)
        )
    )


def claim_job(tx: Connection, owner: str, lease_s: float, now: float) -> Row[Any] | None:
    """Lease the job that has waited longest, in one statement; its `seq`, `id`, `set_key`, `version` and `token`.

    A later version of a set waits while an earlier one is being worked on, so that it knows what it supersedes.
    """
    row = t.jobs.c
    waiting, busy = t.jobs.alias("waiting"), t.jobs.alias("busy")
    chosen = (
        select(waiting.c.seq)
        .where(
            waiting.c.state == JobState.QUEUED,
            waiting.c.not_before <= now,
            ~exists().where(busy.c.set_key == waiting.c.set_key, busy.c.state == JobState.LEASED),
        )
        .order_by(waiting.c.not_before, waiting.c.seq)
        .limit(1)
        .with_for_update(key_share=True, skip_locked=True, of=waiting)
    )
    claimed = tx.execute(
        update(t.jobs)
        .where(row.seq == chosen.scalar_subquery(), row.state == JobState.QUEUED)
        .values(state=JobState.LEASED, owner=owner, token=row.token + 1, expires_at=now + lease_s, updated_at=now)
        .returning(row.seq, row.id, row.set_key, row.version, row.token)
    ).one_or_none()
    if claimed is not None:
        record(tx, claimed.id, now, origin=JobState.QUEUED, target=JobState.LEASED, code="Leased", message=owner)
    return claimed


def claim_delivery(
    tx: Connection, owner: str, lease_s: float, now: float, exclude_peers: Collection[str] = ()
) -> Row[Any] | None:
    """Lease the delivery that has waited longest, in one statement; the whole row. Among equals the least unlucky.

    Not an event: an unreachable peer is tried for ever, and each failure is an event already.
    """
    row, waiting = t.deliveries.c, t.deliveries.alias("waiting")
    chosen = (
        select(waiting.c.id)
        .where(
            waiting.c.state == DeliveryState.PENDING,
            waiting.c.not_before <= now,
            waiting.c.peer.not_in(sorted(exclude_peers)),
        )
        .order_by(waiting.c.not_before, waiting.c.setbacks, waiting.c.id)
        .limit(1)
        .with_for_update(key_share=True, skip_locked=True)
    )
    return tx.execute(
        update(t.deliveries)
        .where(row.id == chosen.scalar_subquery(), row.state == DeliveryState.PENDING)
        .values(state=DeliveryState.LEASED, owner=owner, token=row.token + 1, expires_at=now + lease_s, updated_at=now)
        .returning(t.deliveries)
    ).one_or_none()


def _move(
    tx: Connection, table: Table, row_id: str | int, origin: str, token: int | None, values: Mapping[str, Any]
) -> bool:
    row = table.c
    statement = update(table).where(row.id == row_id, row.state == origin)
    if token is not None:
        statement = statement.where(row.token == token)
    return changed_one(tx.execute(statement.values(**values)))
