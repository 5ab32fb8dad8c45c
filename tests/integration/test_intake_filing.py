"""Intake on a real spool and ledger: filing, quarantine, quiet period, and repetition after a crash at any point."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from dicom_node.archive.index import ArchiveIndex
from dicom_node.archive.model import Received
from dicom_node.archive.store import ArchiveStore
from dicom_node.contracts import SeriesView
from dicom_node.database.engine import Database
from dicom_node.errors import StorageFull
from dicom_node.jobs.ledger import JobLedger
from dicom_node.jobs.model import JobInput, NewJob
from dicom_node.jobs.retry import RetryPolicy
from dicom_node.net.intake import Intake
from dicom_node.net.spool import Spool
from dicom_node.testing.series import SyntheticSeries

QUIET_S = 30.0


class DyingStore(ArchiveStore):
    """Fails once, before or after it has placed the file."""

    def __init__(self, folder: Path) -> None:
        super().__init__(folder)
        self.die: str | None = None

    def place(self, file: Path, sop_instance_uid: str) -> Path:
        moment, self.die = self.die, None
        if moment == "before":
            raise StorageFull("no space")
        target = super().place(file, sop_instance_uid)
        if moment == "after":
            raise KeyboardInterrupt
        return target


@dataclass
class Room:
    """An intake with everything around it."""

    folder: Path
    database: Database
    index: ArchiveIndex
    ledger: JobLedger
    store: DyingStore
    spool: Spool
    association: str
    plans: list[list[str]] = field(default_factory=list)
    numbers: Iterator[int] = field(default_factory=itertools.count)

    def intake(self) -> Intake:
        return Intake(
            database=self.database, index=self.index, ledger=self.ledger, store=self.store,
            quarantine=self.folder / "quarantine", quiet_s=QUIET_S, plan=self.plan,
        )  # fmt: skip

    def plan(self, series: Sequence[SeriesView]) -> tuple[Sequence[NewJob], Sequence[Mapping[str, object]]]:
        self.plans.append(sorted(i.sop_instance_uid for s in series for i in s.instances))
        inputs = tuple(
            JobInput("ct", i.sop_instance_uid, i.series_instance_uid, i.file, sha256=i.sha256)
            for s in series
            for i in s.instances
        )
        digest = ",".join(self.plans[-1])
        job = NewJob("route", "corrector", "method", {}, (), inputs, set_key="one", input_digest=digest)
        return [job], [{"series_instance_uid": s.series_instance_uid, "taken": True} for s in series]

    def receive(self, path: Path, now: float) -> Path:
        """What the receiver does, with a copy of `path`."""
        file = self.spool.create()
        file.write(path.read_bytes())
        ready = file.commit()
        with self.database.begin() as tx:
            self.index.record_received(tx, Received(0, ready, self.association, now))
        return ready

    def close_association(self, now: float) -> None:
        with self.database.begin() as tx:
            self.index.close_association(tx, self.association, "released", now)

    def counts(self) -> dict[str, int]:
        with self.database.read() as tx:
            return self.index.counts(tx)

    def jobs(self) -> list[int]:
        """Versions of all jobs, oldest first."""
        with self.database.read() as tx:
            return [job.version for job in reversed(self.ledger.find(tx))]


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    folder = tmp_path / "var"
    database = Database.open(f"sqlite:///{folder / 'node.sqlite'}")
    index = ArchiveIndex(folder)
    spool = Spool(folder / "spool")
    with database.begin() as tx:
        association = index.open_association(
            tx, calling_ae="SCANNER", called_ae="NODE", address="127.0.0.1", receiver=spool.token, now=0.0
        )
    ledger = JobLedger(RetryPolicy(), data_dir=folder)
    yield Room(folder, database, index, ledger, DyingStore(folder / "archive"), spool, association)
    database.close()
    spool.close()


def work(intake: Intake, now: float) -> None:
    while intake.step(now):
        pass


def test_files_move_to_the_archive_and_the_settled_patient_becomes_a_job(room: Room, tmp_path: Path) -> None:
    series = SyntheticSeries(slices=5)
    for path in series.write(tmp_path / "sent"):
        room.receive(path, 100.0)
    intake = room.intake()
    work(intake, 100.0)
    assert room.counts()["instances"] == 5
    assert list(room.spool.ready.iterdir()) == []
    work(intake, 100.0 + 2 * QUIET_S)
    assert room.plans == [], "the association is still open"
    room.close_association(101.0)
    work(intake, 100.0 + QUIET_S / 2)
    assert room.plans == [], "the quiet period is not over"
    work(room.intake(), 101.0 + QUIET_S)
    assert room.plans == [sorted(series.sop_instance_uid(n) for n in range(5))]
    assert room.jobs() == [1]
    work(room.intake(), 10_000.0)
    assert room.jobs() == [1]
    with room.database.read() as tx:
        assert room.index.explanations(tx)[0]["series_instance_uid"] == series.series_instance_uid


def test_same_push_again_makes_no_job_and_late_images_make_a_version(room: Room, tmp_path: Path) -> None:
    paths = SyntheticSeries(slices=4).write(tmp_path / "sent")
    room.close_association(0.0)
    for now, some in ((0.0, paths[:3]), (100.0, paths[:3]), (200.0, paths)):
        for path in some:
            room.receive(path, now)
        work(room.intake(), now)
        work(room.intake(), now + QUIET_S)
    assert room.jobs() == [1, 2]
    assert room.counts()["instances"] == 4


@pytest.mark.parametrize(
    "damage",
    [
        lambda whole: b"this is not DICOM at all" * 100,
        lambda whole: whole[: len(whole) // 2],
        lambda whole: whole[:132],
        lambda whole: b"",
    ],
    ids=["garbage", "truncated", "preamble only", "empty"],
)
def test_unreadable_file_is_quarantined_with_its_reason(room: Room, tmp_path: Path, damage: object) -> None:
    good, bad = SyntheticSeries(slices=2).write(tmp_path / "sent")
    bad.write_bytes(damage(bad.read_bytes()))  # type: ignore[operator]
    spooled = room.receive(bad, 0.0)
    room.receive(good, 0.0)
    work(room.intake(), 0.0)
    counts = room.counts()
    assert (counts["quarantined"], counts["instances"], counts["unfiled"]) == (1, 1, 0)
    assert (room.folder / "quarantine" / spooled.name).read_bytes() == bad.read_bytes()
    assert list(room.spool.ready.iterdir()) == []


def test_other_bytes_under_a_known_uid_are_kept_aside(room: Room, tmp_path: Path) -> None:
    first = SyntheticSeries(slices=1).write(tmp_path / "one")[0]
    other = SyntheticSeries(slices=1, tags={"WindowCenter": 77}).write(tmp_path / "two")[0]
    room.receive(first, 0.0)
    work(room.intake(), 0.0)
    conflicting = room.receive(other, 1.0)
    work(room.intake(), 1.0)
    assert room.counts() | {"quarantined": 1, "instances": 1} == room.counts()
    assert (room.folder / "quarantine" / conflicting.name).read_bytes() == other.read_bytes()
    archived = next(p for p in (room.folder / "archive").rglob("*.dcm"))
    assert archived.read_bytes() == first.read_bytes()


@pytest.mark.parametrize("moment", ["before", "after"])
def test_crash_while_a_file_is_placed_can_be_repeated(room: Room, tmp_path: Path, moment: str) -> None:
    for path in SyntheticSeries(slices=3).write(tmp_path / "sent"):
        room.receive(path, 0.0)
    room.store.die = moment
    with pytest.raises((StorageFull, KeyboardInterrupt)):
        room.intake().step(0.0)
    assert room.counts()["unfiled"] == 3
    work(room.intake(), 0.0)
    assert room.counts() | {"unfiled": 0, "instances": 3, "quarantined": 0} == room.counts()
    assert len(list((room.folder / "archive").rglob("*"))) == len(set((room.folder / "archive").rglob("*")))
    assert list(room.spool.ready.iterdir()) == []


def test_crash_between_commit_and_removal_leaves_what_a_sweep_removes(room: Room, tmp_path: Path) -> None:
    path = SyntheticSeries(slices=1).write(tmp_path / "sent")[0]
    ready = room.receive(path, 0.0)
    aside = tmp_path / "aside.dcm"
    shutil.copy(ready, aside)
    work(room.intake(), 0.0)
    shutil.copy(aside, ready)
    room.spool.close()
    later = Spool(room.folder / "spool")

    def unfiled(_token: str) -> set[Path]:
        with room.database.read() as tx:
            return {r.path for r in room.index.unfiled(tx, 100)}

    assert later.sweep(unfiled) == 1
    assert not ready.exists()
    assert room.counts()["instances"] == 1
    later.close()


def test_row_whose_file_is_gone_is_set_aside_and_stops_nothing(room: Room, tmp_path: Path) -> None:
    gone, there = SyntheticSeries(slices=2).write(tmp_path / "sent")
    room.receive(gone, 0.0).unlink()
    room.receive(there, 0.0)
    work(room.intake(), 0.0)
    assert room.counts() | {"quarantined": 1, "instances": 1, "unfiled": 0} == room.counts()


def test_patient_that_routing_trips_over_does_not_stop_the_others(room: Room, tmp_path: Path) -> None:
    room.close_association(0.0)
    for path in SyntheticSeries(slices=1).write(tmp_path / "sent"):
        room.receive(path, 0.0)

    def broken(_series: Sequence[SeriesView]) -> tuple[Sequence[NewJob], Sequence[Mapping[str, object]]]:
        raise ZeroDivisionError

    room.plan = broken  # type: ignore[method-assign]
    work(room.intake(), 0.0)
    work(room.intake(), QUIET_S)
    with room.database.read() as tx:
        assert "ZeroDivisionError" in str(room.index.explanations(tx)[0]["reasons"])
    assert room.jobs() == []
