"""Last look at a derived instance before it is written: what must hold, whatever the corrector did."""

from __future__ import annotations

from pydicom.dataset import Dataset
from pydicom.tag import Tag

from dicom_node.dicom.images import CorrectedInstance
from dicom_node.dicom.private_block import read_block
from dicom_node.dicom.raw import raw_value
from dicom_node.errors import DerivationError

_SAME_BYTES = ("PatientName", "PatientID", "IssuerOfPatientID", "PatientBirthDate", "AccessionNumber", "StudyID")
_SAME_VALUE = (
    "SpecificCharacterSet",
    "StudyInstanceUID",
    "StudyDate",
    "StudyTime",
)
_SAME_IMAGE = (
    "SOPClassUID",
    "Modality",
    "FrameOfReferenceUID",
    "Rows",
    "Columns",
    "BitsAllocated",
    "BitsStored",
    "HighBit",
    "PixelRepresentation",
    "PhotometricInterpretation",
    "RescaleSlope",
    "RescaleIntercept",
    "PixelSpacing",
    "ImageOrientationPatient",
    "ImagePositionPatient",
    "InstanceNumber",
)
_NEEDED = ("SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "SeriesNumber", "ContributingEquipmentSequence")


def check_image(derived: Dataset, source: Dataset, identity: CorrectedInstance) -> None:
    """Check a corrected image against its source.

    Args:
        derived: what is about to be written.
        source: header of its source, from `rebuilt`.
        identity: what it should be.

    Raises:
        DerivationError: names the instance and the tags that are wrong.
    """
    wrong = _common(derived, source, identity.series_uid, identity.instance_uid)
    wrong += [k for k in _SAME_IMAGE if derived.get(k) != source.get(k)]
    if next(iter(derived.get("ImageType") or [""])) != "DERIVED":
        wrong.append("ImageType")
    frame_bytes = int(derived.Rows) * int(derived.Columns) * int(derived.BitsAllocated) // 8
    if len(derived.PixelData) != frame_bytes + frame_bytes % 2:
        wrong.append("PixelData")
    if str(source.SOPInstanceUID).encode() not in raw_value(derived, "SourceImageSequence"):
        wrong.append("SourceImageSequence")
    if source.get("LossyImageCompression") == "01" and derived.get("LossyImageCompression") != "01":
        wrong.append("LossyImageCompression")
    _refuse(wrong, identity.instance_uid)


def check_companion(derived: Dataset, source: Dataset, series_uid: str, instance_uid: str) -> None:
    """Check a Segmentation, Parametric Map or report against the source of its patient and study.

    Args:
        derived: what is about to be written.
        source: header of a source, from `rebuilt`.
        series_uid: what its Series Instance UID should be.
        instance_uid: what its SOP Instance UID should be.

    Raises:
        DerivationError: names the instance and the tags that are wrong.
    """
    _refuse(_common(derived, source, series_uid, instance_uid), instance_uid)


def _common(derived: Dataset, source: Dataset, series_uid: str, instance_uid: str) -> list[str]:
    wrong = [k for k in _NEEDED if not derived.get(k) and derived.get(k) != 0]
    wrong += [k for k in _SAME_BYTES if _text(derived, k) != _text(source, k)]
    wrong += [k for k in _SAME_VALUE if (derived.get(k) or None) != (source.get(k) or None)]
    if str(derived.SeriesInstanceUID) != series_uid or series_uid == str(source.SeriesInstanceUID):
        wrong.append("SeriesInstanceUID")
    if str(derived.SOPInstanceUID) != instance_uid or instance_uid == str(source.SOPInstanceUID):
        wrong.append("SOPInstanceUID")
    if not read_block(derived):
        wrong.append("private block")
    return wrong


def _text(dataset: Dataset, keyword: str) -> bytes:
    return raw_value(dataset, keyword).rstrip(b" \0") if Tag(keyword) in dataset else b""


def _refuse(wrong: list[str], instance_uid: str) -> None:
    if wrong:
        tags = ", ".join(dict.fromkeys(wrong))
        raise DerivationError(f"derived instance {instance_uid} would be wrong in {tags}; nothing was written")
