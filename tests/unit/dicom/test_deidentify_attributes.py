"""PS3.15 Annex E attribute by attribute: what is removed, emptied, replaced and kept, on every level."""

from __future__ import annotations

import re

import pytest
from everything import CANARY, PSEUDONYMS, attributes, exported, image
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import generate_uid

from dicom_node.dicom import deidentify_keep as keep
from dicom_node.dicom.deidentify import action, deidentify
from dicom_node.dicom.deidentify_table import BASIC_PROFILE, MODIFIED_DATES
from dicom_node.dicom.parsing import quiet
from dicom_node.testing.series import SyntheticSeries, mr_series

SAMPLES = {
    "AE": "SCANNER", "AS": "042Y", "CS": "SECRET", "DA": "20200102", "DS": "7.25", "DT": "20200102030405", "IS": "725",
    "LO": "secret", "LT": "secret", "OB": b"secret", "PN": "Secret^Name", "SH": "secret", "ST": "secret", "TM": "0304",
    "UC": "secret", "UI": "1.2.3.4", "UN": b"secret", "UR": "http://secret", "US": 725, "UT": "secret",
}  # fmt: skip


def cleaned(keyword: str, value: object | None = None, source: Dataset | None = None) -> Dataset:
    """What becomes of an image with one more attribute."""
    dataset = source or SyntheticSeries(slices=1, rows=8, columns=8).dataset(0)
    tag, vr = tag_for_keyword(keyword), dictionary_VR(keyword)
    if value is None:
        value = Sequence([Dataset()]) if vr == "SQ" else SAMPLES[vr]
    with quiet():
        dataset[tag] = DataElement(tag, vr, value)
    return deidentify(dataset, "somebody", PSEUDONYMS)


def test_the_table_is_that_of_the_standard() -> None:
    assert len(BASIC_PROFILE) == 617  # edition 2024e has 621 rows, four of which are no single attribute
    assert len(MODIFIED_DATES) == 165
    assert set(BASIC_PROFILE.values()) == {"X", "Z", "D", "U", "X/Z", "X/D", "X/Z/D", "Z/D", "X/Z/U*"}
    assert all(tag_for_keyword(keyword) is not None for keyword in BASIC_PROFILE)
    assert set(BASIC_PROFILE) >= MODIFIED_DATES
    asked = {"PatientName": "Z", "PatientBirthDate": "Z", "AccessionNumber": "Z", "InstitutionName": "X/Z/D",
             "PatientAge": "X", "StudyInstanceUID": "U", "ProtocolName": "X/D"}  # fmt: skip
    assert {keyword: BASIC_PROFILE[keyword] for keyword in asked} == asked


def test_names_and_dates_of_the_dictionary_are_all_listed_or_not_kept() -> None:
    """What a later edition adds is not kept by accident."""
    unlisted = [(keyword, vr) for _, vr, keyword in attributes() if keyword not in BASIC_PROFILE]
    people = [keyword for keyword, vr in unlisted if vr in ("PN", "LT", "ST", "UT", "UC", "UR", "AE")]
    assert people, "the profile would keep these"
    for keyword in people:
        assert keyword not in cleaned(keyword), keyword


@pytest.mark.parametrize("keyword", sorted(k for k, a in BASIC_PROFILE.items() if a == "X" and k not in MODIFIED_DATES))
def test_removed(keyword: str) -> None:
    assert keyword not in cleaned(keyword)


@pytest.mark.parametrize("keyword", sorted(k for k, a in BASIC_PROFILE.items() if a == "Z" and k not in MODIFIED_DATES))
def test_emptied(keyword: str) -> None:
    value = cleaned(keyword)[keyword].value
    assert not value or (keyword == "PatientName" and value == PSEUDONYMS.patient("somebody"))


@pytest.mark.parametrize("keyword", sorted(k for k, a in BASIC_PROFILE.items() if a == "D" and k not in MODIFIED_DATES))
def test_replaced_by_a_dummy(keyword: str) -> None:
    result = cleaned(keyword)
    if dictionary_VR(keyword) == "SQ":
        assert keyword not in result
    else:
        assert result[keyword].value
        assert result[keyword].value != SAMPLES[dictionary_VR(keyword)]


