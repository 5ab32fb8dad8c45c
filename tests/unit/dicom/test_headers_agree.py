"""Our own walk reads what pydicom reads: on pydicom's collection of odd files, and on whatever hypothesis thinks of."""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from pathlib import Path

import pydicom
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydicom.charset import python_encoding
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.multival import MultiValue
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
)

from dicom_node.contracts import FileRef
from dicom_node.dicom.headers import header_from, read_header
from dicom_node.dicom.parsing import PARSE_ERRORS, quiet
from dicom_node.errors import UnreadableFile

CORPUS = sorted((Path(pydicom.__file__).parent / "data").rglob("*.dcm"))
TOLERATED = {
    "badVR.dcm": "one element of an unknown VR",
    "reportsi_with_empty_number_tags.dcm": "whole, though its last element is empty",
    "examples_overlay.dcm": "overlays, whose names hold for a range of groups",
}
"""Files of which we read more than pydicom's objects give."""


def plain(element: DataElement) -> object:
    """The value without pydicom's types, the slow way."""
    value = element.value
    if value is None or element.VR in ("OB", "OW", "OF", "OD", "OL", "OV", "OB or OW", "US or OW", "US or SS or OW"):
        return None
    try:
        if isinstance(value, MultiValue | list | tuple):
            many = tuple(scalar(part, element.VR) for part in value)
            return many if any(part != "" for part in many) else None
        one = scalar(value, element.VR)
    except (ValueError, TypeError, OverflowError):
        return None
    return None if one == "" else one


def scalar(value: object, vr: str) -> object:
    if value is None or value == "":
        return ""
    if isinstance(value, bytes):
        text = value.rstrip(b"\0 ").decode("ascii")
        if not text.isprintable():
            raise ValueError
        return text
    if vr in ("IS", "US", "SS", "UL", "SL", "UV", "SV", "US or SS"):
        return int(value)  # type: ignore[call-overload]
    if vr in ("DS", "FL", "FD"):
        return float(value)  # type: ignore[arg-type]
    return str(value).strip()


def flattened(dataset: Dataset, depth: int = 0) -> Iterator[tuple[str, object]]:
    """What a header should hold, by pydicom's objects."""
    for tag in sorted(dataset.keys()):
        raw = dataset.get_item(tag)
        if tag == 0x52009230 or (tag.is_private and tag.element <= 0xFF):
            continue
        if getattr(raw, "length", 0) > 1024 and raw.VR not in ("SQ", None):
            continue
        try:
            element = dataset[tag]
        except PARSE_ERRORS:
            continue
        if element.VR == "SQ":
            if depth < 2 and not tag.is_private:
                merged: dict[str, list[object]] = {}
                for item in element.value[:16]:
                    for name, value in flattened(item, depth + 1):
                        merged.setdefault(f"{element.keyword}.{name}", []).append(value)
                for name, values in merged.items():
                    parts = tuple(p for v in values for p in (v if isinstance(v, tuple) else (v,)))
                    yield name, values[0] if len(values) == 1 else parts
            continue
        name = element.keyword
        if tag.is_private:
            creator = str(element.private_creator or "").strip()
            name = f"{tag.group:04x},{creator},{tag.element & 0xFF:02x}" if creator else ""
        value = plain(element) if name else None
        if value is not None:
            yield name, value


def same(one: object, other: object) -> bool:
    if isinstance(one, tuple) and isinstance(other, tuple):
        return len(one) == len(other) and all(map(same, one, other))
    if isinstance(one, float) and isinstance(other, float) and math.isnan(one):
        return math.isnan(other)
    return type(one) is type(other) and one == other


def differences(found: dict[str, object], wanted: dict[str, object]) -> dict[str, tuple[object, object]]:
    names = found.keys() | wanted.keys()
    return {n: (found.get(n), wanted.get(n)) for n in names if not same(found.get(n), wanted.get(n))}


@pytest.mark.parametrize("path", CORPUS, ids=lambda path: path.name)
def test_odd_files_are_read_as_pydicom_reads_them(path: Path) -> None:
    try:
        found = read_header(FileRef(path))
    except UnreadableFile as refusal:
        assert path.name in str(refusal)
        return
    with quiet():
        dataset = pydicom.dcmread(path, stop_before_pixels=True, force=True)
        wanted = dict(flattened(dataset))
    if path.name not in TOLERATED:
        assert differences(dict(found.tags), wanted) == {}
    assert found.sop_instance_uid == dataset.SOPInstanceUID


def test_most_of_the_odd_files_are_readable() -> None:
    readable = 0
    for path in CORPUS:
        try:
            read_header(FileRef(path), digest=False)
            readable += 1
        except UnreadableFile:
            pass
    assert (readable, len(CORPUS)) >= (80, 100)


