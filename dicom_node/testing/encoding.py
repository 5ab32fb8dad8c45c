"""Compression of synthetic instances with the codecs that the node must be able to decode."""

from __future__ import annotations

import tempfile
from pathlib import Path

import gdcm
import pydicom
from pydicom.dataset import FileDataset
from pydicom.uid import (
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    HTJ2KLossless,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLossless,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

UNCOMPRESSED = (
    ImplicitVRLittleEndian,
    ExplicitVRLittleEndian,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
)
LOSSLESS = (RLELossless, JPEGLSLossless, JPEG2000Lossless, JPEGLosslessSV1, JPEGLossless)
_THROUGH_GDCM = {
    JPEGBaseline8Bit: gdcm.TransferSyntax.JPEGBaselineProcess1,
    JPEGLossless: gdcm.TransferSyntax.JPEGLosslessProcess14,
    JPEGLosslessSV1: gdcm.TransferSyntax.JPEGLosslessProcess14_1,
}


def compress(dataset: FileDataset, transfer_syntax_uid: str) -> FileDataset:
    """Return the instance in a compressed transfer syntax; the pixel data must be native little endian.

    Args:
        dataset: instance with uncompressed pixel data.
        transfer_syntax_uid: one of RLE, JPEG (baseline, lossless), JPEG-LS, JPEG 2000.

    Raises:
        ValueError: no encoder for the transfer syntax, or it cannot hold such pixels.
    """
    syntax = UID(transfer_syntax_uid)
    if syntax in _THROUGH_GDCM:
        return _compress_with_gdcm(dataset, syntax)
    if syntax == HTJ2KLossless:
        raise ValueError("no encoder for HTJ2K is installed")
    dataset.compress(syntax, generate_instance_uid=False)
    return dataset


def _compress_with_gdcm(dataset: FileDataset, syntax: UID) -> FileDataset:
    with tempfile.TemporaryDirectory() as folder:
        plain, packed = Path(folder) / "plain.dcm", Path(folder) / "packed.dcm"
        dataset.save_as(plain, enforce_file_format=True)
        reader = gdcm.ImageReader()
        reader.SetFileName(str(plain))
        change = gdcm.ImageChangeTransferSyntax()
        change.SetTransferSyntax(gdcm.TransferSyntax(_THROUGH_GDCM[syntax]))
        if not reader.Read():
            raise ValueError("GDCM cannot read the instance")
        change.SetInput(reader.GetImage())
        if not change.Change():
            raise ValueError(f"GDCM cannot encode the pixels as {syntax.name}")
        writer = gdcm.ImageWriter()
        writer.SetFileName(str(packed))
        writer.SetFile(reader.GetFile())
        writer.SetImage(change.GetOutput())
        if not writer.Write():
            raise ValueError("GDCM cannot write the instance")
        # Only the encoded pixels are taken over: GDCM rewrites other tags on the way.
        dataset["PixelData"] = pydicom.dcmread(packed)["PixelData"]
    dataset["PixelData"].is_undefined_length = True
    if syntax == JPEGBaseline8Bit:
        dataset.LossyImageCompression = "01"
        dataset.LossyImageCompressionRatio = 10.0
        dataset.LossyImageCompressionMethod = "ISO_10918_1"
    dataset.file_meta.TransferSyntaxUID = syntax
    return dataset
