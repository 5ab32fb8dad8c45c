"""Masks, maps and figures: each frame holds the values of the slice that it names."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pydicom
import pytest
from derivation_case import make_case

from dicom_node.contracts import Mask, ParameterMap, Units
from dicom_node.dicom.private_block import read_block
from dicom_node.errors import DerivationError
from dicom_node.testing.series import SyntheticSeries, mr_series


def frames_by_source(dataset):
    """Pixels by the SOP Instance UID that each frame was derived from."""
    pixels = dataset.pixel_array.reshape(-1, dataset.Rows, dataset.Columns)
    groups = dataset.PerFrameFunctionalGroupsSequence
    assert len(groups) == len(pixels) == dataset.NumberOfFrames
    names = [g.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID for g in groups]
    return dict(zip(names, pixels, strict=True))


def random_case(tmp_path, series, empty=()):
    case = make_case(series, tmp_path / "in", companions=True)
    shape = case.loaded["image"].volume.geometry.shape
    rng = np.random.default_rng(1)
    values = rng.normal(0, 30, shape).astype(np.float32)
    voxels = rng.random(shape) > 0.5
    for z in empty:
        values[z] = 0
        voxels[z] = False
    correction = replace(
        case.correction,
        maps={"shift": ParameterMap("image", values, Units.PIXEL, "Displacement")},
        masks={"void": Mask("image", voxels, "Signal void")},
    )
    return replace(case, correction=correction), values, voxels


@pytest.mark.parametrize(
    "series",
    [
        SyntheticSeries(slices=5, rows=21, columns=19),
        SyntheticSeries(slices=5, rows=32, columns=32, slice_spacing_mm=-2.5),
        mr_series(slices=4, rows=32, columns=24, orientation=(0.0, 1.0, 0.0, 0.0, 0.0, -1.0)),
        mr_series(slices=1, rows=32, columns=24),
    ],
    ids=["axial odd size", "against the normal", "sagittal", "single slice"],
)
def test_frames_hold_their_own_slice(tmp_path, series):
    case, values, voxels = random_case(tmp_path, series)
    derived = {s.role: s for s in case.derive(tmp_path / "out").series}
    mapped = frames_by_source(pydicom.dcmread(derived["map:shift"].files[0].path))
    masked = frames_by_source(pydicom.dcmread(derived["mask:void"].files[0].path))
    for z, ref in enumerate(case.loaded["image"].sources):
        uid = pydicom.dcmread(ref.path, stop_before_pixels=True).SOPInstanceUID
        assert np.array_equal(mapped[uid], values[z])
        assert np.array_equal(masked[uid].astype(bool), voxels[z])


def test_empty_slices_are_left_out_and_empty_objects_not_written(tmp_path):
    case, _, _ = random_case(tmp_path, SyntheticSeries(slices=5, rows=16, columns=16), empty=(0, 2))
    derived = {s.role: s for s in case.derive(tmp_path / "out").series}
    for role in ("map:shift", "mask:void"):
        assert pydicom.dcmread(derived[role].files[0].path).NumberOfFrames == 3
    bare, _, _ = random_case(tmp_path / "bare", SyntheticSeries(slices=3, rows=16, columns=16), empty=(0, 1, 2))
    made = bare.derive(tmp_path / "none")
    assert [s.role for s in made.series] == ["image", "report"]
    assert len(made.warnings) == 2


def test_units_and_meaning_of_a_map(tmp_path):
    case, values, _ = random_case(tmp_path, SyntheticSeries(slices=3, rows=16, columns=16))
    made = pydicom.dcmread(case.derive(tmp_path / "out").series[1].files[0].path)
    mapping = made.SharedFunctionalGroupsSequence[0].get("RealWorldValueMappingSequence") or (
        made.PerFrameFunctionalGroupsSequence[0].RealWorldValueMappingSequence
    )
    assert mapping[0].MeasurementUnitsCodeSequence[0].CodeValue == "{pixels}"
    assert mapping[0].RealWorldValueSlope == 1.0
    assert mapping[0].DoubleFloatRealWorldValueFirstValueMapped == pytest.approx(float(values.min()))
    assert made.ContentQualification == "RESEARCH"
    assert read_block(made)["Corrector"] == "probe"
    assert "YES or NO: whether any pixel of this instance differs from its source" not in read_block(made)


def test_a_map_that_is_not_finite_is_refused(tmp_path):
    case, values, _ = random_case(tmp_path, SyntheticSeries(slices=3, rows=16, columns=16))
    values[1, 2, 3] = np.inf
    with pytest.raises(DerivationError, match="map:shift"):
        case.derive(tmp_path / "out")


def test_metal_is_coded_as_an_implant(tmp_path):
    case = make_case(SyntheticSeries(slices=3), tmp_path / "in", companions=True)
    made = {s.role: s for s in case.derive(tmp_path / "out").series}
    segment = pydicom.dcmread(made["mask:metal"].files[0].path).SegmentSequence[0]
    assert segment.SegmentedPropertyTypeCodeSequence[0].CodeValue == "40388003"
    assert segment.SegmentAlgorithmType == "AUTOMATIC"


def numbers(item):
    """Every numeric value below a content item: (name, value, unit)."""
    for child in item.get("ContentSequence", []):
        if child.ValueType == "NUM":
            value = child.MeasuredValueSequence[0]
            yield (
                child.ConceptNameCodeSequence[0].CodeMeaning,
                float(value.NumericValue),
                value.MeasurementUnitsCodeSequence[0].CodeValue,
            )
        yield from numbers(child)


def test_the_report_holds_the_figures_that_are_numbers(tmp_path):
    case = make_case(SyntheticSeries(slices=4), tmp_path / "in", companions=True)
    figures = {"rmse_hu": 12.3456789012, "undefined_mm": float("nan")}
    case = replace(case, correction=replace(case.correction, metrics=figures))
    made = pydicom.dcmread(case.derive(tmp_path / "out").series[-1].files[0].path)
    found = list(numbers(made))
    assert ("rmse hu", 12.3456789, "[hnsf'U]") in found
    assert [value for name, value, _ in found if name == "largest change hu"] == [100.0, 100.0]
    assert not any(name == "undefined mm" for name, _, _ in found)
    assert made.ContentTemplateSequence[0].TemplateIdentifier == "1500"
    assert made.VerificationFlag == "UNVERIFIED"
