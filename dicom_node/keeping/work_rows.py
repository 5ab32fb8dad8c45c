"""Jobs and their outputs after the ledger was copied back: what one has and the other does not."""

from __future__ import annotations

from typing import Final

from sqlalchemy import Connection, select

from dicom_node.database.engine import Database
from dicom_node.errors import IllegalTransition
from dicom_node.jobs import tables as t
from dicom_node.jobs.replay import replay_job
from dicom_node.jobs.states import DeliveryState, JobState
from dicom_node.jobs.transitions import move_delivery, move_job
from dicom_node.worker.outbox import Outbox

_PAGE: Final = 500
_WHY: Final = "its derived series are gone from the outbox; they are made again"


def mend_outbox(database: Database, outbox: Outbox) -> int:
    """Remove outputs of jobs that the ledger does not know: they are made again under another job. Returns how many.

    Raises:
        NodeError: disk or database refused.
    """
    there, removed = outbox.jobs(), 0
    for at in range(0, len(there), _PAGE):
        some = there[at : at + _PAGE]
        with database.read() as tx:
            known = set(tx.execute(select(t.jobs.c.id).where(t.jobs.c.id.in_(some))).scalars())
        for job_id in some:
            if job_id not in known:
                outbox.remove(job_id)
                removed += 1
    return removed


def mend_jobs(database: Database, outbox: Outbox, now: float) -> int:
    """Queue jobs again that wait to be delivered, and whose outputs are gone. Returns how many.

    Raises:
        LedgerError: the database refused.
    """
    row, queued = t.jobs.c, 0
    with database.read() as tx:
        waiting = list(tx.execute(select(row.id).where(row.state == JobState.DERIVED).order_by(row.seq)).scalars())
    for job_id in waiting:
        if not outbox.folder(job_id).is_dir():
            with database.begin() as tx:
                _start_over(tx, job_id, now)
            queued += 1
    return queued


def _start_over(tx: Connection, job_id: str, now: float) -> None:
    """By the ways that are open: its deliveries are cancelled, the job dies of it, and is replayed from its start."""
    row = t.deliveries.c
    for state in (DeliveryState.PENDING, DeliveryState.LEASED):
        sending = select(row.id).where(row.job_id == job_id, row.state == state)
        for delivery in tx.execute(sending).scalars().all():
            move_delivery(tx, delivery, state, DeliveryState.CANCELLED, now, code="OutboxLost", message=_WHY)
    token = select(t.jobs.c.derived_token).where(t.jobs.c.id == job_id).scalar_subquery()
    tx.execute(t.deliveries.delete().where(row.job_id == job_id, row.derived_token == token, row.state == "DEAD"))
    values = {"error": _WHY, "error_code": "OutboxLost"}
    move_job(tx, job_id, JobState.DERIVED, JobState.DEAD, now, code="OutboxLost", message=_WHY, values=values)
    try:
        replay_job(tx, job_id, now)
    except IllegalTransition as superseded:
        values = {"reason": str(superseded)}
        move_job(tx, job_id, JobState.DEAD, JobState.CANCELLED, now, code="Superseded", values=values)
