"""Rows of the ledger to frozen values and back."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Any

from sqlalchemy import Connection, Row, Select, select

from dicom_node.contracts.headers import FileRef
from dicom_node.database.values import StoredPaths, dump, load
from dicom_node.jobs import tables as t
from dicom_node.jobs.model import Delivery, Job, JobInput, NewJob, OutputInstance, OutputSeries
from dicom_node.jobs.states import DeliveryState, JobState


def job_query() -> Select[Any]:
    """Jobs with their documents; feed the rows to `job`."""
    documents = [column for column in t.job_documents.c if column.name != "job_id"]
    return select(t.jobs, *documents).join(t.job_documents, t.job_documents.c.job_id == t.jobs.c.id)


def job(row: Row[Any], paths: StoredPaths) -> Job:
    """A job from a row of `job_query`."""
    return Job(
        id=row.id,
        state=JobState(row.state),
        version=row.version,
        supersedes=row.supersedes,
        route=row.route,
        corrector=row.corrector,
        method=row.method,
        parameters=MappingProxyType(load(row.parameters)),
        send_to=tuple(load(row.send_to)),
        inputs=tuple(_input(item, paths) for item in load(row.inputs)),
        set_key=row.set_key,
        input_digest=row.input_digest,
        recipe=row.recipe,
        attempts=row.attempts,
        lost=row.lost,
        created_at=row.created_at,
        updated_at=row.updated_at,
        not_before=row.not_before,
        error=row.error,
        error_code=row.error_code,
        reason=row.reason,
        outputs=outputs(row.outputs),
        warnings=tuple(load(row.warnings)),
        metrics=MappingProxyType(load(row.metrics)),
    )


def new_documents(job_id: str, new: NewJob, paths: StoredPaths) -> Mapping[str, str]:
    """Values of a `job_documents` row for a job that has not run yet."""
    inputs = [
        [
            i.role,
            i.sop_instance_uid,
            i.series_instance_uid,
            paths.store(i.file.path),
            i.file.member,
            i.sha256,
            dict(i.captures),
        ]
        for i in new.inputs
    ]
    return {
        "job_id": job_id,
        "parameters": dump(dict(new.parameters)),
        "send_to": dump(new.send_to),
        "inputs": dump(inputs),
        "outputs": "[]",
        "warnings": "[]",
        "metrics": "{}",
    }


def input_uids(document: str) -> frozenset[str]:
    """SOP Instance UIDs of the inputs that `new_documents` stored."""
    return frozenset(item[1] for item in load(document))


def dump_outputs(series: Sequence[OutputSeries]) -> str:
    """Derived series as JSON."""
    return dump(
        [
            (
                s.role,
                s.series_instance_uid,
                s.sop_class_uids,
                [(i.sop_instance_uid, i.sop_class_uid, i.file_name) for i in s.instances],
            )
            for s in series
        ]
    )


def outputs(document: str) -> tuple[OutputSeries, ...]:
    """Derived series from what `dump_outputs` stored."""
    return tuple(
        OutputSeries(role, uid, tuple(classes), tuple(OutputInstance(*item) for item in items))
        for role, uid, classes, items in load(document)
    )


def delivery(tx: Connection, row: Row[Any], series: tuple[OutputSeries, ...]) -> Delivery:
    """A delivery from its row, with the peer's answers so far."""
    sent = t.delivery_instances.c
    answers = tx.execute(select(sent.sop_instance_uid, sent.status).where(sent.delivery_id == row.id))
    return Delivery(
        id=row.id,
        job_id=row.job_id,
        peer=row.peer,
        state=DeliveryState(row.state),
        outputs=series,
        statuses=MappingProxyType({answer.sop_instance_uid: answer.status for answer in answers}),
        attempts=row.attempts,
        not_before=row.not_before,
        error=row.error,
        error_code=row.error_code,
        verified=row.verified,
    )


def _input(item: Sequence[Any], paths: StoredPaths) -> JobInput:
    role, instance, series, path, member, sha256, captures = item
    return JobInput(role, instance, series, FileRef(paths.load(path), member), sha256, MappingProxyType(captures))
