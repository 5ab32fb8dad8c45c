"""Bytes of an element to a plain value, by short ways for what is in every header, by pydicom for the rest."""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping, Sequence
from types import MappingProxyType
from typing import Any, Final

from pydicom.dataelem import DataElement, RawDataElement, convert_raw_data_element
from pydicom.multival import MultiValue
from pydicom.tag import BaseTag

from dicom_node.contracts import TagValue
from dicom_node.dicom.elements import LONGEST_VALUE
from dicom_node.dicom.parsing import PARSE_ERRORS

_INTEGER_VR: Final = frozenset({"IS", "US", "SS", "UL", "SL", "UV", "SV", "US or SS"})
_REAL_VR: Final = frozenset({"DS", "FL", "FD"})
_BULK_VR: Final = frozenset({"OB", "OW", "OF", "OD", "OL", "OV", "OB or OW", "US or OW", "US or SS or OW"})
_NUMBERS: Final = {"US": "H", "SS": "h", "UL": "L", "SL": "l", "UV": "Q", "SV": "q", "FL": "f", "FD": "d"}

Scalar = str | int | float


def plain_value(
    tag: int, vr: str, raw: bytes, *, explicit: bool, little: bool, encodings: Sequence[str]
) -> TagValue | None:
    """A value without pydicom's types.

    Args:
        tag: of the element.
        vr: its value representation, looked up where the file does not say it.
        raw: its bytes.
        explicit: whether the file says it.
        little: byte order.
        encodings: Python codecs of its data set's character set.

    Returns:
        None when empty, bulk, or not what the VR says.
    """
    if not raw or vr in _BULK_VR:
        return None
    letter = _NUMBERS.get(vr)
    try:
        if letter is not None:
            size = struct.calcsize("=" + letter)
            found: tuple[Scalar, ...] = struct.unpack(f"{'<' if little else '>'}{len(raw) // size}{letter}", raw)
            return found[0] if len(found) == 1 else found
        short = _SHORT_WAYS.get(vr)
        # With an escape, ASCII bytes may mean anything (PS3.5 6.1.2.5).
        if short is not None and raw.isascii() and b"\x1b" not in raw:
            return _joined(short(raw.decode("ascii")))
    except (ValueError, struct.error):
        pass  # pydicom knows ways to read what is not as it should be
    return _by_pydicom(RawDataElement(BaseTag(tag), vr, len(raw), raw, 0, not explicit, little), encodings)


def _joined(parts: Sequence[Scalar]) -> TagValue | None:
    if len(parts) == 1:
        return None if parts[0] == "" else parts[0]
    return tuple(parts) if any(part != "" for part in parts) else None


def _codes(text: str) -> list[Scalar]:
    return [part.strip() for part in text.rstrip(" \0").split("\\")]


def _texts(text: str) -> list[Scalar]:
    return [part.rstrip("\0 ").strip() for part in text.split("\\")]


def _paragraph(text: str) -> list[Scalar]:
    return [text.rstrip("\0 ").strip()]


def _reals(text: str) -> list[Scalar]:
    return [float(part) if (part := one.strip()) else "" for one in text.strip().rstrip(" \0").split("\\")]


def _integers(text: str) -> list[Scalar]:
    return [int(part) if (part := one.strip()) else "" for one in text.rstrip(" \0").split("\\")]


_SHORT_WAYS: Final[Mapping[str, Callable[[str], list[Scalar]]]] = MappingProxyType(
    {
        **dict.fromkeys(("AS", "CS", "DA", "DT", "TM", "UI"), _codes),
        **dict.fromkeys(("LO", "SH", "UC"), _texts),
        **dict.fromkeys(("LT", "ST", "UT"), _paragraph),
        "DS": _reals,
        "IS": _integers,
    }
)


def _by_pydicom(raw: RawDataElement, encodings: Sequence[str]) -> TagValue | None:
    try:
        return _plain(convert_raw_data_element(raw, encoding=list(encodings)))
    except PARSE_ERRORS:
        return None  # one malformed element must not cost the whole header


def _plain(element: DataElement) -> TagValue | None:
    value = element.value
    if value is None or (isinstance(value, str | bytes) and len(value) > LONGEST_VALUE):
        return None
    if isinstance(value, MultiValue | list | tuple):
        many = tuple(_scalar(part, element.VR) for part in value)
        return many if any(part != "" for part in many) else None
    return _joined([_scalar(value, element.VR)])


def _scalar(value: Any, vr: str) -> Scalar:
    if value is None or value == "":
        return ""
    if isinstance(value, bytes):
        text = value.rstrip(b"\0 ").decode("ascii")
        if not text.isprintable():
            raise ValueError("binary value of unknown VR")
        return text
    if vr in _INTEGER_VR:
        return int(value)
    if vr in _REAL_VR:
        return float(value)
    return str(value).strip()
