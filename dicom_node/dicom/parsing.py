"""Bytes to pydicom datasets, with every way of being unreadable turned into one error."""

from __future__ import annotations

import io
import re
import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO

import pydicom
from pydicom.dataelem import RawDataElement
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
)

from dicom_node.contracts import FileRef
from dicom_node.errors import UnreadableFile

_UNDEFINED = 0xFFFFFFFF
_ITEM, _DELIMITER = (0xFFFE, 0xE000), (0xFFFE, 0xE0DD)
_LONG_VR = (b"OB", b"OW", b"OD", b"OF", b"OL", b"OV", b"SV", b"UV", b"UN", b"UC", b"UR", b"UT", b"SQ")
_UID = re.compile(r"[0-9.]{1,64}")
NEEDED_UIDS = ("SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID")
PARSE_ERRORS = (
    InvalidDicomError,
    BytesLengthException,
    ValueError,
    TypeError,
    LookupError,
    AttributeError,
    NotImplementedError,
    OverflowError,
    AssertionError,
    RecursionError,
    EOFError,
    struct.error,
    zlib.error,
)
"""What pydicom raises on damaged input; there is no common base."""


@contextmanager
def quiet() -> Iterator[None]:
    """Keep pydicom's warnings back: they quote values."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def parse(stream: BinaryIO, ref: FileRef, *, pixels: bool) -> FileDataset:
    """Parse one instance.

    Args:
        stream: positioned anywhere; seekable.
        ref: named in errors.
        pixels: read the pixel data too; without it, the file is checked to hold all of it.

    Returns:
        The dataset, `file_meta.TransferSyntaxUID` always set (found from the bytes where File Meta Information
        is missing).

    Raises:
        UnreadableFile: not DICOM, truncated, damaged, a DICOMDIR, or without the UIDs that name an instance.
    """
    stream.seek(0)
    force = _plausible_without_preamble(stream, ref)
    try:
        with quiet():
            dataset = pydicom.dcmread(stream, stop_before_pixels=not pixels, force=force)
            _complete_meta(dataset, ref)
            _check_identity(dataset, ref)
            if not pixels:
                _check_complete(stream, dataset, ref)
    except UnreadableFile as error:
        raise UnreadableFile(str(error), _series_of(dataset)) from None
    except PARSE_ERRORS as error:
        raise UnreadableFile(f"{ref}: damaged or truncated ({type(error).__name__} while parsing)") from None
    return dataset


def _series_of(dataset: FileDataset) -> str | None:
    """The series that a damaged file says it belongs to."""
    try:
        value = str(dataset.get("SeriesInstanceUID") or "")
    except PARSE_ERRORS:
        return None
    return value if _UID.fullmatch(value) else None


def _plausible_without_preamble(stream: BinaryIO, ref: FileRef) -> bool:
    """True when there is no `DICM` mark but the bytes start like a dataset (group 0002 or 0008)."""
    start = stream.read(132)
    stream.seek(0)
    if start[128:132] == b"DICM":
        return False
    if len(start) < 132:
        raise UnreadableFile(f"{ref}: not DICOM (too short)")
    little, big = struct.unpack("<H", start[:2])[0], struct.unpack(">H", start[:2])[0]
    if little in (0x0002, 0x0008) or big == 0x0008:
        return True
    raise UnreadableFile(f"{ref}: not DICOM (no DICM mark, and it does not start like a dataset)")


def _complete_meta(dataset: FileDataset, ref: FileRef) -> None:
    meta = getattr(dataset, "file_meta", None)
    if meta is None:
        meta = dataset.file_meta = FileMetaDataset()
    if meta.get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage:
        raise UnreadableFile(f"{ref}: a DICOMDIR, not an image")
    if not meta.get("TransferSyntaxUID"):
        implicit, little = dataset.original_encoding
        if implicit:
            meta.TransferSyntaxUID = ImplicitVRLittleEndian
        else:
            meta.TransferSyntaxUID = ExplicitVRLittleEndian if little else ExplicitVRBigEndian


def _check_identity(dataset: FileDataset, ref: FileRef) -> None:
    for keyword in NEEDED_UIDS:
        value = str(dataset.get(keyword) or "")
        if not value:
            raise UnreadableFile(f"{ref}: {keyword} is missing; not a DICOM image, or truncated")
        if not _UID.fullmatch(value):
            raise UnreadableFile(f"{ref}: {keyword} is not a UID")


def _check_complete(stream: BinaryIO, dataset: FileDataset, ref: FileRef) -> None:
    """Compare the file's length with what its header promises, without reading pixels.

    pydicom itself hands back what it got from a file cut short, without a word.
    """
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax == DeflatedExplicitVRLittleEndian:
        return  # zlib itself notices a missing end
    start = stream.tell()
    size = stream.seek(0, io.SEEK_END)
    stream.seek(start)
    order = ">" if syntax == ExplicitVRBigEndian else "<"
    if start + 8 > size or not _at_pixel_data(stream, order):
        _check_last_element(stream, dataset, size, ref)
        return
    length = _value_length(stream, order, implicit=dataset.original_encoding[0] is True)
    if length == _UNDEFINED:
        if not UID(syntax).is_encapsulated:
            raise UnreadableFile(f"{ref}: pixel data is compressed but the transfer syntax says it is not")
        _check_fragments(stream, size, ref)
    elif stream.tell() + length > size:
        raise UnreadableFile(f"{ref}: truncated, {stream.tell() + length - size} bytes of pixel data are missing")
    elif not UID(syntax).is_encapsulated and length < _expected_bytes(dataset):
        raise UnreadableFile(f"{ref}: truncated, pixel data is shorter than Rows x Columns says")


def _at_pixel_data(stream: BinaryIO, order: str) -> bool:
    group, element = struct.unpack(f"{order}HH", stream.read(4))
    return bool(group == 0x7FE0 and element in (0x0008, 0x0009, 0x0010))


def _value_length(stream: BinaryIO, order: str, *, implicit: bool) -> int:
    start = stream.read(4)
    if implicit or start[:2] not in _LONG_VR:
        # An explicit pixel data element always has a long VR; anything else is an implicit 32-bit length.
        return int(struct.unpack(f"{order}L", start)[0])
    return int(struct.unpack(f"{order}L", stream.read(4))[0])


def _check_fragments(stream: BinaryIO, size: int, ref: FileRef) -> None:
    """Walk the items of encapsulated pixel data to their delimiter (PS3.5 A.4)."""
    while (head := stream.read(8)) and len(head) == 8:
        group, element, length = struct.unpack("<HHL", head)
        if (group, element) == _DELIMITER:
            return
        if (group, element) != _ITEM or stream.tell() + length > size:
            break
        stream.seek(length, io.SEEK_CUR)
    raise UnreadableFile(f"{ref}: truncated or damaged, the compressed pixel data has no end")


def _expected_bytes(dataset: FileDataset) -> int:
    bits = int(dataset.get("BitsAllocated") or 0)
    frames = int(dataset.get("NumberOfFrames") or 1)
    samples = int(dataset.get("SamplesPerPixel") or 1)
    if "422" in str(dataset.get("PhotometricInterpretation", "")):
        samples = 2
    return int(dataset.get("Rows") or 0) * int(dataset.get("Columns") or 0) * samples * frames * bits // 8


def _check_last_element(stream: BinaryIO, dataset: FileDataset, size: int, ref: FileRef) -> None:
    """Without pixel data, the file must end where its last element does."""
    last = dataset.get_item(max(dataset.keys()))
    if isinstance(last, RawDataElement) and last.length != _UNDEFINED:
        whole = last.value_tell + last.length == size
    else:
        stream.seek(max(0, size - 8))
        whole = stream.read(8) in (b"\xfe\xff\xdd\xe0\0\0\0\0", b"\xff\xfe\xe0\xdd\0\0\0\0")
    if not whole:
        raise UnreadableFile(f"{ref}: truncated in the header")
