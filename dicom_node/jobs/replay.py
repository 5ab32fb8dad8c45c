"""What the operator may do to a job: replay and cancel."""

from __future__ import annotations

from typing import Any

from sqlalchemy import Connection, Row, delete, select, update

from dicom_node.database.statements import serialise
from dicom_node.errors import IllegalTransition, RequestError
from dicom_node.jobs import tables as t
from dicom_node.jobs.states import JOB_TRANSITIONS, DeliveryState, JobState
from dicom_node.jobs.transitions import move_delivery, move_job
from dicom_node.jobs.versions import newest_version

_FRESH = {"attempts": 0, "setbacks": 0, "lost": 0, "error": None, "error_code": None}


def replay_job(tx: Connection, job_id: str, now: float) -> None:
    """Queue a finished job again with a fresh budget, or only its dead deliveries where the outputs are complete.

    Raises:
        RequestError: no such job.
        IllegalTransition: it is not in a state to replay, or a newer version took its place.
    """
    job = _locked(tx, job_id)
    state = JobState(job.state)
    dead = _deliveries(tx, job, (DeliveryState.DEAD,))
    if state in (JobState.DEAD, JobState.DERIVED) and dead:
        for delivery in dead:
            _replay_delivery(tx, delivery, now)
        if state is JobState.DEAD:
            move_job(tx, job_id, state, JobState.DERIVED, now, code="Replay", message="deliveries only", values=_FRESH)
        return
    if JobState.QUEUED not in JOB_TRANSITIONS[state] or state is JobState.LEASED:
        raise IllegalTransition(f"job {job_id} is {state}; only an ended job that was not delivered can be replayed")
    serialise(tx, job.set_key)
    if (newer := newest_version(tx, job.set_key)) != job_id:
        raise IllegalTransition(f"job {job_id} was superseded by job {newer}; replay that one")
    values = _FRESH | {"reason": None, "not_before": now, "derived_token": None}
    move_job(tx, job_id, state, JobState.QUEUED, now, code="Replay", values=values)
    nothing = {"outputs": "[]", "warnings": "[]", "metrics": "{}"}
    tx.execute(update(t.job_documents).where(t.job_documents.c.job_id == job_id).values(**nothing))


def cancel_job(tx: Connection, job_id: str, now: float) -> None:
    """Cancel a queued job, what is left to deliver of a derived one, or give a dead one up.

    Raises:
        RequestError: no such job.
        IllegalTransition: it is being worked on or has ended.
    """
    job = _locked(tx, job_id)
    state = JobState(job.state)
    if JobState.CANCELLED not in JOB_TRANSITIONS[state]:
        what = "is being worked on; wait for it to end" if state is JobState.LEASED else f"has ended ({state})"
        raise IllegalTransition(f"job {job_id} {what}")
    by = "by the operator"
    move_job(tx, job_id, state, JobState.CANCELLED, now, code="Cancelled", message=by, values={"reason": by})
    for delivery in _deliveries(tx, job, (DeliveryState.PENDING, DeliveryState.LEASED)):
        origin = DeliveryState(delivery.state)
        move_delivery(tx, delivery.id, origin, DeliveryState.CANCELLED, now, code="Cancelled", message=by)


def _locked(tx: Connection, job_id: str) -> Row[Any]:
    job = tx.execute(select(t.jobs).where(t.jobs.c.id == job_id).with_for_update(key_share=True)).one_or_none()
    if job is None:
        raise RequestError(f"there is no job {job_id}; `dicom-node jobs list` shows those there are")
    return job


def _deliveries(tx: Connection, job: Row[Any], states: tuple[DeliveryState, ...]) -> list[Row[Any]]:
    """Deliveries of the job's present outputs in one of the states, locked."""
    row = t.deliveries.c
    present = select(t.deliveries).where(
        row.job_id == job.id, row.derived_token == job.derived_token, row.state.in_(states)
    )
    return list(tx.execute(present.with_for_update(key_share=True)).all())


def _replay_delivery(tx: Connection, delivery: Row[Any], now: float) -> None:
    values = _FRESH | {"not_before": now}
    move_delivery(tx, delivery.id, DeliveryState.DEAD, DeliveryState.PENDING, now, code="Replay", values=values)
    # the peer may have lost what it once took: send all of it again
    tx.execute(delete(t.delivery_instances).where(t.delivery_instances.c.delivery_id == delivery.id))
