"""Decoding of one frame's pixel data into container words."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import UID, ExplicitVRBigEndian, JPEGExtended12Bit

from dicom_node.contracts import FileRef
from dicom_node.dicom.codestream import announced
from dicom_node.dicom.jpeg_extended import decode_extended
from dicom_node.dicom.parsing import quiet
from dicom_node.dicom.transfer_syntaxes import DECODERS, NATIVE
from dicom_node.errors import UnreadableFile

Words = NDArray[np.unsignedinteger[Any]]


def decode(dataset: Dataset, transfer_syntax_uid: str, ref: FileRef) -> Words:
    """Decode a single-frame, single-sample image.

    Args:
        dataset: with Pixel Data; Rows, Columns and Bits Allocated (8, 16 or 32) are valid.
        transfer_syntax_uid: one of `transfer_syntaxes.DECODABLE`.
        ref: named in errors.

    Returns:
        Container words (y, x), unsigned, Bits Allocated wide, native byte order, C order, unused bits as stored.

    Raises:
        UnreadableFile: the pixel data is too short or damaged.
    """
    shape = int(dataset.Rows), int(dataset.Columns)
    unsigned = np.dtype(f"<u{int(dataset.BitsAllocated) // 8}")
    syntax = UID(transfer_syntax_uid)
    if syntax in NATIVE and syntax != ExplicitVRBigEndian:
        data = dataset.PixelData
        expected = shape[0] * shape[1] * unsigned.itemsize
        if len(data) < expected:
            raise UnreadableFile(f"{ref}: truncated, {expected - len(data)} bytes of pixel data are missing")
        return np.frombuffer(data, dtype=unsigned, count=shape[0] * shape[1]).reshape(shape)
    try:
        with quiet():
            if syntax not in NATIVE:
                _check_announced(dataset, syntax, shape, ref)
            if syntax == JPEGExtended12Bit:
                decoded = np.frombuffer(decode_extended(dataset), dtype=unsigned).reshape(shape)
            else:
                options = {} if syntax in NATIVE else {"decoding_plugin": DECODERS[syntax]}
                decoded, _ = get_decoder(syntax).as_array(dataset, index=0, raw=True, **options)  # type: ignore[arg-type]
    except (UnreadableFile, MemoryError, KeyboardInterrupt, SystemExit):
        raise
    except BaseException:  # noqa: BLE001  a decoder written in Rust panics with what is no Exception
        raise UnreadableFile(f"{ref}: pixel data ({syntax.name}) cannot be decoded; the file is damaged") from None
    if decoded.shape != shape or decoded.dtype.itemsize != unsigned.itemsize:
        raise UnreadableFile(f"{ref}: decoded to {decoded.dtype} {decoded.shape}, the header says {unsigned} {shape}")
    return np.ascontiguousarray(decoded).astype(decoded.dtype.newbyteorder("="), copy=False).view(unsigned)


def _check_announced(dataset: Dataset, syntax: UID, shape: tuple[int, int], ref: FileRef) -> None:
    """Decoders make room for what the code stream says: let it say what the header says."""
    found = announced(next(generate_frames(dataset.PixelData, number_of_frames=1)), syntax)
    if found is None:
        return
    rows = found.rows or shape[0]
    if (rows, found.columns) != shape or found.components != 1:
        raise UnreadableFile(
            f"{ref}: the compressed image is {found.columns} x {rows} pixels of {found.components} samples, "
            f"the header says {shape[1]} x {shape[0]} of 1"
        )
