"""Command sets of DIMSE messages, implicit VR little endian (PS3.7 6.3, E)."""

from __future__ import annotations

import struct
from collections.abc import Mapping
from dataclasses import dataclass
from enum import IntEnum
from typing import Final

from dicom_node.net.pdu import AbortReason, ProtocolViolation

LONGEST_COMMAND: Final = 16 * 1024
"""No command set of any service comes near [bytes]."""
NO_DATA_SET: Final = 0x0101
_RESPONSE: Final = 0x8000
_HEAD: Final = struct.Struct("<HHI")
_US: Final = struct.Struct("<HHIH")
_CLASS, _FIELD, _MESSAGE_ID, _DATA_SET, _INSTANCE = 0x0002, 0x0100, 0x0110, 0x0800, 0x1000
_RESPONDED, _PRIORITY, _STATUS = 0x0120, 0x0700, 0x0900
_LOW, _DATA_SET_FOLLOWS = 2, 1


class CommandField(IntEnum):
    """The requests that we know by name."""

    C_STORE_RQ = 0x0001
    C_ECHO_RQ = 0x0030
    C_CANCEL_RQ = 0x0FFF


@dataclass(frozen=True)
class Command:
    """What our loop needs to know of a request.

    Attributes:
        field: Command Field.
        message_id: of the request.
        has_data_set: whether one follows.
        sop_class_uid: Affected SOP Class UID, empty where there is none.
        sop_instance_uid: Affected SOP Instance UID, empty where there is none.
    """

    field: int
    message_id: int
    has_data_set: bool
    sop_class_uid: str
    sop_instance_uid: str


@dataclass(frozen=True)
class Answer:
    """What a sender needs to know of a response.

    Attributes:
        field: Command Field.
        message_id: of the request that is answered.
        status: as in PS3.7 C.
    """

    field: int
    message_id: int
    status: int


def decode(data: bytes | bytearray) -> Command:
    """Read a command set.

    Raises:
        ProtocolViolation: not a request, or not a command set.
    """
    elements = _elements(data)
    field, message_id = _number(elements, _FIELD), _number(elements, _MESSAGE_ID)
    if field is None or field & _RESPONSE:
        raise ProtocolViolation("a message that is no request", AbortReason.UNEXPECTED)
    if message_id is None and field != CommandField.C_CANCEL_RQ:
        raise ProtocolViolation("a request without message ID", AbortReason.INVALID_VALUE)
    follows = _number(elements, _DATA_SET)
    return Command(
        field=field,
        message_id=message_id or 0,
        has_data_set=follows is not None and follows != NO_DATA_SET,
        sop_class_uid=_uid(elements, _CLASS),
        sop_instance_uid=_uid(elements, _INSTANCE),
    )


def decode_answer(data: bytes | bytearray) -> Answer:
    """Read the command set of a response.

    Raises:
        ProtocolViolation: not a response, or not a command set.
    """
    elements = _elements(data)
    field = _number(elements, _FIELD)
    message_id, status = _number(elements, _RESPONDED), _number(elements, _STATUS)
    if field is None or not field & _RESPONSE or message_id is None or status is None:
        raise ProtocolViolation("a message that is no response", AbortReason.UNEXPECTED)
    return Answer(field, message_id, status)


def store_request(message_id: int, sop_class_uid: str, sop_instance_uid: str) -> bytes:
    """Command set of a C-STORE-RQ of low priority, whose data set follows (PS3.7 9.3.1.1)."""
    return _command(
        _text(_CLASS, sop_class_uid),
        _US.pack(0, _FIELD, 2, CommandField.C_STORE_RQ),
        _US.pack(0, _MESSAGE_ID, 2, message_id),
        _US.pack(0, _PRIORITY, 2, _LOW),
        _US.pack(0, _DATA_SET, 2, _DATA_SET_FOLLOWS),
        _text(_INSTANCE, sop_instance_uid),
    )


def response(request: Command, status: int) -> bytes:
    """Command set of the response to a request, without data set (PS3.7 9.3.1.2 for C-STORE-RSP)."""
    return _command(
        _text(_CLASS, request.sop_class_uid),
        _US.pack(0, _FIELD, 2, request.field | _RESPONSE),
        _US.pack(0, _RESPONDED, 2, request.message_id),
        _US.pack(0, _DATA_SET, 2, NO_DATA_SET),
        _US.pack(0, _STATUS, 2, status),
        _text(_INSTANCE, request.sop_instance_uid),
    )


def _command(*elements: bytes) -> bytes:
    body = b"".join(elements)
    return struct.pack("<HHII", 0, 0, 4, len(body)) + body


def _elements(data: bytes | bytearray) -> Mapping[int, bytes]:
    found: dict[int, bytes] = {}
    at = 0
    while at < len(data):
        if at + _HEAD.size > len(data):
            raise ProtocolViolation("a command set that ends in the middle", AbortReason.INVALID_VALUE)
        group, number, length = _HEAD.unpack_from(data, at)
        at += _HEAD.size
        if group != 0 or length > len(data) - at:
            raise ProtocolViolation("a command set with an element that cannot be there", AbortReason.INVALID_VALUE)
        found[number] = bytes(data[at : at + length])
        at += length
    return found


def _number(elements: Mapping[int, bytes], number: int) -> int | None:
    value = elements.get(number)
    return int.from_bytes(value, "little") if value is not None and len(value) == 2 else None


def _uid(elements: Mapping[int, bytes], number: int) -> str:
    return elements.get(number, b"").rstrip(b"\0 ").decode("latin-1")


def _text(number: int, text: str) -> bytes:
    if not text:
        return b""
    value = text.encode("latin-1")
    value += b"\0" * (len(value) % 2)
    return _HEAD.pack(0, number, len(value)) + value
