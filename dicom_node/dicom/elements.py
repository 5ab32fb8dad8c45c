"""A walk over the elements of a DICOM file, in bounded memory and time, without decoding values (PS3.5 7, PS3.10 7).

pydicom reads whatever lengths a file claims and builds objects for everything in it: four times what intake needs, and
for a crafted file without a limit. This walk keeps the short values of the outer levels as bytes, steps over the rest,
and says whether the file holds all that its header promises. It tolerates what pydicom does.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
from struct import Struct
from typing import BinaryIO, Final

from pydicom.datadict import dictionary_VR
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    MediaStorageDirectoryStorage,
)

from dicom_node.contracts import FileRef
from dicom_node.dicom.byte_sources import Damaged, Flaw, Inflated, Short, Window
from dicom_node.errors import UnreadableFile

LONGEST_VALUE: Final = 1024
"""Longer values are left out [bytes]."""
MOST_ITEMS: Final = 16
"""Of a sequence so many items are kept."""
PER_FRAME: Final = 0x52009230
"""Per-frame Functional Groups Sequence: as long as the image has frames, and nobody asks for it."""
CONTRIBUTORS: Final = 0x0018A001
"""Contributing Equipment Sequence: the loop guard wants to see every item."""
_IDENTITY: Final = frozenset({0x00100020, 0x00100021})
"""Patients whose ID or issuer differ only at their ends are two patients."""
_DEEPEST_KEPT: Final = 2
_MOST_KEPT: Final = 20_000
"""Elements of one file that are kept: ten times what real headers have."""
_DEEPEST: Final = 64
_UNDEFINED: Final = 0xFFFFFFFF
_NO_END: Final = 1 << 62
_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_PIXELS: Final = frozenset({0x7FE00008, 0x7FE00009, 0x7FE00010})
_SHORT_VR: Final = {vr: vr.decode() for vr in b"AE AS AT CS DA DS DT FD FL IS LO LT PN SH SL SS ST TM UI UL US".split()}
_LONG_VR: Final = {vr: vr.decode() for vr in b"OB OD OF OL OV OW SQ SV UC UN UR UT UV".split()}
_BULK_VR: Final = frozenset({"OB", "OD", "OF", "OL", "OV", "OW"})
_GE_IMPLICIT: Final = "1.2.840.113619.5.2"
"""GE's private syntax, implicit VR little endian with big endian pixels."""
_UID: Final = re.compile(r"[0-9.]{1,64}")
_NATIVE: Final = frozenset(
    {
        str(ImplicitVRLittleEndian),
        str(ExplicitVRLittleEndian),
        str(ExplicitVRBigEndian),
        str(DeflatedExplicitVRLittleEndian),
        _GE_IMPLICIT,
    }
)


@dataclass
class Block:
    """The kept elements of a data set or item.

    Attributes:
        explicit: whether its elements say their VR.
        little: byte order.
        values: VR (None where the file does not say) and bytes by tag.
        sequences: kept items by tag.
    """

    explicit: bool
    little: bool
    values: dict[int, tuple[str | None, bytes]] = field(default_factory=dict)
    sequences: dict[int, list[Block]] = field(default_factory=dict)

    def text(self, tag: int) -> str:
        """A short value of ASCII text without its padding, empty when absent."""
        found = self.values.get(tag)
        return "" if found is None else found[1].decode("ascii", "replace").strip("\0 ")

    def number(self, tag: int, default: int = 0) -> int:
        """An unsigned short (VR US) or whole number (VR IS)."""
        found = self.values.get(tag)
        if found is None or not found[1]:
            return default
        if found[0] == "IS" or (found[0] is None and dictionary_vr(tag) == "IS"):
            digits = found[1].strip(b"\0 ")
            return int(digits) if digits.isdigit() else default
        return int.from_bytes(found[1][:2], "little" if self.little else "big")


