"""Derived images of one series differ in a few elements: the first is made from its parts, the others after it.

Making an image takes pydicom ten milliseconds, a pattern half a one; a CT has hundreds of slices, and somebody waits.
A pattern is used only where it is certain to give the same bytes: for sources that differ from the first one in nothing
but elements that go over unchanged.
"""

from __future__ import annotations

import io
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from pydicom.uid import ExplicitVRLittleEndian

from dicom_node.contracts import FileRef
from dicom_node.dicom import encoded
from dicom_node.dicom.alike import Encoded
from dicom_node.dicom.elements import dictionary_vr, walk
from dicom_node.dicom.file_meta import file_start
from dicom_node.dicom.images import UNTRUE_AFTER_CHANGE, CorrectedInstance
from dicom_node.dicom.private_block import CHANGED
from dicom_node.dicom.references import source_images
from dicom_node.dicom.tags import PRIVATE_CREATOR, PRIVATE_GROUP
from dicom_node.dicom.words import EncodedFrame

_SOP_INSTANCE_UID: Final = 0x00080018
_STUDY_INSTANCE_UID: Final = 0x0020000D
_SOURCE_IMAGES: Final = 0x00082112
_PIXEL_DATA: Final = 0x7FE00010
_OVERWRITTEN: Final = UNTRUE_AFTER_CHANGE | {
    _SOP_INSTANCE_UID,
    0x00080012,  # Instance Creation Date
    0x00080013,  # Instance Creation Time
    0x00080014,  # Instance Creator UID
}
"""Whatever the source says here, the derived image says something else or nothing."""
_COPIED_GROUPS: Final = frozenset({0x0018, 0x0020, 0x0040, 0x0054})
_COPIED: Final = frozenset(
    {
        0x00080022,  # Acquisition Date
        0x00080023,  # Content Date
        0x0008002A,  # Acquisition DateTime
        0x00080032,  # Acquisition Time
        0x00080033,  # Content Time
        0x00281050,  # Window Center
        0x00281051,  # Window Width
        0x00281055,  # Window Center & Width Explanation
    }
)
_LOOKED_AT: Final = frozenset(
    {
        0x00189004,  # Content Qualification
        0x0018A001,  # Contributing Equipment Sequence
        _STUDY_INSTANCE_UID,
        0x0020000E,  # Series Instance UID
        0x00200011,  # Series Number
        0x00200052,  # Frame of Reference UID
    }
)
"""In groups that are copied, what is not, or what something else is made from."""
_LONG_HEAD: Final = frozenset(
    {b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV"}
)


@dataclass(frozen=True, eq=False)
class Template:
    """The pattern of a series.

    Attributes:
        explicit: whether the sources say their VR.
        source: elements of the first source by tag.
        derived: elements of the derived image that was made from it, without its pixel data.
        sop_class_uid: of the derived images.
        changed_tag: where our private block says whether the pixels differ.
        pixel_head: tag, VR and length of the pixel data.
    """

    explicit: bool
    source: dict[int, bytes]
    derived: dict[int, bytes]
    sop_class_uid: str
    changed_tag: int
    pixel_head: bytes

    @classmethod
    def learned(cls, source: Encoded, derived: bytes, identity: CorrectedInstance) -> Template | None:
        """The pattern of an image that was made; None where there can be none.

        Args:
            source: file of the source.
            derived: file that was made from it.
            identity: whom it shows.
        """
        if not source.nothing_follows or any(
            one.study_instance_uid != identity.sources[0].study_instance_uid for one in identity.sources
        ):
            return None
        made = walk(io.BytesIO(derived), FileRef(Path("derived")))
        spans = made.spans(derived)
        sop_class_uid = made.root.text(0x00080016)
        creators = [
            tag
            for tag in spans
            if tag >> 8 == PRIVATE_GROUP << 8 and tag & 0xFF >= 0x10 and made.root.text(tag) == PRIVATE_CREATOR
        ]
        if len(creators) != 1 or made.pixels is None or made.pixels[1] + made.pixels[2] != len(derived):
            return None
        changed = PRIVATE_GROUP << 16 | (creators[0] & 0xFF) << 8 | CHANGED.offset
        if not {changed, _SOP_INSTANCE_UID, _SOURCE_IMAGES} <= spans.keys():
            return None
        if derived[: made.begin] != file_start(sop_class_uid, identity.instance_uid, ExplicitVRLittleEndian):
            return None
        begin = max(made.ends.values())
        return cls(
            source.elements.root.explicit,
            source.elements.spans(source.data),
            spans,
            sop_class_uid,
            changed,
            derived[begin : made.pixels[1]],
        )

    def image(self, source: Encoded, identity: CorrectedInstance, frame: EncodedFrame) -> list[bytes] | None:
        """A derived image after the pattern, as the parts of its file; None where it must be made from its parts.

        Args:
            source: file of its source.
            identity: whom it shows.
            frame: its pixels.
        """
        if source.elements.root.explicit != self.explicit or not source.nothing_follows:
            return None
        elements = self._with(source.elements.spans(source.data))
        if elements is None:
            return None
        words = frame.words.tobytes()
        (length,) = struct.unpack("<L", self.pixel_head[-4:])
        if length != len(words):
            return None
        elements[_SOP_INSTANCE_UID] = encoded.uid_element("SOPInstanceUID", identity.instance_uid)
        elements[_SOURCE_IMAGES] = encoded.raw_element(source_images(identity.sources))
        said = b"YES " if frame.changed else b"NO"
        elements[self.changed_tag] = _element(self.changed_tag, b"CS", said)
        start = file_start(self.sop_class_uid, identity.instance_uid, ExplicitVRLittleEndian)
        return [start, *(elements[tag] for tag in self.derived), self.pixel_head, words]

    def _with(self, spans: dict[int, bytes]) -> dict[int, bytes] | None:
        """Elements of the derived image for another source, None where it differs in what matters."""
        elements = dict(self.derived)
        for tag in spans.keys() | self.source.keys():
            own, first = spans.get(tag), self.source.get(tag)
            if own == first or tag in _OVERWRITTEN or not tag & 0xFFFF:
                continue
            made = elements.get(tag)
            if own is None or first is None or made is None or not _is_copied(tag):
                return None
            copy = self._copy(tag, own, first, made)
            if copy is None:
                return None
            elements[tag] = copy
        return elements

    def _copy(self, tag: int, own: bytes, first: bytes, made: bytes) -> bytes | None:
        """The element that `own` becomes, if it becomes what `first` became."""
        if self.explicit:
            is_copy = first == made and own[4:6] == first[4:6] != b"SQ" and not len(own) % 2
            return own if is_copy else None
        vr, value = made[4:6], own[8:]
        begin = 12 if vr in _LONG_HEAD else 8
        if first[8:] != made[begin:] or vr == b"SQ" or dictionary_vr(tag) == "SQ" or len(value) % 2:
            return None
        if own[4:8] != struct.pack("<L", len(value)) or (begin == 8 and len(value) > 0xFFFF):
            return None
        return _element(tag, vr, value)


def _is_copied(tag: int) -> bool:
    """Whether an element goes over unchanged and nothing else is made from it."""
    group = tag >> 16
    if group & 1:
        return group != PRIVATE_GROUP and tag & 0xFFFF > 0xFF
    return tag in _COPIED or (group in _COPIED_GROUPS and tag not in _LOOKED_AT)


def _element(tag: int, vr: bytes, value: bytes) -> bytes:
    if vr in _LONG_HEAD:
        return struct.pack("<HH2sHL", tag >> 16, tag & 0xFFFF, vr, 0, len(value)) + value
    return struct.pack("<HH2sH", tag >> 16, tag & 0xFFFF, vr, len(value)) + value
