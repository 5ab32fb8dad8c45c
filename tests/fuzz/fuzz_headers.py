"""Headers of files: a header or an error of ours, in little time and memory, however the file is built."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Iterator
from pathlib import Path
from random import Random
from typing import ClassVar

from fuzz_target import Mutate
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    RLELossless,
)

from dicom_node.contracts import FileRef, InstanceHeader
from dicom_node.dicom.headers import read_header
from dicom_node.errors import NodeError
from dicom_node.testing.series import SyntheticSeries

_SYNTAXES = (ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian, RLELossless)
_META_END = 132 + 12
_ITEM, _ITEM_END, _SEQUENCE_END = (
    struct.pack("<HHI", 0xFFFE, e, n) for e, n in ((0xE000, 0xFFFFFFFF), (0xE00D, 0), (0xE0DD, 0))
)
_DEEP = struct.pack("<HH2sHI", 0x0008, 0x1140, b"SQ", 0, 0xFFFFFFFF) + _ITEM
_VR = b"AE AS AT CS DA DS DT FL FD IS LO LT OB OD OF OL OV OW PN SH SL SQ SS ST SV TM UC UI UL UN UR US UT UV".split()


class Headers:
    """`dicom.headers.read_header`."""

    longest: ClassVar = 65_536
    words: ClassVar = (
        *_VR, b"DICM", b"\xff\xff\xff\xff", b"ISO 2022 IR 87", b"\x1b$B",
        b"\x08\0\x05\0CS", b"GB18030", _ITEM, _ITEM_END, _SEQUENCE_END,
        _DEEP, *(uid.encode() for uid in (*_SYNTAXES, DeflatedExplicitVRLittleEndian)),
    )  # fmt: skip

    def __init__(self, folder: Path) -> None:
        self._path = folder / "instance.dcm"

    def close(self) -> None:
        """Nothing is held."""

    def seeds(self) -> Iterator[bytes]:
        """Every encoding, with sequences and private elements; bombs of depth and of zeros."""
        for syntax in _SYNTAXES:
            yield _written(SyntheticSeries(slices=1, rows=8, columns=8, transfer_syntax_uid=syntax).dataset(0))
        plain = _written(SyntheticSeries(slices=1, rows=8, columns=8).dataset(0))
        yield plain[132:]
        yield plain[132 + 12 + struct.unpack_from("<I", plain, 140)[0] :]
        meta, body = _deflated_parts(plain)
        yield meta + _deflate(body)
        yield meta + _deflate(body + bytes(8_000_000))
        yield meta + _deflate(_DEEP * 20_000)
        yield plain + _DEEP * 2_000
        yield plain + (_DEEP * 2_000) + (_ITEM_END + _SEQUENCE_END) * 2_000

    def check(self, data: bytes) -> None:
        """Read it; the fuzzer itself watches over time and memory."""
        self._path.write_bytes(data)
        try:
            header = read_header(FileRef(self._path))
        except NodeError as error:
            assert str(self._path) in str(error)
            return
        assert isinstance(header, InstanceHeader)
        assert all(isinstance(name, str) for name in header.tags)

    def mutated(self, data: bytes, random: Random, mutate: Mutate) -> bytes:
        """What is deflated is changed under its wrapping; what is not may become so."""
        end = _META_END + struct.unpack_from("<I", data, 140)[0] if len(data) > _META_END else 0
        if end > 1_000 or DeflatedExplicitVRLittleEndian.encode() not in data[:end]:
            if random.random() < 0.9 or not 0 < end < len(data) < 5_000:
                return mutate(data)
            meta, body = _deflated_parts(_written(SyntheticSeries(slices=1, rows=2, columns=2).dataset(0)))
            return meta + _deflate(data[end:])
        inflate = zlib.decompressobj(-zlib.MAX_WBITS)
        try:
            body = inflate.decompress(data[end:], self.longest)
        except zlib.error:
            return mutate(data)
        return data[:end] + _deflate(mutate(body))


def _written(dataset: FileDataset) -> bytes:
    item = Dataset()
    item.CodeMeaning = "Hip joint"
    dataset.AnatomicRegionSequence = [item, Dataset()]
    block = dataset.private_block(0x0043, "GEMS_PARM_01", create=True)
    block.add_new(0x34, "IS", [1, 2])
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    return stream.getvalue()


def _deflated_parts(plain: bytes) -> tuple[bytes, bytes]:
    """The start of the same file in Deflated Explicit VR, and what is to be deflated behind it."""
    end = _META_END + struct.unpack_from("<I", plain, 140)[0]
    old, new = (
        uid.encode() + b"\0" * (len(uid) % 2) for uid in (ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian)
    )
    length = struct.Struct("<H")
    meta = plain[:end].replace(b"UI" + length.pack(len(old)) + old, b"UI" + length.pack(len(new)) + new)
    grown = struct.unpack_from("<I", meta, 140)[0] + len(meta) - end
    return meta[:140] + struct.pack("<I", grown) + meta[144:], plain[end:]


def _deflate(data: bytes) -> bytes:
    deflate = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    return deflate.compress(data) + deflate.flush()
