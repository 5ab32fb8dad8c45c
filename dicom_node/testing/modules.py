"""The header of a synthetic instance, module by module (PS3.3 A.3.3 CT Image, A.4.3 MR Image)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from pydicom.dataset import Dataset, FileDataset, FileMetaDataset
from pydicom.uid import UID, CTImageStorage, ExplicitVRBigEndian, MRImageStorage

from dicom_node.testing.identity import uid

if TYPE_CHECKING:
    from dicom_node.testing.series import SyntheticSeries

IMPLEMENTATION_UID = UID(uid(0, "synthetic series of the DICOM correction node"))
_DATE, _TIME = "20200102", "030405"


def build(series: SyntheticSeries, frame: int) -> FileDataset:
    """The header of one instance; Pixel Data and the transfer syntax come later."""
    meta = FileMetaDataset()
    meta.MediaStorageSOPClassUID = CTImageStorage if series.modality == "CT" else MRImageStorage
    meta.MediaStorageSOPInstanceUID = UID(series.sop_instance_uid(frame))
    meta.ImplementationClassUID = IMPLEMENTATION_UID
    little = UID(series.transfer_syntax_uid) != ExplicitVRBigEndian
    dataset = FileDataset("", {}, file_meta=meta, preamble=b"\0" * 128, is_little_endian=little)
    dataset.SOPClassUID = meta.MediaStorageSOPClassUID
    dataset.SOPInstanceUID = meta.MediaStorageSOPInstanceUID
    _patient(dataset, series)
    _study_and_series(dataset, series)
    _image(dataset, series, frame)
    if series.modality == "CT":
        _ct(dataset)
    else:
        _mr(dataset, series, frame)
    _rescale(dataset, series, frame)
    return dataset


def override(dataset: Dataset, tags: Mapping[str, Any]) -> None:
    """Set values by keyword; None removes the tag."""
    for keyword, value in tags.items():
        if value is not None:
            setattr(dataset, keyword, value)
        elif keyword in dataset:
            delattr(dataset, keyword)


def _patient(dataset: Dataset, series: SyntheticSeries) -> None:
    patient = series.patient
    if patient.character_set:
        dataset.SpecificCharacterSet = list(patient.character_set)
    dataset.PatientName = patient.name
    dataset.PatientID = patient.patient_id
    if patient.issuer:
        dataset.IssuerOfPatientID = patient.issuer
    dataset.PatientBirthDate = patient.birth_date
    dataset.PatientSex = patient.sex


def _study_and_series(dataset: Dataset, series: SyntheticSeries) -> None:
    dataset.StudyInstanceUID = series.study_instance_uid
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = _DATE
    dataset.StudyTime = dataset.SeriesTime = dataset.AcquisitionTime = dataset.ContentTime = _TIME
    dataset.ReferringPhysicianName = ""
    dataset.StudyID = "CANARYSTUDY"
    dataset.AccessionNumber = "CANARYACC"
    dataset.StudyDescription = series.study_description
    dataset.Modality = series.modality
    dataset.SeriesInstanceUID = series.series_instance_uid
    dataset.SeriesNumber = series.series_number
    dataset.SeriesDescription = series.series_description
    dataset.ProtocolName = series.protocol_name
    dataset.BodyPartExamined = series.body_part
    dataset.PatientPosition = "HFS"
    dataset.FrameOfReferenceUID = series.frame_of_reference_uid
    dataset.PositionReferenceIndicator = ""
    dataset.Manufacturer = "Synthetic"
    dataset.ManufacturerModelName = "Synthetic"
    dataset.SoftwareVersions = "1"


def _image(dataset: Dataset, series: SyntheticSeries, frame: int) -> None:
    usual = ("ORIGINAL", "PRIMARY", "AXIAL") if series.modality == "CT" else ("ORIGINAL", "PRIMARY", "M", "ND")
    dataset.ImageType = list(series.image_type or usual)
    dataset.InstanceNumber = frame + 1
    dataset.AcquisitionNumber = 1
    dataset.PixelSpacing = list(series.pixel_spacing_mm)
    dataset.SliceThickness = series.slice_thickness_mm
    dataset.ImageOrientationPatient = list(series.orientation)
    dataset.ImagePositionPatient = [round(value, 6) for value in series.position_mm(frame)]
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows = series.rows
    dataset.Columns = series.columns
    dataset.BitsAllocated = series.bits_allocated
    dataset.BitsStored = series.bits_stored
    dataset.HighBit = series.bits_stored - 1
    dataset.PixelRepresentation = int(series.signed)
    if series.padding_value is not None:
        dataset.add_new("PixelPaddingValue", "SS" if series.signed else "US", series.padding_value)


def _ct(dataset: Dataset) -> None:
    dataset.KVP = 120
    dataset.ConvolutionKernel = "B30s"
    dataset.GantryDetectorTilt = 0
    dataset.XRayTubeCurrent = 200
    dataset.ReconstructionDiameter = 500


def _mr(dataset: Dataset, series: SyntheticSeries, frame: int) -> None:
    dataset.ScanningSequence = "SE"
    dataset.SequenceVariant = "SK"
    dataset.ScanOptions = ""
    dataset.MRAcquisitionType = "2D"
    dataset.RepetitionTime = 600
    dataset.EchoTime = 10
    dataset.EchoTrainLength = 1
    dataset.MagneticFieldStrength = 1.5
    dataset.PixelBandwidth = 400
    dataset.FlipAngle = 90
    if series.phases > 1:
        phase = frame % series.phases
        dataset.ScanOptions = "CG"
        dataset.TriggerTime = phase * 40.0
        dataset.TemporalPositionIdentifier = phase + 1
        dataset.NumberOfTemporalPositions = series.phases
        dataset.EchoNumbers = phase + 1


def _rescale(dataset: Dataset, series: SyntheticSeries, frame: int) -> None:
    if series.slope is not None:
        slope, intercept = series.rescale(frame)
        dataset.RescaleSlope = slope
        dataset.RescaleIntercept = intercept
        if series.modality == "CT":
            dataset.RescaleType = "HU"
