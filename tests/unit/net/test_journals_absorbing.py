"""What receivers wrote becomes rows once; what dead ones left is swept; what was acknowledged never goes."""

from __future__ import annotations

import errno
import os
import shutil
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path

import pytest
from spool_room import QUIET_S, ReceiverStandIn, Room, make_room, work

from dicom_node import faults
from dicom_node.archive.model import AssociationClosed, Received
from dicom_node.errors import StorageFailed
from dicom_node.net import journal, journals
from dicom_node.net.journals import GONE
from dicom_node.testing.series import SyntheticSeries


@pytest.fixture
def room(tmp_path: Path) -> Iterator[Room]:
    with make_room(tmp_path / "var") as one:
        yield one
    faults.arm(None)


@pytest.fixture
def images(tmp_path: Path) -> list[Path]:
    return SyntheticSeries(slices=6, rows=16, columns=16).write(tmp_path / "sent")


def settle(room: Room, now: float = 0.0) -> None:
    """A sweep comes once a second; a new intake begins with one."""
    work(room.intake(), now)


def test_a_living_receiver_keeps_what_it_is_writing(room: Room, images: list[Path]) -> None:
    room.receiver.receive(images[0], 0.0)
    half = room.receiver.write(b"half of an image")
    whole = room.receiver.write(b"whole, not yet in the journal")
    whole.sync()
    for _ in range(2):
        settle(room)
    assert room.spooled() == {half.path, whole.path}
    assert room.counts() | {"instances": 1, "open_associations": 1} == room.counts()
    assert [path.stem for path in room.spool.locks.iterdir()] == [room.receiver.spool.token]


def test_a_dead_receivers_acknowledged_files_count_and_its_orphans_go(room: Room, images: list[Path]) -> None:
    for path in images[:3]:
        room.receiver.receive(path, 0.0)
    room.receiver.write(b"half of an image")
    whole = room.receiver.write(images[4].read_bytes())
    whole.sync()
    (log,) = room.spool.journals.iterdir()
    with log.open("r+b") as torn:
        torn.seek(journal.read_journal(log, 0).end)
        torn.write(b"\x80\0\0\0abcdtorn by the end of the world")
    room.receiver.die()
    living = ReceiverStandIn(room.folder / "spool")
    living.receive(images[5], 0.0)
    settle(room)
    assert room.counts() | {"instances": 4, "unfiled": 0, "open_associations": 1} == room.counts()
    assert room.spooled() == set()
    assert [path.stem for path in room.spool.locks.iterdir()] == [living.spool.token]
    assert list(room.offsets()) == [path.name for path in room.spool.journals.iterdir()]
    living.die()
    settle(room)
    assert (room.counts()["open_associations"], room.offsets()) == (0, {})


def test_a_receiver_that_ended_well_leaves_nothing(room: Room, images: list[Path]) -> None:
    room.receiver.receive(images[0], 0.0)
    room.receiver.release(0.0)
    room.receiver.spool.close()
    settle(room)
    left = [list(folder.iterdir()) for folder in (room.spool.files, room.spool.journals, room.spool.locks)]
    assert (left, room.offsets()) == ([[], [], []], {})
    with room.database.read() as tx:
        assert tx.exec_driver_sql("SELECT how FROM associations").scalars().all() == ["released"]


def test_a_full_journal_goes_once_its_files_are_filed(
    room: Room, images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "JOURNAL_BYTES", 5000)
    receiver = ReceiverStandIn(room.folder / "spool")
    for path in images:
        receiver.receive(path, 0.0)
    full, last = sorted(room.spool.journals.glob(f"{receiver.spool.token}*"))[-2:]
    stopped = []

    def refuse(*_: object) -> None:
        stopped.append(1)
        raise StorageFailed("the archive's disk is away")

    with monkeypatch.context() as patch:
        patch.setattr(room.store, "link", refuse)
        intake = room.intake()
        for _ in range(2):
            with pytest.raises(StorageFailed):
                intake.step(0.0)
    assert stopped and full.exists()
    settle(room)
    settle(room)
    assert not full.exists() and last.exists()
    assert full.name not in room.offsets()
    receiver.receive(images[0], 1.0)
    settle(room)
    assert room.counts() | {"instances": 6, "unfiled": 0, "quarantined": 0} == room.counts()
    receiver.die()


def test_files_of_living_receivers_that_are_filed_already_go_at_the_start(room: Room, images: list[Path]) -> None:
    spooled = [room.receiver.receive(path, 0.0) for path in images[:2]]
    copies = [(path, path.read_bytes()) for path in spooled]
    settle(room)
    for path, content in copies:
        path.write_bytes(content)
    writing = room.receiver.write(b"half of an image")
    fresh = room.receiver.write(images[2].read_bytes())
    settle(room)
    assert room.spooled() == {writing.path, fresh.path}
    assert room.counts()["instances"] == 2


def test_an_entry_is_read_again_when_the_ledger_was_copied_back(room: Room, images: list[Path], tmp_path: Path) -> None:
    room.receiver.receive(images[0], 0.0)
    settle(room)
    room.database.close()
    ledger = room.folder / "node.sqlite"
    backup = tmp_path / "backup.sqlite"
    with closing(sqlite3.connect(ledger)) as source, closing(sqlite3.connect(backup)) as target:
        source.backup(target)
    for path in images[1:4]:
        room.receiver.receive(path, 1.0)
    room.receiver.receive(images[0], 1.0)
    settle(room, 1.0)
    assert room.counts()["instances"] == 4
    room.database.close()
    for path in room.folder.glob("node.sqlite-*"):
        path.unlink()
    shutil.copy(backup, ledger)
    assert room.counts()["instances"] == 1
    settle(room, 2.0)
    assert room.counts() | {"instances": 4, "unfiled": 0, "quarantined": 0} == room.counts()
    assert room.archived() == {path.read_bytes() for path in images[:4]}
    room.receiver.release(2.0)
    settle(room, 2.0 + QUIET_S)
    assert len(room.plans[-1]) == 4


