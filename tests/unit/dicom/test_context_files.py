"""Reading and writing for commands: what goes out comes back, plainly new and never twice the same UID."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pydicom
import pytest
from derivation_case import make_case

from dicom_node.contracts import Geometry, Units, Volume
from dicom_node.dicom.context import DicomCommandContext
from dicom_node.errors import InputError, RequestError
from dicom_node.testing.identity import JAPANESE
from dicom_node.testing.series import SyntheticSeries, mr_series

CONTEXT = DicomCommandContext()
GEOMETRY = Geometry(
    (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.5, 0.75), tuple((1.5, -2.25, -7.0 + 3.0 * z) for z in range(4)), 20, 24, 3.0
)


def volume(units, axes="zyx", leading=(), scale=100.0):
    pixels = np.random.default_rng(0).uniform(0, scale, (*leading, 4, 20, 24)).astype(np.float32)
    return Volume(pixels, units, GEOMETRY, axes=axes)


def test_reading_finds_series_and_asked_tags(tmp_path):
    SyntheticSeries(slices=4).write(tmp_path / "ct")
    mr_series(slices=3, series_number=2).write(tmp_path / "mr")
    assert {i.volume.units for i in CONTEXT.read([tmp_path])} == {Units.HU, Units.MR_SIGNAL}
    (ct,) = CONTEXT.read([tmp_path], modality="CT", tags=["KVP", "SliceThickness"])
    assert ct.volume.shape[0] == 4
    assert float(ct.volume.tags["KVP"]) == 120
    assert "CANARY" not in ct.label


def test_a_cine_is_read_with_its_time_axis(tmp_path):
    mr_series(slices=2, phases=3).write(tmp_path)
    (cine,) = CONTEXT.read([tmp_path])
    assert cine.volume.axes == "tzyx"
    assert cine.volume.shape[:2] == (3, 2)


def test_our_own_derived_series_can_be_looked_at(tmp_path):
    case = make_case(SyntheticSeries(slices=4), tmp_path / "in")
    case.derive(tmp_path / "out")
    (seen,) = CONTEXT.read([tmp_path / "out" / "image"])
    assert np.array_equal(seen.volume.pixels, case.correction.volumes["image"].pixels)


def test_nothing_usable_says_why_for_each_series(tmp_path):
    (tmp_path / "notes.txt").write_text("no DICOM" * 40)
    mr_series(slices=2).write(tmp_path / "mr")
    with pytest.raises(InputError, match="Modality is not CT"):
        CONTEXT.read([tmp_path], modality="CT")


def test_writing_like_a_series_keeps_headers_and_makes_new_uids(tmp_path):
    series = SyntheticSeries(slices=4, patient=JAPANESE, slope=0.5)
    originals = series.write(tmp_path / "in")
    (read,) = CONTEXT.read([tmp_path / "in"])
    pixels = read.volume.pixels.copy()
    pixels[2] += 25.0
    paths = CONTEXT.write(read.volume.with_pixels(pixels), tmp_path / "out", like=read.template, seed=1)
    (back,) = CONTEXT.read([tmp_path / "out"])
    assert np.array_equal(back.volume.pixels, pixels)
    assert back.volume.geometry == read.volume.geometry
    by_position = {tuple(d.ImagePositionPatient): d for d in map(pydicom.dcmread, originals)}
    for made in map(pydicom.dcmread, paths):
        source = by_position[tuple(made.ImagePositionPatient)]
        for keyword in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "FrameOfReferenceUID"):
            assert made[keyword].value != source[keyword].value
        assert made.get_item("PatientName").value == pydicom.dcmread(originals[0]).get_item("PatientName").value
        assert made.ImageType == source.ImageType
        assert made.KVP == source.KVP
    assert len({pydicom.dcmread(p).SOPInstanceUID for p in paths}) == 4


def test_uids_follow_seed_and_voxels_and_keep_series_of_a_study_together(tmp_path):
    SyntheticSeries(slices=4).write(tmp_path / "in")
    (read,) = CONTEXT.read([tmp_path / "in"])
    other = read.volume.with_pixels(read.volume.pixels + 1)

    def header(name, image, seed):
        return pydicom.dcmread(CONTEXT.write(image, tmp_path / name, like=read.template, seed=seed)[0])

    first, again = header("a", read.volume, 1), header("b", read.volume, 1)
    truth, reseeded = header("c", other, 1), header("d", read.volume, 2)
    assert (tmp_path / "a" / "0001.dcm").read_bytes() == (tmp_path / "b" / "0001.dcm").read_bytes()
    assert first.SeriesInstanceUID == again.SeriesInstanceUID != truth.SeriesInstanceUID
    assert first.StudyInstanceUID == truth.StudyInstanceUID != reseeded.StudyInstanceUID
    assert first.FrameOfReferenceUID == truth.FrameOfReferenceUID
    assert first.SOPInstanceUID != truth.SOPInstanceUID


@pytest.mark.parametrize(
    ("units", "scale", "tolerance"),
    [(Units.HU, 3000.0, 0.5), (Units.MR_SIGNAL, 3.0, 3.0 / 4095), (Units.MR_SIGNAL, 9e4, 12)],
)
def test_a_synthetic_patient_keeps_values_and_geometry(tmp_path, units, scale, tolerance):
    given = volume(units, scale=scale)
    CONTEXT.write(given, tmp_path, seed=5)
    (back,) = CONTEXT.read([tmp_path])
    assert np.abs(back.volume.pixels - given.pixels).max() <= tolerance
    assert back.volume.geometry.shape == GEOMETRY.shape
    assert np.allclose(back.volume.geometry.slice_origins_mm, GEOMETRY.slice_origins_mm)
    assert back.volume.geometry.pixel_spacing_mm == GEOMETRY.pixel_spacing_mm
    made = pydicom.dcmread(tmp_path / "0001.dcm")
    assert "SYNTHETIC" in str(made.PatientName)
    assert "SYNTHETIC" in made.PatientID


def test_whole_mr_values_are_stored_without_rescale(tmp_path):
    given = volume(Units.MR_SIGNAL, scale=4000.0)
    given = given.with_pixels(np.rint(given.pixels))
    CONTEXT.write(given, tmp_path)
    (back,) = CONTEXT.read([tmp_path])
    assert np.array_equal(back.volume.pixels, given.pixels)
    assert "RescaleSlope" not in pydicom.dcmread(tmp_path / "0001.dcm")


def test_a_synthetic_cine_and_set_tags(tmp_path):
    given = volume(Units.MR_SIGNAL, axes="tzyx", leading=(3,), scale=1000.0)
    given = replace(given, frame_tags={"TriggerTime": tuple(float(10 * (i // 4)) for i in range(12))})
    CONTEXT.write(given, tmp_path, tags={"SeriesDescription": "CINE SAX", "BodyPartExamined": "HEART"})
    (back,) = CONTEXT.read([tmp_path], tags=["TriggerTime", "SeriesDescription"])
    assert back.volume.axes == "tzyx"
    assert [float(v) for v in back.volume.frame_tags["TriggerTime"]] == [float(10 * (i // 4)) for i in range(12)]
    assert back.volume.tags["SeriesDescription"] == "CINE SAX"


def test_clipping_to_what_fits(tmp_path):
    given = volume(Units.HU)
    pixels = given.pixels.copy()
    pixels[0, 0, 0] = 1e6
    CONTEXT.write(given.with_pixels(pixels), tmp_path)
    (back,) = CONTEXT.read([tmp_path])
    assert back.volume.pixels[0, 0, 0] == 32767 - 1024


def test_requests_that_make_no_sense(tmp_path):
    SyntheticSeries(slices=3).write(tmp_path / "in")
    (read,) = CONTEXT.read([tmp_path / "in"])
    with pytest.raises(RequestError, match="frames"):
        CONTEXT.write(volume(Units.HU), tmp_path / "out", like=read.template)
    with pytest.raises(RequestError, match="NoSuchTag"):
        CONTEXT.write(volume(Units.HU), tmp_path / "out", tags={"NoSuchTag": 1})
    with pytest.raises(RequestError, match="neither CT nor MR"):
        CONTEXT.write(volume(Units.HERTZ), tmp_path / "out")
    assert not (tmp_path / "out").exists()
