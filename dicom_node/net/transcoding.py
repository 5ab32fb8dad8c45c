"""Re-encoding of an instance where a peer takes no context in which its file is encoded."""

from __future__ import annotations

from pathlib import Path
from typing import Final

from pydicom import dcmread
from pydicom.uid import UID, DeflatedExplicitVRLittleEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian
from pynetdicom.dsutils import encode

from dicom_node.errors import UnreadableFile

FALLBACKS: Final = (ExplicitVRLittleEndian, ImplicitVRLittleEndian)
"""What an instance may be transcoded to, best first. Implicit VR LE is every peer's default (PS3.5 10.1)."""


def transcode(path: Path, syntax: UID) -> bytes:
    """The data set of a file in another, uncompressed transfer syntax, without file meta information.

    Args:
        path: a DICOM file; compressed pixels are decoded.
        syntax: one of `FALLBACKS`.

    Raises:
        UnreadableFile: the file cannot be parsed, or its pixels not decoded.
    """
    try:
        data = dcmread(path)
        source = data.file_meta.TransferSyntaxUID
        if source.is_compressed and source != DeflatedExplicitVRLittleEndian:
            data.decompress(generate_instance_uid=False)
        encoded = encode(data, syntax.is_implicit_VR, syntax.is_little_endian)
    except (OSError, ValueError, RuntimeError, AttributeError, NotImplementedError) as problem:
        raise UnreadableFile(f"{path}: cannot be transcoded to {syntax.name} ({type(problem).__name__})") from problem
    if encoded is None:
        raise UnreadableFile(f"{path}: cannot be encoded as {syntax.name}")
    return encoded
