"""What a header may cost: neither lengths, nor nesting, nor compression that a file claims are believed."""

from __future__ import annotations

import io
import random
import struct
import time
import tracemalloc
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from pydicom.dataset import FileMetaDataset
from pydicom.filewriter import write_file_meta_info
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    EnhancedMRImageStorage,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGLSLossless,
)

from dicom_node.contracts import FileRef, InstanceHeader
from dicom_node.dicom.headers import header_from, read_header
from dicom_node.errors import StorageFailed, UnreadableFile

MIB = 1 << 20
NAMES = {(0x0008, 0x0016): "1.2.3", (0x0008, 0x0018): "1.2.4", (0x0020, 0x000D): "1.2.5", (0x0020, 0x000E): "1.2.6"}
ITEM, ITEM_END, SEQUENCE_END = (
    struct.pack("<HHL", 0xFFFE, e, n) for e, n in ((0xE000, 0xFFFFFFFF), (0xE00D, 0), (0xE0DD, 0))
)
SEQUENCE = struct.pack("<HH2sHL", 0x0040, 0x0260, b"SQ", 0, 0xFFFFFFFF)


def short(group: int, number: int, vr: bytes, value: bytes) -> bytes:
    value += b" " * (len(value) % 2)
    return struct.pack("<HH2sH", group, number, vr, len(value)) + value


def long(group: int, number: int, vr: bytes, length: int) -> bytes:
    return struct.pack("<HH2sHL", group, number, vr, 0, length)


def start(syntax: str = ExplicitVRLittleEndian) -> bytes:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = EnhancedMRImageStorage, "1.2.4"
    meta.TransferSyntaxUID = syntax
    stream = io.BytesIO()
    write_file_meta_info(stream, meta, enforce_standard=True)
    return b"\0" * 128 + b"DICM" + stream.getvalue()


def names() -> bytes:
    return b"".join(short(*tag, b"UI", uid.encode() + b"\0" * (len(uid) % 2)) for tag, uid in sorted(NAMES.items()))


def image(rows: int, columns: int, frames: int = 1) -> bytes:
    return (
        short(0x0028, 0x0002, b"US", struct.pack("<H", 1))
        + short(0x0028, 0x0008, b"IS", str(frames).encode())
        + short(0x0028, 0x0010, b"US", struct.pack("<H", rows))
        + short(0x0028, 0x0011, b"US", struct.pack("<H", columns))
        + short(0x0028, 0x0100, b"US", struct.pack("<H", 16))
    )


def header(data: bytes) -> InstanceHeader:
    return header_from(io.BytesIO(data), FileRef(Path("memory.dcm")))


@contextmanager
def at_most(mebibytes: float, seconds: float) -> Iterator[None]:
    """The block allocates no more than this at once, and is no runaway (a generous bound)."""
    tracemalloc.start()
    began = time.monotonic()
    try:
        yield
        assert tracemalloc.get_traced_memory()[1] < mebibytes * MIB
        assert time.monotonic() - began < seconds
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGLSLossless])
def test_pixel_data_of_an_enhanced_mr_is_never_in_memory(tmp_path: Path, syntax: str) -> None:
    path, frames = tmp_path / "enhanced.dcm", 400
    size = 1024 * 512 * 2 * frames
    per_frame = b"".join(ITEM + short(0x0018, 0x0086, b"IS", str(n).encode()) * 20 + ITEM_END for n in range(frames))
    with path.open("wb") as file:
        file.write(start(syntax) + names() + image(1024, 512, frames))
        file.write(long(0x5200, 0x9230, b"SQ", 0xFFFFFFFF) + per_frame + SEQUENCE_END)
        if syntax == JPEGLSLossless:
            file.write(long(0x7FE0, 0x0010, b"OB", 0xFFFFFFFF) + struct.pack("<HHL", 0xFFFE, 0xE000, 0))
            file.write(struct.pack("<HHL", 0xFFFE, 0xE000, size))
        else:
            file.write(long(0x7FE0, 0x0010, b"OW", size))
        file.truncate(file.tell() + size)
        file.seek(0, io.SEEK_END)
        if syntax == JPEGLSLossless:
            file.write(SEQUENCE_END)
    with at_most(4, 30):
        found = read_header(FileRef(path), digest=syntax == ExplicitVRLittleEndian)
    assert found.get("NumberOfFrames") == frames
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size - 1000)
    with at_most(4, 30), pytest.raises(UnreadableFile, match="truncated"):
        read_header(FileRef(path))


