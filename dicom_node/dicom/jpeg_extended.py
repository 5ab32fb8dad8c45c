"""JPEG Extended (Process 2 and 4): 12-bit lossy JPEG, which pydicom hands to no decoder that is free to use."""

from __future__ import annotations

import gdcm
from pydicom.dataset import Dataset
from pydicom.encaps import generate_frames


def decode_extended(dataset: Dataset) -> bytes:
    """Decode a single-frame, single-sample image with GDCM; the same values as DCMTK's decoder gives.

    Args:
        dataset: with encapsulated Pixel Data.

    Returns:
        Container words, Bits Allocated wide, little endian, row by row.

    Raises:
        ValueError: GDCM cannot decode the stream.
    """
    fragment = gdcm.Fragment()
    fragment.SetByteStringValue(next(generate_frames(dataset.PixelData, number_of_frames=1)))
    fragments = gdcm.SequenceOfFragments.New()
    fragments.AddFragment(fragment)
    element = gdcm.DataElement(gdcm.Tag(0x7FE0, 0x0010))
    element.SetValue(fragments.__ref__())
    monochrome = gdcm.PhotometricInterpretation(gdcm.PhotometricInterpretation.MONOCHROME2)
    stored, signed = int(dataset.BitsStored), int(dataset.PixelRepresentation)
    image = gdcm.Image()
    image.SetNumberOfDimensions(2)
    image.SetDimensions((int(dataset.Columns), int(dataset.Rows), 1))
    image.SetPhotometricInterpretation(monochrome)
    image.SetTransferSyntax(gdcm.TransferSyntax(gdcm.TransferSyntax.JPEGExtendedProcess2_4))
    image.SetPixelFormat(gdcm.PixelFormat(1, int(dataset.BitsAllocated), stored, stored - 1, signed))
    image.SetDataElement(element)
    # The binding passes bytes off as text; this is its own way back.
    return bytes(image.GetBuffer().encode("utf-8", "surrogateescape"))
