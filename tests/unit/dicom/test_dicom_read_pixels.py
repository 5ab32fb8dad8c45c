"""Stored integers and physical values of single frames."""

import io
import subprocess
from dataclasses import replace

import numpy as np
import pytest
from pydicom.uid import (
    JPEG2000,
    UID,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEGBaseline8Bit,
    JPEGLosslessSV1,
    JPEGLSNearLossless,
)

from dicom_node.contracts import FileRef
from dicom_node.dicom.pixels import read_stored, to_stored
from dicom_node.dicom.transfer_syntaxes import DECODABLE
from dicom_node.errors import DerivationError, UnreadableFile, UnusableSeries
from dicom_node.testing.encoding import LOSSLESS, UNCOMPRESSED
from dicom_node.testing.series import SyntheticSeries, mr_series


def frame_of(series, folder):
    (path,) = replace(series, slices=1).write(folder)
    return read_stored(FileRef(path))


KINDS = {
    "unsigned 16": SyntheticSeries(),
    "signed 16": SyntheticSeries(signed=True, intercept=0.0),
    "unsigned 12": SyntheticSeries(bits_stored=12),
    "signed 12": SyntheticSeries(signed=True, intercept=0.0, bits_stored=12),
}


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("syntax", (*UNCOMPRESSED, *LOSSLESS), ids=lambda uid: UID(uid).keyword)
def test_every_lossless_encoding_gives_the_same_values(kind, syntax, tmp_path):
    series = replace(KINDS[kind], transfer_syntax_uid=syntax)
    frame = frame_of(series, tmp_path)
    np.testing.assert_array_equal(frame.stored, series.stored_frame(0))
    assert frame.physical.dtype == np.float32
    np.testing.assert_array_equal(frame.physical, (frame.stored + series.rescale(0)[1]).astype(np.float32))


