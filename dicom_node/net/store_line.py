"""C-STORE to a peer over an established association, in one thread and without pynetdicom's queues."""

from __future__ import annotations

import struct
import time
from collections.abc import Iterator
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import BinaryIO, Final, cast

from pynetdicom.association import Association

from dicom_node.errors import NodeError, UnreadableFile
from dicom_node.net import command_set
from dicom_node.net.connection import PeerLeft, PeerSilent
from dicom_node.net.pdu import COMMAND, LAST, MAXIMUM_PDU, PDU_CEILING, Pdu, ProtocolViolation
from dicom_node.net.peer_socket import PeerSocket

_WRITE_BYTES: Final = 2**20
"""PDUs are sent together up to this size [bytes]: one by one, small ones wait for delayed ACKs."""
_PDU_HEADER: Final = 6
_VALUE_HEADER: Final = 6
_SMALLEST_PDU: Final = 64
"""With less than this [bytes] an instance would be all headers."""
_C_STORE_RSP: Final = 0x8001
_LARGEST_MESSAGE_ID: Final = 65_535
_LAST_WORDS_S: Final = 0.2


class BrokeOff(NodeError):
    """The peer gave no status for an instance: it hung, hung up, aborted or talked nonsense."""


class StoreLine:
    """Sends instances one by one. Memory is one buffer, however large the instance."""

    def __init__(self, found: Association, timeout_s: float) -> None:
        """Take over the connection; use `opened`.

        Args:
            found: an established association.
            timeout_s: longest wait for an answer [s].
        """
        self._transport = cast(PeerSocket, found.dul.socket)
        self._timeout_s = timeout_s
        # 0 is no limit (PS3.8 D.1); without one of our own an instance would be a single PDU in memory.
        self._longest = min(found.acceptor.maximum_length or MAXIMUM_PDU, MAXIMUM_PDU)
        self._sent = 0

    def store(self, context_id: int, instance: tuple[str, str], source: Path | bytes, offset: int = 0) -> int:
        """C-STORE of an encoded data set.

        Args:
            context_id: of an accepted context, in whose transfer syntax the bytes are encoded.
            instance: SOP Class UID and SOP Instance UID.
            source: a DICOM file, or an encoded data set.
            offset: where the data set begins [bytes].

        Returns:
            The peer's status (PS3.4 B.2.3).

        Raises:
            BrokeOff: no status.
            UnreadableFile: the file is gone.
        """
        if self._longest < _SMALLEST_PDU:
            raise BrokeOff(f"takes no PDU larger than {self._longest} bytes")
        message_id = self._sent % _LARGEST_MESSAGE_ID + 1
        self._sent += 1
        command = command_set.store_request(message_id, *instance)
        try:
            with BytesIO(source) if isinstance(source, bytes) else source.open("rb") as data:
                data.seek(offset)
                self._send(context_id, command, data)
        except (PeerLeft, PeerSilent) as problem:
            raise BrokeOff("aborted the association" if self._has_aborted() else str(problem)) from problem
        except OSError as problem:
            raise UnreadableFile(f"{source!r}: cannot be read ({problem.strerror})") from problem
        try:
            return self._answer(message_id)
        except (PeerLeft, PeerSilent, ProtocolViolation) as problem:
            raise BrokeOff(str(problem)) from problem

    def _send(self, context_id: int, command: bytes, data: BinaryIO) -> None:
        room = self._longest - _VALUE_HEADER
        buffer = bytearray()
        for at in range(0, len(command), room):
            piece = command[at : at + room]
            buffer += _pdu(context_id, COMMAND | (LAST if at + room >= len(command) else 0), piece)
        piece = data.read(room)
        while True:
            following = data.read(room)
            buffer += _pdu(context_id, 0 if following else LAST, piece)
            if not following:
                break
            piece = following
            if len(buffer) > _WRITE_BYTES:
                self._transport.write(buffer)
                buffer.clear()
        self._transport.write(buffer)

    def _answer(self, message_id: int) -> int:
        deadline = time.monotonic() + self._timeout_s
        command = bytearray()
        while True:
            for control, fragment in _values(self._p_data(deadline)):
                if not control & COMMAND:
                    raise BrokeOff("answered with a data set")
                command += fragment
                if len(command) > command_set.LONGEST_COMMAND:
                    raise BrokeOff("answered with a command without end")
                if control & LAST:
                    answer = command_set.decode_answer(command)
                    if answer.field != _C_STORE_RSP or answer.message_id != message_id:
                        raise BrokeOff("answered another message than it was sent")
                    return answer.status

    def _p_data(self, deadline: float) -> bytearray:
        kind, length = struct.unpack(">BxI", self._transport.exactly(_PDU_HEADER, deadline))
        if kind == Pdu.ABORT:
            raise BrokeOff("aborted the association")
        if kind == Pdu.RELEASE_RQ:
            raise BrokeOff("asked for release instead of answering")
        if kind != Pdu.P_DATA or length > PDU_CEILING:
            raise BrokeOff(f"sent a PDU of type 0x{kind:02X} and {length} bytes instead of an answer")
        return self._transport.exactly(length, deadline)

    def _has_aborted(self) -> bool:
        """Whether the peer said that it aborts before it hung up."""
        try:
            kind = self._transport.exactly(_PDU_HEADER, time.monotonic() + _LAST_WORDS_S)[0]
        except (PeerLeft, PeerSilent):
            return False
        return kind == Pdu.ABORT


@contextmanager
def opened(found: Association, timeout_s: float) -> Iterator[StoreLine]:
    """The association's connection for C-STORE alone; afterwards it is pynetdicom's again.

    Args:
        found: an established association of `requestor.association`.
        timeout_s: longest wait for an answer [s].

    Raises:
        BrokeOff: the peer ended the association before.
    """
    try:
        with cast(PeerSocket, found.dul.socket).exclusive():
            yield StoreLine(found, timeout_s)
    except PeerLeft as problem:
        raise BrokeOff(str(problem)) from problem


def _pdu(context_id: int, control: int, fragment: bytes) -> bytes:
    """P-DATA-TF with one presentation data value (PS3.8 9.3.5)."""
    header = struct.pack(">BBIIBB", Pdu.P_DATA, 0, len(fragment) + 6, len(fragment) + 2, context_id, control)
    return header + fragment


def _values(body: bytearray) -> Iterator[tuple[int, bytes]]:
    """Control header and fragment of each presentation data value (PS3.8 9.3.5.1, E.2)."""
    at = 0
    while at < len(body):
        if at + _VALUE_HEADER > len(body):
            raise BrokeOff("sent a presentation data value that is cut off")
        length, control = struct.unpack_from(">IxB", body, at)
        end = at + 4 + length
        if length < 2 or end > len(body):
            raise BrokeOff("sent a presentation data value of an impossible length")
        yield control, bytes(body[at + _VALUE_HEADER : end])
        at = end
