"""Upper layer and DIMSE bytes written by hand (PS3.8 9.3, PS3.7 6.3): right, or wrong just as a test wants them.

Independent of the node's own encoders and of pynetdicom, so that two mistakes cannot cancel.
"""

from __future__ import annotations

import socket
import struct
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Self

CT = "1.2.840.10008.5.1.4.1.1.2"
ENHANCED_MR = "1.2.840.10008.5.1.4.1.1.4.1"
VERIFICATION = "1.2.840.10008.1.1"
EXPLICIT_LITTLE = "1.2.840.10008.1.2.1"
IMPLICIT_LITTLE = "1.2.840.10008.1.2"
APPLICATION_CONTEXT = "1.2.840.10008.3.1.1.1"

ASSOCIATE_RQ, ASSOCIATE_AC, ASSOCIATE_RJ, P_DATA, RELEASE, RELEASED, ABORT = range(1, 8)
COMMAND, LAST = 1, 2
C_STORE, C_FIND, C_ECHO, C_CANCEL = 0x0001, 0x0020, 0x0030, 0x0FFF
NO_DATA_SET = 0x0101
STORAGE = {1: (CT, (EXPLICIT_LITTLE,))}
MIXED = {**STORAGE, 3: (VERIFICATION, (IMPLICIT_LITTLE,)), 5: (ENHANCED_MR, (EXPLICIT_LITTLE,))}
Contexts = Mapping[int, tuple[str, Sequence[str]]]


def pdu(kind: int, body: bytes = b"", length: int | None = None) -> bytes:
    """A PDU; `length` is what it announces, where that is a lie."""
    return struct.pack(">BBI", kind, 0, len(body) if length is None else length) + body


RELEASE_RQ = pdu(RELEASE, bytes(4))
ABORT_PDU = pdu(ABORT, bytes(4))


def item(kind: int, body: bytes) -> bytes:
    """An item or sub-item of an association request."""
    return struct.pack(">BBH", kind, 0, len(body)) + body


def associate_rq(
    contexts: Contexts,
    *,
    called: str = "CORRECTOR",
    calling: str = "WIRE",
    maximum: int = 65_536,
    version: int = 1,
    application_context: str = APPLICATION_CONTEXT,
    user: bytes | None = None,
    extra: bytes = b"",
) -> bytes:
    """PS3.8 9.3.2; `user` replaces the user information sub-items, `extra` stands between the items and in them."""
    body = struct.pack(">HH", version, 0) + called.encode().ljust(16) + calling.encode().ljust(16) + bytes(32)
    body += item(0x10, application_context.encode())
    for number, (abstract, transfers) in contexts.items():
        names = item(0x30, abstract.encode()) + b"".join(item(0x40, t.encode()) for t in transfers)
        body += item(0x20, bytes((number, 0, 0, 0)) + extra + names)
    if user is None:
        user = item(0x51, struct.pack(">I", maximum)) + item(0x52, b"1.2.3.4")
    return pdu(ASSOCIATE_RQ, body + extra + item(0x50, extra + user))


def pdv(context: int, control: int, data: bytes) -> bytes:
    """A presentation data value item."""
    return struct.pack(">IBB", len(data) + 2, context, control) + data


def p_data(*values: bytes) -> bytes:
    """A P-DATA-TF of these items."""
    return pdu(P_DATA, b"".join(values))


def element(number: int, value: bytes | int) -> bytes:
    """An element of a command set; a number becomes a US."""
    value = struct.pack("<H", value) if isinstance(value, int) else value
    return struct.pack("<HHI", 0, number, len(value)) + value


def uid_element(number: int, uid: str) -> bytes:
    """A UI, padded to even length."""
    return element(number, uid.encode() + b"\0" * (len(uid) % 2)) if uid else b""


def command(
    field: int, message: int, sop_class: str = "", instance: str = "", *, data_set: int = 0, extra: bytes = b""
) -> bytes:
    """A command set; `data_set` is the Command Data Set Type, `extra` stands at its end."""
    body = uid_element(2, sop_class) + element(0x100, field) + element(0x110, message)
    body += element(0x700, 0) + element(0x800, data_set) + uid_element(0x1000, instance) + extra
    return element(0, struct.pack("<I", len(body))) + body


