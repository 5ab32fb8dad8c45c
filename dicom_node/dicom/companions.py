"""What Segmentations, Parametric Maps and reports share: source headers for highdicom, and our own touch afterwards."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from pydicom.dataset import Dataset
from pydicom.sequence import Sequence
from pydicom.tag import BaseTag, Tag

from dicom_node.contracts.geometry import Geometry
from dicom_node.dicom import codes
from dicom_node.dicom.naming import name_series
from dicom_node.dicom.private_block import add_block
from dicom_node.dicom.provenance import Provenance
from dicom_node.dicom.raw import merged, raw_value, rebuilt
from dicom_node.dicom.references import add_equipment
from dicom_node.dicom.sources import Source
from dicom_node.dicom.uids import uid_from
from dicom_node.dicom.validate import check_companion

_STUDY_KEYWORDS = (
    "SpecificCharacterSet",
    "StudyDate",
    "StudyTime",
    "TimezoneOffsetFromUTC",
    "AccessionNumber",
    "IssuerOfAccessionNumberSequence",
    "ReferringPhysicianName",
    "ReferringPhysicianIdentificationSequence",
    "ConsultingPhysicianName",
    "ConsultingPhysicianIdentificationSequence",
    "StudyDescription",
    "ProcedureCodeSequence",
    "PhysiciansOfRecord",
    "PhysiciansOfRecordIdentificationSequence",
    "NameOfPhysiciansReadingStudy",
    "PhysiciansReadingStudyIdentificationSequence",
    "AdmittingDiagnosesDescription",
    "AdmittingDiagnosesCodeSequence",
    "ReferencedStudySequence",
    "ReferencedPatientSequence",
    "StudyInstanceUID",
    "StudyID",
    "RequestingService",
    "RequestingServiceCodeSequence",
    "ReasonForVisit",
    "ReasonForVisitCodeSequence",
    "AdmissionID",
    "IssuerOfAdmissionIDSequence",
    "ServiceEpisodeID",
    "IssuerOfServiceEpisodeIDSequence",
    "ServiceEpisodeDescription",
    "ReasonForPerformedProcedureCodeSequence",
    "ClinicalTrialSponsorName",
    "ClinicalTrialProtocolID",
    "ClinicalTrialProtocolName",
    "ClinicalTrialSiteID",
    "ClinicalTrialSiteName",
    "ClinicalTrialSubjectID",
    "ClinicalTrialSubjectReadingID",
    "ClinicalTrialTimePointID",
    "ClinicalTrialTimePointDescription",
)
"""Patient, General Study, Patient Study and Clinical Trial modules (PS3.3 C.7.1, C.7.2); group 0010 comes whole."""
_FRAME_KEYWORDS = ("FrameOfReferenceUID", "PositionReferenceIndicator", "BodyPartExamined")
_STUDY_TAGS = frozenset(Tag(keyword) for keyword in _STUDY_KEYWORDS)
_FRAME_TAGS = frozenset(Tag(keyword) for keyword in _FRAME_KEYWORDS)
_SCANNER_TAGS = frozenset(
    Tag(keyword)
    for keyword in (
        "Manufacturer",
        "InstitutionName",
        "StationName",
        "ManufacturerModelName",
        "DeviceSerialNumber",
        "SoftwareVersions",
    )
)
_EQUIPMENT_TAG = Tag("ContributingEquipmentSequence")
_DESCRIPTION_TAGS = frozenset((Tag("SeriesDescription"), Tag("SpecificCharacterSet")))
_GEOMETRY_KEYWORDS = ("ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing", "LossyImageCompression")
_LOSSY_KEYWORDS = ("LossyImageCompressionRatio", "LossyImageCompressionMethod")


@dataclass(frozen=True)
class Companion:
    """Identity of a derived object that is no corrected image.

    Attributes:
        role: output name, `map:NAME`, `mask:NAME` or `report`.
        series_uid: Series Instance UID.
        instance_uid: SOP Instance UID.
        series_number: Series Number.
        prefix: Series Description before the source's.
        warnings: the corrector's sentences.
    """

    role: str
    series_uid: str
    instance_uid: str
    series_number: int
    prefix: str
    warnings: tuple[str, ...]


def stand_in(source: Source, header: Dataset | None, geometry: Geometry) -> Dataset:
    """A source as highdicom needs it: references and geometry, one pixel large, nobody's name.

    highdicom decodes and re-encodes names and holds whole pixel arrays; it gets neither. The patient comes back in
    `finished`, the pixels are streamed when the object is written.

    Args:
        source: whom it stands for.
        header: the source's header, None where only references are needed.
        geometry: of the source's volume.
    """
    dataset = Dataset()
    dataset.SOPClassUID = source.sop_class_uid
    dataset.SOPInstanceUID = source.sop_instance_uid
    dataset.SeriesInstanceUID = source.series_instance_uid
    dataset.StudyInstanceUID = source.study_instance_uid
    dataset.Modality = source.modality
    for keyword in ("PatientID", "PatientName", "PatientBirthDate", "PatientSex", "AccessionNumber", "StudyID"):
        setattr(dataset, keyword, "")
    dataset.StudyDate = dataset.StudyTime = None
    dataset.Rows = dataset.Columns = 1
    if header is None:
        return dataset
    dataset.FrameOfReferenceUID = header.get("FrameOfReferenceUID") or uid_from(
        "frame of reference", source.series_instance_uid
    )
    for keyword in (*_GEOMETRY_KEYWORDS, *_LOSSY_KEYWORDS):
        if header.get(keyword) is not None:
            setattr(dataset, keyword, header.get(keyword))
    dataset.SliceThickness = geometry.slice_thickness_mm or geometry.slice_spacing_mm or 1.0
    return dataset


def finished(
    made: Dataset, header: Dataset, companion: Companion, provenance: Provenance, *, image: bool = True
) -> Dataset:
    """Give a library-made object the source's patient and study, deterministic UIDs and dates, and our provenance.

    Args:
        made: from highdicom, made of stand-ins.
        header: header of the first source.
        companion: identity.
        provenance: facts of the job.
        image: False for a report.

    Raises:
        DerivationError: the result would name another patient or study than its source.
    """
    context = rebuilt(header, lambda tag: _is_context(tag, image))
    dataset = merged(made, context)
    _make_repeatable(dataset, companion, provenance)
    name_series(dataset, rebuilt(header, lambda tag: tag in _DESCRIPTION_TAGS), companion.prefix)
    dataset.DeviceUID = provenance.uids.device()
    dataset.InstanceCreatorUID = provenance.uids.device()
    _set_equipment(dataset, header, provenance)
    codes.declare_scheme(dataset)
    add_block(dataset, provenance, companion.role, changed=None, warnings=companion.warnings)
    check_companion(dataset, rebuilt(header), companion.series_uid, companion.instance_uid)
    return dataset


def slice_order(made: Dataset, slices: Mapping[str, int]) -> list[int]:
    """Slice of each frame: highdicom orders frames by position in its own way.

    Args:
        made: multi-frame object whose frames name their source.
        slices: slice by the source's SOP Instance UID.
    """
    return [
        slices[str(item.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID)]
        for item in made.PerFrameFunctionalGroupsSequence
    ]


def _set_equipment(dataset: Dataset, header: Dataset, provenance: Provenance) -> None:
    """The scanner, what the source lists, the library that laid out the object, and ours."""
    scanner = rebuilt(header, lambda tag: tag in _SCANNER_TAGS)
    listed = rebuilt(header, lambda tag: tag == _EQUIPMENT_TAG).get("ContributingEquipmentSequence") or ()
    made_by = list(dataset.get("ContributingEquipmentSequence") or ())
    for item in made_by:
        item.ContributionDateTime = provenance.created_utc
    items = [*listed, *made_by]
    if raw_value(scanner, "Manufacturer").strip(b" \0"):
        scanner.PurposeOfReferenceCodeSequence = codes.ACQUISITION_EQUIPMENT.sequence()
        items.insert(0, scanner)
    dataset.ContributingEquipmentSequence = Sequence(items)
    add_equipment(dataset, provenance)


def _is_context(tag: BaseTag, image: bool) -> bool:
    return tag.group == 0x0010 or tag in _STUDY_TAGS or (image and tag in _FRAME_TAGS)


def _make_repeatable(dataset: Dataset, companion: Companion, provenance: Provenance) -> None:
    """Replace the clock's and chance's part in what highdicom made."""
    day, time = provenance.created_local(str(dataset.get("TimezoneOffsetFromUTC") or ""))
    dataset.InstanceCreationDate, dataset.InstanceCreationTime = day, time
    if "ContentDate" in dataset:
        dataset.ContentDate, dataset.ContentTime = day, time
    organization = provenance.uids.other("dimension organization", companion.role)
    for keyword in ("DimensionOrganizationSequence", "DimensionIndexSequence"):
        for item in dataset.get(keyword) or ():
            item.DimensionOrganizationUID = organization
