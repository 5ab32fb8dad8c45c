"""Headers as plain values, and files that are not what they seem."""

import hashlib
import io
from dataclasses import replace

import pydicom
import pytest
from pydicom.dataset import Dataset
from pydicom.uid import UID, ImplicitVRLittleEndian, JPEGLSLossless

from dicom_node.contracts import FileRef
from dicom_node.dicom.headers import header_from, read_header
from dicom_node.dicom.tags import NODE_MANUFACTURER, PRIVATE_CREATOR, PRIVATE_GROUP
from dicom_node.errors import UnreadableFile
from dicom_node.testing.encoding import UNCOMPRESSED
from dicom_node.testing.identity import SyntheticPatient
from dicom_node.testing.series import SyntheticSeries, mr_series


def written(dataset, *, meta=True) -> bytes:
    stream = io.BytesIO()
    if meta:
        dataset.save_as(stream, enforce_file_format=True)
    else:
        del dataset.file_meta
        dataset.preamble = None
        dataset.save_as(stream, implicit_vr=True, little_endian=True)
    return stream.getvalue()


def header(data: bytes):
    return header_from(io.BytesIO(data), FileRef("memory.dcm"))


def code(value, meaning):
    item = Dataset()
    item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = value, "SCT", meaning
    return item


def test_values_are_plain_and_typed(tmp_path):
    (path,) = mr_series(slices=1, tags={"EchoNumbers": 3}).write(tmp_path)
    found = read_header(FileRef(path))
    assert found.get("ImageType") == ("ORIGINAL", "PRIMARY", "M", "ND")
    assert found.get("PixelSpacing") == (0.75, 0.75)
    assert found.get("Rows") == 64 and type(found.get("Rows")) is int
    assert found.get("RepetitionTime") == 600.0 and type(found.get("RepetitionTime")) is float
    assert type(found.get("EchoNumbers")) is int
    assert found.get("ScanOptions") is None
    assert {type(v) for v in found.tags.values()} <= {str, int, float, tuple}
    assert found.sha256 == hashlib.sha256(path.read_bytes()).hexdigest()
    assert read_header(FileRef(path), digest=False).sha256 == ""


@pytest.mark.parametrize("syntax", (*UNCOMPRESSED, JPEGLSLossless), ids=lambda uid: UID(uid).keyword)
def test_the_header_is_the_same_in_every_transfer_syntax(syntax):
    plain = header(written(SyntheticSeries(slices=1).dataset(0)))
    other = header(written(SyntheticSeries(slices=1, transfer_syntax_uid=syntax).dataset(0)))
    assert other.transfer_syntax_uid == syntax
    assert other.tags == plain.tags


def test_code_sequences_become_dotted_keywords():
    dataset = SyntheticSeries(slices=1).dataset(0)
    dataset.AnatomicRegionSequence = [code("24136001", "Hip joint")]
    dataset.AnatomicRegionSequence[0].AnatomicRegionModifierSequence = [
        code("24028007", "Right"),
        code("7771000", "Left"),
    ]
    found = header(written(dataset))
    assert found.get("AnatomicRegionSequence.CodeMeaning") == "Hip joint"
    assert found.get("AnatomicRegionSequence.AnatomicRegionModifierSequence.CodeMeaning") == ("Right", "Left")


@pytest.mark.parametrize("syntax", UNCOMPRESSED, ids=lambda uid: UID(uid).keyword)
def test_private_elements_are_named_by_creator(syntax):
    dataset = mr_series(slices=1, transfer_syntax_uid=syntax).dataset(0)
    dataset.private_block(0x0019, "GEMS_ACQU_01", create=True).add_new(0x9C, "LO", "MAVRIC")
    dataset.private_block(0x0019, "SOMEONE ELSE", create=True).add_new(0x9C, "LO", "other")
    assert header(written(dataset)).get("0019,GEMS_ACQU_01,9c") == "MAVRIC"


def test_long_values_are_left_out():
    dataset = SyntheticSeries(slices=1).dataset(0)
    dataset.ImageComments = "x" * 2000
    dataset.private_block(0x0029, "BLOB", create=True).add_new(0x10, "OB", b"\0" * 10)
    found = header(written(dataset))
    assert not [name for name in found.tags if name == "ImageComments" or name.startswith("0029")]


def test_one_malformed_element_does_not_cost_the_header():
    data = written(SyntheticSeries(slices=1).dataset(0))
    value = data.index(b"\x18\x00\x60\x00DS") + 8
    broken = data[:value] + b"oop" + data[value + 3 :]
    found = header(broken)
    assert found.get("KVP") is None
    assert found.get("ConvolutionKernel") == "B30s"