def test_an_acknowledged_file_that_is_gone_is_counted_and_stops_nothing(room: Room, images: list[Path]) -> None:
    gone = room.receiver.receive(images[0], 0.0)
    gone.unlink()
    room.receiver.receive(images[1], 0.0)
    settle(room)
    assert room.counts() | {"quarantined": 1, "instances": 1, "unfiled": 0} == room.counts()
    assert room.reasons() == [GONE]


def test_a_row_whose_file_goes_before_it_is_filed_stops_nothing(
    room: Room, images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    gone = room.receiver.receive(images[0], 0.0)
    room.receiver.receive(images[1], 0.0)
    faults.arm(lambda point: gone.unlink() if point == "intake.absorbed" else None)
    room.intake().step(0.0)
    faults.arm(None)
    settle(room)
    assert room.counts() | {"quarantined": 1, "instances": 1, "unfiled": 0} == room.counts()
    assert "cannot be opened" in room.reasons()[0]


def test_records_that_failed_after_intake_saw_them_hide_nothing_behind_them(room: Room, images: list[Path]) -> None:
    """The disk refuses the sync of records that intake has already read: what comes later must still be found."""
    room.receiver.receive(images[0], 0.0)
    intake = room.intake()
    work(intake, 0.0)

    def hook(point: str) -> None:
        if point == "journal.written":
            faults.arm(None)
            work(intake, 0.0)
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    faults.arm(hook)
    with pytest.raises(StorageFailed):
        room.receiver.receive(images[1], 0.0)
    room.receiver.spool.record([AssociationClosed("nobody's", "lost", 0.0)])
    for path in images[2:4]:
        room.receiver.receive(path, 0.0)
    work(intake, 0.0)
    assert room.counts()["instances"] >= 3
    room.receiver.die()
    settle(room)
    assert {path.read_bytes() for path in (images[0], *images[2:4])} <= room.archived()
    assert list(room.spool.journals.iterdir()) == []


def test_what_the_disk_refused_after_intake_entered_it_is_forgotten(room: Room, images: list[Path]) -> None:
    """Its sender was told that it was not stored: nobody need look at it, and quarantine has no file of it."""
    room.receiver.receive(images[0], 0.0)
    settle(room)
    refuse_after(room, images[1], lambda: room.entered(0.0))
    assert room.counts()["unfiled"] == 1
    intake = room.intake()
    work(intake, 0.0)
    assert room.counts() | {"instances": 1, "unfiled": 0, "quarantined": 0} == room.counts()
    room.receiver.receive(images[1], 1.0)
    work(intake, 1.0)
    assert room.counts() | {"instances": 2, "unfiled": 0, "quarantined": 0} == room.counts()


def test_what_the_disk_refused_while_intake_entered_it_is_forgotten(
    room: Room, images: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    intake = room.intake()
    read = journals.read_journal

    def too_late(path: Path, *span: int) -> journal.Stretch:
        """The receiver takes back what it wrote between our look at its journal and our look at the file."""
        monkeypatch.setattr(journals, "read_journal", read)
        found = read(path, *span)
        with path.open("r+b") as stream:
            stream.write(bytes(found.end))
        for file in room.spooled():
            file.unlink()
        return found

    monkeypatch.setattr(journals, "read_journal", too_late)
    refuse_after(room, images[0], lambda: work(intake, 0.0))
    settle(room)
    assert room.counts() | {"instances": 0, "unfiled": 0, "quarantined": 0} == room.counts()


def refuse_after(room: Room, image: Path, meanwhile: Callable[[], None]) -> None:
    """A disk that refuses to sync an entry; `meanwhile` it can be read. The receiver removes the file, and says so."""
    before = room.spooled()

    def hook(point: str) -> None:
        if point == "journal.written":
            faults.arm(None)
            meanwhile()
            raise OSError(errno.EIO, os.strerror(errno.EIO))

    faults.arm(hook)
    with pytest.raises(StorageFailed):
        room.receiver.receive(image, 0.0)
    for file in room.spooled() - before:
        file.unlink()


def test_what_an_older_node_left_is_filed_and_its_orphans_go(room: Room, images: list[Path]) -> None:
    ready, incoming = room.folder / "spool/ready", room.folder / "spool/incoming"
    ready.mkdir()
    incoming.mkdir()
    (incoming / "aaaa.lock").touch()
    (incoming / "aaaa-7.dcm").write_bytes(b"half of an image")
    with_row, orphan = ready / "aaaa-1.dcm", ready / "aaaa-2.dcm"
    shutil.copy(images[0], with_row)
    shutil.copy(images[1], orphan)
    with room.database.begin() as tx:
        tx.exec_driver_sql(
            "INSERT INTO associations (id, calling_ae, called_ae, address, receiver, opened_at) "
            "VALUES ('old', 'CT', 'NODE', '::1', 'aaaa', 0)"
        )
        room.index.absorb(tx, "row", 0, 1, receiver="aaaa", received=[Received(0, with_row, "old", 0.0)])
        room.index.forget_journals(tx, ["row"])
    settle(room)
    assert room.counts() | {"instances": 1, "unfiled": 0, "open_associations": 0} == room.counts()
    settle(room, QUIET_S)
    assert len(room.plans) == 1
    assert not ready.exists() and not incoming.exists()