def smooth_ramp(bits):
    y, x = np.mgrid[:64, :64]
    return ((y + x) * ((1 << bits) - 1) // 126)[None]


def test_baseline_jpeg_is_decoded(tmp_path):
    ramp = smooth_ramp(8)
    series = mr_series(stored=ramp, bits_stored=8, bits_allocated=8, transfer_syntax_uid=JPEGBaseline8Bit)
    assert np.abs(frame_of(series, tmp_path).stored - ramp[0]).max() <= 6


@pytest.mark.integration
def test_extended_jpeg_is_decoded_as_dcmtk_does(tmp_path, need_program):
    need_program("dcmcjpeg", "dcmdjpeg")
    ramp = smooth_ramp(12)
    (path,) = mr_series(slices=1, stored=ramp).write(tmp_path)
    packed, unpacked = tmp_path / "packed.dcm", tmp_path / "unpacked.dcm"
    subprocess.run(["dcmcjpeg", "+ee", str(path), str(packed)], check=True)
    subprocess.run(["dcmdjpeg", str(packed), str(unpacked)], check=True)
    stored = read_stored(FileRef(packed)).stored
    assert np.abs(stored - ramp[0]).max() <= 8
    np.testing.assert_array_equal(stored, read_stored(FileRef(unpacked)).stored)


@pytest.mark.parametrize("syntax", (ExplicitVRLittleEndian, ExplicitVRBigEndian))
@pytest.mark.parametrize("allocated", (8, 32))
def test_other_word_sizes(allocated, syntax, tmp_path):
    top = (1 << (allocated - 1)) - 1
    stored = np.array([[[-top - 1, top, 0], [1, -1, 5], [3, 2, 1]]])
    series = mr_series(
        rows=3, columns=3, stored=stored, bits_allocated=allocated, bits_stored=allocated, signed=True,
        transfer_syntax_uid=syntax,
    )  # fmt: skip
    np.testing.assert_array_equal(frame_of(series, tmp_path).stored, stored[0])


@pytest.mark.parametrize("signed", (False, True))
def test_junk_above_the_stored_bits_is_not_read_and_is_kept(signed, tmp_path):
    series = SyntheticSeries(bits_stored=12, junk_high_bits=True, signed=signed, intercept=0.0 if signed else -1024.0)
    frame = frame_of(series, tmp_path)
    np.testing.assert_array_equal(frame.stored, series.stored_frame(0))
    assert (frame.words >> 12).any()
    corrected = frame.physical.copy()
    corrected[10:20] += 7
    words, _ = frame.encode(corrected)
    np.testing.assert_array_equal(words >> 12, frame.words >> 12)
    np.testing.assert_array_equal(words[20:], frame.words[20:])
    assert (words[10:20] != frame.words[10:20]).all()


def test_declared_padding_is_masked_and_never_written_by_accident(tmp_path):
    series = SyntheticSeries(signed=True, intercept=0.0, padding_value=-100)
    frame = frame_of(series, tmp_path)
    np.testing.assert_array_equal(frame.padding, series.outside_circle())
    corrected = np.full_like(frame.physical, -100.0)
    again = frame.encode(corrected)[0].view(np.int16)
    np.testing.assert_array_equal(again == -100, series.outside_circle())
    assert set(again[~series.outside_circle()]) <= {-101, -99}


@pytest.mark.parametrize("syntax", (ExplicitVRLittleEndian, ImplicitVRLittleEndian))
def test_a_padding_range_is_masked_whole(syntax, tmp_path):
    stored = np.array([[[-2000, -1999, -1990], [-1989, -2001, 0], [1, 2, 3]]])
    series = SyntheticSeries(
        rows=3, columns=3, stored=stored, signed=True, intercept=0.0, padding_value=-2000,
        tags={"PixelPaddingRangeLimit": -1990}, transfer_syntax_uid=syntax,
    )  # fmt: skip
    frame = frame_of(series, tmp_path)
    assert frame.padding_range == (-2000, -1990)
    assert frame.padding.tolist() == [[True, True, True], [False, False, False], [False, False, False]]


def test_a_padding_value_written_with_the_wrong_sign_still_matches(tmp_path):
    series = SyntheticSeries(signed=True, intercept=0.0, padding_value=-2000)
    (path,) = replace(series, slices=1).write(tmp_path)
    data = path.read_bytes()
    swapped = data.replace(b"\x28\x00\x20\x01SS", b"\x28\x00\x20\x01US")
    assert swapped != data
    path.write_bytes(swapped)
    np.testing.assert_array_equal(read_stored(FileRef(path)).padding, series.outside_circle())


def test_padding_beyond_the_stored_bits_is_found_in_the_whole_word(tmp_path):
    stored = np.full((1, 4, 4), 2096)
    stored[0, 0] = 63536  # 0xF830; its low 12 bits are 2096, an honest value elsewhere in the image
    series = SyntheticSeries(rows=4, columns=4, stored=stored, bits_stored=12, padding_value=63536)
    frame = frame_of(series, tmp_path)
    assert frame.padding.tolist() == [[True] * 4] + [[False] * 4] * 3
    assert (frame.encode(frame.physical + 1)[0][0] == 63536).all()


def test_undeclared_outside_of_a_ct_is_padding(tmp_path):
    series = SyntheticSeries(signed=True, intercept=0.0)
    stored = series.stored_frame(0)
    stored[series.outside_circle()] = -2048
    frame = frame_of(replace(series, stored=stored[None]), tmp_path)
    np.testing.assert_array_equal(frame.padding, series.outside_circle())
    assert frame_of(series, tmp_path / "air").padding is None


def test_mr_without_rescale_is_taken_as_it_is_and_with_rescale_as_said(tmp_path):
    plain = frame_of(mr_series(), tmp_path / "a")
    assert (plain.slope, plain.intercept) == (1.0, 0.0)
    scaled = frame_of(mr_series(slope=2.5, intercept=-3.0), tmp_path / "b")
    np.testing.assert_array_equal(scaled.physical, (scaled.stored * 2.5 - 3.0).astype(np.float32))


def test_what_was_not_changed_keeps_its_words_bit_for_bit(tmp_path):
    frame = frame_of(SyntheticSeries(slope=0.1, intercept=-1000.3), tmp_path)
    np.testing.assert_array_equal(frame.encode(frame.physical.copy())[0], frame.words)
    corrected = frame.physical.copy()
    corrected[5, 5] += 100.0
    assert np.argwhere(frame.encode(corrected)[0] != frame.words).tolist() == [[5, 5]]


def test_values_beyond_the_stored_bits_are_clipped():
    stored = to_stored(np.array([-1e9, 1e9]), 1.0, 0.0, 12, signed=True)
    assert stored.tolist() == [-2048, 2047]


def test_values_that_are_not_finite_are_refused(tmp_path):
    frame = frame_of(SyntheticSeries(), tmp_path)
    broken = frame.physical.copy()
    broken[3, 3] = np.nan
    with pytest.raises(DerivationError, match="not finite"):
        frame.encode(broken)
    with pytest.raises(DerivationError, match="shape"):
        frame.encode(broken[1:])


def edited(tmp_path, change):
    dataset = SyntheticSeries(slices=1).dataset(0)
    change(dataset)
    path = tmp_path / "edited.dcm"
    dataset.save_as(path, enforce_file_format=True)
    return FileRef(path)


def without_pixels(dataset):
    del dataset.PixelData


def floating(dataset):
    without_pixels(dataset)
    dataset.FloatPixelData = b"\0" * (64 * 64 * 4)
    dataset.BitsAllocated = 32
    del dataset.BitsStored, dataset.HighBit, dataset.PixelRepresentation  # PS3.3 C.7.6.24 has none of them


def one_bit(dataset):
    dataset.PixelData = b"\0" * (64 * 64 // 8)
    dataset.BitsAllocated = dataset.BitsStored = 1
    dataset.HighBit = 0


def colour(dataset):
    dataset.PixelData = b"\0" * (64 * 64 * 3)
    dataset.SamplesPerPixel, dataset.PhotometricInterpretation, dataset.PlanarConfiguration = 3, "RGB", 0
    dataset.BitsAllocated = dataset.BitsStored = 8
    dataset.HighBit = 7


def multi_frame(dataset):
    dataset.PixelData = dataset.PixelData * 2
    dataset.NumberOfFrames = 2


def lookup_table(dataset):
    item = dataset.__class__("", {})
    item.LUTExplanation = "x"
    dataset.ModalityLUTSequence = [item]


REFUSED = [
    (without_pixels, "no pixel data"),
    (floating, "floating-point pixels"),
    (one_bit, "1-bit pixels"),
    (colour, r"colour pixels \(RGB\)"),
    (multi_frame, "multi-frame: not supported yet"),
    (lookup_table, "lookup table"),
    (lambda d: setattr(d, "RescaleSlope", 0), "RescaleSlope 0"),
    (lambda d: delattr(d, "RescaleSlope"), "RescaleSlope or RescaleIntercept is missing"),
    (lambda d: setattr(d, "BitsStored", 17), "BitsStored 17"),
    (lambda d: delattr(d, "PixelRepresentation"), "PixelRepresentation is missing"),
]


@pytest.mark.parametrize(("change", "reason"), REFUSED, ids=[reason for _, reason in REFUSED])
def test_other_kinds_of_pixels_are_refused_by_reason(change, reason, tmp_path):
    ref = edited(tmp_path, change)
    with pytest.raises(UnusableSeries, match=reason) as caught:
        read_stored(ref)
    assert SyntheticSeries().series_instance_uid in str(caught.value)


@pytest.mark.parametrize("syntax", (ExplicitVRLittleEndian, JPEGLosslessSV1), ids=lambda uid: UID(uid).keyword)
def test_pixels_cut_short_are_unreadable_not_missing(syntax, tmp_path):
    (path,) = SyntheticSeries(slices=1, transfer_syntax_uid=syntax).write(tmp_path)
    path.write_bytes(path.read_bytes()[:-1500])
    with pytest.raises(UnreadableFile, match=rf"{path.name}.*(truncated|damaged)"):
        read_stored(FileRef(path))


def test_damaged_compressed_pixels_are_unreadable(tmp_path):
    (path,) = SyntheticSeries(slices=1, transfer_syntax_uid=LOSSLESS[2]).write(tmp_path)
    data = path.read_bytes()
    start = data.index(b"\xff\x4f\xff\x51")
    path.write_bytes(data[:start] + b"\0" * (len(data) - start - 8) + data[-8:])
    with pytest.raises(UnreadableFile, match="cannot be decoded"):
        read_stored(FileRef(path))


def test_a_transfer_syntax_without_decoder_is_refused_by_name(tmp_path):
    dataset = SyntheticSeries(slices=1, transfer_syntax_uid=LOSSLESS[0]).dataset(0)
    dataset.file_meta.TransferSyntaxUID = UID("1.2.840.10008.1.2.4.102")
    stream = io.BytesIO()
    dataset.save_as(stream, enforce_file_format=True)
    path = tmp_path / "video.dcm"
    path.write_bytes(stream.getvalue())
    assert "1.2.840.10008.1.2.4.102" not in DECODABLE
    with pytest.raises(UnusableSeries, match=r"MPEG-4.*cannot be decoded"):
        read_stored(FileRef(path))


@pytest.mark.parametrize(
    ("syntax", "options", "tolerance"),
    [(JPEGLSNearLossless, {"jls_error": 2}, 2), (JPEG2000, {"j2k_psnr": [80]}, 4)],
    ids=["jpeg-ls near-lossless", "jpeg 2000 lossy"],
)
def test_lossy_wavelet_and_prediction_codecs_are_decoded(syntax, options, tolerance, tmp_path):
    dataset = mr_series(slices=1, stored=smooth_ramp(12)).dataset(0)
    dataset.compress(syntax, generate_instance_uid=False, **options)
    path = tmp_path / "lossy.dcm"
    dataset.save_as(path, enforce_file_format=True)
    assert np.abs(read_stored(FileRef(path)).stored - smooth_ramp(12)[0]).max() <= tolerance
