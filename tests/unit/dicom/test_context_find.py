"""Looking for images: names, patients and reasons from headers alone; loading gives what was promised."""

from __future__ import annotations

import zipfile
from pathlib import Path

import numpy as np
import pytest
from derivation_case import make_case

from dicom_node.contracts import Units
from dicom_node.dicom import alike, reading
from dicom_node.dicom.context import DicomCommandContext
from dicom_node.errors import InputError, RequestError
from dicom_node.testing.identity import SyntheticPatient
from dicom_node.testing.series import SyntheticSeries, mr_series

CONTEXT = DicomCommandContext()


def reasons(found) -> dict[str, str]:
    return {left.what: left.reason for left in found.left_out}


def test_series_are_named_by_their_files_relative_to_the_input(tmp_path):
    SyntheticSeries(slices=3).write(tmp_path / "in" / "p1" / "ct")
    packed = mr_series(slices=2, series_number=2).write(tmp_path / "elsewhere")
    with zipfile.ZipFile(tmp_path / "in" / "p1" / "mr.zip", "w") as archive:
        for path in packed:
            archive.write(path, f"study/{path.name}")
    found = CONTEXT.find([tmp_path / "in"])
    by_modality = {image.modality: image for image in found.images}
    assert {Path(name).parent.as_posix() for name in by_modality["CT"].names} == {"p1/ct"}
    assert sorted(by_modality["MR"].names) == sorted(f"p1/mr.zip!study/{path.name}" for path in packed)
    (alone,) = CONTEXT.find([tmp_path / "in" / "p1" / "mr.zip"]).images
    assert alone.names[0].startswith("mr.zip!study/")
    (one,) = CONTEXT.find([packed[0]]).images
    assert (one.names, one.frames) == ((packed[0].name,), 1)
    nested = CONTEXT.find([tmp_path / "in" / "p1" / "ct", tmp_path / "in"])
    assert {name.count("/") for image in nested.images if image.modality == "CT" for name in image.names} == {0}


def test_no_pixel_is_decoded_to_find_and_what_is_loaded_is_what_was_found(tmp_path, monkeypatch):
    SyntheticSeries(slices=4).write(tmp_path / "ct")
    mr_series(slices=2, phases=3, series_number=2).write(tmp_path / "mr")

    def decode(*_):
        raise AssertionError("find decodes nothing")

    with monkeypatch.context() as patch:
        patch.setattr(alike.AlikeImages, "read", decode)
        patch.setattr(reading, "open_dataset", decode)
        found = CONTEXT.find([tmp_path])
    assert [image.frames for image in sorted(found.images, key=lambda i: i.modality)] == [4, 6]
    for image in found.images:
        read = CONTEXT.load(image, tags=["SliceThickness"])
        assert np.prod(read.volume.shape[:-2]) == image.frames
        assert (read.label, read.patient) == (image.label, image.patient)
        assert float(read.volume.tags["SliceThickness"]) == 3
        assert read.volume.units is (Units.HU if image.modality == "CT" else Units.MR_SIGNAL)
    assert [i.label for i in CONTEXT.read([tmp_path])] == [i.label for i in found.images]


def test_patients_are_told_apart_and_put_together_without_their_names(tmp_path):
    first, other = SyntheticPatient(patient_id="CANARY1"), SyntheticPatient(patient_id="CANARY2")
    for number, patient in enumerate((first, first, other)):
        SyntheticSeries(slices=2, seed=number, patient=patient).write(tmp_path / str(number))
    patients = {image.names[0][0]: image.patient for image in CONTEXT.find([tmp_path]).images}
    assert patients["0"] == patients["1"] != patients["2"]
    assert not any("CANARY" in patient for patient in patients.values())


def test_what_is_left_out_is_told_with_the_reason(tmp_path):
    (tmp_path / "notes.txt").write_text("no DICOM" * 40)
    ct = SyntheticSeries(slices=5)
    torn = ct.write(tmp_path / "ct")[-1]
    torn.write_bytes(torn.read_bytes()[:-100])
    gap = mr_series(slices=5, series_number=2)
    gap.write(tmp_path / "gap")[2].unlink()
    case = make_case(SyntheticSeries(slices=3, seed=8), tmp_path / "source")
    case.derive(tmp_path / "derived")
    other = SyntheticSeries(slices=2, seed=9, tags={"Modality": "PT"})
    other.write(tmp_path / "other")
    with zipfile.ZipFile(tmp_path / "packed.zip", "w") as archive:
        archive.writestr("brain.nii.gz", b"x")
    found = CONTEXT.find([tmp_path])
    why = reasons(found)
    assert str(tmp_path / "notes.txt") in why
    assert not why[str(torn)].startswith(str(torn))
    assert "slices are missing" in why[gap.series_instance_uid]
    assert why[f"{tmp_path / 'packed.zip'}!brain.nii.gz"].startswith("NIfTI inside a ZIP")
    assert why[other.series_instance_uid] == "neither CT nor MR"
    assert {image.frames for image in found.images} == {4, 3}, "the whole slices, the source and what was derived"
    only = CONTEXT.find([tmp_path], modality="MR")
    assert only.images == ()
    assert reasons(only)[ct.series_instance_uid] == "Modality is not MR"


def test_a_file_that_vanishes_or_a_request_that_makes_no_sense_is_told(tmp_path):
    paths = SyntheticSeries(slices=3).write(tmp_path / "ct")
    (found,) = CONTEXT.find([tmp_path]).images
    paths[1].unlink()
    with pytest.raises(InputError, match=paths[1].name):
        CONTEXT.load(found)
    with pytest.raises(RequestError, match="no such file"):
        CONTEXT.find([tmp_path / "nowhere"])
    with pytest.raises(RequestError, match="'PT'"):
        CONTEXT.find([tmp_path], modality="PT")
    with pytest.raises(RequestError, match="does not get PatientName"):
        CONTEXT.read([tmp_path], tags=["PatientName"])


def test_of_many_reasons_the_first_are_told_and_the_others_counted(tmp_path):
    for number in range(30):
        (tmp_path / f"{number:02d}.txt").write_text(f"no DICOM {number}" * 40)
    with pytest.raises(InputError, match=r"09\.txt.*and 20 more") as caught:
        CONTEXT.read([tmp_path])
    assert "10.txt" not in str(caught.value)
