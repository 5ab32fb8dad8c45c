"""Protocol data units of the upper layer that our own loop reads and writes (PS3.8 9.3)."""

from __future__ import annotations

import struct
from enum import IntEnum
from typing import Final

from dicom_node.errors import NodeError

MAXIMUM_PDU: Final = 262_144
"""Largest P-DATA-TF that is offered to peers [bytes] (PS3.8 D.1)."""
PDU_CEILING: Final = MAXIMUM_PDU + 4096
"""No P-DATA-TF may announce more [bytes]; many toolkits count the item headers on top of what was agreed."""
REQUEST_CEILING: Final = 256 * 1024
"""No A-ASSOCIATE-RQ may announce more [bytes]: 128 contexts with every known transfer syntax take about a third."""
SHORT_LENGTH: Final = 4
"""Length of A-RELEASE and A-ABORT [bytes]."""
RELEASE_RP: Final = struct.pack(">BBI4x", 0x06, 0, 4)

COMMAND: Final = 0b01
LAST: Final = 0b10
"""Bits of a PDV's message control header (PS3.8 E.2)."""


class Pdu(IntEnum):
    """Types."""

    ASSOCIATE_RQ = 0x01
    ASSOCIATE_AC = 0x02
    ASSOCIATE_RJ = 0x03
    P_DATA = 0x04
    RELEASE_RQ = 0x05
    RELEASE_RP = 0x06
    ABORT = 0x07


class AbortReason(IntEnum):
    """Why the provider aborts (PS3.8 table 9-26)."""

    NOT_SPECIFIED = 0
    UNRECOGNISED = 1
    UNEXPECTED = 2
    INVALID_VALUE = 6


class ProtocolViolation(NodeError):
    """The peer broke PS3.8 or PS3.7 in a way that ends the association.

    Attributes:
        reason: told to the peer in the A-ABORT.
    """

    def __init__(self, message: str, reason: AbortReason) -> None:
        super().__init__(message)
        self.reason = reason


def abort(reason: AbortReason) -> bytes:
    """A-ABORT by the provider (PS3.8 9.3.8)."""
    return struct.pack(">BBIBBBB", Pdu.ABORT, 0, SHORT_LENGTH, 0, 0, 2, reason)


def reject(result: int, source: int, reason: int) -> bytes:
    """A-ASSOCIATE-RJ (PS3.8 9.3.4)."""
    return struct.pack(">BBIBBBB", Pdu.ASSOCIATE_RJ, 0, SHORT_LENGTH, 0, result, source, reason)


def command_message(context_id: int, command: bytes) -> bytes:
    """A P-DATA-TF with a whole command set in its only fragment."""
    return (
        struct.pack(">BBIIBB", Pdu.P_DATA, 0, len(command) + 6, len(command) + 2, context_id, COMMAND | LAST) + command
    )
