"""A code stream that claims another size than the header is refused before a decoder makes room for it."""

from __future__ import annotations

import struct
from pathlib import Path

import psutil
import pydicom
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import FileDataset
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import JPEG2000Lossless, JPEGLossless, JPEGLosslessSV1, JPEGLSLossless, RLELossless

from dicom_node.contracts import FileRef
from dicom_node.dicom.codestream import Announced, announced
from dicom_node.dicom.pixels import read_stored
from dicom_node.errors import UnreadableFile
from dicom_node.testing.encoding import compress
from dicom_node.testing.series import SyntheticSeries

BIG = 40_000
SYNTAXES = (JPEG2000Lossless, JPEGLSLossless, JPEGLosslessSV1, JPEGLossless)


def compressed(folder: Path, syntax: str) -> tuple[FileDataset, bytearray]:
    path = SyntheticSeries(slices=3, rows=48, columns=32).write(folder)[0]
    dataset = compress(pydicom.dcmread(path), syntax)
    return dataset, bytearray(next(generate_frames(dataset.PixelData, number_of_frames=1)))


def claim(code: bytearray, syntax: str) -> None:
    """Have the code stream claim BIG x BIG pixels."""
    if syntax == JPEG2000Lossless:
        start = code.index(b"\xff\x51")
        struct.pack_into(">II", code, start + 6, BIG, BIG)
        struct.pack_into(">II", code, start + 22, BIG, BIG)
    else:
        start = code.index(b"\xff\xf7" if syntax == JPEGLSLossless else b"\xff\xc3")
        struct.pack_into(">HH", code, start + 5, BIG, BIG)


def stored(folder: Path, dataset: FileDataset, code: bytes) -> FileRef:
    dataset.PixelData = encapsulate([code])
    dataset["PixelData"].is_undefined_length = True
    dataset.save_as(folder / "one.dcm")
    return FileRef(folder / "one.dcm")


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_code_streams_say_their_size(tmp_path: Path, syntax: str) -> None:
    dataset, code = compressed(tmp_path, syntax)
    assert announced(bytes(code), syntax) == Announced(48, 32, 1)
    assert read_stored(stored(tmp_path, dataset, bytes(code))).stored.shape == (48, 32)


@pytest.mark.parametrize("syntax", SYNTAXES)
def test_a_claim_of_gigabytes_is_refused_at_once(tmp_path: Path, syntax: str) -> None:
    dataset, code = compressed(tmp_path, syntax)
    claim(code, syntax)
    ref = stored(tmp_path, dataset, bytes(code))
    before = psutil.Process().memory_info().rss
    with pytest.raises(UnreadableFile, match=r"one\.dcm: the compressed image is 40000 x 40000 .* says 32 x 48"):
        read_stored(ref)
    assert psutil.Process().memory_info().rss - before < 50e6


def test_run_lengths_that_inflate_beyond_the_image_are_a_damaged_file(tmp_path: Path) -> None:
    dataset, _ = compressed(tmp_path, RLELossless)
    segment = b"\x81\x00" * 1_000_000
    head = struct.pack("<16I", 2, 64, 64 + len(segment), *([0] * 13))
    with pytest.raises(UnreadableFile, match="RLE Lossless"):
        read_stored(stored(tmp_path, dataset, head + segment + segment))


@given(st.binary(max_size=200), st.sampled_from(SYNTAXES))
def test_no_bytes_confuse_the_reader_of_sizes(noise: bytes, syntax: str) -> None:
    starts = {JPEG2000Lossless: b"\xff\x4f\xff\x51"}
    for code in (noise, starts.get(syntax, b"\xff\xd8\xff\xc3") + noise):
        found = announced(code, syntax)
        assert found is None or isinstance(found, Announced)
