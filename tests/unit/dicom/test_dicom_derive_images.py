"""Corrected images: what is kept, what is changed, and that both are true."""

from __future__ import annotations

import json
import zipfile
from dataclasses import replace

import numpy as np
import pydicom
import pytest
from derivation_case import make_case, spec_for
from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.uid import ExplicitVRBigEndian, ExplicitVRLittleEndian, ImplicitVRLittleEndian, JPEGBaseline8Bit

from dicom_node.contracts import Correction, FileRef
from dicom_node.dicom.headers import read_header
from dicom_node.dicom.pixels import read_stored, stored_range
from dicom_node.dicom.private_block import read_block
from dicom_node.errors import DerivationError, NodeError
from dicom_node.testing.encoding import LOSSLESS
from dicom_node.testing.identity import NON_LATIN
from dicom_node.testing.series import SyntheticSeries, mr_series

CHANGED_ON_PURPOSE = {
    "ImageType",
    "InstanceCreationDate",
    "InstanceCreationTime",
    "InstanceCreatorUID",
    "SOPInstanceUID",
    "SeriesInstanceUID",
    "SeriesNumber",
    "SeriesDescription",
    "DerivationDescription",
    "DerivationCodeSequence",
    "SourceImageSequence",
    "ContributingEquipmentSequence",
    "CodingSchemeIdentificationSequence",
    "PixelData",
}


def pairs(case, derived):
    """Source and derived dataset of each slice; sources in slice order."""
    images = next(s for s in derived.series if s.role == "image")
    for ref, file in zip(case.loaded["image"].sources, images.files, strict=True):
        yield pydicom.dcmread(ref.path), pydicom.dcmread(file.path)


@pytest.mark.parametrize("make", [SyntheticSeries, mr_series], ids=["CT", "MR"])
def test_every_tag_is_kept_but_those_that_would_be_untrue(tmp_path, make):
    case = make_case(make(tags={"SmallestImagePixelValue": 0, "PatientComments": "kept"}), tmp_path / "in")
    for source, made in pairs(case, case.derive(tmp_path / "out")):
        kept = {e.keyword: e.value for e in made if not e.tag.is_private}
        for element in source:
            if element.keyword == "SmallestImagePixelValue":
                assert element.keyword not in kept
            elif element.keyword not in CHANGED_ON_PURPOSE:
                assert kept[element.keyword] == element.value, element.keyword
        assert set(kept) - {e.keyword for e in source} <= CHANGED_ON_PURPOSE
        assert made.ImageType == ["DERIVED", *source.ImageType[1:]]
        assert made.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
        assert made.file_meta.MediaStorageSOPInstanceUID == made.SOPInstanceUID != source.SOPInstanceUID


def test_what_would_be_untrue_is_gone(tmp_path):
    icon, signature = Dataset(), Dataset()
    icon.Rows = icon.Columns = 8
    signature.MACIDNumber = 1
    untrue = {
        "IconImageSequence": Sequence([icon]),
        "DigitalSignaturesSequence": Sequence([signature]),
        "LargestImagePixelValue": 1,
        "DataSetTrailingPadding": b"\0\0",
    }
    case = make_case(SyntheticSeries(slices=3, tags=untrue), tmp_path / "in")
    for source, made in pairs(case, case.derive(tmp_path / "out")):
        assert all(keyword in source for keyword in untrue)
        assert not any(keyword in made for keyword in untrue)


def test_sources_in_a_zip_are_read_in_place(tmp_path):
    case = make_case(SyntheticSeries(slices=3), tmp_path / "in")
    with zipfile.ZipFile(tmp_path / "study.zip", "w") as archive:
        for path in case.sources:
            archive.write(path, f"a/{path.name}")
    loaded = case.loaded["image"]
    zipped = replace(loaded, sources=tuple(FileRef(tmp_path / "study.zip", f"a/{r.path.name}") for r in loaded.sources))
    plain, packed = case.derive(tmp_path / "one"), replace(case, loaded={"image": zipped}).derive(tmp_path / "two")
    for one, two in zip(plain.series[0].files, packed.series[0].files, strict=True):
        assert one.path.read_bytes() == two.path.read_bytes()


def test_a_source_that_has_gone_is_named(tmp_path):
    case = make_case(SyntheticSeries(slices=3), tmp_path / "in")
    case.loaded["image"].sources[1].path.unlink()
    with pytest.raises(NodeError, match=case.loaded["image"].sources[1].path.name):
        case.derive(tmp_path / "out")


