"""Bytes to pydicom datasets, with every way of being unreadable turned into one error."""

from __future__ import annotations

import struct
import warnings
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import BinaryIO, Final

import pydicom
from pydicom.dataset import FileDataset, FileMetaDataset
from pydicom.errors import BytesLengthException, InvalidDicomError
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
)

from dicom_node.contracts import FileRef
from dicom_node.dicom.elements import is_uid, walk
from dicom_node.errors import UnreadableFile

NEEDED_UIDS: Final = {
    0x00080016: "SOPClassUID",
    0x00080018: "SOPInstanceUID",
    0x0020000D: "StudyInstanceUID",
    0x0020000E: "SeriesInstanceUID",
}
"""Without these an instance has no name."""
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
    if not pixels:
        walk(stream, ref)  # pydicom hands back what it got from a file cut short, without a word
    stream.seek(0)
    force = _plausible_without_preamble(stream, ref)
    try:
        with quiet():
            dataset = pydicom.dcmread(stream, stop_before_pixels=not pixels, force=force)
            _complete_meta(dataset, ref)
            _check_identity(dataset, ref)
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
    return value if is_uid(value) else None


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
    for keyword in NEEDED_UIDS.values():
        value = str(dataset.get(keyword) or "")
        if not value:
            raise UnreadableFile(f"{ref}: {keyword} is missing; not a DICOM image, or truncated")
        if not is_uid(value):
            raise UnreadableFile(f"{ref}: {keyword} is not a UID")
