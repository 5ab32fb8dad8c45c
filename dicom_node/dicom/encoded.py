"""References to many instances, encoded by hand: a volume derived from two others names thousands of them.

pydicom needs a third of a millisecond for each reference; 300 slices that each name 300 would take half a minute.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable

from pydicom.dataelem import RawDataElement
from pydicom.tag import Tag

_ITEM = struct.Struct("<HHL")
_SHORT = struct.Struct("<HH2sH")
_LONG = struct.Struct("<HH2sHL")


def uid_element(keyword: str, uid: str) -> bytes:
    """A UI element in explicit VR little endian, padded with a null (PS3.5 6.2, 7.1.2)."""
    value = uid.encode("ascii")
    value += b"\0" * (len(value) % 2)
    return _short(keyword, b"UI", value)


def text_element(keyword: str, vr: str, text: str) -> bytes:
    """A short ASCII text element (SH, LO, CS), padded with a space."""
    value = text.encode("ascii")
    return _short(keyword, vr.encode("ascii"), value + b" " * (len(value) % 2))


def item(elements: bytes) -> bytes:
    """An item of defined length around encoded elements in tag order (PS3.5 7.5.2)."""
    return _ITEM.pack(0xFFFE, 0xE000, len(elements)) + elements


def sequence_element(keyword: str, items: Iterable[bytes]) -> bytes:
    """A sequence of defined length around encoded items."""
    value = b"".join(items)
    tag = Tag(keyword)
    return _LONG.pack(tag.group, tag.element, b"SQ", 0, len(value)) + value


def raw_sequence(keyword: str, items: Iterable[bytes]) -> RawDataElement:
    """The same for a dataset, which pydicom writes as it is."""
    value = b"".join(items)
    return RawDataElement(Tag(keyword), "SQ", len(value), value, 0, False, True)


def raw_element(element: RawDataElement) -> bytes:
    """A raw sequence with its head."""
    value = bytes(element.value or b"")
    return _LONG.pack(element.tag >> 16, element.tag & 0xFFFF, b"SQ", 0, len(value)) + value


def _short(keyword: str, vr: bytes, value: bytes) -> bytes:
    tag = Tag(keyword)
    return _SHORT.pack(tag.group, tag.element, vr, len(value)) + value
