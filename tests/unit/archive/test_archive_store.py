"""Originals at rest: durable, never overwritten, repeatable after a crash."""

import errno
import os

import pytest

from dicom_node.archive.store import ArchiveStore
from dicom_node.errors import StorageFailed, StorageFull


@pytest.fixture
def store(tmp_path):
    return ArchiveStore(tmp_path / "archive")


@pytest.fixture
def spooled(tmp_path):
    path = tmp_path / "spool" / "file"
    path.parent.mkdir()
    path.write_bytes(b"bytes of an image")
    return path


def test_a_file_gets_a_second_name_that_tells_nothing(store, spooled, tmp_path):
    placed = store.place(spooled, "1.2.3")
    assert placed == store.path("1.2.3")
    assert placed.relative_to(tmp_path / "archive").parts[0] == placed.name[:1]
    assert "1.2.3" not in str(placed.relative_to(tmp_path))
    assert spooled.exists(), "it must stay until the row is committed"
    spooled.unlink()
    assert placed.read_bytes() == b"bytes of an image"


def test_placing_again_after_a_crash_is_the_same(store, spooled):
    store.place(spooled, "1.2.3")
    placed = store.place(spooled, "1.2.3")
    assert list(placed.parent.iterdir()) == [placed]


def test_other_bytes_never_replace_what_lies_there(store, spooled, tmp_path):
    store.place(spooled, "1.2.3")
    later = tmp_path / "later"
    later.write_bytes(b"other bytes")
    placed = store.place(later, "1.2.3")
    assert {path.read_bytes() for path in placed.parent.iterdir()} == {b"bytes of an image", b"other bytes"}
    assert placed.read_bytes() == b"other bytes"


@pytest.mark.parametrize("refusal", [errno.EXDEV, errno.EPERM])
def test_where_no_link_is_possible_it_is_copied(store, spooled, monkeypatch, refusal):
    def refuse(*_):
        raise OSError(refusal, "no links here")

    monkeypatch.setattr(os, "link", refuse)
    placed = store.place(spooled, "1.2.3")
    assert not placed.samefile(spooled)
    assert placed.read_bytes() == b"bytes of an image"
    assert list(placed.parent.iterdir()) == [placed]


@pytest.mark.parametrize(("reason", "raised"), [(errno.ENOSPC, StorageFull), (errno.EIO, StorageFailed)])
def test_a_disk_that_refuses_is_a_clear_error_and_leaves_no_half_file(store, spooled, monkeypatch, reason, raised):
    def refuse(*_):
        raise OSError(errno.EXDEV, "no links here")

    def fail(*_):
        raise OSError(reason, "the disk says no")

    monkeypatch.setattr(os, "link", refuse)
    store.path("1.2.3").parent.mkdir(parents=True)
    monkeypatch.setattr(os, "fsync", fail)
    with pytest.raises(raised):
        store.place(spooled, "1.2.3")
    assert list(store.path("1.2.3").parent.iterdir()) == []


def test_a_missing_file_is_named(store, spooled):
    spooled.unlink()
    with pytest.raises(StorageFailed, match=str(spooled)):
        store.place(spooled, "1.2.3")


def test_removing_is_repeatable(store, spooled):
    placed = store.place(spooled, "1.2.3")
    store.remove("1.2.3")
    store.remove("1.2.3")
    assert not placed.exists()
    store.remove("never there")
