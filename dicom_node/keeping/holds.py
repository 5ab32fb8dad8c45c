"""Why a study must not be deleted yet. All that is asked costs what the study has, not what the ledger has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy import Connection, exists, select

from dicom_node.archive import tables as archive
from dicom_node.jobs import tables as jobs
from dicom_node.jobs.states import DeliveryState, JobState
from dicom_node.jobs.verified import is_verified


@dataclass(frozen=True)
class Study:
    """The unit of retention: a study of one patient (careless senders use one UID for two).

    Attributes:
        id: row number.
        patient_key: whose.
        study_instance_uid: as in the files.
        last_arrival: of its newest image, or of one that was sent again; UTC [s].
    """

    id: int
    patient_key: str
    study_instance_uid: str
    last_arrival: float


class Hold(StrEnum):
    """A reason to keep a study, as the operator reads it."""

    NOT_ROUTED = "not routed yet"
    BEING_SENT = "images of its patient are being received"
    NOT_DONE = "a job is not done"
    DEAD = "a job or delivery is dead"
    NOT_VERIFIED = "a delivery is not verified"


_OPEN = frozenset({JobState.QUEUED, JobState.LEASED, JobState.DERIVED})


def hold(tx: Connection, study: Study, unverified_peers: Collection[str]) -> Hold | None:
    """The first reason why a study must stay, None when it may go.

    Args:
        tx: any transaction; the answer holds as long as it keeps filing and routing out.
        study: which.
        unverified_peers: peers whose deliveries need no verification (`verify: false`).
    """
    patient = archive.patients.c
    waiting = exists().where(patient.patient_key == study.patient_key, patient.generation > patient.routed_generation)
    if tx.execute(select(waiting)).scalar_one():
        return Hold.NOT_ROUTED
    if _is_being_sent(tx, study.patient_key):
        return Hold.BEING_SENT
    return _held_by_jobs(tx, study, unverified_peers)


def jobs_of(tx: Connection, study: Study) -> dict[str, tuple[JobState, int | None]]:
    """State and `derived_token` of every job that works on a series of the study, by id."""
    one, link, job = archive.series.c, jobs.job_series.c, jobs.jobs.c
    found = tx.execute(
        select(job.id, job.state, job.derived_token)
        .join(jobs.job_series, link.job_id == job.id)
        .join(archive.series, one.series_instance_uid == link.series_instance_uid)
        .where(one.patient_key == study.patient_key, one.study_instance_uid == study.study_instance_uid)
        .distinct()
    )
    return {row.id: (JobState(row.state), row.derived_token) for row in found}


def _is_being_sent(tx: Connection, patient_key: str) -> bool:
    """An association that has sent something of the patient is open, or not all that it sent is filed."""
    link, association, received = archive.association_patients.c, archive.associations.c, archive.received.c
    is_open = exists().where(association.id == link.association_id, association.closed_at.is_(None))
    unfiled = exists().where(received.association_id == link.association_id)
    sending = select(link.association_id).where(link.patient_key == patient_key, is_open | unfiled).limit(1)
    return tx.execute(sending).first() is not None


def _held_by_jobs(tx: Connection, study: Study, unverified_peers: Collection[str]) -> Hold | None:
    working = jobs_of(tx, study)
    states = Counter(state for state, _ in working.values())
    if not _OPEN.isdisjoint(states):
        return Hold.NOT_DONE
    if states[JobState.DEAD]:
        return Hold.DEAD
    row = jobs.deliveries.c
    for job_id, (state, token) in working.items():
        if state is not JobState.DELIVERED:
            continue
        present = select(row.peer, row.state, row.verified).where(row.job_id == job_id, row.derived_token == token)
        for delivery in tx.execute(present):
            if delivery.state != DeliveryState.DONE:
                return Hold.DEAD
            if delivery.peer not in unverified_peers and not is_verified(delivery.verified):
                return Hold.NOT_VERIFIED
    return None
