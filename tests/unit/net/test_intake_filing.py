"""Intake on a real spool and ledger: filing, quarantine, quiet period, and repetition after a death at any point."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pytest
from spool_room import QUIET_S, Room, make_room, work

from dicom_node import faults
from dicom_node.contracts import SeriesView
from dicom_node.errors import StorageFailed, StorageFull
from dicom_node.jobs.model import NewJob
from dicom_node.testing.series import SyntheticSeries

POINTS = (
    "intake.absorbed",
    "intake.linked",
    "intake.committed",
    "intake.unlinked",
    "intake.submitted",
    "intake.routed",
    "intake.associations_lost",
    "intake.orphan_removed",
    "intake.journal_removed",
    "intake.journal_forgotten",
    "intake.lock_removed",
)


class Death(BaseException):
    """What `kill -9` is to a test inside one process."""


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    with make_room(tmp_path / "var") as one:
        yield one
    faults.arm(None)


def small(slices: int = 1, **options: object) -> SyntheticSeries:
    return SyntheticSeries(slices=slices, rows=16, columns=16, **options)  # type: ignore[arg-type]


def test_files_move_to_the_archive_and_the_settled_patient_becomes_a_job(room: Room, tmp_path: Path) -> None:
    series = small(5)
    for path in series.write(tmp_path / "sent"):
        room.receiver.receive(path, 100.0)
    intake = room.intake()
    work(intake, 100.0)
    assert room.counts()["instances"] == 5
    assert room.spooled() == set()
    work(intake, 100.0 + 2 * QUIET_S)
    assert room.plans == [], "the association is still open"
    room.receiver.release(101.0)
    work(intake, 100.0 + QUIET_S / 2)
    assert room.plans == [], "the quiet period is not over"
    work(room.intake(), 101.0 + QUIET_S)
    assert room.plans == [sorted(series.sop_instance_uid(n) for n in range(5))]
    assert room.jobs() == [1]
    work(room.intake(), 10_000.0)
    assert room.jobs() == [1]
    with room.database.read() as tx:
        assert room.index.explanations(tx)[0]["series_instance_uid"] == series.series_instance_uid


def test_one_intake_looks_again_when_the_quiet_period_ends(room: Room, tmp_path: Path) -> None:
    """The same process goes on, though nothing comes that would make it look."""
    room.receiver.receive(small().write(tmp_path / "sent")[0], 100.0)
    room.receiver.release(100.0)
    intake = room.intake()
    for now in (100.0, 100.1, 100.0 + QUIET_S - 0.1):
        work(intake, now)
        assert room.plans == []
    work(intake, 100.0 + QUIET_S)
    assert len(room.plans) == 1


def test_what_stands_in_a_journal_counts_before_anybody_is_judged_settled(room: Room, tmp_path: Path) -> None:
    early, late = small(2).write(tmp_path / "sent")
    room.receiver.receive(early, 100.0)
    room.receiver.release(100.0)
    intake = room.intake()
    work(intake, 100.0)
    room.receiver.receive(late, 99.0 + QUIET_S)
    room.receiver.release(99.0 + QUIET_S)
    work(intake, 100.0 + QUIET_S)
    assert room.plans == []
    work(intake, 99.0 + 2 * QUIET_S)
    assert [len(plan) for plan in room.plans] == [2]


def test_same_push_again_makes_no_job_and_late_images_make_a_version(room: Room, tmp_path: Path) -> None:
    paths = small(4).write(tmp_path / "sent")
    room.receiver.release(0.0)
    for now, some in ((0.0, paths[:3]), (100.0, paths[:3]), (200.0, paths)):
        for path in some:
            room.receiver.receive(path, now)
        room.receiver.release(now)
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
    good, bad = small(2).write(tmp_path / "sent")
    bad.write_bytes(damage(bad.read_bytes()))  # type: ignore[operator]
    spooled = room.receiver.receive(bad, 0.0)
    room.receiver.receive(good, 0.0)
    work(room.intake(), 0.0)
    assert room.counts() | {"quarantined": 1, "instances": 1, "unfiled": 0} == room.counts()
    assert (room.folder / "quarantine" / spooled.name).read_bytes() == bad.read_bytes()
    assert room.spooled() == set()


def test_other_bytes_under_a_known_uid_are_kept_aside(room: Room, tmp_path: Path) -> None:
    first = small().write(tmp_path / "one")[0]
    other = small(tags={"WindowCenter": 77}).write(tmp_path / "two")[0]
    third = small(tags={"WindowCenter": 78}).write(tmp_path / "three")[0]
    names = [room.receiver.receive(path, 0.0).name for path in (first, other)]
    work(room.intake(), 0.0)
    names.append(room.receiver.receive(third, 1.0).name)
    work(room.intake(), 1.0)
    assert room.counts() | {"quarantined": 2, "instances": 1, "unfiled": 0} == room.counts()
    aside = {path.name: path.read_bytes() for path in (room.folder / "quarantine").iterdir()}
    assert aside == {names[1]: other.read_bytes(), names[2]: third.read_bytes()}
    assert room.archived() == {first.read_bytes()}
    assert room.spooled() == set()


def test_an_archive_file_that_is_lost_comes_back_with_the_next_push(room: Room, tmp_path: Path) -> None:
    path = small().write(tmp_path / "sent")[0]
    for now in (0.0, 1.0):
        room.receiver.receive(path, now)
        work(room.intake(), now)
        assert room.archived() == {path.read_bytes()}
        next((room.folder / "archive").rglob("*.dcm")).unlink()


def test_a_disk_that_refuses_is_tried_again(room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> Path:
        raise StorageFull("no space")

    for path in small(3).write(tmp_path / "sent"):
        room.receiver.receive(path, 0.0)
    intake = room.intake()
    with monkeypatch.context() as patch:
        patch.setattr(room.store, "link", full)
        for _ in range(2):
            with pytest.raises(StorageFull):
                intake.step(0.0)
    assert room.counts() | {"unfiled": 3, "instances": 0} == room.counts()
    work(intake, 0.0)
    assert room.counts() | {"unfiled": 0, "instances": 3, "quarantined": 0} == room.counts()


def test_a_file_that_the_disk_does_not_give_stops_only_itself(
    room: Room, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from dicom_node.net import intake as module

    paths = small(3).write(tmp_path / "sent")
    spooled = [room.receiver.receive(path, 0.0) for path in paths]
    room.receiver.release(0.0)
    reader = module.read_header

    def failing(ref: object) -> object:
        if spooled[0] == ref.path:  # type: ignore[attr-defined]
            raise StorageFailed("input/output error")
        return reader(ref)  # type: ignore[arg-type]

    one = room.intake()
    with monkeypatch.context() as patch:
        patch.setattr(module, "read_header", failing)
        assert one.step(0.0)
        with pytest.raises(StorageFailed):
            work(one, 1000.0)
        assert room.plans == [], "what cannot be read may be the patient's"
        assert room.counts() | {"unfiled": 1, "instances": 2} == room.counts()
    work(one, 1000.0)
    assert len(room.plans[0]) == 3


def test_a_journal_that_cannot_be_read_stops_routing_and_not_filing(room: Room, tmp_path: Path) -> None:
    room.receiver.receive(small().write(tmp_path / "sent")[0], 0.0)
    room.receiver.release(0.0)
    foreign = room.spool.journals / "another-000000.log"
    foreign.mkdir()
    intake = room.intake()
    with pytest.raises(StorageFailed):
        work(intake, 2 * QUIET_S)
    assert (room.counts()["instances"], room.plans) == (1, [])
    foreign.rmdir()
    work(intake, 2 * QUIET_S)
    assert len(room.plans) == 1


@pytest.mark.parametrize("point", POINTS)
def test_the_end_state_is_the_same_whenever_intake_dies(room: Room, tmp_path: Path, point: str) -> None:
    series = small(3)
    paths = series.write(tmp_path / "sent")
    for path in (*paths, paths[0]):
        room.receiver.receive(path, 0.0)
    bad = tmp_path / "bad"
    bad.write_bytes(b"nothing to read")
    room.receiver.receive(bad, 0.0)
    room.receiver.write(b"half of an image")
    room.receiver.die()
    reached = []

    def hook(name: str) -> None:
        if name == point:
            reached.append(name)
            raise Death

    for _ in range(3):
        faults.arm(hook)
        try:
            one = room.intake()
            work(one, 0.0)
            work(one, 2 * QUIET_S)
        except Death:
            pass
        faults.arm(None)
    assert reached
    work(room.intake(), 0.0)
    work(room.intake(), 2 * QUIET_S)
    assert room.counts() == room.counts() | {
        "instances": 3, "unfiled": 0, "quarantined": 1, "open_associations": 0
    }  # fmt: skip
    assert room.archived() == {path.read_bytes() for path in paths}
    assert room.plans[-1] == sorted(series.sop_instance_uid(n) for n in range(3))
    assert room.jobs() == [1]
    assert room.spooled() == set()
    assert list(room.spool.journals.iterdir()) == list(room.spool.locks.iterdir()) == []
    assert room.offsets() == {}


def test_patient_that_routing_trips_over_does_not_stop_the_others(room: Room, tmp_path: Path) -> None:
    for path in small().write(tmp_path / "sent"):
        room.receiver.receive(path, 0.0)
    room.receiver.release(0.0)

    def broken(_series: Sequence[SeriesView]) -> tuple[Sequence[NewJob], Sequence[Mapping[str, object]]]:
        raise ZeroDivisionError

    room.plan = broken  # type: ignore[method-assign]
    work(room.intake(), 0.0)
    work(room.intake(), QUIET_S)
    with room.database.read() as tx:
        assert "ZeroDivisionError" in str(room.index.explanations(tx)[0]["reasons"])
    assert room.jobs() == []


def test_a_clock_that_is_set_back_costs_no_more_than_another_quiet_period(room: Room, tmp_path: Path) -> None:
    room.receiver.receive(small().write(tmp_path / "sent")[0], 5000.0)
    room.receiver.release(5000.0)
    intake = room.intake()
    work(intake, 5000.0)
    work(intake, 1000.0)
    assert room.plans == []
    later = room.intake()
    work(later, 1000.0)
    work(later, 1001.0 + QUIET_S)
    assert len(room.plans) == 1


def test_while_images_come_in_they_are_left_to_gather_and_a_quiet_period_still_ends_in_time(
    room: Room, tmp_path: Path
) -> None:
    intake = room.intake()
    assert not intake.flowing
    for path in small(3).write(tmp_path / "sent"):
        room.receiver.receive(path, 100.0)
        assert intake.step(100.0) > 0
        assert intake.flowing
    assert intake.pause(0.05, 100.0) > 0.05
    room.receiver.release(100.1)
    intake.step(100.2)
    intake.step(100.2)
    assert not intake.flowing
    assert intake.pause(0.05, 100.0 + QUIET_S - 0.01) <= 0.0101