def test_identity_and_provenance(tmp_path):
    case = make_case(SyntheticSeries(series_number=7, series_description="Pelvis 3.0"), tmp_path / "in")
    uids = case.provenance.uids
    for index, (source, made) in enumerate(pairs(case, case.derive(tmp_path / "out"))):
        assert made.SeriesInstanceUID == uids.series("image")
        assert made.SOPInstanceUID == uids.instance("image", index)
        assert made.SeriesNumber == 701
        assert made.SeriesDescription == "probe classical: Pelvis 3.0"
        assert [i.ReferencedSOPInstanceUID for i in made.SourceImageSequence] == [source.SOPInstanceUID]
        assert made.SourceImageSequence[0].PurposeOfReferenceCodeSequence[0].CodeValue == "121322"
        assert made.DerivationCodeSequence[-1].CodingSchemeDesignator == "99DCN"
        assert "probe 1.2.3" in made.DerivationDescription
        ours = made.ContributingEquipmentSequence[-1]
        assert ours.DeviceUID == uids.device()
        assert ours.ContributionDateTime == "20231114221320.000000+0000"
        assert made.InstanceCreationDate == "20231114"
        assert "SyntheticData" not in made
        block = read_block(made)
        assert block["Corrector"] == "probe"
        assert json.loads(block["Parameters, as JSON"]) == {"strength": 0.5}
        assert block["SHA-256 of the weights; absent for methods without"] == "ab" * 32
        changed = bool((made.pixel_array != source.pixel_array).any())
        assert block["YES or NO: whether any pixel of this instance differs from its source"] == (
            "YES" if changed else "NO"
        )
        assert read_header(FileRef(tmp_path / "out" / "image" / f"{index + 1:04d}.dcm")).own_output


def test_a_synthetic_method_says_so(tmp_path):
    case = make_case(SyntheticSeries(slices=3), tmp_path / "in", method="best")
    assert all(made.SyntheticData == "YES" for _, made in pairs(case, case.derive(tmp_path / "out")))


@pytest.mark.parametrize(
    "series",
    [
        SyntheticSeries(),
        SyntheticSeries(signed=True, intercept=0.0),
        SyntheticSeries(signed=True, bits_stored=13, intercept=-100.0),
        SyntheticSeries(slope=(1.0, 0.5, 2.0, 0.25, 1.5), intercept=(-1024.0, -1000.0, -1024.0, -1024.0, -1000.0)),
        SyntheticSeries(padding_value=0),
        SyntheticSeries(bits_stored=12, junk_high_bits=True),
        mr_series(),
        mr_series(bits_allocated=8, bits_stored=8, rows=33, columns=31),
    ],
    ids=["unsigned", "signed", "signed13", "per-slice rescale", "padding", "high bits", "mr", "8 bit odd"],
)
def test_only_the_corrected_voxels_change(tmp_path, series):
    case = make_case(series, tmp_path / "in", add=-20.0 if series.bits_stored == 8 else 40.0)
    derived = case.derive(tmp_path / "out")
    images = derived.series[0]
    read, corrected = case.loaded["image"].volume, case.correction.volumes["image"].pixels
    touched = 0
    for z, (ref, file) in enumerate(zip(case.loaded["image"].sources, images.files, strict=True)):
        before, after = read_stored(ref), read_stored(FileRef(file.path))
        same = corrected[z] == read.pixels[z]
        if before.padding is not None:
            same = same | before.padding
        assert np.array_equal(after.words[same], before.words[same])
        wanted = np.clip(
            corrected[z],
            *sorted(
                (
                    before.slope * stored_range(before.bits_stored, before.signed)[0] + before.intercept,
                    before.slope * stored_range(before.bits_stored, before.signed)[1] + before.intercept,
                )
            ),
        )
        assert np.abs(after.physical[~same] - wanted[~same]).max(initial=0.0) <= before.slope / 2 + 1e-3
        touched += int((~same).sum())
    assert touched > 0
    assert images.metrics["changed_frames"] == case.loaded["image"].volume.shape[0] - 2


def test_negative_values_of_signed_words_are_readable_as_whole_words(tmp_path):
    stored = np.full((3, 32, 32), 5)
    case = make_case(
        SyntheticSeries(slices=3, rows=32, columns=32, stored=stored, signed=True, bits_stored=12, intercept=0.0),
        tmp_path / "in",
        add=-50.0,
    )
    _, made = list(pairs(case, case.derive(tmp_path / "out")))[1]
    assert np.frombuffer(made.PixelData, "<i2").min() == -45


