"""Pixel data of exports: bit for bit what it was, and nothing in it but pixels."""

from __future__ import annotations

from io import BytesIO
from pathlib import Path

import numpy as np
import pytest
from everything import PSEUDONYMS, exported
from pydicom import dcmread
from pydicom.encaps import encapsulate, generate_frames
from pydicom.uid import (
    ExplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSLossless,
    RLELossless,
)

from dicom_node.contracts import FileRef
from dicom_node.dicom.deidentify_comments import without_comments
from dicom_node.dicom.deidentify_file import deidentified_file
from dicom_node.dicom.deidentify_pixels import HIDDEN, OPAQUE
from dicom_node.dicom.pixels import read_stored
from dicom_node.errors import UnusableSeries
from dicom_node.testing.encoding import LOSSLESS, UNCOMPRESSED
from dicom_node.testing.series import SyntheticSeries, mr_series

SECRET = b"CANARY OF A COMMENT"
SIZE = {"slices": 1, "rows": 36, "columns": 34}


@pytest.mark.parametrize("syntax", [*UNCOMPRESSED, *LOSSLESS], ids=lambda s: s.keyword)
@pytest.mark.parametrize("bits", [8, 12, 16])
def test_pixels_and_transfer_syntax_stay(tmp_path: Path, syntax: str, bits: int) -> None:
    series = SyntheticSeries(
        **SIZE, transfer_syntax_uid=syntax, bits_stored=bits, bits_allocated=8 if bits == 8 else 16, intercept=0.0
    )
    source = series.dataset(0)
    _, result = exported(source, tmp_path)
    assert result.file_meta.TransferSyntaxUID == syntax
    if syntax in UNCOMPRESSED:
        assert result.PixelData == source.PixelData
    else:
        frames = [next(generate_frames(one.PixelData, number_of_frames=1)) for one in (source, result)]
        assert len(frames[0]) == len(frames[1])
    assert (result.pixel_array == series.stored_frame(0)).all()


@pytest.mark.parametrize("signed", [False, True])
def test_an_overlay_in_the_unused_bits_is_cleared(tmp_path: Path, signed: bool) -> None:
    options = {"bits_stored": 12, "signed": signed, "intercept": -1024.0 if not signed else 0.0}
    drawn = SyntheticSeries(**SIZE, **options, junk_high_bits=True)
    source = drawn.dataset(0)
    source.add_new(0x60000100, "US", 16)
    source.add_new(0x60000102, "US", 12)
    _, result = exported(source, tmp_path)
    words = np.frombuffer(result.PixelData, "<u2")
    assert np.frombuffer(source.PixelData, "<u2").max() > 4095
    assert words[:1224].max() <= 4095
    assert (words[:1224].reshape(36, 34) == (drawn.stored_frame(0) & 4095)).all()


def test_repeated_signs_and_padding_are_no_overlay(tmp_path: Path) -> None:
    stored = np.full((1, 36, 34), -7)
    signed = SyntheticSeries(**SIZE, stored=stored, signed=True, bits_stored=12).dataset(0)
    assert exported(signed, tmp_path)[1].PixelData == signed.PixelData
    words = np.full((36, 34), 100, "<u2")
    words[0] = 63536
    padded = SyntheticSeries(**SIZE, bits_stored=12, tags={"PixelPaddingValue": 63536}).dataset(0)
    padded.PixelData = words.tobytes()
    padded["PixelPaddingValue"].VR = "US"
    assert exported(padded, tmp_path)[1].PixelData[: words.nbytes] == words.tobytes()


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEGLosslessSV1], ids=lambda s: s.keyword)
def test_an_overlay_in_compressed_pixels_is_refused(tmp_path: Path, syntax: str) -> None:
    stored = np.arange(1224).reshape(1, 36, 34) + (1 << 14)
    source = SyntheticSeries(**SIZE, stored=stored, transfer_syntax_uid=syntax).dataset(0)
    source.BitsStored, source.HighBit = 12, 11
    with pytest.raises(UnusableSeries, match="unused bits"):
        exported(source, tmp_path)
    assert "overlay" in HIDDEN


def test_what_follows_the_last_pixel_goes(tmp_path: Path) -> None:
    source = SyntheticSeries(**SIZE).dataset(0)
    source.PixelData = source.PixelData + SECRET + b"\0"
    data, result = exported(source, tmp_path)
    assert SECRET not in data
    assert len(result.PixelData) == 36 * 34 * 2


