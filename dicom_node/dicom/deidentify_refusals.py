"""Which images may show their patient in the pixels, or hold what cannot be looked through: they are not exported."""

from __future__ import annotations

import re
from typing import Final

from pydicom.dataset import Dataset
from pydicom.uid import UID

from dicom_node.dicom.deidentify_keep import STORAGE_CLASSES
from dicom_node.dicom.parsing import PARSE_ERRORS, quiet
from dicom_node.dicom.screening import unusable_pixels
from dicom_node.dicom.transfer_syntaxes import DECODABLE

OTHER_CLASS: Final = "only CT Image Storage and MR Image Storage are exported"
_SCREEN: Final = re.compile(r"SCREEN|CAPTURE|REPORT|DOSE|SUMMARY|PASTED|(^|[ _])(PROT|PROTOCOL|SC)($|[ _])")
"""Words of Image Type that mean a picture of a screen, a page or a protocol."""
_CAPTURE_TAGS: Final = (
    "ConversionType",
    "SecondaryCaptureDeviceID",
    "SecondaryCaptureDeviceManufacturer",
    "SecondaryCaptureDeviceManufacturerModelName",
    "SecondaryCaptureDeviceSoftwareVersions",
    "DateOfSecondaryCapture",
    "HardcopyCreationDeviceID",
)
"""Attributes that only captured or digitised images have (PS3.3 C.8.6.1)."""


def other_class(sop_class_uid: str) -> str | None:
    """Why instances of a SOP class are not exported; None for those that are."""
    if sop_class_uid in STORAGE_CLASSES:
        return None
    name = UID(sop_class_uid).name
    known = name if name != sop_class_uid else "an unknown SOP class"
    return f"{known}: {OTHER_CLASS}"


def refusal(dataset: Dataset, transfer_syntax_uid: str) -> str | None:
    """Why an instance is not exported; None when it is.

    The reason names attributes and never quotes a value that is no defined term, nor a UID.

    Args:
        dataset: as read, with its pixel data.
        transfer_syntax_uid: of the file.
    """
    try:
        with quiet():
            return _refusal(dataset, transfer_syntax_uid)
    except PARSE_ERRORS:
        return "an attribute that must be looked at cannot be read"


def _refusal(dataset: Dataset, transfer_syntax_uid: str) -> str | None:
    sop_class = str(dataset.get("SOPClassUID") or "")
    if (reason := other_class(sop_class)) is not None:
        return reason
    if str(dataset.get("Modality") or "") != STORAGE_CLASSES[sop_class]:
        return f"Modality is not that of {UID(sop_class).name}"
    for keyword, meaning in (
        ("BurnedInAnnotation", "text is burned into the pixels"),
        ("RecognizableVisualFeatures", "the patient can be recognised"),
    ):
        if _says(dataset, keyword) not in ("", "NO"):
            return f"{keyword} is not NO: {meaning}"
    for keyword in _CAPTURE_TAGS:
        if keyword in dataset:
            return f"{keyword} is present: a captured image, text may be burned into it"
    given = dataset.get("ImageType") or ()
    if any(_SCREEN.search(str(one).upper()) for one in ([given] if isinstance(given, str) else given)):
        return "ImageType tells of a screen, report or protocol: text may be burned into the pixels"
    for keyword in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
        if not dataset.get(keyword):
            return f"{keyword} is missing: no slice of a patient, text may be burned into the pixels"
    if "PixelData" not in dataset:
        return "it has no pixel data"
    if transfer_syntax_uid not in DECODABLE:
        return "its transfer syntax cannot be decoded"
    if str(dataset.get("PhotometricInterpretation")) not in ("MONOCHROME1", "MONOCHROME2"):
        return "its pixels are not grey"
    return unusable_pixels(dataset.get, transfer_syntax_uid)


def _says(dataset: Dataset, keyword: str) -> str:
    return str(dataset.get(keyword) or "").strip().upper()
