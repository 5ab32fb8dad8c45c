"""A receiver's journal: what it acknowledges, durable before the sender hears of it, one fsync for many associations.

A journal is a preallocated file of records, each a length, a CRC-32 and a JSON document; zeros follow the last one.
Only whole records with the right checksum count. One receiver writes it, intake reads it into the ledger.
"""

from __future__ import annotations

import json
import os
import struct
import threading
import zlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from dicom_node import faults
from dicom_node.archive.model import AssociationClosed, AssociationOpened, Entry, InstanceReceived
from dicom_node.durable import storage_error, sync_folder
from dicom_node.errors import NodeError, StorageFailed

JOURNAL_BYTES: Final = 1 << 20
"""A journal that would grow longer is sealed, and the next begun."""
_HEAD: Final = struct.Struct("<II")
_LONGEST_RECORD: Final = 4096
_SEAL: Final = "sealed"
_KINDS: Final = {"opened": AssociationOpened, "received": InstanceReceived, "closed": AssociationClosed}
_NAMES: Final = {kind: name for name, kind in _KINDS.items()}


@dataclass(frozen=True)
class Stretch:
    """Entries read from a journal.

    Attributes:
        entries: in the order of writing.
        end: offset behind the last of them [bytes].
        sealed: whether the writer will add nothing more.
    """

    entries: tuple[Entry, ...]
    end: int
    sealed: bool


@dataclass
class _Waiting:
    record: bytes
    done: bool = False
    failure: NodeError | None = None


@dataclass
class _Group:
    """Records that wait for the next sync, and who is syncing."""

    waiting: list[_Waiting] = field(default_factory=list)
    busy: bool = False
    changed: threading.Condition = field(default_factory=threading.Condition)


class JournalWriter:
    """Appends entries; callers from many threads share each sync."""

    def __init__(self, folder: Path, token: str) -> None:
        """Begin a journal.

        Args:
            folder: `spool/journals`.
            token: the receiver's name.

        Raises:
            StorageFull, StorageFailed: the disk refuses.
        """
        self._folder = folder
        self._token = token
        self._number = 0
        self._offset = 0
        self._spoiled = False
        self._group = _Group()
        self._descriptor = self._begin()

    def append(self, entries: Sequence[Entry]) -> None:
        """Return once the entries are durable.

        Raises:
            StorageFull, StorageFailed: the disk refused; none of the entries counts.
        """
        own = _Waiting(b"".join(map(_encoded, entries)))
        group = self._group
        with group.changed:
            group.waiting.append(own)
            while not own.done and group.busy:
                group.changed.wait()
            if own.done:
                batch: list[_Waiting] = []
            else:
                group.busy = True
                batch, group.waiting = group.waiting, []
        if batch:
            self._lead(batch)
        if own.failure is not None:
            raise own.failure

    def close(self) -> None:
        """Seal: nothing more will come."""
        try:
            os.pwrite(self._descriptor, _record({"kind": _SEAL}), self._offset)
            os.fdatasync(self._descriptor)
        finally:
            os.close(self._descriptor)

    def _lead(self, batch: Sequence[_Waiting]) -> None:
        failure: NodeError | None = StorageFailed("the journal could not be written")
        try:
            self._write(b"".join(one.record for one in batch))
            failure = None
        except NodeError as problem:
            failure = problem
        finally:
            with self._group.changed:
                self._group.busy = False
                for one in batch:
                    one.done, one.failure = True, failure
                self._group.changed.notify_all()

    def _write(self, records: bytes) -> None:
        try:
            if self._spoiled or self._offset + len(records) + _LONGEST_RECORD > JOURNAL_BYTES:
                self._next()
            try:
                _write_all(self._descriptor, records, self._offset)
                faults.reach("journal.written")
                os.fdatasync(self._descriptor)
                faults.reach("journal.synced")
            except OSError:
                # What may or may not have become durable must not count later: its senders are told that it failed.
                # Intake may have read it all the same and looks behind it from now on: nothing more may come here.
                self._spoiled = True
                _write_all(self._descriptor, bytes(len(records)), self._offset)
                raise
            self._offset += len(records)
        except OSError as problem:
            raise storage_error(problem, self._folder) from problem

    def _next(self) -> None:
        """Seal this journal and begin the next; the new one is there before the old one says that it is over."""
        old, old_offset = self._descriptor, self._offset
        self._descriptor = self._begin()
        os.pwrite(old, _record({"kind": _SEAL}), old_offset)
        os.fdatasync(old)
        os.close(old)
        faults.reach("journal.turned")

    def _begin(self) -> int:
        path = self._folder / f"{self._token}-{self._number:06d}.log"
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            # Written once in full, so that a sync later on changes no metadata of the file.
            _write_all(descriptor, bytes(JOURNAL_BYTES), 0)
            os.fsync(descriptor)
            sync_folder(self._folder)
        except OSError as problem:
            path.unlink(missing_ok=True)
            raise storage_error(problem, path) from problem
        self._number += 1
        self._offset = 0
        self._spoiled = False
        return descriptor


def read_journal(path: Path, offset: int, end: int | None = None) -> Stretch:
    """Entries from an offset on, up to the last whole one.

    Args:
        path: the journal.
        offset: 0, or the end of an earlier stretch [bytes].
        end: where to stop: the end of a stretch [bytes].

    Raises:
        StorageFailed: the file cannot be read.
    """
    try:
        with path.open("rb") as stream:
            stream.seek(offset)
            data = stream.read() if end is None else stream.read(end - offset)
    except OSError as problem:
        raise storage_error(problem, path) from problem
    entries: list[Entry] = []
    at = 0
    while (document := _document(data, at)) is not None:
        kind = document.pop("kind", None)
        if kind == _SEAL:
            return Stretch(tuple(entries), offset + at, True)
        entries.append(_entry(path, str(kind), document))
        at += _HEAD.size + _HEAD.unpack_from(data, at)[0]
    return Stretch(tuple(entries), offset + at, False)


def _document(data: bytes, at: int) -> dict[str, object] | None:
    if at + _HEAD.size > len(data):
        return None
    length, checksum = _HEAD.unpack_from(data, at)
    body = data[at + _HEAD.size : at + _HEAD.size + length]
    if not 0 < length == len(body) or zlib.crc32(body) != checksum:
        return None
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        document = None
    return document if isinstance(document, dict) else {}  # of no kind that is known


def _entry(path: Path, kind: str, document: dict[str, object]) -> Entry:
    try:
        make: Callable[..., Entry] = _KINDS[kind]
        return make(**document)
    except (KeyError, TypeError):
        raise StorageFailed(
            f"{path}: an entry {kind!r} of another version; finish with the program that wrote it"
        ) from None


def _encoded(entry: Entry) -> bytes:
    return _record({"kind": _NAMES[type(entry)], **vars(entry)})


def _record(document: dict[str, object]) -> bytes:
    body = json.dumps(document, separators=(",", ":")).encode("ascii")
    return _HEAD.pack(len(body), zlib.crc32(body)) + body


def _write_all(descriptor: int, data: bytes, offset: int) -> None:
    view = memoryview(data)
    while view:
        count = os.pwrite(descriptor, view, offset)
        view, offset = view[count:], offset + count
