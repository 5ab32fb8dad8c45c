from __future__ import annotations

import errno
import fcntl
from pathlib import Path

import pytest

from dicom_node.errors import StorageFailed, StorageFull
from dicom_node.net.spool import Spool, SpoolFile


class FullDisk:
    """A handle whose disk has room for `room` more bytes."""

    def __init__(self, path: Path, room: int) -> None:
        self._handle = path.open("xb", buffering=0)
        self._room = room

    def write(self, data: memoryview) -> int:
        if self._room == 0:
            raise OSError(errno.ENOSPC, "No space left on device")
        count = self._handle.write(data[: self._room]) or 0
        self._room -= count
        return count

    def fileno(self) -> int:
        return self._handle.fileno()

    def close(self) -> None:
        self._handle.close()


@pytest.fixture
def spool(tmp_path: Path) -> Spool:
    made = Spool(tmp_path / "spool")
    yield made
    made.close()


def everything(spool: Spool) -> list[str]:
    return sorted(p.name for folder in (spool.incoming, spool.ready) for p in folder.glob("*.dcm"))


def test_file_is_invisible_until_committed_and_whole_afterwards(spool: Spool) -> None:
    file = spool.create()
    file.write(b"abc")
    file.write(memoryview(b"def"))
    assert list(spool.ready.iterdir()) == []
    path = file.commit()
    assert path.parent == spool.ready
    assert path.read_bytes() == b"abcdef"
    assert list(spool.incoming.glob("*.dcm")) == []


def test_names_do_not_repeat(spool: Spool) -> None:
    files = [spool.create() for _ in range(50)]
    assert len({file.path for file in files}) == 50
    for file in files:
        file.discard()


def test_disk_that_fills_up_in_the_middle_leaves_nothing(spool: Spool) -> None:
    path = spool.incoming / "half.dcm"
    file = SpoolFile(path, spool.ready / path.name, FullDisk(path, 10))  # type: ignore[arg-type]
    with pytest.raises(StorageFull, match=r"half\.dcm"):
        file.write(b"x" * 100)
    assert everything(spool) == []


def test_below_the_watermark_nothing_is_begun(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", min_free_mb=1e12)
    with pytest.raises(StorageFull, match="MB free"):
        spool.create()
    spool.close()


def test_discard_removes_before_and_after_commit(spool: Spool) -> None:
    for commit in (False, True):
        file = spool.create()
        file.write(b"abc")
        if commit:
            file.commit()
        file.discard()
        file.discard()
    assert everything(spool) == []


def test_sweep_takes_orphans_of_the_dead_and_spares_the_living(tmp_path: Path) -> None:
    dead, living, sweeper = (Spool(tmp_path / "spool") for _ in range(3))
    halves = [one.create() for one in (dead, living)]
    for one in (dead, living):
        one.create().commit()
    kept = dead.create().commit()
    dead.close()
    asked = []

    def with_row(token: str) -> set[Path]:
        asked.append(token)
        return {kept}

    assert sweeper.sweep(with_row) == 2
    assert asked == [dead.token]
    assert everything(sweeper) == sorted([kept.name, f"{living.token}-0.dcm", f"{living.token}-1.dcm"])
    for half in halves:
        half.discard()
    living.close()
    sweeper.close()


def test_file_without_any_lock_is_an_orphan(spool: Spool) -> None:
    (spool.incoming / "stranger-0.dcm").write_bytes(b"x")
    assert spool.sweep(lambda token: set()) == 1


def test_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "spool").write_bytes(b"in the way")
    with pytest.raises(StorageFailed, match="spool"):
        Spool(tmp_path / "spool")


def test_lock_is_exclusive(spool: Spool) -> None:
    with (spool.incoming / f"{spool.token}.lock").open("ab") as handle, pytest.raises(BlockingIOError):
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
