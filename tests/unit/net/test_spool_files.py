from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from dicom_node.archive.model import InstanceReceived
from dicom_node.errors import StorageFailed, StorageFull
from dicom_node.net import spool as spool_module
from dicom_node.net.journal import read_journal
from dicom_node.net.spool import Spool, SpoolFolders, SpoolNames, locked


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    made = Spool(tmp_path / "spool")
    yield made
    made.close()


def files(spool: Spool) -> set[Path]:
    return set(spool.folders.files.iterdir())


def entries(spool: Spool) -> list[object]:
    return [e for path in sorted(spool.folders.journals.iterdir()) for e in read_journal(path, 0).entries]


def test_what_is_written_is_there_and_counts_once_it_is_recorded(spool: Spool) -> None:
    file = SpoolNames(spool).create()
    file.write(b"abc", memoryview(b"def"))
    file.write(b"ghi")
    file.sync()
    assert entries(spool) == []
    entry = InstanceReceived("a", file.path.name, "1.2.3", file.size, 5.0)
    spool.record([entry])
    assert file.path.read_bytes() == b"abcdefghi"
    assert entries(spool) == [entry]


def test_names_do_not_repeat(spool: Spool) -> None:
    names = SpoolNames(spool)
    made = [names.create() for _ in range(50)]
    assert len({file.path for file in made}) == 50
    for file in made:
        file.discard()
    names.close()
    assert files(spool) == set()


def test_names_are_durable_before_they_are_used_and_not_one_by_one(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    syncs: list[Path] = []
    monkeypatch.setattr(spool_module, "sync_folder", syncs.append)
    names = SpoolNames(spool)
    made = [names.create() for _ in range(40)]
    assert 0 < len(syncs) <= 7
    for file in made:
        file.discard()
    names.close()


def test_short_writes_are_completed(spool: Spool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "writev", lambda fd, parts: os.write(fd, b"".join(parts)[:5]))
    file = SpoolNames(spool).create()
    file.write(b"abc", b"defghij")
    file.sync()
    assert file.path.read_bytes() == b"abcdefghij"
    assert file.size == 10


def test_below_the_watermark_nothing_is_begun(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool", min_free_mb=1e12)
    with pytest.raises(StorageFull, match="MB free"):
        SpoolNames(spool).create()
    spool.close()


def test_a_large_file_that_brings_the_disk_below_the_watermark_goes(
    spool: Spool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(spool_module, "_SYNC_EVERY", 1000)
    file = SpoolNames(spool).create()
    file.write(bytes(900))
    monkeypatch.setattr(spool, "_least_free", 1e18)
    with pytest.raises(StorageFull):
        file.write(bytes(200))
    assert files(spool) == set()


def test_discard_removes_before_and_after_sync_and_may_be_repeated(spool: Spool) -> None:
    for sync in (False, True):
        file = SpoolNames(spool).create()
        file.write(b"abc")
        if sync:
            file.sync()
        file.discard()
        file.discard()
    assert files(spool) == set()


def test_folder_that_cannot_be_made_is_named(tmp_path: Path) -> None:
    (tmp_path / "spool").write_bytes(b"in the way")
    with pytest.raises(StorageFailed, match="spool"):
        Spool(tmp_path / "spool")


def test_the_lock_tells_the_living_from_the_dead(tmp_path: Path) -> None:
    folders = SpoolFolders(tmp_path / "spool")
    spool = Spool(tmp_path / "spool")
    assert locked(folders.lock_of(spool.token)) is None
    with folders.lock_of(spool.token).open("ab") as handle, pytest.raises(BlockingIOError):
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    spool.close()
    handle = locked(folders.lock_of(spool.token))
    assert handle is not None
    handle.close()


def test_a_closed_spool_has_sealed_its_journal(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "spool")
    spool.close()
    [journal] = spool.folders.journals.iterdir()
    assert read_journal(journal, 0).sealed
