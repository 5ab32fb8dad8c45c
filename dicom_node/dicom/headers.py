"""Headers of DICOM files as plain values."""

from __future__ import annotations

import hashlib
import zipfile
import zlib
from collections.abc import Iterator
from functools import cached_property, lru_cache
from io import BufferedReader
from typing import BinaryIO, Final, cast

from pydicom.charset import convert_encodings, default_encoding
from pydicom.datadict import keyword_for_tag, private_dictionary_VR

from dicom_node.contracts import FileRef, InstanceHeader, TagValue
from dicom_node.dicom.elements import CONTRIBUTORS, MOST_ITEMS, Block, dictionary_vr, is_uid, walk
from dicom_node.dicom.parsing import NEEDED_UIDS, quiet
from dicom_node.dicom.plain_values import plain_value
from dicom_node.dicom.tags import NODE_MANUFACTURER, PRIVATE_CREATOR, PRIVATE_GROUP
from dicom_node.errors import StorageFailed, UnreadableFile

_CHARACTER_SET: Final = 0x00080005
_PIXEL_REPRESENTATION: Final = 0x00280103
_MANUFACTURER: Final = 0x00080070


def read_header(ref: FileRef, *, digest: bool = True) -> InstanceHeader:
    """Read the header of one instance, and check that the file is whole.

    Args:
        ref: the file or ZIP member.
        digest: compute the SHA-256 of the whole file; without it `sha256` is empty.

    Raises:
        UnreadableFile: missing, not DICOM, truncated, damaged, or without the UIDs that name an instance.
        StorageFailed: the disk failed to give the bytes.
    """
    with open_ref(ref) as stream:
        return header_from(stream, ref, digest=digest)


