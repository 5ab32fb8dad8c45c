"""What a compressed image says about itself, before a decoder believes it and makes room."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final

from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    JPEG2000Lossless,
    RLELossless,
)

_JPEG2000: Final = frozenset({JPEG2000, JPEG2000Lossless, HTJ2K, HTJ2KLossless, HTJ2KLosslessRPCL})
_START_AND_SIZE: Final = b"\xff\x4f\xff\x51"
"""SOC and SIZ, which comes first (ISO/IEC 15444-1 A.5.1)."""
_FRAME_HEADERS: Final = frozenset({*range(0xC0, 0xD0), 0xF7}) - {0xC4, 0xC8, 0xCC}
"""SOF markers of JPEG (ISO/IEC 10918-1 table B.1) and JPEG-LS (ISO/IEC 14495-1 C.1)."""
_WITHOUT_LENGTH: Final = frozenset({0x01, *range(0xD0, 0xD9)})


@dataclass(frozen=True)
class Announced:
    """Size of an image as its code stream says.

    Attributes:
        rows: 0 where it is told only at the end (JPEG's DNL marker).
        columns: number of columns.
        components: samples per pixel.
    """

    rows: int
    columns: int
    components: int


def announced(code: bytes, transfer_syntax_uid: str) -> Announced | None:
    """Read the size out of a code stream; None for RLE, which says none, and where no header is found."""
    syntax = UID(transfer_syntax_uid)
    if syntax == RLELossless:
        return None
    try:
        return _jpeg_2000(code) if syntax in _JPEG2000 else _jpeg(code)
    except struct.error:
        return None


def _jpeg_2000(code: bytes) -> Announced | None:
    start = code.find(_START_AND_SIZE)
    if start < 0:
        return None
    right, bottom, left, top = struct.unpack_from(">IIII", code, start + 8)
    (components,) = struct.unpack_from(">H", code, start + 40)
    return Announced(bottom - top, right - left, components)


def _jpeg(code: bytes) -> Announced | None:
    at = 0
    while (at := code.find(b"\xff", at)) >= 0 and at + 1 < len(code):
        marker = code[at + 1]
        if marker == 0xFF:  # fill bytes may stand before a marker
            at += 1
        elif marker in _FRAME_HEADERS:
            _, rows, columns, components = struct.unpack_from(">BHHB", code, at + 4)
            return Announced(rows, columns, components)
        elif marker in _WITHOUT_LENGTH:
            at += 2
        else:
            at += 2 + int(struct.unpack_from(">H", code, at + 2)[0])
    return None
