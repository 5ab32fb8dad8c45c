"""A node's stores with an intake, jobs that end as a test wants, and retention, on any engine."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from sqlalchemy import text

from dicom_node.archive import tables as t
from dicom_node.archive.index import ArchiveIndex
from dicom_node.archive.store import ArchiveStore
from dicom_node.config import RetentionSection
from dicom_node.contracts import FileRef
from dicom_node.database import Database
from dicom_node.database.values import StoredPaths
from dicom_node.errors import GuardViolation, PeerRefused
from dicom_node.jobs import JobInput, JobLedger, NewJob, OutputInstance, OutputSeries, RetryPolicy
from dicom_node.keeping.leaving import Leaving
from dicom_node.keeping.retention import Retention
from dicom_node.testing.identity import SyntheticPatient
from dicom_node.testing.series import SyntheticSeries
from dicom_node.worker.outbox import Outbox

sys.path.append(str(Path(__file__).parents[1] / "net"))
from spool_room import ReceiverStandIn, Room, work

DAY_S = 86400.0
START = 1_000_000.0
"""When the first images come [UTC, s]."""
COUNTED = ("instances", "series", "patients", "quarantined")


def study(number: int = 1, slices: int = 2, *, patient: int = 0, **options: Any) -> SyntheticSeries:
    """A study of one series; studies of one `patient` share its identity."""
    who = SyntheticPatient(patient_id=f"P{patient}")
    return SyntheticSeries(slices=slices, rows=16, columns=16, seed=number, patient=who, **options)


@dataclass
class Site:
    """Everything that retention touches, and what happens around it."""

    folder: Path
    database: Database
    room: Room
    ledger: JobLedger
    section: RetentionSection = field(default_factory=lambda: RetentionSection(keep_days=10))
    unverified_peers: tuple[str, ...] = ()
    pushes: int = 0

    @property
    def outbox(self) -> Outbox:
        return Outbox(self.folder / "outbox")

    @property
    def store(self) -> ArchiveStore:
        return self.room.store

    def retention(self) -> Retention:
        """A new keeper process, so to speak."""
        leaving = Leaving(self.database, StoredPaths(self.folder), self.store, self.outbox, self.unverified_peers)
        return Retention(self.section, self.database, leaving, self.folder)

    def keep(self, now: float, retention: Retention | None = None) -> None:
        """Retention until it rests."""
        retention = retention or self.retention()
        while retention.step(now) == 0.0:
            pass

    def push(
        self, series: SyntheticSeries, now: float, frames: Iterable[int] | None = None, *, file: bool = True
    ) -> None:
        """An association sends images; filed unless a test wants them to wait."""
        self.pushes += 1
        receiver = ReceiverStandIn(self.folder / "spool")
        try:
            paths = series.write(self.folder.parent / f"sent{self.pushes}")
            for frame in range(len(paths)) if frames is None else frames:
                receiver.receive(paths[frame], now)
            receiver.release(now)
        finally:
            receiver.die()
        if file:
            work(self.room.intake(), now)

    def route(self, now: float) -> None:
        """Patients that have settled are routed: without a plan no job is made."""
        work(self.room.intake(), now + DAY_S / 100)

    def job(
        self, *series: SyntheticSeries, end: str = "delivered", send_to: tuple[str, ...] = ("pacs",), now: float = START
    ) -> str:
        """A job over series, brought to an end."""
        inputs = tuple(
            JobInput("ct", s.sop_instance_uid(n), s.series_instance_uid, self._ref(s.sop_instance_uid(n)), "a" * 64, {})
            for s in series
            for n in range(s.frames)
        )
        new = NewJob("hip", "hipct", "li", {}, send_to, inputs, f"set-{series[0].seed}", f"digest {end}")
        with self.database.begin() as tx:
            job = self.ledger.submit(tx, new, now)
        assert job is not None
        bring(self, job.id, end, now)
        return job.id

    def _ref(self, uid: str) -> Any:
        return FileRef(self.store.path(uid))

    def rows(self, table: Any) -> list[Any]:
        with self.database.read() as tx:
            return list(tx.execute(table.select()).all())

    def instances(self) -> set[str]:
        """SOP Instance UIDs in the index."""
        return {row.sop_instance_uid for row in self.rows(t.instances)}

    def holds(self, *series: SyntheticSeries) -> bool:
        """Whether all images of the series are here, rows and files, and none of them is leaving."""
        uids = {s.sop_instance_uid(n) for s in series for n in range(s.frames)}
        staying = {row.sop_instance_uid for row in self.rows(t.instances) if row.leaving_since is None}
        return uids <= staying and all(self.store.holds(uid) for uid in uids)

    def lacks(self, *series: SyntheticSeries) -> bool:
        """Whether nothing of the series is left."""
        uids = {s.sop_instance_uid(n) for s in series for n in range(s.frames)}
        names = {s.series_instance_uid for s in series}
        rows = [row for table in (t.series, t.explanations) for row in self.rows(table)]
        left = names & {row.series_instance_uid for row in rows}
        left |= {s.study_instance_uid for s in series} & {row.study_instance_uid for row in self.rows(t.studies)}
        return not left and not uids & self.instances() and not any(self.store.holds(uid) for uid in uids)

    def is_consistent(self) -> None:
        """Files are what the index says, counts are those of the rows, nothing is left of what is gone."""
        files = {path for path in (self.folder / "archive").rglob("*") if path.is_file()}
        assert files == {self.store.path(uid) for uid in self.instances()}
        per_series: dict[tuple[str, str, str], int] = {}
        for row in self.rows(t.instances):
            key = (row.series_instance_uid, row.patient_key, row.study_instance_uid)
            per_series[key] = per_series.get(key, 0) + 1
        found = {(r.series_instance_uid, r.patient_key, r.study_instance_uid): r.instances for r in self.rows(t.series)}
        assert found == per_series
        studies = {(row.patient_key, row.study_instance_uid) for row in self.rows(t.studies)}
        assert studies == {(patient, one) for _, patient, one in per_series}
        assert {row.patient_key for row in self.rows(t.patients)} >= {patient for patient, _ in studies}
        with self.database.read() as tx:
            counts = self.room.index.counts(tx)
            for name in COUNTED:
                table = {"quarantined": "quarantine"}.get(name, name)
                assert counts[name] == tx.execute(text(f"SELECT count(*) FROM {table}")).scalar(), name


def bring(site: Site, job_id: str, end: str, now: float) -> None:
    """Bring a queued job to an end: its name is the state, or what is wrong with its delivery."""
    ledger, database = site.ledger, site.database
    outputs = [OutputSeries("ct", "9.1", ("4.2",), (OutputInstance("9.1.1", "4.2", "1.dcm"),))]

    def step(name: str, *arguments: Any) -> Any:
        with database.begin() as tx:
            return getattr(ledger, name)(tx, *arguments)

    if end == "queued":
        return
    if end == "cancelled":
        step("cancel", job_id, now)
        return
    lease = step("lease", "w", 60, now)
    if end == "leased":
        return
    if end in ("dead", "given up"):
        step("failed", lease, GuardViolation("not finite"), now)
        if end == "given up":
            step("cancel", job_id, now)
        return
    if end in ("refused", "unchanged"):
        step(end, lease, "a reason", now)
        return
    folder = site.outbox.open(job_id, lease.token)
    (folder / "1.dcm").write_bytes(b"derived")
    site.outbox.seal(folder, {})
    site.outbox.publish(job_id, folder)
    step("derived", lease, outputs, (), {}, now)
    if end == "derived":
        return
    sending = step("lease_delivery", "d", 60, now)
    if end == "delivery dead":
        step("delivery_failed", sending, PeerRefused("no"), now)
        return
    step("instance_sent", sending, "9.1.1", 0, now)
    texts = {"unverified": "", "verification failed": "ct: status only: C-FIND failed with 0xA700"}
    step("delivery_done", sending, texts.get(end, "ct: c-find 1 of 1"), now)


def make_site(folder: Path, database: Database) -> Site:
    """A site in `folder`; jobs fail for good at once."""
    folder.mkdir(parents=True, exist_ok=True)
    policy = RetryPolicy(max_attempts=1)
    ledger = JobLedger(policy, policy, data_dir=folder)
    room = Room(folder, database, ArchiveIndex(folder), ledger, ArchiveStore(folder / "archive"), None)  # type: ignore[arg-type]
    room.plan = no_jobs  # type: ignore[method-assign]
    return Site(folder, database, room, ledger)


def no_jobs(series: Sequence[Any]) -> Any:
    """Routing that takes nothing."""
    return [], [{"series_instance_uid": one.series_instance_uid, "taken": False} for one in series]