number = (
    st.integers(-(2**31), 2**31 - 1).map(str)
    | st.floats(allow_nan=True).map(lambda x: f"{x:.9g}")
    | st.text("0123456789+-. Ee_x\\", max_size=12)
)
text = st.text(st.characters(codec="ascii", exclude_characters="\x00"), max_size=20) | st.text(
    st.characters(codec="latin-1", min_codepoint=32), max_size=20
)
VALUES = {
    "DS": (0x00180050, number), "IS": (0x00200013, number), "CS": (0x00080008, text), "LO": (0x0008103E, text),
    "SH": (0x00180010, text), "PN": (0x00100010, text), "LT": (0x00204000, text), "ST": (0x00080081, text),
    "UT": (0x00281224, text), "UC": (0x00080119, text), "UR": (0x00081190, text), "AE": (0x00080054, text),
    "AS": (0x00101010, text), "DA": (0x00080020, text), "TM": (0x00080030, text), "DT": (0x0008002A, text),
    "UI": (0x00020026, text),
}  # fmt: skip
BINARY = {
    "US": 0x00280010, "SS": 0x00189219, "UL": 0x00081161, "SL": 0x00186020, "FL": 0x00089459, "FD": 0x00189087,
    "AT": 0x00280009, "UN": 0x00180060, "SV": 0x00720082, "UV": 0x00720083,
}  # fmt: skip


@st.composite
def encoded(draw: st.DrawFn) -> dict[int, tuple[str, bytes]]:
    """Elements by tag: VR and bytes, right and wrong ones."""
    found: dict[int, tuple[str, bytes]] = {}
    for vr, (tag, values) in VALUES.items():
        if draw(st.booleans()):
            found[tag] = (vr, draw(values).encode("latin-1"))
    for vr, tag in BINARY.items():
        if draw(st.booleans()):
            found[tag] = (vr, draw(st.binary(max_size=18)))
    return {tag: (vr, raw + b" " * (len(raw) % 2)) for tag, (vr, raw) in found.items() if tag >> 16 != 2}


def element(tag: int, vr: str, raw: bytes, syntax: str) -> bytes:
    order = "big" if syntax == ExplicitVRBigEndian else "little"
    head = (tag >> 16).to_bytes(2, order) + (tag & 0xFFFF).to_bytes(2, order)
    if syntax == ImplicitVRLittleEndian:
        return head + len(raw).to_bytes(4, order) + raw
    if vr in ("UT", "UC", "UR", "UN", "SQ", "SV", "UV"):
        return head + vr.encode() + b"\0\0" + len(raw).to_bytes(4, order) + raw
    return head + vr.encode() + len(raw).to_bytes(2, order) + raw


def as_file(elements: dict[int, tuple[str, bytes]], syntax: str, charset: str) -> bytes:
    names = {0x00080016: b"1.2.3\0", 0x00080018: b"1.2.4\0", 0x0020000D: b"1.2.5\0", 0x0020000E: b"1.2.6\0"}
    whole = {**elements, **{tag: ("UI", uid) for tag, uid in names.items()}}
    whole[0x00080005] = ("CS", charset.encode() + b" " * (len(charset) % 2))
    body = b"".join(element(tag, vr, raw, syntax) for tag, (vr, raw) in sorted(whole.items()))
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.3", "1.2.4"
    meta.TransferSyntaxUID = syntax
    stream = io.BytesIO()
    pydicom.filewriter.write_file_meta_info(stream, meta, enforce_standard=True)
    return b"\0" * 128 + b"DICM" + stream.getvalue() + body


@settings(max_examples=150, deadline=None)
@given(
    elements=encoded(),
    syntax=st.sampled_from([ImplicitVRLittleEndian, ExplicitVRLittleEndian, ExplicitVRBigEndian]),
    charset=st.sampled_from(["", "ISO_IR 100", "ISO_IR 192", "\\ISO 2022 IR 87", "ISO_IR 13", "GB18030", "nonsense"]),
)
def test_values_are_those_of_pydicom(elements: dict[int, tuple[str, bytes]], syntax: str, charset: str) -> None:
    assert charset.split("\\")[-1] in python_encoding or charset == "nonsense"
    data = as_file(elements, syntax, charset)
    with quiet():
        wanted = dict(flattened(pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True)))
    assert differences(dict(header_from(io.BytesIO(data), FileRef(Path("x"))).tags), wanted) == {}


def test_deflated_files_are_read_as_inflated_ones() -> None:
    path = next(p for p in CORPUS if p.name == "image_dfl.dcm")
    found = read_header(FileRef(path))
    assert found.transfer_syntax_uid == DeflatedExplicitVRLittleEndian
    data = path.read_bytes()
    for cut in (100, len(data) // 2):
        with pytest.raises(UnreadableFile, match="truncated"):
            header_from(io.BytesIO(data[:-cut]), FileRef(path))
