"""Spectral bins that were combined into one image: what is written, and what would be untrue of it."""

from __future__ import annotations

import subprocess
from dataclasses import replace

import numpy as np
import pydicom
import pytest
from derivation_case import Case, make_case
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.contracts import Correction, FileRef, Volume
from dicom_node.dicom.pixels import StoredFrame, read_stored
from dicom_node.dicom.words import cleared, encode
from dicom_node.errors import DerivationError
from dicom_node.testing.series import SyntheticSeries, mr_series

SLICES, BINS = 3, 4


def combined_case(series: SyntheticSeries, folder, factor: float | None = None) -> Case:
    """The root sum of squares of the bins, or another multiple of the middle one; padding of all bins kept."""
    case = make_case(series, folder, axes="bzyx", companions=True)
    before = case.loaded["image"].volume
    middle = before.pixels[before.shape[0] // 2]
    pixels = np.sqrt(np.square(before.pixels).sum(axis=0)) if factor is None else middle * np.float32(factor)
    if before.padding is not None:
        pixels = np.where(before.padding.all(axis=0), middle, pixels)
    after = Volume(np.ascontiguousarray(pixels, dtype=np.float32), before.units, before.geometry)
    return replace(case, correction=replace(case.correction, volumes={"image": after}))


def images(case: Case, folder) -> list[pydicom.FileDataset]:
    made = next(s for s in case.derive(folder).series if s.role == "image")
    return [pydicom.dcmread(file.path) for file in made.files]


def sources(case: Case) -> list[pydicom.FileDataset]:
    return [pydicom.dcmread(ref.path) for ref in case.loaded["image"].sources]


def values(case: Case, folder) -> np.ndarray:
    made = next(s for s in case.derive(folder).series if s.role == "image")
    return np.stack([read_stored(FileRef(file.path)).physical for file in made.files])


def test_one_image_for_each_slice_like_the_middle_bin_names_every_bin(tmp_path):
    case = combined_case(mr_series(slices=SLICES, phases=BINS), tmp_path / "in")
    given, made = sources(case), images(case, tmp_path / "out")
    assert [int(d.InstanceNumber) for d in made] == [1, 2, 3]
    assert len({d.SeriesInstanceUID for d in made}) == 1 and len({d.SOPInstanceUID for d in made}) == SLICES
    for z, dataset in enumerate(made):
        middle = given[BINS // 2 * SLICES + z]
        named = [i.ReferencedSOPInstanceUID for i in dataset.SourceImageSequence]
        assert named[0] == middle.SOPInstanceUID
        assert sorted(named) == sorted(d.SOPInstanceUID for d in given[z::SLICES])
        assert dataset.ImagePositionPatient == middle.ImagePositionPatient
        assert dataset.AcquisitionTime == middle.AcquisitionTime
        assert dataset.ImageType[0] == "DERIVED"


def test_what_numbered_the_bins_is_gone(tmp_path):
    case = combined_case(
        mr_series(
            slices=SLICES, phases=BINS, tags={"ImagingFrequency": 127.7, "WindowCenter": 300, "WindowWidth": 600}
        ),
        tmp_path / "in",
    )
    for path in case.sources:
        dataset = pydicom.dcmread(path)
        dataset.private_block(0x0043, "GEMS_PARM_01", create=True).add_new(0x34, "SL", -3000)
        dataset.private_block(0x0043, "GEMS_PARM_01").add_new(0x35, "SL", 7)
        dataset.private_block(0x0043, "OTHER", create=True).add_new(0x34, "SL", 5)
        dataset.save_as(path)
    kept, made = sources(case)[0], images(case, tmp_path / "out")[0]
    for keyword in ("TemporalPositionIdentifier", "NumberOfTemporalPositions", "EchoNumbers", "ImagingFrequency"):
        assert keyword in kept and keyword not in made
    assert 0x34 not in made.private_block(0x0043, "GEMS_PARM_01")
    assert made.private_block(0x0043, "GEMS_PARM_01")[0x35].value == 7
    assert made.private_block(0x0043, "OTHER")[0x34].value == 5
    assert made.EchoTrainLength == kept.EchoTrainLength and made.WindowWidth == kept.WindowWidth


def test_stored_bits_are_widened_for_the_whole_series_where_one_slice_needs_it(tmp_path):
    full = np.full((SLICES * BINS, 64, 64), 1000)
    full[-BINS:] = 4095  # only the last slice is too bright for 12 bits once its bins are added up
    case = combined_case(mr_series(slices=SLICES, phases=BINS, stored=full), tmp_path / "in")
    derived = case.derive(tmp_path / "out")
    made = [pydicom.dcmread(f.path) for f in derived.series[0].files]
    assert {(d.BitsAllocated, d.BitsStored, d.HighBit) for d in made} == {(16, 16, 15)}
    assert derived.series[0].metrics["clipped_voxels"] == 0
    assert [int(d.pixel_array.max()) for d in made] == [2000, 2000, 8190]


def test_stored_bits_that_are_enough_stay(tmp_path):
    case = combined_case(mr_series(slices=SLICES, phases=BINS, stored=np.full((12, 64, 64), 1000)), tmp_path / "in")
    assert {(d.BitsStored, d.HighBit) for d in images(case, tmp_path / "out")} == {(12, 11)}


def test_what_no_bits_can_hold_is_clipped_and_told(tmp_path):
    series = mr_series(slices=SLICES, phases=BINS, stored=np.full((12, 64, 64), 4094))
    derived = combined_case(series, tmp_path / "in", factor=17.0).derive(tmp_path / "out")
    assert any("clipped" in warning for warning in derived.warnings)


@pytest.mark.parametrize(
    "options",
    [
        {},
        {"slope": 1.5, "intercept": -3.0},
        {"signed": True},
        {"junk_high_bits": True},
        {"padding_value": 0},
        {"padding_value": 0, "signed": True},
    ],
    ids=lambda o: "-".join(o) or "plain",
)
@pytest.mark.parametrize("factor", [1.2, 3.9], ids=["same bits", "widened"])
def test_values_come_back_within_half_a_step(options, factor, tmp_path):
    case = combined_case(mr_series(slices=SLICES, phases=BINS, **options), tmp_path / "in", factor)
    wanted = case.correction.volumes["image"].pixels
    found = values(case, tmp_path / "out")
    step = options.get("slope", 1.0)
    # A value that would be taken for padding gets the next one to it.
    assert np.abs(found - wanted).max() <= step * (1.0 if "padding_value" in options else 0.501)


def test_padding_of_all_bins_keeps_its_word_and_that_of_one_does_not(tmp_path):
    series = mr_series(slices=SLICES, phases=BINS, padding_value=0)
    case = combined_case(series, tmp_path / "in")
    middle = case.loaded["image"].volume.padding.copy()
    middle[0, :, 32, 32] = middle[BINS // 2, :, 32, 32] = False
    volume = replace(case.loaded["image"].volume, padding=middle)
    case = replace(case, loaded={"image": replace(case.loaded["image"], volume=volume)})
    for dataset in images(case, tmp_path / "out"):
        assert (dataset.pixel_array == 0)[series.outside_circle()].all()
        assert dataset.PixelPaddingValue == 0


def test_one_bin_is_combined_too(tmp_path):
    case = combined_case(mr_series(slices=SLICES), tmp_path / "in", factor=0.5)
    made = images(case, tmp_path / "out")
    assert [len(d.SourceImageSequence) for d in made] == [1, 1, 1]


def test_frames_of_a_heart_are_not_combined(tmp_path):
    case = make_case(mr_series(slices=SLICES, phases=BINS), tmp_path / "in", axes="tzyx")
    after = case.correction.volumes["image"]
    one = Volume(after.pixels[0].copy(), after.units, after.geometry)
    with pytest.raises(DerivationError, match="has shape"):
        replace(case, correction=Correction(changed=True, volumes={"image": one})).derive(tmp_path / "out")


def test_the_same_job_writes_the_same_bytes(tmp_path):
    case = combined_case(mr_series(slices=SLICES, phases=BINS), tmp_path / "in")
    case.derive(tmp_path / "one")
    case.derive(tmp_path / "two")
    written = {p.relative_to(tmp_path / "one"): p.read_bytes() for p in (tmp_path / "one").rglob("*.dcm")}
    assert written == {p.relative_to(tmp_path / "two"): p.read_bytes() for p in (tmp_path / "two").rglob("*.dcm")}


@pytest.mark.parametrize("flip", ["rows", "slices"])
def test_bins_of_the_other_role_are_named_slice_by_slice_also_where_they_were_prescribed_flipped(flip, tmp_path):
    plus = mr_series(slices=SLICES, phases=BINS, seed=1, study_seed=9)
    x, y, z = plus.origin_mm
    far = x + 63 * plus.pixel_spacing_mm[1]
    minus = mr_series(
        slices=SLICES,
        phases=BINS,
        seed=2,
        study_seed=9,
        origin_mm=(far, y, z) if flip == "rows" else (x, y, z + 2 * plus.slice_spacing_mm),
        orientation=(-1.0, 0.0, 0.0, 0.0, 1.0, 0.0) if flip == "rows" else plus.orientation,
        slice_spacing_mm=-plus.slice_spacing_mm,
    )
    case = combined_case(plus, tmp_path / "plus")
    other = make_case(minus, tmp_path / "minus", axes="bzyx").loaded["image"]
    case = replace(case, loaded={**case.loaded, "minus": other})
    heights = {d.SOPInstanceUID: d.ImagePositionPatient[2] for d in (pydicom.dcmread(r.path) for r in other.sources)}
    for dataset in images(case, tmp_path / "out"):
        named = [i.ReferencedSOPInstanceUID for i in dataset.SourceImageSequence]
        theirs = [uid for uid in named if uid in heights]
        assert len(named) == 2 * BINS and len(theirs) == BINS
        assert {heights[uid] for uid in theirs} == {dataset.ImagePositionPatient[2]}


@pytest.mark.integration
@pytest.mark.parametrize("factor", [1.2, 3.9])
def test_the_validator_finds_no_error(factor, tmp_path, need_program):
    need_program("dciodvfy")
    case = combined_case(mr_series(slices=SLICES, phases=BINS, padding_value=0), tmp_path / "in", factor)
    for series in case.derive(tmp_path / "out").series[:1]:
        for file in series.files:
            said = subprocess.run(["dciodvfy", str(file.path)], capture_output=True, check=False).stderr
            assert b"Error" not in said


@given(
    st.lists(st.integers(-(1 << 11), (1 << 12) - 1), min_size=1, max_size=8),
    st.booleans(),
    st.sampled_from([12, 16]),
    st.integers(0, 4),
    st.booleans(),
)
def test_cleared_words_hold_the_same_values(numbers, signed, bits, shift, widen):
    lowest, highest = (-(1 << 11), (1 << 11) - 1) if signed else (0, (1 << 12) - 1)
    stored = np.clip(np.array([numbers], dtype=np.int32), lowest, highest)
    shift = shift if bits == 12 else 0
    words = ((stored & ((1 << bits) - 1)) << shift).astype(np.uint16)
    frame = StoredFrame(words, stored, 1.0, 0.0, bits, shift, signed, None, None)
    clear = cleared(frame, widen=widen)
    assert not encode(clear, frame.physical).changed
    twice = encode(clear, (frame.physical * 2).astype(np.float32))
    shown = (twice.words >> clear.shift).astype(np.int32) & ((1 << clear.bits_stored) - 1)
    if signed:
        shown = np.where(shown >> (clear.bits_stored - 1) & 1, shown - (1 << clear.bits_stored), shown)
    if clear.bits_stored == 16:
        assert (shown == 2 * stored).all() and not twice.clipped
