"""Independent readers on what we derive: dciodvfy finds no new error, DCMTK reads every name and element."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import numpy as np
import pydicom
import pytest

from dicom_node.contracts import (
    Accepts,
    Correction,
    CorrectorSpec,
    Geometry,
    Limits,
    Mask,
    ParameterMap,
    RoleInstance,
    Units,
    Volume,
)
from dicom_node.dicom.context import DicomCommandContext
from dicom_node.dicom.derive import DerivedSet, derive
from dicom_node.dicom.provenance import Provenance
from dicom_node.dicom.reading import read_volume
from dicom_node.dicom.scan import scan
from dicom_node.testing.identity import CHINESE, CYRILLIC, JAPANESE, UNICODE
from dicom_node.testing.series import SyntheticSeries, mr_series


def derived_from(folder: Path, modality: str, out: Path) -> DerivedSet:
    units = Units.HU if modality == "CT" else Units.MR_SIGNAL
    spec = CorrectorSpec(
        name="probe",
        version="1.0",
        api=1,
        title="Probe",
        inputs={"image": Accepts(modality=modality, units=units)},
        methods={"classical": "Adds a square"},
        default_method="classical",
        factory="nowhere:build",
        limits={"image": Limits(-1e6, 1e6)},
        references=("doi:10.0000/probe",),
    )
    (series,) = scan([folder]).series
    loaded = read_volume([RoleInstance(h, {}) for h in series.instances], spec.inputs["image"])
    pixels = loaded.volume.pixels.copy()
    pixels[1:-1, 8:12, 8:20] += 50
    change = pixels - loaded.volume.pixels
    correction = Correction(
        changed=True,
        volumes={"image": loaded.volume.with_pixels(pixels)},
        maps={
            "change": ParameterMap("image", change, units, "Change by the correction"),
            "shift": ParameterMap("image", change / np.float32(7), Units.PIXEL, "Displacement along the read-out"),
        },
        masks={
            "metal": Mask("image", change > 0, "Metal implant"),
            "void": Mask("image", change > 1, "Signal void"),
        },
        quality={"largest_change_hu": tuple(float(c.max()) for c in change)},
        metrics={"changed_fraction": 0.125, "a_very_long_name_of_a_figure_mm": 1 / 3},
        warnings=("check the cup",),
    )
    provenance = Provenance(
        spec=spec,
        method="classical",
        parameters={"strength": 0.5, "mode": "a\\b"},
        weights_sha256="ab" * 32,
        input_digest="cd" * 32,
        created_at=1_700_000_000.0,
        version=2,
        superseded_series={"image": "1.2.3", "mask:metal": "1.2.4"},
    )
    return derive(spec, correction, {"image": loaded}, provenance, out)


def errors(path: Path) -> set[str]:
    """dciodvfy's errors, without places that differ from file to file."""
    done = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, errors="replace", check=False)
    lines = [line.strip() for line in done.stderr.splitlines()]
    assert lines, "dciodvfy said nothing, not even the IOD"
    return {re.sub(r"\[[^\]]*\]", "", line) for line in lines if line.startswith("Error")}


SERIES = {
    "ct": SyntheticSeries(slices=4, rows=24, columns=24),
    "ct signed japanese implicit": SyntheticSeries(
        slices=4,
        rows=24,
        columns=24,
        signed=True,
        intercept=0.0,
        patient=JAPANESE,
        transfer_syntax_uid="1.2.840.10008.1.2",
    ),
    "ct padding chinese rle": SyntheticSeries(
        slices=4, rows=24, columns=24, padding_value=0, patient=CHINESE, transfer_syntax_uid="1.2.840.10008.1.2.5"
    ),
    "ct jpeg 2000 cyrillic": SyntheticSeries(
        slices=4, rows=64, columns=64, patient=CYRILLIC, transfer_syntax_uid="1.2.840.10008.1.2.4.90"
    ),
    "ct of a paired part": SyntheticSeries(slices=4, rows=24, columns=24, body_part="HIP"),
    "ct of no part": SyntheticSeries(slices=4, rows=24, columns=24, tags={"BodyPartExamined": None}),
    "ct with laterality": SyntheticSeries(slices=4, rows=24, columns=24, body_part="HIP", tags={"Laterality": "L"}),
    "mr": mr_series(slices=4, rows=24, columns=24),
    "mr unicode jpeg-ls": mr_series(
        slices=4, rows=24, columns=24, patient=UNICODE, transfer_syntax_uid="1.2.840.10008.1.2.4.80"
    ),
    "mr lossy": mr_series(
        slices=4,
        rows=24,
        columns=24,
        bits_allocated=8,
        bits_stored=8,
        transfer_syntax_uid="1.2.840.10008.1.2.4.50",
        tags={
            "LossyImageCompression": "01",
            "LossyImageCompressionRatio": 10,
            "LossyImageCompressionMethod": "ISO_10918_1",
        },
    ),
    "mr big endian": mr_series(slices=4, rows=24, columns=24, transfer_syntax_uid="1.2.840.10008.1.2.2"),
}


