"""Headers of DICOM files as plain values."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Iterator
from typing import Any, BinaryIO

from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset, FileDataset
from pydicom.multival import MultiValue
from pydicom.sequence import Sequence

from dicom_node.contracts import FileRef, InstanceHeader, TagValue
from dicom_node.dicom.parsing import PARSE_ERRORS, parse, quiet
from dicom_node.dicom.tags import NODE_MANUFACTURER, PRIVATE_CREATOR, PRIVATE_GROUP
from dicom_node.errors import StorageFailed, UnreadableFile

_LONGEST_VALUE = 1024
_DEEPEST = 2
_MOST_ITEMS = 16
_INTEGER_VR = frozenset({"IS", "US", "SS", "UL", "SL", "UV", "SV", "US or SS"})
_REAL_VR = frozenset({"DS", "FL", "FD"})
_BULK_VR = frozenset({"OB", "OW", "OF", "OD", "OL", "OV", "OB or OW", "US or OW", "US or SS or OW"})
_PER_FRAME = 0x52009230


def read_header(ref: FileRef, *, digest: bool = True) -> InstanceHeader:
    """Read the header of one instance, and check that the file is whole.

    Args:
        ref: the file or ZIP member.
        digest: compute the SHA-256 of the whole file; without it `sha256` is empty.

    Raises:
        UnreadableFile: missing, not DICOM, truncated, damaged, or without the UIDs that name an instance.
        StorageFailed: the disk failed to give the bytes.
    """
    with open_ref(ref) as stream:
        return header_from(stream, ref, digest=digest)


def open_ref(ref: FileRef) -> BinaryIO:
    """Open a file or ZIP member for reading.

    Raises:
        UnreadableFile: it is not there, may not be read, or the ZIP is damaged.
        StorageFailed: the disk failed.
    """
    try:
        return ref.open()
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise UnreadableFile(f"{ref}: cannot be opened ({error.strerror})") from None
    except OSError as error:
        raise StorageFailed(f"{ref}: cannot be read ({error.strerror})") from error
    except (KeyError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise UnreadableFile(f"{ref}: cannot be taken out of the ZIP ({type(error).__name__})") from None


def header_from(stream: BinaryIO, ref: FileRef, *, digest: bool = True) -> InstanceHeader:
    """The same for bytes that are already open; `ref` says where they lie."""
    dataset = parse(stream, ref, pixels=False)
    with quiet():
        patient = _patient_key(dataset)  # before anything is decoded: it wants the stored bytes
        tags = dict(_flatten(dataset, depth=0))
        own = _is_own(dataset)
    return InstanceHeader(
        sop_instance_uid=str(dataset.SOPInstanceUID),
        sop_class_uid=str(dataset.SOPClassUID),
        series_instance_uid=str(dataset.SeriesInstanceUID),
        study_instance_uid=str(dataset.StudyInstanceUID),
        transfer_syntax_uid=str(dataset.file_meta.TransferSyntaxUID),
        patient_key=patient,
        tags=tags,
        file=ref,
        sha256=_sha256(stream) if digest else "",
        own_output=own,
    )


def _sha256(stream: BinaryIO) -> str:
    stream.seek(0)
    digest = hashlib.sha256()
    while block := stream.read(1 << 20):
        digest.update(block)
    return digest.hexdigest()


def _flatten(dataset: Dataset, depth: int) -> Iterator[tuple[str, TagValue]]:
    for tag in sorted(dataset.keys()):
        raw = dataset.get_item(tag)
        if tag == _PER_FRAME or (tag.is_private and tag.element <= 0xFF):
            continue
        if isinstance(raw, RawDataElement) and raw.VR not in ("SQ", None) and raw.length > _LONGEST_VALUE:
            continue
        try:
            element = dataset[tag]
        except PARSE_ERRORS:
            continue  # one malformed element must not cost the whole header
        if element.VR == "SQ":
            if depth < _DEEPEST and not tag.is_private:
                yield from _items(element, depth)
            continue
        name = _name(element)
        value = _plain(element) if name else None
        if value is not None:
            yield name, value


def _items(element: DataElement, depth: int) -> Iterator[tuple[str, TagValue]]:
    merged: dict[str, list[TagValue]] = {}
    items = element.value if isinstance(element.value, Sequence) else ()
    for item in items[:_MOST_ITEMS]:
        for name, value in _flatten(item, depth + 1):
            merged.setdefault(f"{element.keyword}.{name}", []).append(value)
    for name, values in merged.items():
        if len(values) == 1:
            yield name, values[0]
        else:
            yield name, tuple(part for value in values for part in (value if isinstance(value, tuple) else (value,)))


def _name(element: DataElement) -> str:
    if not element.tag.is_private:
        return element.keyword
    creator = str(element.private_creator or "").strip()
    return f"{element.tag.group:04x},{creator},{element.tag.element & 0xFF:02x}" if creator else ""


def _plain(element: DataElement) -> TagValue | None:
    """The value without pydicom's types; None when empty, bulk, too long or not convertible."""
    value = element.value
    if value is None or element.VR in _BULK_VR or (isinstance(value, str | bytes) and len(value) > _LONGEST_VALUE):
        return None
    try:
        if isinstance(value, MultiValue | list | tuple):
            many = tuple(_scalar(part, element.VR) for part in value)
            return many if any(part != "" for part in many) else None
        one = _scalar(value, element.VR)
    except (ValueError, TypeError, OverflowError):
        return None
    return None if one == "" else one


def _scalar(value: Any, vr: str) -> str | int | float:
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


def _patient_key(dataset: FileDataset) -> str:
    identity = [_bytes(dataset, 0x00100020), _bytes(dataset, 0x00100021)]
    if not identity[0]:
        identity = [b"study", str(dataset.StudyInstanceUID).encode()]
    return hashlib.sha256(b"\0".join(identity)).hexdigest()


def _bytes(dataset: FileDataset, tag: int) -> bytes:
    """Bytes of a text element as stored: decoding would make equal what is not, or fail."""
    element = dataset.get_item(tag)
    if element is None or element.value is None:
        return b""
    value = element.value
    return (value if isinstance(value, bytes) else str(value).encode()).strip(b" \0")


def _is_own(dataset: FileDataset) -> bool:
    if any(creator == PRIVATE_CREATOR for creator in dataset.private_creators(PRIVATE_GROUP)):
        return True
    try:
        equipment = dataset.get("ContributingEquipmentSequence") or ()
        return any(item.get("Manufacturer") == NODE_MANUFACTURER for item in equipment)
    except PARSE_ERRORS:
        return False
