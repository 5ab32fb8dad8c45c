"""One file of the archive as a de-identified file: header, pixel data and File Meta Information."""

from __future__ import annotations

from io import BytesIO

from pydicom import dcmwrite
from pydicom.dataset import Dataset, FileMetaDataset
from pydicom.uid import UID

from dicom_node.contracts import FileRef
from dicom_node.dicom.deidentify import deidentify
from dicom_node.dicom.deidentify_pixels import clean_pixels
from dicom_node.dicom.deidentify_pseudonyms import Pseudonyms
from dicom_node.dicom.deidentify_refusals import refusal
from dicom_node.dicom.headers import open_ref
from dicom_node.dicom.parsing import PARSE_ERRORS, parse, quiet
from dicom_node.dicom.tags import IMPLEMENTATION_CLASS_UID, IMPLEMENTATION_VERSION_NAME
from dicom_node.errors import StorageFailed, UnreadableFile, UnusableSeries


def deidentified_file(ref: FileRef, patient_key: str, pseudonyms: Pseudonyms) -> bytes:
    """Bytes of the de-identified file, in the transfer syntax of the original.

    The preamble is zero; nothing of the original's File Meta Information but the transfer syntax is taken over.

    Args:
        ref: the original, which is only read.
        patient_key: whose it is.
        pseudonyms: of the export.

    Raises:
        UnusableSeries: it is refused; the message is the bare reason, without UIDs and values.
        UnreadableFile: missing or damaged.
        StorageFailed: the disk failed to give the bytes.
    """
    with open_ref(ref) as stream:
        try:
            dataset = parse(stream, ref, pixels=True)
        except OSError as error:
            raise StorageFailed(f"{ref}: cannot be read ({error.strerror})") from error
    syntax = dataset.file_meta.TransferSyntaxUID
    if (reason := refusal(dataset, str(syntax))) is not None:
        raise UnusableSeries(reason)
    pixels = clean_pixels(dataset, ref)
    try:
        with quiet():
            cleaned = deidentify(dataset, patient_key, pseudonyms)
            cleaned["PixelData"] = pixels
            return _encoded(cleaned, syntax)
    except PARSE_ERRORS as error:
        raise UnreadableFile(f"{ref}: damaged ({type(error).__name__} while de-identifying)") from None


def _encoded(cleaned: Dataset, syntax: UID) -> bytes:
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = cleaned.SOPClassUID
    meta.MediaStorageSOPInstanceUID = cleaned.SOPInstanceUID
    meta.TransferSyntaxUID = syntax
    meta.ImplementationClassUID = IMPLEMENTATION_CLASS_UID
    meta.ImplementationVersionName = IMPLEMENTATION_VERSION_NAME
    cleaned.file_meta = meta
    encoded = BytesIO()
    dcmwrite(encoded, cleaned, enforce_file_format=True)
    return encoded.getvalue()
