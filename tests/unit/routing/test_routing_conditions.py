"""What conditions mean, on headers made of plain tags."""

import pytest
from pydantic import TypeAdapter

from dicom_node.config.conditions import Condition
from dicom_node.routing.conditions import evaluate
from dicom_node.routing.stack import stack_geometry
from dicom_node.testing.header_views import AXIAL, CORONAL, HIP_CT, series_view

PARSE = TypeAdapter(Condition)


def holds(condition, instances):
    return evaluate(PARSE.validate_python(condition), instances).holds


HIP = series_view("hip", HIP_CT).instances
CINE = series_view(
    "cine",
    {"Modality": "MR"},
    [{"ImagePositionPatient": (0.0, 0.0, 8.0 * z), "TriggerTime": 30.0 * t} for z in range(2) for t in range(10)],
).instances


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({}, True),
        ({"Modality": "CT"}, True),
        ({"Modality": "MR"}, False),
        ({"Modality": ["MR", "CT"]}, True),
        ({"Modality": "CT", "BodyPartExamined": "HEAD"}, False),
        ({"Rows": 512}, True),
        ({"Rows": 512.0}, True),
        ({"Rows": "512"}, True),
        ({"Rows": {"min": 512, "max": 512}}, True),
        ({"Rows": {"min": 513}}, False),
        ({"Modality": {"min": 0}}, False),
        ({"SeriesDescription": {"matches": "(?i)hip"}}, True),
        ({"SeriesDescription": {"matches": "^hip"}}, False),
        ({"ImageType": "AXIAL"}, True),
        ({"ImageType": {"in": ["AXIAL", "ORIGINAL"], "values": "all"}}, False),
        ({"ImageType": {"matches": "[A-Z]+", "values": "all"}}, True),
        ({"KVP": {"present": True}}, False),
        ({"KVP": {"absent": True}}, True),
        ({"KVP": {"present": False}}, True),
        ({"KVP": {"min": 0}}, False),
        ({"tag": ["ProtocolName", "SeriesDescription"], "matches": "Hips"}, True),
        ({"tag": ["ProtocolName", "SeriesDescription"], "absent": True}, False),
        ({"InstanceNumber": {"min": 2}}, True),
        ({"InstanceNumber": {"min": 2, "instances": "all"}}, False),
        ({"count": "instances", "min": 4, "max": 4}, True),
        ({"count": "instances", "where": {"InstanceNumber": {"max": 1}}, "min": 2}, False),
        ({"fraction": {"InstanceNumber": {"max": 1}}, "min": 0.25, "max": 0.25}, True),
        ({"distinct": "InstanceNumber", "min": 4}, True),
        ({"distinct": "KVP", "max": 0}, True),
        ({"geometry": "orientation", "equals": "axial"}, True),
        ({"geometry": "orientation", "equals": ["coronal", "sagittal"]}, False),
        ({"geometry": "slice_spacing_mm", "min": 5, "max": 5}, True),
        ({"geometry": "field_of_view_mm", "min": 400}, True),
        ({"geometry": "pixel_spacing_mm", "max": 0.7}, False),
        ({"geometry": "slices", "min": 5}, False),
        ({"geometry": "extent_mm", "min": 15, "max": 15}, True),
        ({"at_least": {"n": 2, "of": [{"Modality": "CT"}, {"KVP": 120}, {"Rows": 512}]}}, True),
        ({"at_least": {"n": 2, "of": [{"Modality": "CT"}, {"KVP": 120}, {"Rows": 256}]}}, False),
        ({"any": [{"Modality": "MR"}, {"Rows": 512}], "not": {"BodyPartExamined": "HEAD"}}, True),
        ({"all": [{"Modality": "CT"}, {"not": {"Rows": 512}}]}, False),
    ],
)
def test_condition_on_a_hip_ct(condition, expected):
    assert holds(condition, HIP) is expected


@pytest.mark.parametrize(
    ("condition", "expected"),
    [
        ({"distinct": "TriggerTime", "per": "position", "min": 10, "max": 10}, True),
        ({"distinct": "TriggerTime", "per": "position", "min": 11}, False),
        ({"span": "TriggerTime", "per": "position", "max": 270}, True),
        ({"span": "TriggerTime", "max": 269}, False),
        ({"step": "TriggerTime", "min": 30, "max": 30}, True),
        ({"step": "NominalInterval", "min": 0}, False),
        ({"geometry": "images_per_slice", "min": 10, "max": 10}, True),
        ({"geometry": "slices", "min": 2, "max": 2}, True),
    ],
)
def test_condition_on_a_cine(condition, expected):
    assert holds(condition, CINE) is expected


@pytest.mark.parametrize("condition", [{"Modality": "CT"}, {"KVP": {"absent": True}}, {"geometry": "slices", "min": 0}])
def test_no_instances_satisfy_nothing(condition):
    assert not holds(condition, ())


def test_reasons_name_tags_and_never_their_values():
    verdict = evaluate(PARSE.validate_python({"SeriesDescription": "knee", "Modality": "MR", "KVP": 120}), HIP)
    assert "SeriesDescription is not knee" in verdict.reason
    assert "KVP is missing" in verdict.reason
    assert "Hips" not in verdict.reason


def test_cues_are_named_when_found_and_when_missing():
    condition = {"at_least": {"n": 2, "of": [{"cue": "a", "Modality": "CT"}, {"cue": "b", "KVP": 1}, {"Rows": 512}]}}
    verdict = evaluate(PARSE.validate_python(condition), HIP)
    assert verdict.cues == ("a",)
    condition["at_least"]["n"] = 3
    assert "found [a, Rows is 512], not found [b]" in evaluate(PARSE.validate_python(condition), HIP).reason


@pytest.mark.parametrize(
    ("orientation", "expected"),
    [
        (AXIAL, "axial"),
        (CORONAL, "coronal"),
        ((0.0, 1.0, 0.0, 0.0, 0.0, -1.0), "sagittal"),
        ((1.0, 0.0, 0.0, 0.0, 0.940, 0.342), "axial"),
        ((1.0, 0.0, 0.0, 0.0, 0.707, 0.707), "oblique"),
    ],
)
def test_orientation_with_gantry_tilt_up_to_twenty_degrees_is_axial(orientation, expected):
    geometry = stack_geometry(series_view("s", {}, orientation=orientation).instances)
    assert geometry is not None and geometry.orientation == expected


def test_several_orientations_are_mixed_and_missing_ones_unknown():
    frames = [
        {"ImagePositionPatient": (0.0, 0.0, 0.0)},
        {"ImagePositionPatient": (0.0, 9.0, 0.0), "ImageOrientationPatient": CORONAL},
    ]
    geometry = stack_geometry(series_view("s", {}, frames).instances)
    assert geometry is not None and geometry.orientation == "mixed"
    assert stack_geometry(series_view("s", {}, [{}]).instances) is None