@pytest.mark.parametrize("kind", list(SERIES))
def test_dciodvfy_finds_no_error_that_the_source_does_not_have(tmp_path, kind, need_program):
    need_program("dciodvfy")
    series = SERIES[kind]
    sources = series.write(tmp_path / "in")
    allowed = set().union(*(errors(p) for p in sources))
    made = derived_from(tmp_path / "in", series.modality, tmp_path / "out")
    assert [s.role for s in made.series] == ["image", "map:change", "map:shift", "mask:metal", "mask:void", "report"]
    for one in made.series:
        for file in one.files[:2]:
            assert errors(file.path) - allowed == set(), one.role


@pytest.mark.parametrize(
    ("patient", "family"),
    [(JAPANESE, "山田"), (CHINESE, "王^小东"), (UNICODE, "山田^Ω"), (CYRILLIC, "Канарейка")],
    ids=["japanese", "chinese", "unicode", "cyrillic"],
)
def test_dcmtk_reads_every_derived_object_and_its_name(tmp_path, patient, family, need_program):
    need_program("dcmconv", "dcmdump")
    SyntheticSeries(slices=4, rows=24, columns=24, patient=patient).write(tmp_path / "in")
    made = derived_from(tmp_path / "in", "CT", tmp_path / "out")
    for one in made.series:
        path = one.files[0].path
        dumped = subprocess.run(["dcmdump", "-q", str(path)], capture_output=True, check=False)
        assert dumped.returncode == 0, one.role
        assert dumped.stderr == b"", one.role
        copy = tmp_path / "copy.dcm"
        subprocess.run(["dcmconv", "+ti", str(path), str(copy)], check=True, capture_output=True)
        assert family in str(pydicom.dcmread(copy).PatientName), one.role


def test_the_pixels_of_masks_and_maps_are_where_they_belong(tmp_path):
    SyntheticSeries(slices=4, rows=25, columns=23).write(tmp_path / "in")
    made = {s.role: s for s in derived_from(tmp_path / "in", "CT", tmp_path / "out").series}
    mask = pydicom.dcmread(made["mask:metal"].files[0].path)
    values = pydicom.dcmread(made["map:change"].files[0].path)
    assert mask.pixel_array.shape == values.pixel_array.shape == (2, 25, 23)
    expected = np.zeros((25, 23), bool)
    expected[8:12, 8:20] = True
    assert (mask.pixel_array.astype(bool) == expected).all()
    assert np.allclose(values.pixel_array, np.where(expected, 50.0, 0.0))
    images = [pydicom.dcmread(f.path) for f in made["image"].files]
    at = {i.SourceImageSequence[0].ReferencedSOPInstanceUID: i.ImagePositionPatient for i in images}
    for made_image in (mask, values):
        for frame in made_image.PerFrameFunctionalGroupsSequence:
            named = frame.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID
            assert list(frame.PlanePositionSequence[0].ImagePositionPatient) == list(at[named])


@pytest.mark.parametrize("units", [Units.HU, Units.MR_SIGNAL])
def test_a_synthetic_patient_is_valid(tmp_path, units, need_program):
    need_program("dciodvfy")
    rng = np.random.default_rng(0)
    geometry = Geometry(
        (1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.7, 0.7), tuple((0.0, 0.0, 2.5 * z) for z in range(3)), 16, 20, 2.5
    )
    volume = Volume(rng.uniform(0, 3.0, (3, 16, 20)).astype(np.float32), units, geometry)
    for path in DicomCommandContext().write(volume, tmp_path / "out", seed=3):
        assert errors(path) == set()
