"""A C-STORE sender that knows exactly which instances were acknowledged, and can go away in every rude manner."""

from __future__ import annotations

import io
import socket
import struct
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType

from pydicom.dataset import FileDataset
from pydicom.filebase import DicomBytesIO
from pydicom.filewriter import write_dataset
from pydicom.uid import ExplicitVRLittleEndian

SUCCESS = 0x0000
_CONTEXT = 1
_FRAGMENT = 800
"""Small, so that an instance arrives in pieces."""
_APPLICATION_CONTEXT = b"1.2.840.10008.3.1.1.1"


@dataclass(frozen=True)
class Instance:
    """What is sent: its UIDs, and its data set in Explicit VR Little Endian."""

    sop_class_uid: str
    sop_instance_uid: str
    data_set: bytes

    @classmethod
    def of(cls, dataset: FileDataset) -> Instance:
        """The data set without its file meta information."""
        stream = DicomBytesIO()
        stream.is_little_endian, stream.is_implicit_VR = True, False
        write_dataset(stream, dataset)
        return cls(str(dataset.SOPClassUID), str(dataset.SOPInstanceUID), stream.getvalue())


class Gone(Exception):
    """No association, or it broke."""


class LightSender:
    """One association that proposes storage of one SOP class."""

    def __init__(self, port: int, sop_class_uid: str, *, timeout_s: float = 10, calling: str = "LIGHT") -> None:
        """Connect and negotiate.

        Raises:
            Gone: nobody listens, or the association is rejected.
        """
        self._message = 0
        try:
            self._socket = socket.create_connection(("127.0.0.1", port), timeout_s)
        except OSError as problem:
            raise Gone(f"no connection ({type(problem).__name__})") from None
        try:
            self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            self._socket.sendall(_associate_rq(sop_class_uid, calling))
            kind, _ = self._pdu()
            if kind != 2:
                raise ConnectionError(f"answered with PDU {kind}")
        except OSError as problem:
            self._socket.close()
            raise Gone(f"no association ({problem})") from None

    def __enter__(self) -> LightSender:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, traceback: TracebackType | None
    ) -> None:
        self._socket.close()

    def store(self, instance: Instance) -> int:
        """C-STORE; returns the status.

        Raises:
            Gone: no answer came.
        """
        try:
            self._socket.sendall(self._request(instance))
            kind, body = self._pdu()
        except OSError as problem:
            raise Gone(f"no answer ({type(problem).__name__})") from None
        if kind != 4:
            raise Gone(f"C-STORE answered with PDU {kind}")
        elements = _elements(body[6:])
        if struct.unpack("<H", elements[0x0120])[0] != self._message:
            raise Gone("the answer is for another message")
        return int(struct.unpack("<H", elements[0x0900])[0])

    def release(self) -> None:
        """A-RELEASE, the polite end."""
        try:
            self._socket.sendall(struct.pack(">BBI4x", 5, 0, 4))
            self._pdu()
        except OSError:
            return

    def abort(self) -> None:
        """A-ABORT."""
        try:
            self._socket.sendall(struct.pack(">BBIBBBB", 7, 0, 4, 0, 0, 0, 0))
        except OSError:
            return

    def reset(self) -> None:
        """The connection is reset, as when the sender's machine restarts."""
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self._socket.close()

    def half(self, instance: Instance) -> None:
        """The first half of a C-STORE, then the end of the connection."""
        request = self._request(instance)
        try:
            self._socket.sendall(request[: len(request) // 2])
        except OSError:
            return

    def _request(self, instance: Instance) -> bytes:
        self._message += 1
        data = instance.data_set
        out = [_p_data(0b11, _c_store_rq(instance, self._message))]
        for start in range(0, len(data), _FRAGMENT):
            out.append(_p_data(0b10 if start + _FRAGMENT >= len(data) else 0, data[start : start + _FRAGMENT]))
        return b"".join(out)

    def _pdu(self) -> tuple[int, bytes]:
        head = self._exactly(6)
        return head[0], self._exactly(int.from_bytes(head[2:6], "big"))

    def _exactly(self, count: int) -> bytes:
        out = io.BytesIO()
        while out.tell() < count:
            piece = self._socket.recv(count - out.tell())
            if not piece:
                raise ConnectionError("closed by the peer")
            out.write(piece)
        return out.getvalue()


def store_all(sender: LightSender, instances: Sequence[Instance]) -> set[str]:
    """Send one after the other; returns what was acknowledged, and stops at the first that was not."""
    taken = set()
    for instance in instances:
        try:
            if sender.store(instance) != SUCCESS:
                break
        except Gone:
            break
        taken.add(instance.sop_instance_uid)
    return taken


def _p_data(flags: int, data: bytes) -> bytes:
    return struct.pack(">BBIIBB", 4, 0, len(data) + 6, len(data) + 2, _CONTEXT, flags) + data


def _associate_rq(sop_class_uid: str, calling: str) -> bytes:
    """PS3.8 9.3.2."""
    syntaxes = _item(0x30, sop_class_uid.encode()) + _item(0x40, ExplicitVRLittleEndian.encode())
    user = _item(0x51, struct.pack(">I", 65_536)) + _item(0x52, b"2.25.4711")
    body = struct.pack(">HH", 1, 0) + b"CORRECTOR".ljust(16) + calling.encode().ljust(16) + bytes(32)
    body += _item(0x10, _APPLICATION_CONTEXT)
    body += _item(0x20, struct.pack(">BBBB", _CONTEXT, 0, 0, 0) + syntaxes) + _item(0x50, user)
    return struct.pack(">BBI", 1, 0, len(body)) + body


def _item(kind: int, body: bytes) -> bytes:
    return struct.pack(">BBH", kind, 0, len(body)) + body


def _c_store_rq(instance: Instance, message: int) -> bytes:
    """PS3.7 9.3.1.1, in Implicit VR Little Endian."""
    body = _element(0x0002, _padded(instance.sop_class_uid)) + _element(0x0100, struct.pack("<H", 0x0001))
    body += _element(0x0110, struct.pack("<H", message)) + _element(0x0700, struct.pack("<H", 0))
    body += _element(0x0800, struct.pack("<H", 0x0000)) + _element(0x1000, _padded(instance.sop_instance_uid))
    return _element(0x0000, struct.pack("<I", len(body))) + body


def _element(number: int, value: bytes) -> bytes:
    return struct.pack("<HHI", 0, number, len(value)) + value


def _padded(uid: str) -> bytes:
    return uid.encode() + b"\0" * (len(uid) % 2)


def _elements(command: bytes) -> dict[int, bytes]:
    found, at = {}, 0
    while at < len(command):
        _, number, length = struct.unpack_from("<HHI", command, at)
        found[number] = command[at + 8 : at + 8 + length]
        at += 8 + length
    return found