def commented(syntax: str) -> tuple[bytes, bytes]:
    """The code of an image, without and with comments in every place where there may be any."""
    bits = {"bits_stored": 8, "bits_allocated": 8, "intercept": 0.0} if syntax == JPEGBaseline8Bit else {}
    dataset = SyntheticSeries(**SIZE, transfer_syntax_uid=syntax, **bits).dataset(0)
    code = next(generate_frames(dataset.PixelData, number_of_frames=1))
    length = (len(SECRET) + 2).to_bytes(2, "big")
    if syntax == JPEG2000Lossless:
        text = b"\xff\x64" + (len(SECRET) + 4).to_bytes(2, "big") + b"\0\1" + SECRET
        tile = code.index(b"\xff\x90")
        return code, code[:tile] + text + code[tile:] + SECRET
    text = b"\xff\xfe" + length + SECRET + b"\xff\xe1" + length + SECRET
    end = code.rindex(b"\xff\xd9")
    inner = text if syntax != JPEGLSLossless else b""  # CharLS takes none after a scan
    return code, code[:2] + text + code[2:end] + inner + code[end:] + SECRET


@pytest.mark.parametrize(
    "syntax", [JPEGBaseline8Bit, JPEGLosslessSV1, JPEGLSLossless, JPEG2000Lossless], ids=lambda s: s.keyword
)
@pytest.mark.parametrize("per_frame", [1, 3])
def test_comments_of_encoders_are_blanked(tmp_path: Path, syntax: str, per_frame: int) -> None:
    bits = {"bits_stored": 8, "bits_allocated": 8, "intercept": 0.0} if syntax == JPEGBaseline8Bit else {}
    source = SyntheticSeries(**SIZE, transfer_syntax_uid=syntax, **bits).dataset(0)
    path = tmp_path / "plain.dcm"
    source.save_as(path)
    plain = read_stored(FileRef(path)).stored
    _, text = commented(syntax)
    source.PixelData = encapsulate([text], fragments_per_frame=per_frame)
    assert SECRET in text
    data, _ = exported(source, tmp_path)
    assert b"CANARY" not in data
    (tmp_path / "exported.dcm").write_bytes(data)
    assert (read_stored(FileRef(tmp_path / "exported.dcm")).stored == plain).all()


@pytest.mark.parametrize(
    "code", [b"\0\0", b"GIF89a", b"\xff\xd8\xff\xe0\0\x04", b"\xff\xd8\0\0", b"\xff\x4f\xff\x51\0\1"]
)
@pytest.mark.parametrize("syntax", [JPEGLosslessSV1, JPEG2000Lossless])
def test_code_that_cannot_be_looked_through_is_no_code(code: bytes, syntax: str) -> None:
    value = encapsulate([code])
    with pytest.raises(ValueError):
        without_comments(value, syntax)
    with pytest.raises(ValueError):
        without_comments(code, syntax)


def test_a_tile_that_leads_back_ends() -> None:
    start = b"\xff\x4f\xff\x51\0\4\0\0" + b"\xff\x90\0\x0a\0\0" + (1).to_bytes(4, "big") + b"\0\1" + b"\xff\x93\0\0"
    with pytest.raises(ValueError, match="before it begins"):
        without_comments(encapsulate([start]), JPEG2000Lossless)


def test_an_image_in_a_wrapping_format_is_refused(tmp_path: Path) -> None:
    source = SyntheticSeries(**SIZE, transfer_syntax_uid=JPEG2000Lossless).dataset(0)
    code = next(generate_frames(source.PixelData, number_of_frames=1))
    source.PixelData = encapsulate([b"\0\0\0\x0cjP  \r\n\x87\n" + code])
    with pytest.raises(UnusableSeries, match="looked through"):
        exported(source, tmp_path)
    assert "comments" in OPAQUE


def test_the_original_is_not_touched(tmp_path: Path) -> None:
    path = tmp_path / "original.dcm"
    mr_series(**SIZE).dataset(0).save_as(path)
    before, when = path.read_bytes(), path.stat().st_mtime_ns
    data = deidentified_file(FileRef(path), "somebody", PSEUDONYMS)
    assert (path.read_bytes(), path.stat().st_mtime_ns) == (before, when)
    assert dcmread(BytesIO(data)).file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