def store(
    instance: str, body: bytes, *, message: int = 1, context: int = 1, sop_class: str = CT, fragment: int = 65_000
) -> bytes:
    """A whole C-STORE-RQ, the data set in fragments of at most `fragment` bytes, each a PDU."""
    parts = [p_data(pdv(context, COMMAND | LAST, command(C_STORE, message, sop_class, instance)))]
    for at in range(0, len(body), fragment):
        last = LAST if at + fragment >= len(body) else 0
        parts.append(p_data(pdv(context, last, body[at : at + fragment])))
    return b"".join(parts)


def echo(message: int = 1, context: int = 3) -> bytes:
    """A C-ECHO-RQ."""
    return p_data(pdv(context, COMMAND | LAST, command(C_ECHO, message, VERIFICATION, data_set=NO_DATA_SET)))


def elements(encoded: bytes) -> dict[int, bytes]:
    """Values of a command set by element number."""
    found, at = {}, 0
    while at < len(encoded):
        group, number, length = struct.unpack_from("<HHI", encoded, at)
        assert group == 0
        found[number] = encoded[at + 8 : at + 8 + length]
        at += 8 + length
    return found


@dataclass(frozen=True)
class Answer:
    """A DIMSE response."""

    field: int
    message: int
    status: int


class Line:
    """A connection to the node; a context manager."""

    def __init__(self, port: int, *, source: str | None = None, timeout_s: float = 60) -> None:
        self.socket = socket.create_connection(("127.0.0.1", port), timeout_s, None if source is None else (source, 0))
        self.socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, problem: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.socket.close()

    def send(self, *parts: bytes) -> None:
        """Send."""
        for part in parts:
            self.socket.sendall(part)

    def read(self) -> tuple[int, bytes] | None:
        """The next PDU, None where the node has closed."""
        head = self._exactly(6)
        if head is None:
            return None
        body = self._exactly(int.from_bytes(head[2:], "big"))
        return None if body is None else (head[0], body)

    def associate(self, contexts: Contexts = STORAGE) -> set[int]:
        """Ask, and say which contexts were accepted."""
        self.send(associate_rq(contexts))
        kind, body = self.read() or (0, b"")
        assert kind == ASSOCIATE_AC, f"answered with PDU {kind} {body!r}"
        return accepted(body)

    def answer(self) -> Answer:
        """The next response."""
        kind, body = self.read() or (0, b"")
        assert kind == P_DATA, f"answered with PDU {kind} {body!r}"
        found = elements(body[6:])
        return Answer(*(int.from_bytes(found[number], "little") for number in (0x100, 0x120, 0x900)))

    def store(self, instance: str, pieces: Iterable[bytes], *, context: int = 1, sop_class: str = CT) -> int:
        """C-STORE of a data set that comes in pieces, each sent as a PDU; its status."""
        self.send(p_data(pdv(context, COMMAND | LAST, command(C_STORE, 1, sop_class, instance))))
        held = None
        for piece in pieces:
            if held is not None:
                self.send(p_data(pdv(context, 0, held)))
            held = piece
        self.send(p_data(pdv(context, LAST, held or b"")))
        return self.answer().status

    def release(self) -> None:
        """Release, and hear it confirmed."""
        self.send(RELEASE_RQ)
        answer = self.read()
        assert answer is not None and answer[0] == RELEASED, answer

    def ended(self) -> tuple[int, bytes] | None:
        """What the node said last before it closed: (type, body), None where it closed without a word."""
        last = None
        try:
            while (said := self.read()) is not None:
                last = said
        except ConnectionError:
            pass
        return last

    def _exactly(self, count: int) -> bytes | None:
        whole = b""
        while len(whole) < count:
            piece = self.socket.recv(count - len(whole))
            if not piece:
                return None
            whole += piece
        return whole


def accepted(body: bytes) -> set[int]:
    """Context IDs that an A-ASSOCIATE-AC accepts."""
    found, at = set(), 68
    while at < len(body):
        kind, length = body[at], int.from_bytes(body[at + 2 : at + 4], "big")
        if kind == 0x21 and body[at + 6] == 0:
            found.add(body[at + 4])
        at += 4 + length
    return found
