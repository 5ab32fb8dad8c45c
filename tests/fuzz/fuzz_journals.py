"""Journals: whatever the disk gives back, whole records count, nothing else does."""

from __future__ import annotations

import struct
import tempfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import ClassVar

from fuzz_target import Mutate, shuffled

from dicom_node.archive.model import AssociationClosed, AssociationOpened, InstanceReceived
from dicom_node.errors import NodeError
from dicom_node.net.journal import read_journal
from dicom_node.net.spool import Spool

_HEAD = struct.Struct("<II")
_ENTRIES = (
    AssociationOpened("a1", "SCANNER", "CORRECTOR", "127.0.0.1", 1.5),
    InstanceReceived("a1", "token-1.dcm", "1.2.3", 1000, 2.5),
    InstanceReceived("a1", "token-2.dcm", "1.2.4", 0, 3.5),
    AssociationClosed("a1", "released", 4.5),
)


class Journals:
    """`net.journal.read_journal` on bytes of any kind."""

    longest: ClassVar = 4_096
    words: ClassVar = (
        b'"kind":',
        b'"sealed"',
        b'"opened"',
        b'"received"',
        b'"closed"',
        b"null",
        b"[]",
        b"{}",
        b"1e999",
    )

    def __init__(self, folder: Path) -> None:
        self._path = folder / "journal.log"

    def close(self) -> None:
        """Nothing is held."""

    def seeds(self) -> Iterator[bytes]:
        """A journal as the writer writes it, without, with and after its seal."""
        with tempfile.TemporaryDirectory() as name:
            spool = Spool(Path(name))
            spool.record(_ENTRIES[:2])
            spool.record(_ENTRIES[2:])
            [path] = spool.folders.journals.iterdir()
            whole = path.read_bytes()[:2_000]
            spool.close()
            sealed = path.read_bytes()[:2_000]
        yield from (whole, sealed, sealed.rstrip(b"\0"), b"", bytes(100))

    def check(self, data: bytes) -> None:
        """Reading ends in entries and an end, or in an error of ours; reading on from there finds nothing more."""
        self._path.write_bytes(data)
        try:
            stretch = read_journal(self._path, 0)
            rest = read_journal(self._path, stretch.end)
        except NodeError:
            return
        assert 0 <= stretch.end <= len(data)
        assert rest.entries == () and rest.sealed == stretch.sealed
        for entry in stretch.entries:
            assert isinstance(entry, AssociationOpened | InstanceReceived | AssociationClosed)

    def mutated(self, data: bytes, random: Random, mutate: Mutate) -> bytes:
        """Its records shuffled, with the right checksum most of the time."""
        parts = shuffled(_documents(data), [b'{"kind":"sealed"}', b"[]", b'{"kind":"opened"}'], random, mutate)
        records = [_HEAD.pack(len(part), zlib.crc32(part) ^ (random.random() < 0.1)) + part for part in parts]
        return b"".join(records) + bytes(random.choice((0, 1, 8, 100)))


def _documents(data: bytes) -> list[bytes]:
    found, at = [], 0
    while at + _HEAD.size <= len(data):
        length = _HEAD.unpack_from(data, at)[0]
        if not length:
            break
        found.append(data[at + _HEAD.size : at + _HEAD.size + length])
        at += _HEAD.size + length
    return found