@pytest.mark.parametrize("keyword", sorted(k for k, a in BASIC_PROFILE.items() if a == "U"))
def test_uids_become_others(keyword: str) -> None:
    if tag_for_keyword(keyword) >> 16 < 8:
        return  # of File Meta Information and directories: neither is copied
    assert cleaned(keyword, "1.2.3.4")[keyword].value == PSEUDONYMS.uid("1.2.3.4")


@pytest.mark.parametrize("keyword", sorted(k for k, a in BASIC_PROFILE.items() if "/" in a and k not in MODIFIED_DATES))
def test_combinations_follow_the_type_in_ct_and_mr(keyword: str) -> None:
    result = cleaned(keyword)
    if keyword == "PatientID":
        assert result.PatientID == PSEUDONYMS.patient("somebody")
    elif keyword == "ContrastBolusAgent":
        assert not result.ContrastBolusAgent
    elif action(keyword, top=True) == "Z":
        assert not result[keyword].value
    else:
        assert keyword not in result or keyword in keep.REFERENCES


@pytest.mark.parametrize("keyword", sorted(k for k in MODIFIED_DATES if dictionary_VR(k) in ("DA", "DT", "TM")))
def test_dates_move_and_times_stay(keyword: str) -> None:
    vr = dictionary_VR(keyword)
    value = str(cleaned(keyword)[keyword].value)
    assert (value == SAMPLES["TM"]) if vr == "TM" else (value[:8] < "20200102" and value[8:] == SAMPLES[vr][8:])


def test_times_that_are_bytes_or_zones_are_looked_at() -> None:
    assert "CertifiedTimestamp" not in cleaned("CertifiedTimestamp")
    assert cleaned("TimezoneOffsetFromUTC", "+0100").TimezoneOffsetFromUTC == "+0100"
    assert "TimezoneOffsetFromUTC" not in cleaned("TimezoneOffsetFromUTC", "Berlin")


@pytest.mark.parametrize("value", ["2020", "202001", "yesterday", "20201399", "00010101"])
def test_a_date_that_cannot_be_moved_goes(value: str) -> None:
    assert "SeriesDate" not in cleaned("SeriesDate", value)
    assert cleaned("StudyDate", value)["StudyDate"].value in (None, ""), "of type 2"


def test_who_it_is_is_a_pseudonym_and_what_was_done_is_written_down() -> None:
    result = cleaned("PatientID", "12345")
    assert re.fullmatch("P[0-9A-F]{16}", result.PatientID)
    assert str(result.PatientName) == result.PatientID
    assert (result.PatientIdentityRemoved, result.LongitudinalTemporalInformationModified) == ("YES", "MODIFIED")
    codes = [(c.CodeValue, c.CodingSchemeDesignator) for c in result.DeidentificationMethodCodeSequence]
    assert codes == [("113100", "DCM"), ("113107", "DCM")]
    assert all(len(one) <= 64 for one in result.DeidentificationMethod)


def test_dates_that_somebody_removed_before_are_not_called_modified() -> None:
    result = cleaned("LongitudinalTemporalInformationModified", "REMOVED")
    assert result.LongitudinalTemporalInformationModified == "REMOVED"


def test_what_correctors_and_readers_need_stays_as_it_is() -> None:
    series = mr_series(slices=1, rows=8, columns=8, tags={
        "SequenceName": "*tse2d1_15", "ReceiveCoilName": "HE1-4;NE1,2", "ScanningSequence": ["SE", "IR"],
        "ImageType": ["ORIGINAL", "PRIMARY", "M", "ND", "NORM"], "TriggerTime": 12.5, "TemporalPositionIdentifier": 3,
        "Manufacturer": "GE MEDICAL SYSTEMS", "SoftwareVersions": ["27", "LX", "MR Software release:DV26"],
    })  # fmt: skip
    source = series.dataset(0)
    result = deidentify(source, "somebody", PSEUDONYMS)
    for keyword in (
        "SequenceName", "ReceiveCoilName", "ScanningSequence", "ImageType", "TriggerTime", "EchoTime", "RepetitionTime",
        "TemporalPositionIdentifier", "Manufacturer", "SoftwareVersions", "PixelSpacing", "ImagePositionPatient",
        "ImageOrientationPatient", "MagneticFieldStrength", "BodyPartExamined", "SliceThickness", "InstanceNumber",
        "SOPClassUID",
    ):  # fmt: skip
        assert result[keyword].value == source[keyword].value, keyword


