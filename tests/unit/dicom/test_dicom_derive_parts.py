"""Names, codes, files and raw elements that derived instances are made of."""

from __future__ import annotations

import errno
import io
from pathlib import Path

import pydicom
import pytest
from derivation_case import make_case, spec_for
from hypothesis import given
from hypothesis import strategies as st
from pydicom.dataset import Dataset

from dicom_node.dicom import codes, files
from dicom_node.dicom.naming import image_type, series_number
from dicom_node.dicom.private_block import ELEMENTS, add_block, read_block
from dicom_node.dicom.provenance import Provenance
from dicom_node.dicom.raw import rebuilt
from dicom_node.dicom.validate import check_companion
from dicom_node.errors import DerivationError, StorageFailed, StorageFull
from dicom_node.plugins.catalogue import discover
from dicom_node.testing.series import SyntheticSeries


@pytest.mark.parametrize(
    ("source", "ordinal", "number"), [(3, 1, 301), (3, 2, 302), (None, 1, 90001), (0, 1, 90001), (30_000_000, 1, 90001)]
)
def test_series_number(source, ordinal, number):
    assert series_number(source, ordinal) == number


@pytest.mark.parametrize(
    ("given_type", "modality", "value_2", "expected"),
    [
        ("ORIGINAL\\PRIMARY\\AXIAL", "CT", None, ["DERIVED", "PRIMARY", "AXIAL"]),
        ("DERIVED\\SECONDARY\\MPR\\X", "CT", None, ["DERIVED", "SECONDARY", "MPR", "X"]),
        ("ORIGINAL\\PRIMARY\\M\\ND", "MR", "SECONDARY", ["DERIVED", "SECONDARY", "M", "ND"]),
        ("ORIGINAL", "MR", None, ["DERIVED", "PRIMARY", "OTHER"]),
        (None, "CT", None, ["DERIVED", "PRIMARY", "AXIAL"]),
    ],
)
def test_image_type(given_type, modality, value_2, expected):
    source = Dataset()
    source.Modality = modality
    buffer = io.BytesIO()
    if given_type:
        source.ImageType = given_type.split("\\")
    pydicom.dcmwrite(buffer, source, implicit_vr=False, little_endian=True)
    buffer.seek(0)
    assert image_type(rebuilt(pydicom.dcmread(buffer, force=True)), value_2) == expected


@given(st.text(min_size=1, max_size=60), st.text(min_size=1, max_size=60))
def test_own_codes_fit_and_tell_long_names_apart(one, other):
    first, second = codes.own_code("a_common_start_" + one), codes.own_code("a_common_start_" + other)
    assert len(first.value) <= 16
    assert len(first.meaning) <= 64
    assert (first.value == second.value) == (one == other)


def test_units_follow_the_end_of_a_name():
    assert codes.figure_unit("largest_change_hu").value == "[hnsf'U]"
    assert codes.figure_unit("share").value == "1"


def test_created_at_is_told_in_the_instance_own_time_zone():
    facts = {"spec": spec_for("CT"), "method": "classical", "parameters": {}, "weights_sha256": "", "input_digest": ""}
    made = Provenance(**facts, created_at=1_700_000_000.25)
    assert made.created_local(None) == ("20231114", "221320.250000")
    assert made.created_local("+0930") == ("20231115", "074320.250000")
    assert made.created_local("-0500") == ("20231114", "171320.250000")
    assert made.created_local("nonsense") == made.created_local(None)


def test_the_private_block_takes_the_next_free_place():
    dataset = Dataset()
    dataset.private_block(0x0099, "SOMEBODY ELSE", create=True).add_new(0x01, "LO", "theirs")
    made = Provenance(
        spec=spec_for("CT"), method="best", parameters={"a": "é"}, weights_sha256="", input_digest="ff", created_at=0.0
    )
    add_block(dataset, made, "image", changed=True, warnings=("µ",))
    assert dataset[0x0099, 0x1001].value == "theirs"
    assert read_block(dataset)["Corrector"] == "probe"
    assert read_block(dataset)["Warnings, one a line; absent when there are none"] == "u"
    assert len({e.offset for e in ELEMENTS}) == len(ELEMENTS)


def test_the_conformance_statement_lists_every_private_element():
    text = (Path(__file__).parents[3] / "docs" / "conformance.md").read_text(encoding="utf-8")
    for element in ELEMENTS:
        assert f"| (0099,xx{element.offset:02X}) | {element.vr} | {element.name} |" in text


def test_the_conformance_statement_decides_on_synthetic_data_for_every_method_that_ships():
    text = (Path(__file__).parents[3] / "docs" / "conformance.md").read_text(encoding="utf-8")
    for name, spec in discover().specs.items():
        for method in spec.methods:
            decision = "YES" if method in spec.synthetic else "NO"
            assert f"| `{name}` | `{method}` | {decision} |" in text


def test_another_patient_is_noticed(tmp_path):
    case = make_case(SyntheticSeries(slices=3), tmp_path / "in", companions=True)
    file = case.derive(tmp_path / "out").series[1].files[0]
    source = rebuilt(pydicom.dcmread(case.sources[0]))
    made = rebuilt(pydicom.dcmread(file.path))
    check_companion(made, source, str(made.SeriesInstanceUID), file.sop_instance_uid)
    made.PatientName = "Somebody^Else"
    with pytest.raises(DerivationError, match="PatientName") as caught:
        check_companion(made, source, str(made.SeriesInstanceUID), file.sop_instance_uid)
    assert "Somebody" not in str(caught.value)


@pytest.mark.parametrize(("number", "kind"), [(errno.ENOSPC, StorageFull), (errno.EIO, StorageFailed)])
def test_a_refusing_disk_leaves_no_half_file(tmp_path, monkeypatch, number, kind):
    case = make_case(SyntheticSeries(slices=3), tmp_path / "in", companions=True)

    def refuse(_descriptor):
        raise OSError(number, "refused")

    monkeypatch.setattr(files.os, "fsync", refuse)
    with pytest.raises(kind):
        case.derive(tmp_path / "out")
    assert not list((tmp_path / "out").rglob("*.dcm"))


@given(st.text(max_size=30))
def test_output_folders_are_plain_names(role):
    name = files.output_folder(role)
    assert name
    assert "/" not in name
    assert not name.startswith(".")
    assert name.isascii()
