"""Datasets whose text keeps the bytes it was read with, whatever transfer syntax it came in."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from pydicom.charset import convert_encodings, default_encoding
from pydicom.datadict import dictionary_VR, private_dictionary_VR
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag, Tag

BIG_SHORT_VALUE = 0xFFFF
"""Longest value of a VR with a 16-bit length field [bytes] (PS3.5 7.1.2)."""

_BYTE_ORDER_FREE = frozenset(
    ("AE", "AS", "CS", "DA", "DS", "DT", "IS", "LO", "LT", "OB", "PN", "SH", "ST", "TM", "UC", "UI", "UN", "UR", "UT")
)
_LONG_LENGTH = frozenset(("OB", "OD", "OF", "OL", "OV", "OW", "SQ", "SV", "UC", "UN", "UR", "UT", "UV"))
_WORD_BYTES = {"OW": 2, "OF": 4, "OL": 4, "OD": 8, "OV": 8}


def rebuilt(source: Dataset, keep: Callable[[BaseTag], bool] = lambda _: True) -> Dataset:
    """Copy a dataset's elements as explicit VR little endian, without decoding its text.

    pydicom re-encodes every text element when the transfer syntax changes, or in parsed sequence items, and cannot
    promise the same bytes then. Here values of text go over as bytes; the pixel data are not copied.

    Args:
        source: as read from a file, its elements untouched.
        keep: which top-level tags to take.

    Returns:
        A dataset that pydicom writes with the same value bytes in explicit VR little endian.
    """
    little = source.original_encoding[1] is not False
    return _rebuild(source, little, keep, signed=source.get("PixelRepresentation") == 1)


def character_set(dataset: Dataset) -> list[str]:
    """Python codecs of the dataset's Specific Character Set, in order."""
    named = dataset.get("SpecificCharacterSet")
    return list(convert_encodings(named)) if named else [default_encoding]


def raw_value(dataset: Dataset, keyword: str) -> bytes:
    """Value bytes of a text element of a rebuilt dataset, empty when absent."""
    tag = Tag(keyword)
    if tag not in dataset:
        return b""
    element = dataset.get_item(tag)
    if isinstance(element, RawDataElement):
        return element.value or b""
    return str(element.value or "").encode("ascii", "replace")


def set_raw(dataset: Dataset, keyword: str, value: bytes) -> None:
    """Set a text element to encoded bytes; padded to even length."""
    tag = Tag(keyword)
    value += b" " * (len(value) % 2)
    dataset[tag] = _raw(tag, dictionary_VR(tag), value)


def _rebuild(source: Dataset, little: bool, keep: Callable[[BaseTag], bool], *, signed: bool) -> Dataset:
    target = Dataset()
    for tag in tuple(source.keys()):
        if tag.element == 0 or tag in (0x7FE00010, 0x7FE00008, 0x7FE00009) or not keep(tag):
            continue
        target[tag] = _element(source, tag, little, signed)
    # Raw elements are written as they are only when the character set named here is that of the elements.
    target.set_original_encoding(False, True, _as_read(target))
    return target


def _element(source: Dataset, tag: BaseTag, little: bool, signed: bool) -> DataElement | RawDataElement:
    element = source.get_item(tag)
    vr = _settled(element.VR or _looked_up(source, tag), signed)
    if vr == "SQ":
        items = [_rebuild(item, little, lambda _: True, signed=signed) for item in source[tag].value or ()]
        return DataElement(tag, "SQ", Sequence(items))
    if not isinstance(element, RawDataElement):
        return DataElement(tag, vr, element.value, already_converted=True)  # a copy: pydicom sets values in place
    value = element.value or b""
    if little or vr in _BYTE_ORDER_FREE:
        return _raw(tag, vr, value)
    if vr in _WORD_BYTES:
        width = _WORD_BYTES[vr]
        return _raw(tag, vr, np.frombuffer(value, f">u{width}").astype(f"<u{width}").tobytes())
    return source[tag]


def _raw(tag: BaseTag, vr: str, value: bytes) -> RawDataElement:
    if vr not in _LONG_LENGTH and len(value) > BIG_SHORT_VALUE:
        vr = "UN"
    return RawDataElement(tag, vr, len(value), value, 0, False, True)


def _looked_up(source: Dataset, tag: BaseTag) -> str:
    try:
        if not tag.is_private:
            return dictionary_VR(tag)
        if tag.is_private_creator:
            return "LO"
        creator = source.get((tag.group, tag.element >> 8))
        return private_dictionary_VR(tag, str(creator.value)) if creator is not None else "UN"
    except KeyError:
        return "UN"


def _settled(vr: str, signed: bool) -> str:
    if " or " not in vr:
        return vr
    if "OW" in vr:
        return "OW"
    return "SS" if signed else "US"


def _as_read(target: Dataset) -> str | list[str]:
    return character_set(target) if target.get("SpecificCharacterSet") else default_encoding


def merged(made: Dataset, kept: Dataset) -> Dataset:
    """Put rebuilt elements of a source into a dataset that a library made, keeping their bytes.

    Args:
        made: its own text must be ASCII.
        kept: from `rebuilt`; replaces elements of the same tag. Its character set becomes that of the result.

    Returns:
        A dataset that pydicom writes with the kept value bytes in explicit VR little endian.
    """
    result = Dataset()
    for tag, element in made.items():
        if tag.group != 0x0002 and tag != Tag("SpecificCharacterSet"):
            result[tag] = element
    for tag, element in kept.items():
        result[tag] = element
    result.set_original_encoding(False, True, _as_read(result))
    return result
