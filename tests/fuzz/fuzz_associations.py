"""The stream of an association: what is acknowledged lies in the spool byte for byte, nothing else does."""

from __future__ import annotations

import errno
import logging
import struct
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from random import Random
from typing import Any, ClassVar, cast

import structlog
import wire
from fuzz_target import Mutate, shuffled
from wire import C_CANCEL, C_STORE, COMMAND, CT, LAST, MIXED, command, p_data, pdu, pdv

from dicom_node import faults
from dicom_node.archive.model import AssociationClosed, AssociationOpened, Entry, InstanceReceived
from dicom_node.net.connection import Connection
from dicom_node.net.journal import read_journal
from dicom_node.net.negotiation import accept, read_request
from dicom_node.net.spool import Spool
from dicom_node.net.store_association import Patience, StoreAssociation

_HEAD = 4
_MOST_PACKETS = 500
_PACKETS = (1, 7, 64, 1_000, 70_000)
_BUFFERS = (16_384, 16_400, 131_072)
_SUCCESS = 0


class _Peer:
    """A socket whose other side has sent everything, and may go while it is answered."""

    def __init__(self, stream: bytes, packet: int, answers: int) -> None:
        self.heard = b""
        self._stream, self._at, self._answers = memoryview(stream), 0, answers
        self._packet = max(packet, len(stream) // _MOST_PACKETS)

    def recv_into(self, buffer: memoryview) -> int:
        piece = self._stream[self._at : self._at + min(self._packet, len(buffer))]
        self._at += len(piece)
        buffer[: len(piece)] = piece
        return len(piece)

    def sendall(self, data: bytes) -> None:
        if self._answers == 0:
            raise BrokenPipeError(errno.EPIPE, "gone")
        self._answers -= 1
        self.heard += data

    def __getattr__(self, name: str) -> Any:
        if name in ("setsockopt", "settimeout", "shutdown", "close"):
            return lambda *_: None
        raise AttributeError(name)


class Associations:
    """`net.store_association` on a socket that is none, with a real spool and journal, and a disk that may refuse.

    The first bytes of an input choose the size of packets and of the buffer, when the peer goes, when the disk fails.
    """

    longest: ClassVar = 65_536
    words: ClassVar = (wire.RELEASE_RQ, wire.ABORT_PDU, bytes((1, 3)), bytes((1, 2)), bytes((1, 0)), bytes((1, 1)))

    def __init__(self, folder: Path) -> None:
        self._folder = folder / "spool"
        self._spool = Spool(self._folder)
        self._files = self._folder / "files"
        self._journal, self._offset = self._journals()[0], 0
        self._request = read_request(wire.associate_rq(MIXED))
        self._accepted = accept(self._request)[1]
        structlog.configure(wrapper_class=structlog.make_filtering_bound_logger(logging.CRITICAL))

    def close(self) -> None:
        """End the journal."""
        self._spool.close()

    def seeds(self) -> Iterator[bytes]:
        """Whole associations."""
        body = bytes(range(256)) * 4
        streams = (
            wire.store("1.2.3", body),
            wire.store("1.2.3", body, fragment=100) + wire.echo() + wire.store("1.2.4", body, message=2),
            b"".join(wire.store(f"1.2.{n}", body, message=n, fragment=700) for n in range(5)),
            p_data(pdv(1, 3, command(C_STORE, 1, CT, "1.2.3")), pdv(1, 0, body), pdv(1, LAST, body)),
            p_data(pdv(1, 3, command(C_CANCEL, 1))) + wire.echo() + wire.store("1.2.3", b"", message=9),
            p_data(*(pdv(1, COMMAND | (LAST if n == 9 else 0), b"") for n in range(10))),
            wire.store("1.2.3", body * 40, fragment=9_000) + wire.store("1.2.4", body * 15, message=2),
            p_data(pdv(1, 3, command(0x0020, 1, CT, data_set=1)), pdv(1, LAST, body)),
        )
        for number, stream in enumerate(streams):
            yield bytes((4, number, 255, 255)) + stream + wire.RELEASE_RQ
            yield bytes((number % 5, number, 2, 255)) + stream + wire.ABORT_PDU
            yield bytes((number % 5, number, 255, number)) + stream + wire.RELEASE_RQ

    def check(self, data: bytes) -> None:
        """Serve it, and compare answers, journal and files with what was said."""
        head, stream = data[:_HEAD].ljust(_HEAD, b"\xff"), data[_HEAD:]
        peer = _Peer(stream, _PACKETS[head[0] % len(_PACKETS)], head[2] if head[2] < 255 else -1)
        connection = Connection(cast(Any, peer), "127.0.0.1")
        connection.enlarge(_BUFFERS[head[1] % len(_BUFFERS)])
        association = StoreAssociation(
            connection, self._request, self._accepted, self._spool, Patience(5, 5), lambda name, amount: None
        )
        left = head[3]

        def disk(point: str) -> None:
            nonlocal left
            if point.startswith(("spool.", "journal.")):
                left -= 1
                if left == 0:
                    raise OSError(errno.EIO, "refused")

        faults.arm(disk if head[3] < 255 else None)
        try:
            association.serve()
        finally:
            faults.arm(None)
        assert association.ending in ("released", "aborted", "lost")
        self._compare(stream, peer.heard, gone=head[2] < 255)
        ended = association.closing()
        if ended is not None:
            self._spool.record([ended])
        assert self._recorded() == []

    def _compare(self, stream: bytes, heard: bytes, *, gone: bool) -> None:
        entries = self._recorded()
        received = [entry for entry in entries if isinstance(entry, InstanceReceived)]
        assert [type(entry) for entry in entries if entry not in received] == [AssociationOpened] * bool(received)
        assert sorted(entry.file for entry in received) == sorted(path.name for path in self._files.iterdir())
        stored = []
        for (context, said, data_set), (message, status) in zip(_spoken(stream), _answers(heard), strict=False):
            assert message == _number(said, 0x110)
            if status == _SUCCESS and _number(said, 0x100) == C_STORE:
                stored.append((context, said, data_set))
        assert len(stored) == len(received) or (gone and len(stored) == len(received) - 1)
        for (context, said, data_set), entry in zip(stored, received, strict=False):
            data = (self._files / entry.file).read_bytes()
            assert entry.size == len(data)
            assert entry.sop_instance_uid == said[0x1000].rstrip(b"\0 ").decode()
            assert data[144 + struct.unpack_from("<I", data, 140)[0] :] == data_set
            assert self._accepted[context].transfer_syntax.encode() in data[:600]
        for entry in received:
            (self._files / entry.file).unlink()

    def _recorded(self) -> list[Entry]:
        """What the journal says that was not read before."""
        entries: list[Entry] = []
        while True:
            stretch = read_journal(self._journal, self._offset)
            entries += stretch.entries
            self._offset = stretch.end
            if not stretch.sealed:
                return [entry for entry in entries if not isinstance(entry, AssociationClosed)]
            self._journal.unlink()
            self._journal, self._offset = self._journals()[0], 0

    def _journals(self) -> list[Path]:
        return sorted((self._folder / "journals").iterdir())

    def mutated(self, data: bytes, random: Random, mutate: Mutate) -> bytes:
        """Its PDUs, or the values in one of them, shuffled; lengths right again most of the time."""
        head, pdus = data[:_HEAD].ljust(_HEAD, b"\xff"), _pdus(data[_HEAD:])
        match random.randrange(4):
            case 0:
                head = bytes((*random.choices(range(16), k=2), *random.choices((255, *range(12)), k=2)))
            case 1 if pdus:
                at = random.randrange(len(pdus))
                values = shuffled(_values(pdus[at][6:]), [pdv(random.choice((1, 3, 5, 9)), 3, b"")], random, mutate)
                pdus[at] = pdu(4, b"".join(values))
            case 2 if pdus:
                at = random.randrange(len(pdus))
                pdus[at] = p_data(*(_bent(value, random) for value in _values(pdus[at][6:])))
            case _:
                strange = [wire.RELEASE_RQ, wire.ABORT_PDU, wire.echo(), wire.store("1.2.9", b"x" * 50), p_data()]
                pdus = shuffled(pdus, strange, random, mutate)
                if random.random() < 0.7:
                    pdus = [one[:2] + struct.pack(">I", max(0, len(one) - 6)) + one[6:] for one in pdus]
        return head + b"".join(pdus)


def _bent(value: bytes, random: Random) -> bytes:
    """A value with another context or control header, or cut in two."""
    if len(value) < 6:
        return value
    context, control, body = value[4], value[5], value[6:]
    match random.randrange(4):
        case 0:
            return pdv(random.choice((0, 1, 2, 3, 5, 255)), control, body)
        case 1:
            return pdv(context, control ^ random.choice((COMMAND, LAST, 0x80)), body)
        case 2:
            at = random.randrange(len(body) + 1)
            return pdv(context, control & ~LAST, body[:at]) + pdv(context, control, body[at:])
        case _:
            return value


def _pdus(stream: bytes) -> list[bytes]:
    found, at = [], 0
    while at < len(stream):
        end = at + 6 + int.from_bytes(stream[at + 2 : at + 6], "big")
        found.append(stream[at:end])
        at = end
    return found


def _values(body: bytes) -> list[bytes]:
    found, at = [], 0
    while at < len(body):
        end = at + 4 + int.from_bytes(body[at : at + 4], "big")
        found.append(body[at:end])
        at = end
    return found


def _number(said: dict[int, bytes], element: int) -> int:
    return int.from_bytes(said[element], "little")


def _answers(heard: bytes) -> list[tuple[int, int]]:
    """(Message ID, status) of each response; aborts and releases are no responses."""
    found = []
    for one in _pdus(heard):
        if one[0] == wire.P_DATA:
            said = wire.elements(one[12:])
            found.append((_number(said, 0x120), _number(said, 0x900)))
    return found


def _spoken(stream: bytes) -> Iterator[tuple[int, dict[int, bytes], bytes]]:
    """Whole messages that want an answer, as a second reader understands them: context, command, data set.

    It goes on where the node would break off: it is only asked as often as the node has answered.
    """
    said: dict[int, bytes] | None = None
    encoded = data_set = b""
    for one in _pdus(stream):
        for value in _values(one[6:]) if one[0] == wire.P_DATA and len(one) > 6 else ():
            if len(value) < 6 or int.from_bytes(value[:4], "big") != len(value) - 4:
                return
            context, control, body = value[4], value[5], value[6:]
            if control & COMMAND:
                encoded += body
                if not control & LAST:
                    continue
                whole = {}
                with suppress(struct.error, AssertionError):
                    whole = wire.elements(encoded)
                said, encoded, data_set = None, b"", b""
                if whole.get(0x100) == struct.pack("<H", C_CANCEL):
                    continue  # wants no answer
                if len(whole.get(0x800, b"")) == 2 and _number(whole, 0x800) != wire.NO_DATA_SET:
                    said = whole
                else:
                    yield context, whole, b""
            else:
                data_set += body
                if control & LAST and said is not None:
                    yield context, said, data_set
                    said, data_set = None, b""
