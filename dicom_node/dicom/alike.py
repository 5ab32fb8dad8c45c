"""Images of a series, read one after the other: what one has said of its pixels is not parsed again for the next."""

from __future__ import annotations

import io
import os
from dataclasses import dataclass
from typing import Final

import numpy as np
from pydicom.dataset import FileDataset
from pydicom.uid import DeflatedExplicitVRLittleEndian

from dicom_node.contracts import FileRef
from dicom_node.dicom.elements import Elements, walk
from dicom_node.dicom.headers import open_ref
from dicom_node.dicom.parsing import NEEDED_UIDS, parse
from dicom_node.dicom.pixels import FrameDescription, StoredFrame, describe, stored_from
from dicom_node.errors import StorageFailed, UnreadableFile

_LARGEST_FILE: Final = 1 << 25
"""Larger files are read the careful way, element by element [bytes]."""
_DESCRIPTION: Final = (
    0x00080060,  # Modality
    0x00280002,  # Samples per Pixel
    0x00280004,  # Photometric Interpretation
    0x00280008,  # Number of Frames
    0x00280010,  # Rows
    0x00280011,  # Columns
    0x00280100,  # Bits Allocated
    0x00280101,  # Bits Stored
    0x00280102,  # High Bit
    0x00280103,  # Pixel Representation
    0x00280120,  # Pixel Padding Value
    0x00280121,  # Pixel Padding Range Limit
    0x00281052,  # Rescale Intercept
    0x00281053,  # Rescale Slope
)
_LOOKUP_TABLE: Final = 0x00283000
_PIXEL_DATA: Final = 0x7FE00010


@dataclass(frozen=True, eq=False)
class Encoded:
    """A file whose pixels lie in it as they are, little endian.

    Attributes:
        data: the whole file.
        elements: what lies where.
    """

    data: bytes
    elements: Elements

    @property
    def nothing_follows(self) -> bool:
        """Whether the pixel data is the end of the file."""
        pixels = self.elements.pixels
        return pixels is not None and pixels[1] + pixels[2] == len(self.data)


@dataclass(frozen=True, eq=False)
class ReadImage:
    """One image.

    Attributes:
        sop_instance_uid: as in the file.
        frame: its pixels.
        encoded: the file, where it is one whose bytes can be used as they are.
        dataset: the parsed file, None where parsing was not needed.
    """

    sop_instance_uid: str
    frame: StoredFrame
    encoded: Encoded | None
    dataset: FileDataset | None


class AlikeImages:
    """Reads images; one thread at a time."""

    def __init__(self) -> None:
        self._known: dict[object, FrameDescription] = {}

    def read(self, ref: FileRef) -> ReadImage:
        """Read and decode one classic single-frame image.

        Raises:
            UnreadableFile: damaged, truncated, or without the UIDs that name an instance.
            UnusableSeries: no pixel data, or pixels of a kind that is no CT or MR image.
            StorageFailed: the disk failed.
        """
        encoded = _encoded(ref)
        key = None if encoded is None else _key(encoded.elements)
        if encoded is not None and (description := self._known.get(key)) is not None:
            return ReadImage(
                encoded.elements.root.text(0x00080018), description.frame(_words(encoded, description)), encoded, None
            )
        dataset = parsed(ref, encoded)
        if encoded is not None:
            self._known[key] = describe(dataset, ref)
        return ReadImage(str(dataset.SOPInstanceUID), stored_from(dataset, ref), encoded, dataset)


def _encoded(ref: FileRef) -> Encoded | None:
    """The file, None where its words are not simply bytes in it."""
    try:
        with open_ref(ref) as stream:
            if stream.seek(0, os.SEEK_END) > _LARGEST_FILE:
                return None
            stream.seek(0)
            data = stream.read()
    except OSError as error:
        raise StorageFailed(f"{ref}: cannot be read ({error.strerror})") from error
    elements = walk(io.BytesIO(data), ref)
    root = elements.root
    if elements.transfer_syntax_uid == DeflatedExplicitVRLittleEndian or not root.little or elements.pixels is None:
        return None
    if elements.pixels[0] != _PIXEL_DATA or not all(root.text(tag) for tag in NEEDED_UIDS):
        return None
    return Encoded(data, elements)


def _key(elements: Elements) -> object:
    """Equal for images whose words mean the same."""
    values = elements.root.values
    return (
        elements.transfer_syntax_uid,
        elements.root.explicit,
        _LOOKUP_TABLE in elements.ends,
        *(values.get(tag) for tag in _DESCRIPTION),
    )


def _words(encoded: Encoded, description: FrameDescription) -> np.ndarray:
    count = description.rows * description.columns
    assert encoded.elements.pixels is not None
    kind = np.dtype(f"<u{description.bits_allocated // 8}")
    words = np.frombuffer(encoded.data, dtype=kind, count=count, offset=encoded.elements.pixels[1])
    return words.reshape(description.rows, description.columns)


def parsed(ref: FileRef, encoded: Encoded | None) -> FileDataset:
    """The whole file by pydicom, from memory where it is there.

    Raises:
        UnreadableFile: damaged, truncated, or without the UIDs that name an instance.
    """
    if encoded is not None:
        return parse(io.BytesIO(encoded.data), ref, pixels=True)
    with open_ref(ref) as stream:
        return parse(stream, ref, pixels=True)


def check_instance(image: ReadImage, sop_instance_uid: str, ref: FileRef) -> None:
    """Make sure that a file still holds the instance that it held before.

    Raises:
        UnreadableFile: it does not.
    """
    if image.sop_instance_uid != sop_instance_uid:
        raise UnreadableFile(f"{ref}: no longer holds instance {sop_instance_uid}")