def open_ref(ref: FileRef) -> BinaryIO:
    """Open a file or ZIP member for reading.

    Raises:
        UnreadableFile: it is not there, may not be read, or the ZIP is damaged.
        StorageFailed: the disk failed.
    """
    try:
        return ref.open()
    except (FileNotFoundError, IsADirectoryError, PermissionError) as error:
        raise UnreadableFile(f"{ref}: cannot be opened ({error.strerror})") from None
    except OSError as error:
        raise StorageFailed(f"{ref}: cannot be read ({error.strerror})") from error
    except (KeyError, RuntimeError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise UnreadableFile(f"{ref}: cannot be taken out of the ZIP ({type(error).__name__})") from None


def header_from(stream: BinaryIO, ref: FileRef, *, digest: bool = True) -> InstanceHeader:
    """The same for bytes that are already open; `ref` says where they lie."""
    try:
        elements = walk(stream, ref)
        sha256 = _sha256(stream) if digest else ""
    except OSError as error:
        raise StorageFailed(f"{ref}: cannot be read ({error.strerror})") from error
    root = elements.root
    for tag, keyword in NEEDED_UIDS.items():
        value = root.text(tag)
        if not is_uid(value):
            raise UnreadableFile(
                f"{ref}: {keyword} is {'no UID' if value else 'missing; not a DICOM image, or truncated'}"
            )
    with quiet():
        tags = dict(_flatten(root, _Context(root), depth=0))
    return InstanceHeader(
        sop_instance_uid=root.text(0x00080018),
        sop_class_uid=root.text(0x00080016),
        series_instance_uid=root.text(0x0020000E),
        study_instance_uid=root.text(0x0020000D),
        transfer_syntax_uid=elements.transfer_syntax_uid,
        patient_key=_patient_key(root),
        tags=tags,
        file=ref,
        sha256=sha256,
        own_output=_is_own(root),
    )


def _sha256(stream: BinaryIO) -> str:
    stream.seek(0)
    return hashlib.file_digest(cast(BufferedReader, stream), "sha256").hexdigest()


class _Context:
    """What the values of a data set depend on."""

    def __init__(self, block: Block, outer: _Context | None = None) -> None:
        self._block = block
        self._outer = outer

    @cached_property
    def encodings(self) -> list[str]:
        """Python codecs of the character set, the outer data set's where this one names none (PS3.3 C.12.1.1.2)."""
        found = self._block.values.get(_CHARACTER_SET)
        if found is None:
            return [default_encoding] if self._outer is None else self._outer.encodings
        named = found[1].decode("ascii", "replace").rstrip(" \0").split("\\")
        try:
            return list(convert_encodings([part.strip() for part in named]))
        except ValueError:  # a name with a NUL in it
            return [default_encoding]

    @cached_property
    def signed(self) -> bool:
        """Whether ambiguous elements are signed."""
        if _PIXEL_REPRESENTATION in self._block.values or self._outer is None:
            return self._block.number(_PIXEL_REPRESENTATION) == 1
        return self._outer.signed


def _flatten(block: Block, context: _Context, depth: int) -> Iterator[tuple[str, TagValue]]:
    for tag in sorted(block.values.keys() | block.sequences.keys()):
        if (items := block.sequences.get(tag)) is not None:
            yield from _items(tag, items, context, depth)
            continue
        name, vr = _private(block, tag) if tag >> 16 & 1 else _public(tag)
        if not name:
            continue
        said, raw = block.values[tag]
        if said is not None and (said != "UN" or vr is None):
            vr = said
        if vr == "US or SS":
            vr = "SS" if context.signed else "US"
        value = plain_value(
            tag, vr or "UN", raw, explicit=block.explicit, little=block.little, encodings=context.encodings
        )
        if value is not None:
            yield name, value


def _items(tag: int, items: list[Block], outer: _Context, depth: int) -> Iterator[tuple[str, TagValue]]:
    keyword = _public(tag)[0]
    merged: dict[str, list[TagValue]] = {}
    for item in items[:MOST_ITEMS]:
        for name, value in _flatten(item, _Context(item, outer), depth + 1):
            merged.setdefault(f"{keyword}.{name}", []).append(value)
    for name, values in merged.items():
        if len(values) == 1:
            yield name, values[0]
        else:
            yield name, tuple(part for value in values for part in (value if isinstance(value, tuple) else (value,)))


@lru_cache(maxsize=8192)
def _public(tag: int) -> tuple[str, str | None]:
    """Keyword and VR of the data dictionary, an empty keyword where it does not know the tag."""
    return keyword_for_tag(tag), dictionary_vr(tag)


def _private(block: Block, tag: int) -> tuple[str, str | None]:
    """Name by group, creator and element byte; empty for creators themselves, and what has none."""
    group, element = tag >> 16, tag & 0xFFFF
    creator = block.text(group << 16 | element >> 8) if element > 0xFF else ""
    if not creator:
        return "", None
    return f"{group:04x},{creator},{element & 0xFF:02x}", _private_vr(tag, creator)


@lru_cache(maxsize=8192)
def _private_vr(tag: int, creator: str) -> str | None:
    try:
        return str(private_dictionary_VR(tag, creator))
    except KeyError:
        return None


def _patient_key(root: Block) -> str:
    identity = [_stored(root, 0x00100020), _stored(root, 0x00100021)]
    if not identity[0]:
        identity = [b"study", root.text(0x0020000D).encode()]
    return hashlib.sha256(b"\0".join(identity)).hexdigest()


def _stored(root: Block, tag: int) -> bytes:
    """Bytes of a text element as stored: decoding would make equal what is not, or fail."""
    return root.values.get(tag, (None, b""))[1].strip(b" \0")


def _is_own(root: Block) -> bool:
    creators = (tag for tag in root.values if tag >> 16 == PRIVATE_GROUP and 0x10 <= tag & 0xFFFF <= 0xFF)
    if any(root.text(tag) == PRIVATE_CREATOR for tag in creators):
        return True
    return any(item.text(_MANUFACTURER) == NODE_MANUFACTURER for item in root.sequences.get(CONTRIBUTORS, ()))