def test_the_patient_key_follows_id_and_issuer_and_falls_back_to_the_study():
    def key(**of):
        return header(written(SyntheticSeries(slices=1, **of).dataset(0))).patient_key

    person = SyntheticPatient()
    assert key(seed=1) == key(seed=2)
    assert key() != key(patient=replace(person, issuer="ELSEWHERE"))
    assert key() != key(patient=replace(person, patient_id="CANARY-0002"))
    nameless = replace(person, patient_id="")
    assert key(seed=1, patient=nameless) != key(seed=2, patient=nameless)
    assert key(seed=1, patient=nameless) == key(seed=1, series_number=2, patient=nameless)


def test_own_output_is_known_by_private_creator_or_contributing_equipment():
    plain = SyntheticSeries(slices=1).dataset(0)
    assert not header(written(plain)).own_output
    marked = SyntheticSeries(slices=1).dataset(0)
    marked.private_block(PRIVATE_GROUP, PRIVATE_CREATOR, create=True).add_new(0x01, "LO", "hipct")
    assert header(written(marked)).own_output
    contributed = SyntheticSeries(slices=1).dataset(0)
    item = Dataset()
    item.Manufacturer = NODE_MANUFACTURER
    contributed.ContributingEquipmentSequence = [Dataset(), item]
    assert header(written(contributed)).own_output


def test_a_file_without_preamble_and_meta_is_read():
    found = header(written(SyntheticSeries(slices=1).dataset(0), meta=False))
    assert found.transfer_syntax_uid == ImplicitVRLittleEndian
    assert found.get("Modality") == "CT"


@pytest.mark.parametrize("syntax", (*UNCOMPRESSED, JPEGLSLossless), ids=lambda uid: UID(uid).keyword)
def test_a_file_cut_anywhere_in_the_pixels_is_unreadable(syntax):
    data = written(SyntheticSeries(slices=1, transfer_syntax_uid=syntax).dataset(0))
    for missing in (1, 2, 9, len(data) // 3):
        with pytest.raises(UnreadableFile, match=r"memory\.dcm.*(truncated|damaged)"):
            header(data[:-missing])


def test_a_file_cut_inside_any_header_element_is_unreadable():
    dataset = SyntheticSeries(slices=1, rows=8, columns=8).dataset(0)
    data = written(dataset)
    pixels_at = len(data) - 128
    for cut in range(0, pixels_at - 1, 3):
        try:
            found = header(data[:cut])
        except UnreadableFile:
            continue
        # Only a cut exactly between two elements leaves a whole dataset, and then without its pixels.
        assert cut in _element_ends(data), cut
        assert found.get("PixelData") is None


def _element_ends(data: bytes) -> set[int]:
    dataset = pydicom.dcmread(io.BytesIO(data))
    items = [dataset.get_item(tag) for tag in list(dataset.keys())]
    return {item.value_tell + item.length for item in items if hasattr(item, "value_tell")}


@pytest.mark.parametrize("content", [b"", b"hello", b"\0" * 500, b"PNG" * 100, b"\x08\x00" + b"\xff" * 400])
def test_what_is_not_dicom_is_unreadable_by_name(content, tmp_path):
    path = tmp_path / "some.file"
    path.write_bytes(content)
    with pytest.raises(UnreadableFile, match=r"some\.file"):
        read_header(FileRef(path))


def test_a_missing_file_is_named(tmp_path):
    with pytest.raises(UnreadableFile, match=r"gone\.dcm: cannot be opened"):
        read_header(FileRef(tmp_path / "gone.dcm"))


@pytest.mark.parametrize("keyword", ("SOPInstanceUID", "SeriesInstanceUID", "StudyInstanceUID", "SOPClassUID"))
def test_missing_uids_are_named(keyword):
    dataset = SyntheticSeries(slices=1).dataset(0)
    data = written(dataset)
    stripped = SyntheticSeries(slices=1).dataset(0)
    delattr(stripped, keyword)
    stream = io.BytesIO()
    stripped.save_as(stream, enforce_file_format=False)
    assert data != stream.getvalue()
    with pytest.raises(UnreadableFile, match=f"{keyword} is missing"):
        header(stream.getvalue())


def test_no_error_message_shows_patient_data():
    data = written(SyntheticSeries(slices=1).dataset(0)).replace(b"UI", b"XX", 1)
    for cut in range(200, 900, 7):
        try:
            header(data[:cut])
        except UnreadableFile as error:
            assert "Canary" not in str(error) and "CANARY" not in str(error)


@pytest.mark.parametrize("name", [b"ISO_IR\0 100", b"\0", b"hex", b"undefined", b"\xff\xfe", b"a" * 2000])
def test_character_set_that_is_none_costs_no_header(name: bytes) -> None:
    data = written(SyntheticSeries(slices=1, rows=4, columns=4).dataset(0))
    name += b" " * (len(name) % 2)
    known = b"\x08\x00\x05\x00CS\x0a\x00ISO_IR 100"
    assert known in data
    data = data.replace(known, b"\x08\x00\x05\x00CS" + len(name).to_bytes(2, "little") + name)
    assert header(data).tags["Modality"] == "CT"
