"""Comments inside compressed images: encoders and workstations write free text there, which nobody looks for."""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import Final

from pydicom.uid import HTJ2K, JPEG2000, UID, HTJ2KLossless, HTJ2KLosslessRPCL, JPEG2000Lossless, RLELossless

_JPEG2000: Final = frozenset({JPEG2000, JPEG2000Lossless, HTJ2K, HTJ2KLossless, HTJ2KLosslessRPCL})
_ITEM: Final = struct.Struct("<HHL")
_LENGTH: Final = struct.Struct(">H")
_COM, _SOS, _EOI = 0xFE, 0xDA, 0xD9
_TEXT_SEGMENTS: Final = frozenset({_COM, *range(0xE1, 0xF0)}) - {0xE8, 0xEE}
"""Comments and application data of JPEG (EXIF, IPTC) but those that decoders obey: JFIF, SPIFF or HP's, Adobe's."""
_NO_LENGTH: Final = frozenset({0x01, *range(0xD0, 0xD9)})
_J2K_COM, _SOT, _SOD, _J2K_EOC = 0xFF64, 0xFF90, 0xFF93, 0xFFD9

Span = tuple[int, int]


def without_comments(value: bytes, transfer_syntax_uid: str) -> bytes:
    """Blank comments, application data and what follows the image's end; lengths and pixels stay the same.

    Args:
        value: encapsulated Pixel Data of one frame (PS3.5 A.4).
        transfer_syntax_uid: RLE, or one of the JPEG family.

    Raises:
        ValueError: the code cannot be looked through.
    """
    syntax = UID(transfer_syntax_uid)
    if syntax == RLELossless:
        return value
    cleaned = bytearray(value)
    fragments = list(_fragments(value))
    code = b"".join(value[begin:end] for begin, end in fragments)
    try:
        spans = list(_jpeg_2000_texts(code) if syntax in _JPEG2000 else _jpeg_texts(code))
    except (struct.error, IndexError):
        raise ValueError("a code stream without an end") from None
    for begin, end in spans:
        _blank(cleaned, fragments, begin, end)
    return bytes(cleaned)


def _fragments(value: bytes) -> Iterator[Span]:
    """Where the fragments lie, the Basic Offset Table left out."""
    at, first = 0, True
    while at + _ITEM.size <= len(value):
        group, element, length = _ITEM.unpack_from(value, at)
        at += _ITEM.size
        if (group, element) == (0xFFFE, 0xE0DD):
            return
        if (group, element) != (0xFFFE, 0xE000) or at + length > len(value):
            raise ValueError("no sequence of fragments")
        if not first:
            yield at, at + length
        first = False
        at += length


def _blank(cleaned: bytearray, fragments: list[Span], begin: int, end: int) -> None:
    """Zero a span of the code, wherever its fragments lie."""
    offset = 0
    for first, last in fragments:
        low, high = max(begin, offset), min(end, offset + last - first)
        if low < high:
            cleaned[first + low - offset : first + high - offset] = bytes(high - low)
        offset += last - first


def _jpeg_texts(code: bytes) -> Iterator[Span]:
    """Spans of text in JPEG and JPEG-LS (ISO/IEC 10918-1 B.1.1, 14495-1 C.1)."""
    if code[:2] != b"\xff\xd8":
        raise ValueError("no JPEG image")
    at = 2
    while True:
        if code[at] != 0xFF:
            raise ValueError("no marker where one must be")
        marker = code[at + 1]
        if marker == 0xFF:
            at += 1
            continue
        at += 2
        if marker == _EOI:
            yield at, len(code)
            return
        if marker in _NO_LENGTH:
            continue
        (length,) = _LENGTH.unpack_from(code, at)
        if marker in _TEXT_SEGMENTS:
            yield at + 2, at + length
        at += length
        if marker == _SOS:
            at = _scan_end(code, at)


def _scan_end(code: bytes, at: int) -> int:
    """Where the entropy-coded bytes of a scan end: in them no byte of 80 or more follows FF but restart markers."""
    while True:
        at = code.index(b"\xff", at)
        following = code[at + 1]
        if following >= 0x80 and following != 0xFF and not 0xD0 <= following <= 0xD7:
            return at
        at += 1


def _jpeg_2000_texts(code: bytes) -> Iterator[Span]:
    """Spans of text in the main header and the headers of tile parts (ISO/IEC 15444-1 A.4, A.9.2)."""
    if code[:4] != b"\xff\x4f\xff\x51":
        raise ValueError("no JPEG 2000 code stream")
    at, tile_end = 2, 0
    while True:
        (marker,) = _LENGTH.unpack_from(code, at)
        if marker == _J2K_EOC:
            yield at + 2, len(code)
            return
        if marker == _SOD:
            after = tile_end or code.rindex(b"\xff\xd9")
            if after <= at:
                raise ValueError("a tile part that ends before it begins")
            at = after
            continue
        (length,) = _LENGTH.unpack_from(code, at + 2)
        if marker == _SOT:
            (part,) = struct.unpack_from(">L", code, at + 6)
            tile_end = at + part if part else 0
        elif marker == _J2K_COM:
            yield at + 6, at + 2 + length  # its registration value stays
        at += 2 + length
