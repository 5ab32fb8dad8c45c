"""A storage SCP of a few lines on bare sockets, that keeps the standard only until its manner says otherwise."""

from __future__ import annotations

import contextlib
import socket
import struct
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

_CONTEXT = "1.2.840.10008.3.1.1.1"
_FIND = b"1.2.840.10008.5.1.4.1.2.2.1"


@dataclass
class Call:
    """One connection, as a manner sees it.

    Attributes:
        peer: whom it called.
        line: the connection.
        number: of the connection, from 0.
        context_id, message_id, sop_class_uid, sop_instance_uid: of the request at hand.
        begun: C-STOREs begun on this connection, the present one included.
    """

    peer: HostilePeer
    line: socket.socket
    number: int
    context_id: int = 0
    message_id: int = 0
    sop_class_uid: str = ""
    sop_instance_uid: str = ""
    begun: int = 0

    def answer(self, status: int = 0, *, message_id: int | None = None) -> bytes:
        """C-STORE-RSP to the request at hand, as a P-DATA-TF."""
        body = b"".join(
            _element(number, value)
            for number, value in (
                (0x0002, self.sop_class_uid.encode()),
                (0x0100, struct.pack("<H", 0x8001)),
                (0x0120, struct.pack("<H", self.message_id if message_id is None else message_id)),
                (0x0800, struct.pack("<H", 0x0101)),
                (0x0900, struct.pack("<H", status)),
                (0x1000, self.sop_instance_uid.encode()),
            )
        )
        return p_data(self.context_id, 3, _element(0, struct.pack("<I", len(body))) + body)

    def store(self, status: int = 0) -> None:
        """Keep it and say so."""
        with self.peer.lock:
            self.peer.stored[self.sop_instance_uid] += 1
        self.line.sendall(self.answer(status))

    def hang(self) -> None:
        """Until the peer is stopped."""
        self.peer.stopped.wait()

    def trickle(self, data: bytes, pause_s: float) -> None:
        """Byte by byte."""
        for at in range(len(data)):
            self.line.sendall(data[at : at + 1])
            if self.peer.stopped.wait(pause_s):
                return


Manner = Callable[[Call], None]


@dataclass(frozen=True)
class Manners:
    """What to do instead of the right thing, at each point.

    Attributes:
        connected: before anything is read.
        requested: instead of the A-ASSOCIATE-AC.
        accepted: right after the A-ASSOCIATE-AC.
        begun: when the command of a C-STORE is there, before its data set is read.
        store: when a C-STORE is there in full.
        find: when a C-FIND is there in full; without it C-FIND is not accepted.
        release: instead of the A-RELEASE-RP.
        maximum_length: the longest P-DATA-TF that it says it takes.
    """

    connected: Manner | None = None
    requested: Manner | None = None
    accepted: Manner | None = None
    begun: Manner | None = None
    store: Manner | None = None
    find: Manner | None = None
    release: Manner | None = None
    maximum_length: int = 16384


class GoneError(Exception):
    """The node hung up."""


