"""Association requests: whatever their bytes, they are answered by A-ASSOCIATE-AC or -RJ, or are a violation."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import ClassVar

import wire
from fuzz_target import Mutate, shuffled
from wire import CT, ENHANCED_MR, EXPLICIT_LITTLE, IMPLICIT_LITTLE, MIXED, STORAGE, VERIFICATION, item

from dicom_node import logs
from dicom_node.net.negotiation import accept, read_request, unservable
from dicom_node.net.pdu import ProtocolViolation

_FIXED = 74
_USER = item(0x51, struct.pack(">I", 16384)) + item(0x52, b"1.2.3")
_EVERY_USER_ITEM = (
    _USER
    + item(0x53, struct.pack(">HH", 4, 4))
    + item(0x54, struct.pack(">H", len(CT)) + CT.encode() + b"\1\1")
    + item(0x55, b"FUZZ")
    + item(0x56, struct.pack(">H", len(CT)) + CT.encode() + bytes(6))
    + item(0x57, struct.pack(">H", len(CT)) + CT.encode() + struct.pack(">H", 17) + b"1.2.840.10008.4.2" + b"\0\0")
    + item(0x58, b"\2\1" + struct.pack(">H", 4) + b"name" + struct.pack(">H", 4) + b"word")
)


class Negotiation:
    """`net.negotiation` from the bytes of a request to those of the answer."""

    longest: ClassVar = 8_192
    words: ClassVar = (*(bytes((kind, 0)) for kind in (0x10, 0x20, 0x30, 0x40, *range(0x50, 0x5A))), CT.encode())

    def __init__(self, folder: Path) -> None:
        del folder  # nothing is written
        logs.quiet_libraries()

    def close(self) -> None:
        """Nothing is held."""

    def seeds(self) -> Iterator[bytes]:
        """Requests of every kind."""
        yield wire.associate_rq(STORAGE)
        yield wire.associate_rq(MIXED)
        yield wire.associate_rq({1: (VERIFICATION, (IMPLICIT_LITTLE,))})
        yield wire.associate_rq({1: (CT, ("1.2.840.10008.1.2.4.90", EXPLICIT_LITTLE)), 3: (CT, (IMPLICIT_LITTLE,))})
        yield wire.associate_rq(MIXED, user=_EVERY_USER_ITEM)
        yield wire.associate_rq(dict.fromkeys(range(1, 64, 2), (ENHANCED_MR, (EXPLICIT_LITTLE,))))
        yield wire.associate_rq({}, extra=item(0x7F, b"future"))

    def check(self, data: bytes) -> None:
        """An answer that offers no more than was asked for."""
        try:
            request = read_request(data)
            if unservable(request) is not None:
                return
            answer, accepted = accept(request)
        except ProtocolViolation:
            return
        assert answer[0] == wire.ASSOCIATE_AC
        assert int.from_bytes(answer[2:6], "big") == len(answer) - 6
        assert wire.accepted(answer[6:]) == set(accepted)
        asked = request.primitive.presentation_context_definition_list
        for number, context in accepted.items():
            assert any(
                context.abstract_syntax == proposed.abstract_syntax
                and context.transfer_syntax in proposed.transfer_syntax
                for proposed in asked
                if proposed.context_id == number
            )

    def mutated(self, data: bytes, random: Random, mutate: Mutate) -> bytes:
        """Its items shuffled, and its lengths right again."""
        items = shuffled(_items(data[_FIXED:]), [item(random.randrange(256), b"1.2.3")], random, mutate)
        if random.random() < 0.7:
            items = [one[:2] + (len(one) - 4).to_bytes(2, "big") + one[4:] if len(one) >= 4 else one for one in items]
        body = data[6:_FIXED] + b"".join(items)
        return wire.pdu(wire.ASSOCIATE_RQ, body)


def _items(data: bytes) -> list[bytes]:
    found, at = [], 0
    while at < len(data):
        end = at + 4 + int.from_bytes(data[at + 2 : at + 4], "big")
        found.append(data[at:end])
        at = end
    return found