def deflated(head: bytes, zeros: int) -> bytes:
    deflate = zlib.compressobj(1, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = [deflate.compress(head)]
    body += [deflate.compress(bytes(min(MIB, zeros - at))) for at in range(0, zeros, MIB)]
    return start(DeflatedExplicitVRLittleEndian) + b"".join([*body, deflate.flush()])


def test_a_deflated_data_set_is_inflated_without_being_held(tmp_path: Path) -> None:
    head = names() + image(8192, 4096) + long(0x7FE0, 0x0010, b"OW", 64 * MIB)
    whole, cut = deflated(head, 64 * MIB), deflated(head, 63 * MIB)
    with at_most(4, 30):
        assert header(whole).get("Rows") == 8192
        with pytest.raises(UnreadableFile, match="truncated"):
            header(cut)


def test_a_deflate_bomb_is_refused_with_its_reason() -> None:
    bomb = deflated(names() + long(0x7FE0, 0x0010, b"OW", 0xFFFFFFF0), 1100 * MIB)
    with at_most(4, 60), pytest.raises(UnreadableFile, match=r"memory\.dcm.*1024 MiB"):
        header(bomb)


def test_what_is_said_to_be_deflated_and_is_not_is_refused() -> None:
    with pytest.raises(UnreadableFile, match="damaged"):
        header(start(DeflatedExplicitVRLittleEndian) + names())


@pytest.mark.parametrize("length", [0xFFFFFFFE, 0x7FFFFFFF, 1 << 30])
@pytest.mark.parametrize("vr", [b"UT", b"OB", b"UN", b"SQ"])
def test_absurd_lengths_reserve_nothing(length: int, vr: bytes) -> None:
    data = start() + names() + long(0x0040, 0x0260, vr, length) + b"abc"
    with at_most(1, 5), pytest.raises(UnreadableFile, match="truncated"):
        header(data)


@pytest.mark.parametrize("depth", [65, 1000, 200_000])
def test_deep_nesting_is_refused_with_its_reason(depth: int) -> None:
    data = start() + names() + (SEQUENCE + ITEM) * depth + (ITEM_END + SEQUENCE_END) * depth
    with at_most(2, 5), pytest.raises(UnreadableFile, match="nested more than 64 deep"):
        header(data)


def test_nesting_that_real_files_have_is_read() -> None:
    inner = short(0x0008, 0x0104, b"LO", b"Hip joint")
    for depth, name in ((1, "PerformedProtocolCodeSequence"), (2, "PerformedProtocolCodeSequence." * 2), (40, "")):
        nested = (SEQUENCE + ITEM) * depth + inner + (ITEM_END + SEQUENCE_END) * depth
        found = header(start() + names() + nested + short(0x0040, 0x0254, b"LO", b"after"))
        assert found.get("PerformedProcedureStepDescription") == "after"
        kept = {key: value for key, value in found.tags.items() if "CodeMeaning" in key}
        assert kept == ({name.rstrip(".") + ".CodeMeaning": "Hip joint"} if name else {})


def test_a_header_of_very_many_elements_is_refused_with_its_reason() -> None:
    many = b"".join(struct.pack("<HH2sH", 0x0011, n & 0xFFFF, b"LO", 0) for n in range(0x1000, 0x10000))
    with at_most(24, 10), pytest.raises(UnreadableFile, match="more than 20000 elements"):
        header(start() + names() + many)


def test_very_many_items_cost_no_memory() -> None:
    item = struct.pack("<HHL", 0xFFFE, 0xE000, 16) + short(0x0008, 0x0104, b"LO", b"Hip long")
    data = start() + names() + SEQUENCE + item * 20_000 + SEQUENCE_END
    with at_most(1, 20):
        found = header_from(io.BytesIO(data), FileRef(Path("memory.dcm")), digest=False)
    assert found.get("PerformedProtocolCodeSequence.CodeMeaning") == ("Hip long",) * 16


def test_a_header_without_an_end_is_refused_with_its_reason(tmp_path: Path) -> None:
    path = tmp_path / "endless.dcm"
    step = (struct.pack("<HH2sH", 0x0011, 0x1010, b"LO", 4088) + b"x" * 4088) * 256
    with path.open("wb") as file:
        file.write(start() + names() + long(0x5200, 0x9230, b"SQ", 0xFFFFFFFF) + ITEM)
        for _ in range(70):
            file.write(step)
    with at_most(4, 60), pytest.raises(UnreadableFile, match="more than 64 MiB"):
        read_header(FileRef(path))


def test_a_malformed_sequence_costs_only_itself() -> None:
    bad = long(0x0040, 0x0260, b"SQ", 16) + b"this is no item!"
    found = header(start() + names() + bad + short(0x0040, 0x0254, b"LO", b"after"))
    performed = {name: value for name, value in found.tags.items() if name.startswith("Performed")}
    assert performed == {"PerformedProcedureStepDescription": "after"}


def test_a_disk_that_fails_while_reading_is_no_fault_of_the_file(tmp_path: Path) -> None:
    class Failing(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            raise OSError(5, "Input/output error")

    with pytest.raises(StorageFailed, match=r"x\.dcm: cannot be read"):
        header_from(Failing(start() + names()), FileRef(tmp_path / "x.dcm"))


def test_random_damage_gives_a_header_or_a_reason() -> None:
    random_ = random.Random(7)
    inner = short(0x0008, 0x0104, b"LO", b"Hip joint")
    whole = start() + names() + SEQUENCE + ITEM + inner + ITEM_END + SEQUENCE_END + image(4, 4)
    whole += long(0x0040, 0xA730, b"SQ", 8 + len(inner)) + struct.pack("<HHL", 0xFFFE, 0xE000, len(inner)) + inner
    whole += long(0x7FE0, 0x0010, b"OW", 32) + bytes(32)
    read = 0
    for _ in range(4000):
        data = bytearray(whole)
        for _ in range(random_.randint(1, 6)):
            data[random_.randrange(132, len(data))] = random_.choice((0, 1, 2, 8, 0xFE, 0xFF, random_.randrange(256)))
        try:
            header(bytes(data[: random_.randrange(140, len(data) + 400)]))
            read += 1
        except UnreadableFile as refusal:
            assert "memory.dcm" in str(refusal)
    assert read > 100
