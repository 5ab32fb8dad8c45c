"""A job's folder appears whole or not at all."""

import errno
import json
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from dicom_node import faults
from dicom_node.durable import storage_error
from dicom_node.errors import StorageFailed, StorageFull
from dicom_node.worker.outbox import Outbox


def test_a_published_folder_holds_files_and_manifest(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    working = outbox.open("job1", 1)
    (working / "ct").mkdir()
    (working / "ct" / "0001.dcm").write_bytes(b"x")
    assert not outbox.folder("job1").exists()
    outbox.seal(working, {"job": "job1"})
    outbox.publish("job1", working)
    assert (outbox.folder("job1") / "ct" / "0001.dcm").read_bytes() == b"x"
    assert json.loads((outbox.folder("job1") / "manifest.json").read_text()) == {"job": "job1"}
    assert [p.name for p in tmp_path.iterdir()] == ["job1"]


def test_a_repeated_attempt_replaces_what_an_earlier_one_published(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    for token, content in ((1, b"first"), (2, b"second")):
        working = outbox.open("job1", token)
        (working / "a.dcm").write_bytes(content)
        outbox.seal(working, {})
        outbox.publish("job1", working)
    assert (outbox.folder("job1") / "a.dcm").read_bytes() == b"second"


def test_what_an_earlier_attempt_published_goes_whole_before_the_new_one_comes_whole(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    visible: list[list[str]] = []

    def look(_: str) -> None:
        folder = outbox.folder("job1")
        visible.append(sorted(p.name for p in folder.iterdir()) if folder.exists() else [])

    faults.arm(look)
    try:
        for token in (1, 2):
            working = outbox.open("job1", token)
            for name in "abc":
                (working / name).write_bytes(b"x")
            outbox.seal(working, {})
            with patched_rmtree(look):
                outbox.publish("job1", working)
    finally:
        faults.arm(None)
    assert {tuple(names) for names in visible} == {(), ("a", "b", "c", "manifest.json")}
    assert [p.name for p in tmp_path.iterdir()] == ["job1"]


@contextmanager
def patched_rmtree(look: Callable[[str], None]) -> Iterator[None]:
    """Somebody looks after each file that a folder loses."""
    with pytest.MonkeyPatch.context() as patch:

        def remove(folder: Path, **_: Any) -> None:
            for path in sorted(folder.iterdir()):
                path.unlink()
                look("")
            folder.rmdir()

        patch.setattr(shutil, "rmtree", remove)
        yield


def test_what_a_killed_worker_left_is_swept_and_never_published(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    (outbox.open("job1", 1) / "half.dcm").write_bytes(b"x")
    done = outbox.open("job2", 1)
    outbox.publish("job2", done)
    assert Outbox(tmp_path).sweep() == 1
    assert [p.name for p in tmp_path.iterdir()] == ["job2"]


def test_a_new_attempt_starts_empty(tmp_path: Path) -> None:
    outbox = Outbox(tmp_path)
    (outbox.open("job1", 1) / "half.dcm").write_bytes(b"x")
    working = outbox.open("job1", 2)
    assert list(working.iterdir()) == []
    assert [p.name for p in tmp_path.iterdir()] == [working.name]


def test_disk_errors_say_whether_waiting_helps() -> None:
    full = storage_error(OSError(errno.ENOSPC, "No space left on device"), Path("x"))
    assert isinstance(full, StorageFull)
    assert full.retryable
    assert full.infrastructure
    assert isinstance(storage_error(OSError(errno.EROFS, "Read-only file system"), Path("x")), StorageFailed)


def test_an_unwritable_folder_is_a_storage_error(tmp_path: Path) -> None:
    (tmp_path / "outbox").write_text("a file where the folder should be")
    with pytest.raises(StorageFailed, match="cannot use"):
        Outbox(tmp_path / "outbox").open("job1", 1)
