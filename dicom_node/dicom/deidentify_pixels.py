"""Pixel data as it is, but for what hides in it: bits that are no pixels, bytes after the image, comments."""

from __future__ import annotations

from typing import Final

import numpy as np
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import ExplicitVRBigEndian, JPEGExtended12Bit

from dicom_node.contracts import FileRef
from dicom_node.dicom.codecs import Words, decode
from dicom_node.dicom.deidentify_comments import without_comments
from dicom_node.dicom.parsing import PARSE_ERRORS
from dicom_node.dicom.transfer_syntaxes import NATIVE
from dicom_node.errors import UnreadableFile, UnusableSeries

HIDDEN: Final = "something is drawn into the unused bits of its compressed pixels (an overlay)"
_MOST_EXTENDED: Final = 12
"""Bits that JPEG Extended can hold."""
OPAQUE: Final = "its compressed pixels cannot be looked through for comments"


def clean_pixels(dataset: FileDataset, ref: FileRef) -> DataElement:
    """The Pixel Data element of the export.

    Native pixels stay bit for bit unless the bits above or below Bits Stored hold more than zeros, copies of the sign,
    or Pixel Padding Value: then those bits are cleared, for old scanners and workstations draw overlays there (PS3.5
    8.1.2). Bytes beyond the last pixel are left out. Compressed pixels stay as they are, their comments blanked.

    Args:
        dataset: as read; `deidentify_refusals.refusal` has nothing against it.
        ref: named in errors.

    Raises:
        UnusableSeries: a compressed image with something in its unused bits, or that cannot be looked through; the
            message is the bare reason.
        UnreadableFile: the pixel data is damaged.
    """
    element = dataset["PixelData"]
    syntax = str(dataset.file_meta.TransferSyntaxUID)
    try:
        if syntax in NATIVE:
            return DataElement(element.tag, element.VR, _native(dataset, big=syntax == ExplicitVRBigEndian))
        if int(dataset.BitsStored) < int(dataset.BitsAllocated):
            words = decode(_whole_words(dataset), syntax, ref)
            if not np.array_equal(_cleared(dataset, words), words):
                raise UnusableSeries(HIDDEN)
    except PARSE_ERRORS as error:
        raise UnreadableFile(f"{ref}: damaged ({type(error).__name__} in the pixel data)") from None
    try:
        value = without_comments(element.value, syntax)
    except ValueError:
        raise UnusableSeries(OPAQUE) from None
    cleaned = DataElement(element.tag, "OB", value)
    cleaned.is_undefined_length = True
    return cleaned


def _native(dataset: FileDataset, *, big: bool) -> bytes:
    width = int(dataset.BitsAllocated) // 8
    shape = int(dataset.Rows), int(dataset.Columns)
    data = bytes(dataset.PixelData)
    if len(data) < shape[0] * shape[1] * width:
        raise ValueError("pixel data is too short")
    words = np.frombuffer(data, np.dtype(f"{'>' if big else '<'}u{width}"), shape[0] * shape[1]).reshape(shape)
    kept = _cleared(dataset, words).astype(words.dtype, copy=False).tobytes()
    return kept + b"\0" * (len(kept) % 2)


def _whole_words(dataset: FileDataset) -> Dataset:
    """The image as one that uses all bits of its words: decoders drop what they take for unused."""
    image = dataset.group_dataset(0x0028)
    image["PixelData"] = dataset["PixelData"]
    image.file_meta = dataset.file_meta
    bits = int(dataset.BitsAllocated)
    if dataset.file_meta.TransferSyntaxUID == JPEGExtended12Bit:
        bits = min(bits, _MOST_EXTENDED)
    # new elements: the others are shared with the data set
    image["BitsStored"] = DataElement("BitsStored", "US", max(bits, int(dataset.BitsStored)))
    image["HighBit"] = DataElement("HighBit", "US", image.BitsStored - 1)
    return image


def _cleared(dataset: FileDataset, words: Words) -> Words:
    """The words without what is no pixel; the same object where there is nothing."""
    allocated, stored = 8 * words.dtype.itemsize, int(dataset.BitsStored)
    if stored == allocated:
        return words
    shift = int(dataset.get("HighBit", stored - 1)) + 1 - stored
    mask = ((1 << stored) - 1) << shift
    values = words.astype(np.uint64)
    signed = values & np.uint64(mask)
    if int(dataset.PixelRepresentation) == 1 and not shift:
        negative = (values >> np.uint64(stored - 1)) & np.uint64(1)
        signed |= negative * np.uint64(((1 << allocated) - 1) & ~mask)
        if np.array_equal(signed, values):
            return words
    unused = values & np.uint64(~mask & ((1 << allocated) - 1))
    padding = dataset.get("PixelPaddingValue")
    if isinstance(padding, int):
        unused[values == np.uint64(padding & ((1 << allocated) - 1))] = 0
    if not unused.any():
        return words
    return np.asarray(values & ~unused).astype(words.dtype)