@dataclass(frozen=True)
class Elements:
    """What a file holds besides bulk data.

    Attributes:
        transfer_syntax_uid: as it says, or as its bytes show.
        root: kept elements.
        begin: where the data set begins [bytes].
        ends: where each element of the outermost level ends [bytes], in the order of the file; up to the pixel data.
        pixels: tag, begin and length of the value [bytes] of native pixel data; None where there is none.
    """

    transfer_syntax_uid: str
    root: Block
    begin: int
    ends: Mapping[int, int]
    pixels: tuple[int, int, int] | None

    def spans(self, data: bytes) -> dict[int, bytes]:
        """Each element of the outermost level with its head, by tag; `data` is the whole file."""
        found, begin = {}, self.begin
        for tag, end in self.ends.items():
            found[tag] = data[begin:end]
            begin = end
        return found


def walk(stream: BinaryIO, ref: FileRef) -> Elements:
    """Walk over a file from its first byte to the last that counts.

    Args:
        stream: positioned anywhere; seekable.
        ref: named in errors.

    Raises:
        UnreadableFile: not DICOM, truncated, damaged, or with a header beyond all reason; it names the series where
            the file still tells.
    """
    walker = _Walker(stream, ref)
    try:
        return walker.file()
    except Flaw as flaw:
        kind = "truncated" if isinstance(flaw, Short) else "damaged"
        raise UnreadableFile(f"{ref}: {kind}, {flaw}", walker.series) from None


class _Layout:
    """How the heads of elements are encoded."""

    def __init__(self, order: str) -> None:
        self.explicit = Struct(f"{order}HH2sH").unpack_from
        self.implicit = Struct(f"{order}HHL").unpack_from
        self.length = Struct(f"{order}L").unpack_from


_LITTLE, _BIG = _Layout("<"), _Layout(">")