def test_values_that_do_not_fit_are_clipped_and_counted(tmp_path):
    case = make_case(mr_series(slices=3), tmp_path / "in", add=1e5)
    derived = case.derive(tmp_path / "out")
    assert derived.series[0].metrics["clipped_voxels"] == 120
    assert any("120 voxels were clipped" in w for w in derived.warnings)
    assert read_stored(FileRef(derived.series[0].files[1].path)).stored.max() == 4095


@pytest.mark.parametrize("syntax", [*LOSSLESS, ImplicitVRLittleEndian, ExplicitVRBigEndian])
def test_every_transfer_syntax_comes_out_as_explicit_little_endian(tmp_path, syntax):
    case = make_case(SyntheticSeries(slices=3, bits_stored=12, transfer_syntax_uid=syntax), tmp_path / "in")
    for source, made in pairs(case, case.derive(tmp_path / "out")):
        assert made.file_meta.TransferSyntaxUID == ExplicitVRLittleEndian
        outside = np.ones(source.pixel_array.shape, bool)
        outside[10:20, 12:24] = False
        assert np.array_equal(made.pixel_array[outside], source.pixel_array[outside])
        assert made.PixelSpacing == source.PixelSpacing


def test_a_lossy_source_stays_lossy(tmp_path):
    series = mr_series(slices=3, bits_allocated=8, bits_stored=8, transfer_syntax_uid=JPEGBaseline8Bit)
    case = make_case(series, tmp_path / "in")
    for _, made in pairs(case, case.derive(tmp_path / "out")):
        assert made.LossyImageCompression == "01"
        assert made.LossyImageCompressionMethod == "ISO_10918_1"


def raw_bytes(path, keyword):
    dataset = pydicom.dcmread(path)
    return dataset.get_item(keyword).value


@pytest.mark.parametrize("syntax", [ExplicitVRLittleEndian, ImplicitVRLittleEndian, ExplicitVRBigEndian])
@pytest.mark.parametrize("patient", list(NON_LATIN))
def test_foreign_names_keep_their_bytes(tmp_path, syntax, patient):
    who = NON_LATIN[patient]
    physician = Dataset()
    physician.PersonName = who.name
    series = SyntheticSeries(
        slices=3,
        patient=who,
        transfer_syntax_uid=syntax,
        tags={
            "ReferringPhysicianName": who.name,
            "StudyDescription": who.name.replace("^", " ")[:20],
            "SeriesDescription": who.name.replace("^", " ")[-6:],
        },
    )
    case = make_case(series, tmp_path / "in", companions=True)
    derived = case.derive(tmp_path / "out")
    source = case.loaded["image"].sources[1].path
    for one in derived.series:
        for file in one.files:
            for keyword in ("PatientName", "ReferringPhysicianName", "StudyDescription", "SpecificCharacterSet"):
                assert raw_bytes(file.path, keyword) == raw_bytes(source, keyword), (one.role, keyword)
            assert pydicom.dcmread(file.path).PatientName == who.name
            assert pydicom.dcmread(file.path).SeriesDescription.endswith(who.name.replace("^", " ")[-6:])


def test_foreign_text_inside_sequences_keeps_its_bytes(tmp_path):
    who = NON_LATIN["japanese"]
    item = Dataset()
    item.RequestedProcedureDescription = "山田"
    case = make_case(
        SyntheticSeries(slices=3, patient=who, tags={"RequestAttributesSequence": Sequence([item])}), tmp_path / "in"
    )
    derived = case.derive(tmp_path / "out")
    needle = "山田".encode("iso2022_jp")
    assert needle in case.loaded["image"].sources[0].path.read_bytes()
    made = pydicom.dcmread(derived.series[0].files[0].path)
    assert made.RequestAttributesSequence[0].RequestedProcedureDescription == "山田"


def test_equipment_of_the_source_comes_first(tmp_path):
    item = Dataset()
    item.Manufacturer = "Scanner maker"
    case = make_case(
        SyntheticSeries(slices=3, tags={"ContributingEquipmentSequence": Sequence([item])}), tmp_path / "in"
    )
    for _, made in pairs(case, case.derive(tmp_path / "out")):
        assert made.ContributingEquipmentSequence[0].Manufacturer == "Scanner maker"
        assert len(made.ContributingEquipmentSequence) == 2


def test_a_new_version_says_which_series_it_replaces(tmp_path):
    case = make_case(SyntheticSeries(slices=3), tmp_path / "in", version=2, superseded_series={"image": "1.2.3456789"})
    derived = case.derive(tmp_path / "out")
    for _, made in pairs(case, derived):
        assert made.SeriesDescription.startswith("[v2, replaces ..456789] probe classical: ")
        assert len(made.SeriesDescription) <= 64
        assert "1.2.3456789" in made.DerivationDescription
        assert "1.2.3456789" in read_block(made).values()


