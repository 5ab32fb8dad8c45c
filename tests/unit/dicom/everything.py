"""Images that carry a canary in every attribute of the dictionary that can hold one, valid or not, on every level."""

from __future__ import annotations

from collections.abc import Iterator
from io import BytesIO
from pathlib import Path

from pydicom import dcmread, dcmwrite
from pydicom._dicom_dict import DicomDictionary
from pydicom.datadict import dictionary_VR, tag_for_keyword
from pydicom.dataelem import DataElement, RawDataElement
from pydicom.dataset import Dataset, FileDataset
from pydicom.sequence import Sequence
from pydicom.tag import Tag

from dicom_node.contracts import FileRef
from dicom_node.dicom import deidentify_keep as keep
from dicom_node.dicom.deidentify_file import deidentified_file
from dicom_node.dicom.deidentify_pseudonyms import Pseudonyms
from dicom_node.dicom.parsing import quiet
from dicom_node.testing.series import SyntheticSeries

CANARY = "Canary^Secret"
KEY = b"a key of sixteen bytes, or more"
PSEUDONYMS = Pseudonyms(KEY)
_TEXT_VRS = "PN LO SH ST LT UT UC UR AE CS DS IS DA DT TM AS UI"
ANYTHING = frozenset(_TEXT_VRS.split())
"""VRs whose values are text: careless systems put any text into any of them."""
BYTES = frozenset({"OB", "OW", "OF", "OD", "OL", "OV", "UN"})
STAYING = keep.CODED | keep.REFERENCES
LISTED = (
    keep.TEXTS
    | keep.REFERENCE
    | keep.TYPE_2
    | {"CodeValue", "CodeMeaning", "CodingSchemeVersion", "DerivationDescription"}
)
CAPTURED = "SecondaryCaptureDevice"
NEEDED = frozenset(
    {
        "SOPClassUID", "SOPInstanceUID", "StudyInstanceUID", "SeriesInstanceUID", "Modality", "ImageType",
        "PhotometricInterpretation", "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient", "PixelData",
        "FloatPixelData", "DoubleFloatPixelData", "NumberOfFrames", "PixelDataProviderURL", "BurnedInAnnotation",
        "RecognizableVisualFeatures", "ConversionType", "HardcopyCreationDeviceID", "DateOfSecondaryCapture",
        "SpecificCharacterSet", "Rows", "Columns", "BitsAllocated", "BitsStored", "HighBit", "PixelRepresentation",
        "SamplesPerPixel", "ModalityLUTSequence",
    }
)  # fmt: skip
"""Without these, or with nonsense in them, the image is refused as a whole."""


def raw(tag: int, vr: str, value: bytes) -> RawDataElement:
    """An element that is written as it is, whether or not its VR allows the value."""
    value += b" " * (len(value) % 2)
    return RawDataElement(Tag(tag), vr, len(value), value, 0, False, True)


def attributes() -> Iterator[tuple[int, str, str]]:
    """Tag, VR and keyword of every attribute of the dictionary that belongs into a data set."""
    for tag, (vr, _, _, _, keyword) in sorted(DicomDictionary.items()):
        group = tag >> 16
        if keyword and group >= 0x0008 and group not in (0xFFFE, 0x7FE0) and tag & 0xFFFF:
            yield tag, vr, keyword


def fill(dataset: Dataset, text: bytes = CANARY.encode(), *, depth: int = 1) -> Dataset:
    """Put the canary everywhere; into every sequence an item, filled with what counts where items may stay."""
    for tag, vr, keyword in attributes():
        if (depth and keyword in NEEDED) or keyword.startswith(CAPTURED) or keyword == "SpecificCharacterSet":
            continue
        if not depth and vr != "PN" and keyword not in LISTED:
            continue
        if vr == "SQ":
            if depth:
                item = fill(Dataset(), text, depth=0) if keyword in STAYING else _item(text)
                dataset[tag] = DataElement(tag, "SQ", Sequence([item]))
        elif vr in ANYTHING:
            dataset[tag] = raw(tag, vr, text)
        elif vr in BYTES or " or " in vr:
            dataset[tag] = raw(tag, vr if vr in BYTES else "OB", text + b" " * (-len(text) % 8))
        else:
            dataset[tag] = raw(tag, "LO", text)  # a number that is a text, says the file
    for group in (0x0009, 0x0029, 0x7FE1):
        block = dataset.private_block(group, CANARY, create=True)
        block.add_new(0x01, "LO", CANARY)
        block.add_new(0x02, "OB", CANARY.encode() + b"\0")
        block.add_new(0x03, "SQ", Sequence([Dataset()]))
    for group in (0x5000, 0x6000, 0x601E):
        dataset[Tag(group, 0x0022)] = raw(group << 16 | 0x0022, "LO", text)
        dataset[Tag(group, 0x3000)] = raw(group << 16 | 0x3000, "OW", text)
        dataset[Tag(group, 0x4000)] = raw(group << 16 | 0x4000, "LT", text)
    return dataset


def _item(text: bytes) -> Dataset:
    item = Dataset()
    for keyword in ("PatientName", "PatientID", "TextValue", "CodeMeaning", "InstitutionName", "PersonName"):
        tag = tag_for_keyword(keyword)
        item[tag] = raw(tag, dictionary_VR(tag), text)
    return item


def image(text: bytes = CANARY.encode(), **options: object) -> FileDataset:
    """A small CT image with the canary in everything, File Meta Information and preamble too."""
    dataset = SyntheticSeries(slices=1, rows=8, columns=8, **options).dataset(0)  # type: ignore[arg-type]
    fill(dataset, text)
    dataset.preamble = (text * 16)[:128].ljust(128, b"\0")
    dataset.file_meta.SourceApplicationEntityTitle = CANARY
    dataset.file_meta.PrivateInformationCreatorUID = "1.2.3"
    dataset.file_meta.PrivateInformation = text + b"\0"
    return dataset


def exported(dataset: FileDataset, folder: Path, patient_key: str = "somebody") -> tuple[bytes, FileDataset]:
    """The image after a way through a file: its bytes, and read again."""
    path = folder / "original.dcm"
    with quiet():
        dcmwrite(path, dataset)
    data = deidentified_file(FileRef(path), patient_key, PSEUDONYMS)
    return data, dcmread(BytesIO(data))