class _Walker:
    """One walk."""

    def __init__(self, stream: BinaryIO, ref: FileRef) -> None:
        self._window = Window(stream)
        self._ref = ref
        self._layout = _LITTLE
        self._kept = 0
        self._root = Block(True, True)
        self._ends: dict[int, int] = {}
        self._native: tuple[int, int, int] | None = None

    @property
    def series(self) -> str | None:
        """The series that the file says it belongs to, as far as it was read."""
        value = self._root.text(0x0020000E)
        return value if is_uid(value) else None

    def file(self) -> Elements:
        """Walk over the whole file."""
        syntax = self._meta() or self._guess()
        if syntax == DeflatedExplicitVRLittleEndian:
            self._window = Inflated(self._window)
        little = syntax != ExplicitVRBigEndian
        self._layout = _LITTLE if little else _BIG
        explicit = syntax not in (ImplicitVRLittleEndian, _GE_IMPLICIT)
        if self._window.has(6):
            explicit = self._says_vr()  # what a file does counts, not what it says it does
        self._root = Block(explicit, little)
        begin, self._ends = self._window.position, {}
        if self._data_set(self._root, explicit, _NO_END, depth=0, delimited=False):
            self._pixels(syntax)
        self._window.finish()
        return Elements(syntax, self._root, begin, self._ends, self._native)

    def _meta(self) -> str:
        """Step over preamble and File Meta Information; returns its transfer syntax, empty where it names none."""
        window = self._window
        if not window.has(132):
            raise UnreadableFile(f"{self._ref}: not DICOM (too short)")
        if window.data[128:132] == b"DICM":
            window.at = 132
        elif window.data[:2] not in (b"\x02\0", b"\x08\0", b"\0\x08"):
            raise UnreadableFile(f"{self._ref}: not DICOM (no DICM mark, and it does not start like a dataset)")
        meta = Block(True, True)
        self._data_set(meta, True, _NO_END, depth=0, delimited=False, meta=True)
        if meta.text(0x00020002) == MediaStorageDirectoryStorage:
            raise UnreadableFile(f"{self._ref}: a DICOMDIR, not an image")
        return meta.text(0x00020010)

    def _guess(self) -> str:
        """How a data set without File Meta Information is encoded."""
        window = self._window
        if not window.has(6) or not self._says_vr():
            return str(ImplicitVRLittleEndian)
        # Groups of a big endian data set look large: 0008 reads as 0800.
        return str(ExplicitVRBigEndian if window.data[window.at] == 0 else ExplicitVRLittleEndian)

    def _says_vr(self) -> bool:
        """Whether the next element has a VR: two capital letters are no length that a first element has."""
        window = self._window
        if not window.has(6):
            return False
        first, second = window.data[window.at + 4], window.data[window.at + 5]
        return 0x41 <= first <= 0x5A and 0x41 <= second <= 0x5A

    def _data_set(
        self, block: Block | None, explicit: bool, end: int, *, depth: int, delimited: bool, meta: bool = False
    ) -> bool:
        """Walk over elements up to `end`, or where `delimited` to the item's delimiter; keep them in `block`.

        Returns:
            Whether the walk stands at the pixel data of the file.
        """
        window, layout = self._window, self._layout
        while True:
            if depth and window.position + 8 > end:
                if window.position == end and not delimited:
                    return False
                raise Damaged("an item that is longer than its sequence")
            if not window.has(8):
                if not depth and not window.has(1):
                    return False
                raise Short("it ends in its header")
            data, at = window.data, window.at
            vr: str | None = None
            step = 8
            if explicit:
                group, element, code, length = layout.explicit(data, at)
                vr = _SHORT_VR.get(code)
                if vr is None:
                    vr = _LONG_VR.get(code)
                    if vr is not None:
                        if not window.has(12):
                            raise Short("it ends in its header")
                        data, at = window.data, window.at
                        (length,), step = layout.length(data, at + 8), 12
                    elif not (0x41 <= code[0] <= 0x5A and 0x41 <= code[1] <= 0x5A):
                        # Some writers switch to implicit VR in the middle; a delimiter looks like it, too.
                        group, element, length = layout.implicit(data, at)
            else:
                group, element, length = layout.implicit(data, at)
            tag = group << 16 | element
            if meta and group != 2:
                return False
            if not depth and tag in _PIXELS:
                return True
            if tag == _ITEM_END and delimited:
                window.at = at + 8
                return False
            if group in (0, 0xFFFE):
                raise Damaged("an element that cannot stand in a data set")
            window.at = at + step
            self._value(block, tag, vr, length, explicit, end, depth)
            if not depth:
                self._ends[tag] = window.position

    def _value(
        self, block: Block | None, tag: int, vr: str | None, length: int, explicit: bool, end: int, depth: int
    ) -> None:
        window = self._window
        if length == _UNDEFINED:
            if self._has_items(tag, vr):
                self._sequence(block, tag, explicit, end, depth, delimited=True)
            else:
                self._fragments(end)
            return
        if depth and window.position + length > end:
            raise Damaged("an element that is longer than its item")
        if block is None:
            window.skip(length)
        elif vr == "SQ" or (vr in (None, "UN") and dictionary_vr(tag) == "SQ"):
            after = window.position + length
            try:
                self._sequence(block, tag, explicit and vr == "SQ", after, depth, delimited=False)
            except Flaw:
                block.sequences.pop(tag, None)  # one malformed sequence must not cost the whole header
            window.skip(after - window.position)
        elif (length <= LONGEST_VALUE or (tag in _IDENTITY and length <= 0xFFFF)) and vr not in _BULK_VR:
            if not window.has(length):
                raise Short("it ends in its header")
            self._count()
            block.values[tag] = (vr, window.data[window.at : window.at + length])
            window.at += length
        else:
            window.skip(length)

    def _count(self) -> None:
        self._kept += 1
        if self._kept > _MOST_KEPT:
            raise Damaged(f"a header of more than {_MOST_KEPT} elements")

    def _has_items(self, tag: int, vr: str | None) -> bool:
        """Whether a value of undefined length is a sequence (PS3.5 6.2.2) rather than encapsulated bytes."""
        if vr is not None:
            return vr in ("SQ", "UN")
        known = dictionary_vr(tag)
        return known in ("SQ", "UN", None)

    def _sequence(
        self, block: Block | None, tag: int, explicit: bool, end: int, depth: int, *, delimited: bool
    ) -> None:
        """Walk over the items of a sequence; those that count are kept."""
        depth += 1
        if depth > _DEEPEST:
            raise Damaged(f"sequences nested more than {_DEEPEST} deep")
        kept: list[Block] = []
        most = MOST_ITEMS if tag != CONTRIBUTORS else _MOST_KEPT
        if block is None or depth > _DEEPEST_KEPT or tag == PER_FRAME or tag >> 16 & 1:
            most = 0
        if not delimited and not most:
            return
        window = self._window
        while delimited or window.position < end:
            found, length = self._item_head(end)
            if found == _SEQUENCE_END:
                break
            if found != _ITEM:
                raise Damaged("a sequence of something else than items")
            says_vr = explicit and self._says_vr()
            item = Block(says_vr, self._root.little) if len(kept) < most else None
            if length == _UNDEFINED:
                self._data_set(item, says_vr, end, depth=depth, delimited=True)
            elif window.position + length > end:
                raise Damaged("an item that is longer than its sequence")
            elif item is None:
                window.skip(length)
            else:
                self._data_set(item, says_vr, window.position + length, depth=depth, delimited=False)
            if item is not None:
                self._count()
                kept.append(item)
        if block is not None and kept:
            block.sequences[tag] = kept

    def _item_head(self, end: int) -> tuple[int, int]:
        """Tag and length of an item or delimiter."""
        window = self._window
        if window.position + 8 > end:
            raise Damaged("a sequence without an end")
        if not window.has(8):
            raise Short("a sequence has no end")
        group, element, length = self._layout.implicit(window.data, window.at)
        window.at += 8
        return group << 16 | element, length

    def _fragments(self, end: int) -> None:
        """Step over encapsulated bytes to their delimiter (PS3.5 A.4)."""
        while True:
            found, length = self._item_head(end)
            if found == _SEQUENCE_END:
                return
            if found != _ITEM or self._window.position + length > end:
                raise Damaged("the compressed pixel data has no end")
            self._window.skip(length)

    def _pixels(self, syntax: str) -> None:
        """Whether the pixel data is as long as its header says, without reading it."""
        window = self._window
        group, element = self._layout.implicit(window.data, window.at)[:2]
        code, step = window.data[window.at + 4 : window.at + 6], 12
        if self._root.explicit and code in _LONG_VR:
            if not window.has(12):
                raise Short("it ends in its header")
            (length,) = self._layout.length(window.data, window.at + 8)
        else:
            (length,), step = self._layout.length(window.data, window.at + 4), 8
        window.at += step
        if length == _UNDEFINED:
            if syntax in _NATIVE:
                raise Damaged("pixel data is compressed but the transfer syntax says it is not")
            self._fragments(_NO_END)
            return
        if syntax in _NATIVE:
            self._native = (group << 16 | element, window.position, length)
        window.skip(length)
        if syntax in _NATIVE and length < _expected_bytes(self._root):
            raise Short("pixel data is shorter than Rows x Columns says")


def is_uid(text: str) -> bool:
    """Whether a text is a UID, or near enough to name something (PS3.5 9.1)."""
    return _UID.fullmatch(text) is not None


def _expected_bytes(root: Block) -> int:
    """Bytes of native pixel data (PS3.5 8.1.1)."""
    samples = 2 if "422" in root.text(0x00280004) else root.number(0x00280002, 1)
    voxels = root.number(0x00280010) * root.number(0x00280011) * root.number(0x00280008, 1)
    return voxels * samples * root.number(0x00280100) // 8


@lru_cache(maxsize=8192)
def dictionary_vr(tag: int) -> str | None:
    """What the data dictionary says of a tag."""
    try:
        return str(dictionary_VR(tag))
    except KeyError:
        return None