def test_a_new_version_of_what_had_no_earlier_series_only_counts(tmp_path):
    case = make_case(SyntheticSeries(slices=3), tmp_path / "in", version=3, companions=True)
    for series in case.derive(tmp_path / "out").series:
        assert pydicom.dcmread(series.files[0].path).SeriesDescription.startswith("[v3] probe classical")


def test_the_same_job_writes_the_same_bytes(tmp_path):
    case = make_case(SyntheticSeries(slices=4), tmp_path / "in", companions=True)
    first, second = case.derive(tmp_path / "one"), case.derive(tmp_path / "two")
    written = {p.relative_to(tmp_path / "one"): p.read_bytes() for p in (tmp_path / "one").rglob("*.dcm")}
    again = {p.relative_to(tmp_path / "two"): p.read_bytes() for p in (tmp_path / "two").rglob("*.dcm")}
    assert written == again
    assert len(written) == 7
    assert [s.series_instance_uid for s in first.series] == [s.series_instance_uid for s in second.series]


def test_nothing_is_written_when_nothing_changed(tmp_path):
    case = make_case(SyntheticSeries(slices=3), tmp_path / "in")
    same = replace(case, correction=Correction(changed=False, reason="no metal"))
    assert same.derive(tmp_path / "out").series == ()
    assert not (tmp_path / "out").exists()


def test_all_bins_are_sources_of_each_slice(tmp_path):
    case = make_case(mr_series(slices=3, phases=4), tmp_path / "in", axes="bzyx")
    derived = case.derive(tmp_path / "out")
    for index, (source, made) in enumerate(pairs(case, derived)):
        named = [i.ReferencedSOPInstanceUID for i in made.SourceImageSequence]
        assert named[0] == source.SOPInstanceUID
        assert len(set(named)) == len(named) == 4
        positions = {tuple(s.ImagePositionPatient) for s, _ in pairs(case, derived) if s.SOPInstanceUID in named}
        assert positions == {tuple(made.ImagePositionPatient)}, index


def test_a_cine_frame_has_one_source_and_keeps_its_time(tmp_path):
    case = make_case(mr_series(slices=2, phases=3), tmp_path / "in", axes="tzyx")
    for source, made in pairs(case, case.derive(tmp_path / "out")):
        assert [i.ReferencedSOPInstanceUID for i in made.SourceImageSequence] == [source.SOPInstanceUID]
        assert made.TriggerTime == source.TriggerTime


def test_sources_in_another_study_are_listed(tmp_path):
    ct = make_case(SyntheticSeries(slices=3, seed=1), tmp_path / "ct")
    mr = make_case(mr_series(slices=4, seed=2), tmp_path / "mr")
    both = replace(ct, loaded={"image": ct.loaded["image"], "mr": mr.loaded["image"]})
    made = pydicom.dcmread(both.derive(tmp_path / "out").series[0].files[0].path)
    assert len(made.SourceImageSequence) == 1 + 4
    other = made.StudiesContainingOtherReferencedInstancesSequence
    assert [i.StudyInstanceUID for i in other] == [mr_series(seed=2).study_instance_uid]
    assert len(other[0].ReferencedSeriesSequence[0].ReferencedInstanceSequence) == 4


def test_what_does_not_fit_is_refused(tmp_path):
    case = make_case(SyntheticSeries(slices=3), tmp_path / "in", companions=True)
    volume = case.correction.volumes["image"]
    pixels = volume.pixels.copy()
    pixels[1, 5, 5] = np.nan
    broken = {
        "unknown role": replace(case.correction, volumes={"other": volume}),
        "not finite": replace(case.correction, volumes={"image": volume.with_pixels(pixels)}),
        "mask": replace(case.correction, masks={"m": replace(case.correction.masks["metal"], role="other")}),
    }
    for correction in broken.values():
        with pytest.raises(DerivationError):
            replace(case, correction=correction).derive(tmp_path / "out")


def test_image_type_value_2_follows_the_spec(tmp_path):
    case = make_case(SyntheticSeries(slices=3), tmp_path / "in")
    spec = spec_for("CT", image_type_value_2="SECONDARY")
    case = replace(case, spec=spec, provenance=replace(case.provenance, spec=spec))
    for _, made in pairs(case, case.derive(tmp_path / "out")):
        assert list(made.ImageType) == ["DERIVED", "SECONDARY", "AXIAL"]