@dataclass
class HostilePeer:
    """Use it as a context manager; `manners` may be changed while it runs.

    Attributes:
        manners: how it behaves.
        stored: how often each SOP Instance UID was acknowledged.
        given: SOP Instance UIDs of all C-STOREs begun, by connection.
        port: on loopback.
    """

    manners: Manners = field(default_factory=Manners)
    stored: Counter[str] = field(default_factory=Counter)
    given: list[list[str]] = field(default_factory=list)
    port: int = 0

    def __post_init__(self) -> None:
        self.lock = threading.Lock()
        self.stopped = threading.Event()
        self._listening = socket.socket()
        self._threads: list[threading.Thread] = []
        self._lines: list[socket.socket] = []

    def __enter__(self) -> Self:
        # Small, so that one who does not read is felt.
        self._listening.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        self._listening.bind(("127.0.0.1", 0))
        self._listening.listen(16)
        self.port = self._listening.getsockname()[1]
        self._start(self._accept)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stopped.set()
        for line in (self._listening, *self._lines):
            with contextlib.suppress(OSError):
                line.shutdown(socket.SHUT_RDWR)
            line.close()
        for thread in self._threads:
            thread.join(5)

    def _start(self, target: Callable[[], None]) -> None:
        thread = threading.Thread(target=target, daemon=True)
        self._threads.append(thread)
        thread.start()

    def _accept(self) -> None:
        while not self.stopped.is_set():
            try:
                line, _ = self._listening.accept()
            except OSError:
                return
            self._lines.append(line)
            call = Call(self, line, len(self.given))
            self.given.append([])
            self._start(lambda call=call: self._serve(call))  # type: ignore[misc]

    def _serve(self, call: Call) -> None:
        with contextlib.suppress(GoneError, OSError), call.line:
            if not self._does(self.manners.connected, call):
                self._associated(call)

    def _associated(self, call: Call) -> None:
        kind, body = read_pdu(call.line)
        if kind != 1 or self._does(self.manners.requested, call):
            return
        call.line.sendall(accept(body, self.manners.maximum_length, self.manners.find is not None))
        if self._does(self.manners.accepted, call):
            return
        command, has_data = b"", False
        while True:
            kind, body = read_pdu(call.line)
            if kind == 5:
                if not self._does(self.manners.release, call):
                    call.line.sendall(struct.pack(">BBI4x", 6, 0, 4))
                return
            if kind != 4:
                return
            for context_id, control, fragment in _values(body):
                if control & 1:
                    command += fragment
                if control == 3:
                    has_data = self._begin(call, context_id, command)
                    command = b""
                    if call.sop_class_uid.encode() != _FIND and self._does(self.manners.begun, call):
                        return
                if control & 2 and (control & 1) != has_data:
                    self._whole(call)

    def _begin(self, call: Call, context_id: int, command: bytes) -> bool:
        elements = dict(_elements(command))
        call.context_id = context_id
        call.message_id = struct.unpack("<H", elements[0x0110])[0]
        call.sop_class_uid = elements[0x0002].rstrip(b"\0").decode()
        call.sop_instance_uid = elements.get(0x1000, b"").rstrip(b"\0").decode()
        if call.sop_instance_uid:
            call.begun += 1
            self.given[call.number].append(call.sop_instance_uid)
        return struct.unpack("<H", elements[0x0800])[0] != 0x0101

    def _whole(self, call: Call) -> None:
        manner = self.manners.store if call.sop_instance_uid else self.manners.find
        if manner is not None:
            manner(call)
        elif call.sop_instance_uid:
            call.store()

    @staticmethod
    def _does(manner: Manner | None, call: Call) -> bool:
        """Whether there was a manner to follow."""
        if manner is None:
            return False
        manner(call)
        return True


def read_pdu(line: socket.socket) -> tuple[int, bytes]:
    """Type and body of the next PDU (PS3.8 9.3.1)."""
    kind, length = struct.unpack(">BxI", _exactly(line, 6))
    return kind, _exactly(line, length)


def p_data(context_id: int, control: int, fragment: bytes) -> bytes:
    """P-DATA-TF with one presentation data value (PS3.8 9.3.5)."""
    value = struct.pack(">IBB", len(fragment) + 2, context_id, control) + fragment
    return struct.pack(">BBI", 4, 0, len(value)) + value


def accept(request: bytes, maximum_length: int, find: bool) -> bytes:
    """A-ASSOCIATE-AC that takes the first transfer syntax of every context (PS3.8 9.3.3)."""
    contexts = b""
    for kind, item in _items(request[68:]):
        if kind == 0x20:
            inside = dict(reversed(list(_items(item[4:]))))
            refused = inside[0x30].rstrip(b"\0") == _FIND and not find
            syntax = _item(0x40, inside[0x40])
            contexts += _item(0x21, struct.pack(">BBBB", item[0], 0, 3 if refused else 0, 0) + syntax)
    user = _item(0x51, struct.pack(">I", maximum_length)) + _item(0x52, b"1.2.3.4")
    body = request[:68] + _item(0x10, _CONTEXT.encode()) + contexts + _item(0x50, user)
    return struct.pack(">BBI", 2, 0, len(body)) + body


def _exactly(line: socket.socket, count: int) -> bytes:
    found = b""
    while len(found) < count:
        more = line.recv(count - len(found))
        if not more:
            raise GoneError
        found += more
    return found


def _item(kind: int, body: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(body)) + body


def _items(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        kind, length = struct.unpack_from(">BxH", data, at)
        yield kind, data[at + 4 : at + 4 + length]
        at += 4 + length


def _values(body: bytes) -> Iterator[tuple[int, int, bytes]]:
    at = 0
    while at < len(body):
        length, context_id, control = struct.unpack_from(">IBB", body, at)
        yield context_id, control, body[at + 6 : at + 4 + length]
        at += 4 + length


def _element(number: int, value: bytes) -> bytes:
    value += b"\0" * (len(value) % 2)
    return struct.pack("<HHI", 0, number, len(value)) + value


def _elements(data: bytes) -> Iterator[tuple[int, bytes]]:
    at = 0
    while at < len(data):
        _, number, length = struct.unpack_from("<HHI", data, at)
        yield number, data[at + 8 : at + 8 + length]
        at += 8 + length