def test_text_that_only_a_person_would_write_goes_even_where_text_may_stay() -> None:
    assert "ManufacturerModelName" not in cleaned("ManufacturerModelName", "Scanner of Müller^Hans")
    assert cleaned("Manufacturer", "Müller")["Manufacturer"].value in (None, "")
    assert cleaned("ImageType", ["ORIGINAL", "PRIMARY", "Mr Smith"]).ImageType == ["ORIGINAL", "PRIMARY", "OTHER"]
    assert "BodyPartExamined" not in cleaned("BodyPartExamined", "Hip of Smith")
    assert "SoftwareVersions" not in cleaned("SoftwareVersions", ["VA48A", "call 030 90180399"])
    assert "SequenceName" not in cleaned("SequenceName", "longer than sixteen")


def test_codes_of_the_standards_stay_and_a_sites_own_go() -> None:
    def coded(scheme: str, meaning: str = "Hip") -> Dataset:
        item = Dataset()
        item.CodeValue, item.CodingSchemeDesignator, item.CodeMeaning = "24136001", scheme, meaning
        item.ContextIdentifier, item.ContextGroupVersion = "4031", "20200101"
        return item

    result = cleaned("AnatomicRegionSequence", Sequence([coded("SCT"), coded("99SITE"), coded("SCT", "Frau Müller")]))
    assert [len(item) for item in result.AnatomicRegionSequence] == [3]
    assert result.AnatomicRegionSequence[0].CodeMeaning == "Hip"
    assert "AnatomicRegionSequence" not in cleaned("AnatomicRegionSequence", Sequence([coded("99SITE")]))
    assert "ProcedureCodeSequence" not in cleaned("ProcedureCodeSequence", Sequence([coded("SCT")]))


def test_references_stay_with_other_uids() -> None:
    item, other = Dataset(), generate_uid()
    item.ReferencedSOPClassUID = "1.2.840.10008.5.1.4.1.1.2"
    item.ReferencedSOPInstanceUID = other
    item.ReferencedFrameNumber = 1
    item.DerivationDescription = "secret"
    result = cleaned("SourceImageSequence", Sequence([item])).SourceImageSequence[0]
    assert result.ReferencedSOPClassUID == item.ReferencedSOPClassUID
    assert result.ReferencedSOPInstanceUID == PSEUDONYMS.uid(other)
    assert [e.keyword for e in result] == ["ReferencedSOPClassUID", "ReferencedSOPInstanceUID", "ReferencedFrameNumber"]


@pytest.mark.parametrize(
    ("text", "encoding"),
    [
        (CANARY, "utf-8"),
        (CANARY, "utf-16-le"),
        ("CANARY^山田", "utf-8"),
        ("+49 30 90180399 canary", "utf-8"),
    ],
)
def test_no_canary_gets_through_wherever_it_sits(tmp_path, text: str, encoding: str) -> None:
    secret = text.encode(encoding)
    data, result = exported(image(secret), tmp_path)
    for name in ("utf-8", "utf-16-le", "utf-16-be"):
        assert "canary".encode(name) not in data.lower()
        assert CANARY.encode(name) not in data
    assert secret[:12] not in data
    assert str(result.PatientName) == PSEUDONYMS.patient("somebody")
    tags = [element.tag for element in result]
    assert not any(tag.is_private or tag.group in (0x5000, 0x6000, 0x601E) for tag in tags)
    assert data[:128] == bytes(128)
    assert {element.keyword for element in result.file_meta} == {
        "FileMetaInformationGroupLength", "FileMetaInformationVersion", "MediaStorageSOPClassUID",
        "MediaStorageSOPInstanceUID", "TransferSyntaxUID", "ImplementationClassUID", "ImplementationVersionName",
    }  # fmt: skip


def test_the_canaries_were_in_everything(tmp_path) -> None:
    exported(image(), tmp_path)
    assert (tmp_path / "original.dcm").read_bytes().count(CANARY.encode()) > 5_000
