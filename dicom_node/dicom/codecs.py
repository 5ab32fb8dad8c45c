"""Decoding of one frame's pixel data into container words."""

from __future__ import annotations

from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset
from pydicom.pixels.decoders.base import get_decoder
from pydicom.uid import (
    HTJ2K,
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    HTJ2KLosslessRPCL,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    JPEGLSNearLossless,
    RLELossless,
)

from dicom_node.contracts import FileRef
from dicom_node.dicom.jpeg_extended import decode_extended
from dicom_node.dicom.parsing import PARSE_ERRORS, quiet
from dicom_node.errors import UnreadableFile

Words = NDArray[np.unsignedinteger[Any]]

NATIVE = (ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian)
"""Uncompressed transfer syntaxes."""
DECODERS = MappingProxyType(
    {
        RLELossless: "pylibjpeg",
        JPEGBaseline8Bit: "gdcm",
        JPEGExtended12Bit: "gdcm",
        JPEGLossless: "gdcm",
        JPEGLosslessSV1: "gdcm",
        JPEGLSLossless: "pyjpegls",
        JPEGLSNearLossless: "pyjpegls",
        JPEG2000Lossless: "pylibjpeg",
        JPEG2000: "pylibjpeg",
        HTJ2KLossless: "pylibjpeg",
        HTJ2KLosslessRPCL: "pylibjpeg",
        HTJ2K: "pylibjpeg",
    }
)
"""One named decoder for each compressed transfer syntax: never whichever happens to be installed, so that the same
file gives the same voxels everywhere."""
DECODABLE: tuple[str, ...] = (*map(str, NATIVE), *map(str, DECODERS))
"""Every transfer syntax that can be decoded."""


def decode(dataset: Dataset, transfer_syntax_uid: str, ref: FileRef) -> Words:
    """Decode a single-frame, single-sample image.

    Args:
        dataset: with Pixel Data; Rows, Columns and Bits Allocated (8, 16 or 32) are valid.
        transfer_syntax_uid: one of `DECODABLE`.
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
            if syntax == JPEGExtended12Bit:
                decoded = np.frombuffer(decode_extended(dataset), dtype=unsigned).reshape(shape)
            else:
                options = {} if syntax in NATIVE else {"decoding_plugin": DECODERS[syntax]}
                decoded, _ = get_decoder(syntax).as_array(dataset, index=0, raw=True, **options)  # type: ignore[arg-type]
    except (*PARSE_ERRORS, RuntimeError, OSError, StopIteration):
        raise UnreadableFile(f"{ref}: pixel data ({syntax.name}) cannot be decoded; the file is damaged") from None
    if decoded.shape != shape or decoded.dtype.itemsize != unsigned.itemsize:
        raise UnreadableFile(f"{ref}: decoded to {decoded.dtype} {decoded.shape}, the header says {unsigned} {shape}")
    return np.ascontiguousarray(decoded).astype(decoded.dtype.newbyteorder("="), copy=False).view(unsigned)
