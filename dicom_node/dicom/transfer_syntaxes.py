"""The transfer syntaxes that the node takes, and what decodes each."""

from __future__ import annotations

from types import MappingProxyType

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
DECODABLE: tuple[UID, ...] = (*NATIVE, *DECODERS)
"""Every transfer syntax that can be decoded."""
