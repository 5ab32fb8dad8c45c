"""What an operator should know about a node, running or not: read from ledger and disk, without patient data.

Nothing here grows with what the ledger holds, only with what waits.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Final

from sqlalchemy import Connection, func, select

from dicom_node.archive import tables as archive
from dicom_node.archive.index import ArchiveIndex
from dicom_node.durable import storage_error
from dicom_node.jobs import tables as jobs
from dicom_node.jobs.ledger import JobLedger
from dicom_node.jobs.states import JobState
from dicom_node.jobs.waiting import PeerQueue, oldest_queued, queues
from dicom_node.keeping import milestones
from dicom_node.keeping.milestones import Milestone

_SHOWN: Final = 10
_SAMPLED: Final = 20_000


@dataclass(frozen=True)
class DeadJob:
    """A job that has failed for good.

    Attributes:
        id: of the job.
        corrector: its corrector.
        code: of the error.
        why: the error.
        at: when it died, UTC [s].
    """

    id: str
    corrector: str
    code: str
    why: str
    at: float


@dataclass(frozen=True)
class SetAside:
    """A file in the quarantine: its name, why it is there, and since when (UTC [s])."""

    file: str
    reason: str
    at: float


@dataclass(frozen=True)
class Survey:
    """What the ledger says.

    Attributes:
        counts: of `ArchiveIndex.counts`.
        jobs: number of jobs by state.
        deliveries: number of deliveries by state.
        oldest: since when the oldest of each stage waits (`filing`, `routing`, `correcting`, `sending`), UTC [s].
        dead: the newest jobs that failed for good.
        peers: what waits for whom.
        quarantine: the newest files in quarantine.
        retention: its last round.
        repair: the last one.
    """

    counts: dict[str, int]
    jobs: dict[str, int]
    deliveries: dict[str, int]
    oldest: dict[str, float | None]
    dead: tuple[DeadJob, ...]
    peers: tuple[PeerQueue, ...]
    quarantine: tuple[SetAside, ...]
    retention: Milestone | None
    repair: Milestone | None


def survey(tx: Connection, ledger: JobLedger) -> Survey:
    """Read it all in one transaction.

    Raises:
        LedgerError: the database cannot be read.
    """
    waiting = queues(tx)
    states = ledger.counts(tx)
    received, patient = archive.received.c, archive.patients.c
    oldest = {
        "filing": tx.execute(select(func.min(received.received_at))).scalar_one(),
        "routing": tx.execute(select(func.min(patient.waiting_since))).scalar_one(),
        "correcting": oldest_queued(tx),
        "sending": min((one.oldest_at for one in waiting if one.oldest_at is not None), default=None),
    }
    return Survey(
        counts=ArchiveIndex().counts(tx),
        jobs={state: number for (table, state), number in states.items() if table == "job"},
        deliveries={state: number for (table, state), number in states.items() if table == "delivery"},
        oldest=oldest,
        dead=_dead(tx),
        peers=tuple(one for one in waiting if one.waiting),
        quarantine=_quarantine(tx),
        retention=milestones.read(tx, milestones.RETENTION),
        repair=milestones.read(tx, milestones.REPAIR),
    )


def free_mb(folder: Path) -> float:
    """Free space for the node on the disk of a folder [MB].

    Raises:
        StorageFailed: the disk does not say.
    """
    try:
        state = os.statvfs(folder)
    except OSError as problem:
        raise storage_error(problem, folder) from problem
    return state.f_bavail * state.f_frsize / 1e6


def archive_bytes(folder: Path, instances: int) -> int:
    """Size of the archive [bytes]; of a large one an estimate from some of its files, whose names are hashes.

    Args:
        folder: `data_dir/archive`.
        instances: how many files there are, about.

    Raises:
        StorageFailed: the disk does not say.
    """
    try:
        sizes = list(islice(_sizes(folder), _SAMPLED))
    except OSError as problem:
        raise storage_error(problem, folder) from problem
    return sum(sizes) if len(sizes) < _SAMPLED else sum(sizes) * max(instances, _SAMPLED) // _SAMPLED


def _sizes(folder: Path) -> Iterator[int]:
    if not folder.is_dir():
        return
    for one in sorted(path for path in folder.iterdir() if path.is_dir()):
        with os.scandir(one) as entries:
            for entry in entries:
                with contextlib.suppress(FileNotFoundError):  # retention was quicker
                    yield entry.stat().st_size


def _dead(tx: Connection) -> tuple[DeadJob, ...]:
    row = jobs.jobs.c
    found = (
        select(row.id, row.corrector, row.error_code, row.error, row.updated_at)
        .where(row.state == JobState.DEAD)
        .order_by(row.seq.desc())
        .limit(_SHOWN)
    )
    return tuple(DeadJob(r.id, r.corrector, r.error_code or "", r.error or "", r.updated_at) for r in tx.execute(found))


def _quarantine(tx: Connection) -> tuple[SetAside, ...]:
    row = archive.quarantine.c
    found = select(row.path, row.reason, row.quarantined_at).order_by(row.id.desc()).limit(_SHOWN)
    return tuple(SetAside(Path(r.path).name, r.reason, r.quarantined_at) for r in tx.execute(found))
