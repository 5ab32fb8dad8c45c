"""What stands before a received data set in a file: preamble and File Meta Information (PS3.10 7.1), encoded by hand.

pydicom's writer takes longer for it than the whole rest of a small C-STORE.
"""

from __future__ import annotations

import struct
from typing import Final

from dicom_node.dicom.tags import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME

_PREAMBLE: Final = bytes(128) + b"DICM"
_SHORT: Final = struct.Struct("<HH2sH")
_VERSION: Final = struct.pack("<HH2sHI", 0x0002, 0x0001, b"OB", 0, 2) + b"\0\1"
_GROUP_LENGTH: Final = struct.Struct("<HH2sHI")


def file_start(sop_class_uid: str, sop_instance_uid: str, transfer_syntax_uid: str) -> bytes:
    """Preamble and File Meta Information.

    Args:
        sop_class_uid: Affected SOP Class UID of the C-STORE request, ASCII.
        sop_instance_uid: Affected SOP Instance UID, ASCII.
        transfer_syntax_uid: of the presentation context.
    """
    elements = b"".join(
        (
            _VERSION,
            _element(0x0002, b"UI", sop_class_uid, b"\0"),
            _element(0x0003, b"UI", sop_instance_uid, b"\0"),
            _element(0x0010, b"UI", transfer_syntax_uid, b"\0"),
            _element(0x0012, b"UI", IMPLEMENTATION_CLASS_UID, b"\0"),
            _element(0x0013, b"SH", IMPLEMENTATION_VERSION_NAME, b" "),
        )
    )
    return _PREAMBLE + _GROUP_LENGTH.pack(0x0002, 0x0000, b"UL", 4, len(elements)) + elements


def _element(number: int, vr: bytes, text: str, padding: bytes) -> bytes:
    value = text.encode("ascii")
    value += padding * (len(value) % 2)
    return _SHORT.pack(0x0002, number, vr, len(value)) + value
