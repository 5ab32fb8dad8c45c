"""`JobLedger`: the durable truth about every job. Methods take a connection from `Database.begin()` or `.read()`."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Row, select, update

from dicom_node.database.statements import changed_one, serialise
from dicom_node.database.totals import read_totals
from dicom_node.database.values import StoredPaths, dump, short
from dicom_node.errors import LeaseLost, NodeError, RequestError, WorkerLost
from dicom_node.jobs import rows
from dicom_node.jobs import tables as t
from dicom_node.jobs.clock import calm_clock
from dicom_node.jobs.deliveries import DeliveryLedger
from dicom_node.jobs.model import Job, JobEvent, Lease, NewJob, OutputSeries
from dicom_node.jobs.replay import cancel_job, replay_job
from dicom_node.jobs.retry import RetryPolicy
from dicom_node.jobs.states import DeliveryState, JobState
from dicom_node.jobs.transitions import claim_job, move_job, record
from dicom_node.jobs.versions import newest_version, predecessor, supersede


class JobLedger(DeliveryLedger):
    """Jobs, their leases and deliveries. Holds no state but its policies.

    Args:
        retry: attempts and waits of jobs.
        delivery_retry: those of deliveries; the same when None.
        data_dir: paths under it are stored relative to it.
    """

    def __init__(
        self, retry: RetryPolicy, delivery_retry: RetryPolicy | None = None, data_dir: Path | None = None
    ) -> None:
        super().__init__(delivery_retry or retry)
        self._retry = retry
        self._paths = StoredPaths(data_dir)

    def submit(self, tx: Connection, new: NewJob, now: float) -> Job | None:
        """Queue a job, or None when the same inputs under the same recipe are known already (whatever became of them).

        Other inputs of a known set become the next version. An older version that nobody works on yet is cancelled.
        """
        serialise(tx, new.set_key)
        row = t.jobs.c
        family = tx.execute(
            select(row.id, row.version, row.state, row.input_digest, row.recipe).where(row.set_key == new.set_key)
        ).all()
        if any((old.input_digest, old.recipe) == (new.input_digest, new.recipe) for old in family):
            return None
        job_id = uuid.uuid4().hex[:16]
        version = 1 + max((old.version for old in family), default=0)
        for old in family:
            if old.state == JobState.QUEUED:
                supersede(tx, old.id, job_id, now)
        tx.execute(
            t.jobs.insert().values(
                id=job_id,
                state=JobState.QUEUED,
                version=version,
                supersedes=predecessor(tx, new.set_key, version),
                route=new.route,
                corrector=new.corrector,
                method=new.method,
                set_key=new.set_key,
                input_digest=new.input_digest,
                recipe=new.recipe,
                attempts=0,
                setbacks=0,
                lost=0,
                created_at=now,
                updated_at=now,
                not_before=now,
                token=0,
            )
        )
        tx.execute(t.job_documents.insert().values(**rows.new_documents(job_id, new, self._paths)))
        series = sorted({one.series_instance_uid for one in new.inputs})
        if series:
            tx.execute(t.job_series.insert(), [{"series_instance_uid": uid, "job_id": job_id} for uid in series])
        record(tx, job_id, now, origin=None, target=JobState.QUEUED, code="Submitted", message=f"version {version}")
        return self.get(tx, job_id)

    def lease(self, tx: Connection, owner: str, lease_s: float, now: float) -> Lease | None:
        """Lease the job that has waited longest, None when none is due. Expired leases are taken back first."""
        row = t.jobs.c
        longest = self._retry.max_backoff_s
        calm_clock(tx, t.jobs, now, waiting=JobState.QUEUED, leased=JobState.LEASED, longest_wait_s=longest)
        expired = select(t.jobs).where(row.state == JobState.LEASED, row.expires_at < now)
        for lost in tx.execute(expired.with_for_update(key_share=True, skip_locked=True)).all():
            self._lose(tx, lost, now, "the lease expired")
        claimed = claim_job(tx, owner, lease_s, now)
        if claimed is None:
            return None
        if claimed.version > 1:
            older = predecessor(tx, claimed.set_key, claimed.version)
            tx.execute(update(t.jobs).where(row.id == claimed.id).values(supersedes=older))
        return Lease(self.get(tx, claimed.id), claimed.token, now + lease_s)

    def heartbeat(self, tx: Connection, lease: Lease, lease_s: float, now: float) -> Lease:
        """Extend the lease.

        Raises:
            LeaseLost: it went to someone else.
        """
        row = t.jobs.c
        mine = (row.id == lease.job.id) & (row.token == lease.token) & (row.state == JobState.LEASED)
        extended = update(t.jobs).where(mine).values(expires_at=now + lease_s, updated_at=now)
        if not changed_one(tx.execute(extended)):
            raise _lost(lease)
        return replace(lease, expires_at=now + lease_s)

    def derived(
        self,
        tx: Connection,
        lease: Lease,
        outputs: Sequence[OutputSeries],
        warnings: Sequence[str],
        metrics: Mapping[str, object],
        now: float,
    ) -> Job:
        """The outbox holds the outputs: open a delivery for each peer. With nobody to send to the job is DELIVERED.

        Raises:
            LeaseLost: the lease went to someone else; throw the outputs away.
        """
        job = lease.job
        self._finish_job(tx, lease, JobState.DERIVED, now, code="Derived", values={"derived_token": lease.token})
        tx.execute(
            update(t.job_documents)
            .where(t.job_documents.c.job_id == job.id)
            .values(outputs=rows.dump_outputs(outputs), warnings=dump(list(warnings)), metrics=dump(dict(metrics)))
        )
        peers = tuple(dict.fromkeys(job.send_to)) if any(series.instances for series in outputs) else ()
        for peer in peers:
            tx.execute(
                t.deliveries.insert().values(
                    job_id=job.id,
                    derived_token=lease.token,
                    peer=peer,
                    state=DeliveryState.PENDING,
                    attempts=0,
                    setbacks=0,
                    lost=0,
                    updated_at=now,
                    not_before=now,
                    token=0,
                )
            )
        if not peers:
            why = "no destination"
            move_job(tx, job.id, JobState.DERIVED, JobState.DELIVERED, now, code="Delivered", message=why)
        return self.get(tx, job.id)

    def unchanged(self, tx: Connection, lease: Lease, reason: str, now: float) -> Job:
        """The corrector found nothing to change.

        Raises:
            LeaseLost: the lease went to someone else.
        """
        values = {"reason": short(reason)}
        self._finish_job(tx, lease, JobState.UNCHANGED, now, code="Unchanged", message=reason, values=values)
        return self.get(tx, lease.job.id)

    def refused(self, tx: Connection, lease: Lease, reason: str, now: float) -> Job:
        """The input must not be touched.

        Raises:
            LeaseLost: the lease went to someone else.
        """
        values = {"reason": short(reason)}
        self._finish_job(tx, lease, JobState.REFUSED, now, code="Refused", message=reason, values=values)
        return self.get(tx, lease.job.id)

    def failed(self, tx: Connection, lease: Lease, error: NodeError, now: float) -> Job:
        """Queue it again after a wait, or let it be DEAD; see `RetryPolicy`.

        Raises:
            LeaseLost: the lease went to someone else.
        """
        row = tx.execute(select(t.jobs).where(t.jobs.c.id == lease.job.id).with_for_update(key_share=True)).one()
        if row.token != lease.token or row.state != JobState.LEASED:
            raise _lost(lease)
        if isinstance(error, WorkerLost):
            self._lose(tx, row, now, str(error))
            return self.get(tx, row.id)
        verdict = self._retry.after_error(error, attempts=row.attempts, setbacks=row.setbacks)
        values = {
            "attempts": row.attempts + verdict.charged,
            "setbacks": 0 if verdict.charged else row.setbacks + 1,
            "lost": 0,
            "not_before": now + verdict.delay_s,
            "error": short(str(error)),
            "error_code": error.code,
        }
        self._end_attempt(tx, row, now, again=verdict.again, code=error.code, message=str(error), values=values)
        return self.get(tx, row.id)

    def release_worker(self, tx: Connection, owner: str, now: float) -> int:
        """The worker process died: its leases go back. Returns how many."""
        row = t.jobs.c
        held = select(t.jobs).where(row.state == JobState.LEASED, row.owner == owner)
        found = tx.execute(held.with_for_update(key_share=True)).all()
        for lost in found:
            self._lose(tx, lost, now, "the worker process died")
        return len(found)

    def retry(self, tx: Connection, job_id: str, now: float) -> Job:
        """Replay by the operator: a finished job from its start, or only its dead deliveries.

        Raises:
            RequestError: no such job.
            IllegalTransition: it is not in a state to replay, or a newer version took its place.
        """
        replay_job(tx, job_id, now)
        return self.get(tx, job_id)

    def cancel(self, tx: Connection, job_id: str, now: float) -> Job:
        """Cancel by the operator: a queued job, or deliveries that are not done.

        Raises:
            RequestError: no such job.
            IllegalTransition: it is being worked on or has ended.
        """
        cancel_job(tx, job_id, now)
        return self.get(tx, job_id)

    def get(self, tx: Connection, job_id: str) -> Job:
        """One job.

        Raises:
            RequestError: no such job.
        """
        row = tx.execute(rows.job_query().where(t.jobs.c.id == job_id)).one_or_none()
        if row is None:
            raise RequestError(f"there is no job {job_id}; `dicom-node jobs list` shows those there are")
        return rows.job(row, self._paths)

    def newest_inputs(self, tx: Connection, set_key: str) -> tuple[int, frozenset[str]] | None:
        """Version of the newest job of a set, and the SOP Instance UIDs that it works on; None for a new set."""
        row, document = t.jobs.c, t.job_documents.c
        newest = (
            select(row.version, document.inputs)
            .join(t.job_documents, document.job_id == row.id)
            .where(row.set_key == set_key)
            .order_by(row.version.desc())
            .limit(1)
        )
        found = tx.execute(newest).one_or_none()
        return None if found is None else (found.version, rows.input_uids(found.inputs))

    def ids_starting_with(self, tx: Connection, start: str) -> list[str]:
        """Ids that begin with this text; at most two, which is enough to tell that it is not unique."""
        query = select(t.jobs.c.id).where(t.jobs.c.id.startswith(start, autoescape=True)).limit(2)
        return [str(found) for found in tx.scalars(query)]

    def find(self, tx: Connection, *, state: JobState | None = None, limit: int = 100) -> list[Job]:
        """Newest jobs first."""
        query = rows.job_query().order_by(t.jobs.c.seq.desc()).limit(limit)
        if state is not None:
            query = query.where(t.jobs.c.state == state)
        return [rows.job(row, self._paths) for row in tx.execute(query)]

    def of_output(self, tx: Connection, series_instance_uid: str) -> list[Job]:
        """Jobs that derived this series, newest first. Reads all outputs: for an operator, not for a stage."""
        holds = t.job_documents.c.outputs.contains(dump(series_instance_uid), autoescape=True)
        query = rows.job_query().where(holds).order_by(t.jobs.c.seq.desc())
        return [rows.job(row, self._paths) for row in tx.execute(query)]

    def of_inputs(self, tx: Connection, corrector: str, input_digest: str) -> list[Job]:
        """Jobs of a corrector over exactly these inputs, newest first. Reads all jobs, as `of_output`."""
        row = t.jobs.c
        query = rows.job_query().where(row.input_digest == input_digest, row.corrector == corrector)
        return [rows.job(found, self._paths) for found in tx.execute(query.order_by(row.seq.desc()))]

    def events(self, tx: Connection, job_id: str) -> list[JobEvent]:
        """The audit trail of a job, oldest first."""
        row = t.job_events.c
        found = tx.execute(select(t.job_events).where(row.job_id == job_id).order_by(row.id))
        return [JobEvent(e.at, e.peer, e.origin, e.target, e.code, e.message) for e in found]

    def counts(self, tx: Connection) -> dict[tuple[str, str], int]:
        """How many jobs and deliveries are in each state: `("job", state)` and `("delivery", state)`."""
        totals = read_totals(tx)
        states = [*(("job", str(state)) for state in JobState), *(("delivery", str(state)) for state in DeliveryState)]
        return {(table, state): totals.get(f"{table}:{state}", 0) for table, state in states}

    def _lose(self, tx: Connection, row: Row[Any], now: float, how: str) -> None:
        verdict = self._retry.after_loss(lost=row.lost)
        code = WorkerLost.__name__
        values = {"lost": row.lost + 1, "not_before": now + verdict.delay_s, "error": short(how), "error_code": code}
        self._end_attempt(tx, row, now, again=verdict.again, code=code, message=how, values=values)

    def _end_attempt(
        self,
        tx: Connection,
        row: Row[Any],
        now: float,
        *,
        again: bool,
        code: str,
        message: str,
        values: dict[str, Any],
    ) -> None:
        """LEASED to QUEUED or DEAD. An old version does not queue again behind a newer one."""
        serialise(tx, row.set_key)
        target = JobState.QUEUED if again else JobState.DEAD
        move_job(tx, row.id, JobState.LEASED, target, now, code=code, message=message, token=row.token, values=values)
        if again and (newer := newest_version(tx, row.set_key)) != row.id:
            supersede(tx, row.id, newer, now)

    def _finish_job(
        self,
        tx: Connection,
        lease: Lease,
        target: JobState,
        now: float,
        *,
        code: str,
        message: str = "",
        values: dict[str, Any],
    ) -> None:
        clean = {"error": None, "error_code": None, "setbacks": 0, "lost": 0}
        if not move_job(
            tx,
            lease.job.id,
            JobState.LEASED,
            target,
            now,
            code=code,
            message=message,
            token=lease.token,
            values=clean | values,
        ):
            raise _lost(lease)


def _lost(lease: Lease) -> LeaseLost:
    return LeaseLost(f"job {lease.job.id} is no longer ours; throw its result away")
