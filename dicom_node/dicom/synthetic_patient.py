"""Headers of a patient who does not exist, for volumes that were computed and not scanned."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, MRImageStorage

from dicom_node.contracts.volume import Units, Volume
from dicom_node.dicom.codecs import Words
from dicom_node.dicom.pixels import to_stored
from dicom_node.dicom.uids import uid_from
from dicom_node.errors import RequestError

_DAY, _TIME = "20000101", "120000"
_CT_INTERCEPT = -1024.0
_MR_STEPS = 4095.0


@dataclass(frozen=True)
class Storage:
    """How physical values become stored integers.

    Attributes:
        slope: Rescale Slope.
        intercept: Rescale Intercept.
        signed: Pixel Representation 1.
        bits: Bits Stored.
    """

    slope: float
    intercept: float
    signed: bool
    bits: int


def storage_for(volume: Volume) -> Storage:
    """Choose the storage: CT as scanners with an extended range do, MR in 12 bits or as many as its values need.

    Raises:
        RequestError: units that are neither CT's nor MR's.
    """
    if volume.units is Units.HU:
        return Storage(1.0, _CT_INTERCEPT, signed=True, bits=16)
    if volume.units is not Units.MR_SIGNAL:
        raise RequestError(f"a series in {volume.units.value} is neither CT nor MR and cannot be written")
    peak = float(volume.pixels.max(initial=0.0))
    whole = bool((volume.pixels == np.rint(volume.pixels)).all()) and volume.pixels.min(initial=0.0) >= 0
    if whole and peak <= _MR_STEPS:
        return Storage(1.0, 0.0, signed=False, bits=12)
    if whole and peak < 2**16:
        return Storage(1.0, 0.0, signed=False, bits=16)
    return Storage(float(f"{peak / _MR_STEPS:.8g}") if peak > 0 else 1.0, 0.0, signed=False, bits=12)


def words_for(frame: np.ndarray[tuple[int, ...], np.dtype[np.float32]], storage: Storage) -> Words:
    """Pixel words (y, x) of physical values (y, x), clipped to what fits."""
    stored = to_stored(frame, storage.slope, storage.intercept, storage.bits, storage.signed)
    return (stored & 0xFFFF).astype(np.uint16)


def header(volume: Volume, frame: int, storage: Storage, seed: int) -> Dataset:
    """Header of one frame: valid as classic CT or MR, plainly synthetic, with no UIDs of instance and series yet.

    Args:
        volume: axes `zyx`, or `tzyx` and `bzyx` with times and bins told apart.
        frame: index, leading axes flattened.
        storage: from `storage_for`.
        seed: names the patient and the study.
    """
    dataset = Dataset()
    dataset.SpecificCharacterSet = "ISO_IR 100"
    dataset.PatientName = f"SYNTHETIC^{seed:06d}"
    dataset.PatientID = f"SYNTHETIC-{seed:06d}"
    dataset.PatientBirthDate = ""
    dataset.PatientSex = "O"
    dataset.StudyInstanceUID = uid_from("synthetic study", seed)
    dataset.FrameOfReferenceUID = uid_from("synthetic frame of reference", seed)
    dataset.StudyDate = dataset.SeriesDate = dataset.AcquisitionDate = dataset.ContentDate = _DAY
    dataset.StudyTime = dataset.SeriesTime = dataset.AcquisitionTime = dataset.ContentTime = _TIME
    dataset.StudyID = str(seed)[:16]
    dataset.AccessionNumber = dataset.ReferringPhysicianName = dataset.PositionReferenceIndicator = ""
    dataset.StudyDescription = "SYNTHETIC"
    dataset.SeriesDescription = "SYNTHETIC"
    dataset.SeriesNumber = 1
    dataset.AcquisitionNumber = 1
    dataset.InstanceNumber = frame + 1
    dataset.Manufacturer = "SYNTHETIC"
    dataset.PatientPosition = "HFS"
    _geometry(dataset, volume, frame)
    _pixels(dataset, volume, storage)
    (_ct if volume.units is Units.HU else _mr)(dataset, volume, frame, storage)
    return dataset


def _geometry(dataset: Dataset, volume: Volume, frame: int) -> None:
    grid = volume.geometry
    z = frame % grid.shape[0]
    dataset.ImageOrientationPatient = [_ds(v) for v in (*grid.row_direction, *grid.column_direction)]
    dataset.ImagePositionPatient = [_ds(v) for v in grid.slice_origins_mm[z]]
    dataset.PixelSpacing = [_ds(v) for v in grid.pixel_spacing_mm]
    dataset.SliceThickness = _ds(grid.slice_thickness_mm or grid.slice_spacing_mm or 1.0)


def _pixels(dataset: Dataset, volume: Volume, storage: Storage) -> None:
    dataset.SamplesPerPixel = 1
    dataset.PhotometricInterpretation = "MONOCHROME2"
    dataset.Rows, dataset.Columns = volume.geometry.rows, volume.geometry.columns
    dataset.BitsAllocated = 16
    dataset.BitsStored = storage.bits
    dataset.HighBit = storage.bits - 1
    dataset.PixelRepresentation = int(storage.signed)


def _ct(dataset: Dataset, volume: Volume, frame: int, storage: Storage) -> None:
    dataset.SOPClassUID = CTImageStorage
    dataset.Modality = "CT"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "AXIAL"]
    dataset.KVP = 120
    dataset.ConvolutionKernel = "STANDARD"
    dataset.GantryDetectorTilt = 0
    dataset.RescaleSlope, dataset.RescaleIntercept = _ds(storage.slope), _ds(storage.intercept)
    dataset.RescaleType = "HU"


def _mr(dataset: Dataset, volume: Volume, frame: int, storage: Storage) -> None:
    dataset.SOPClassUID = MRImageStorage
    dataset.Modality = "MR"
    dataset.ImageType = ["ORIGINAL", "PRIMARY", "OTHER"]
    dataset.ScanningSequence = "SE"
    dataset.SequenceVariant = "NONE"
    dataset.ScanOptions = ""
    dataset.MRAcquisitionType = "2D"
    dataset.RepetitionTime = 600
    dataset.EchoTime = 10
    dataset.EchoTrainLength = 1
    if (storage.slope, storage.intercept) != (1.0, 0.0):
        dataset.RescaleSlope, dataset.RescaleIntercept = _ds(storage.slope), _ds(storage.intercept)
        dataset.RescaleType = "US"
    leading = frame // volume.geometry.shape[0]
    if volume.axes == "tzyx":
        dataset.ScanOptions = "CG"
        dataset.TriggerTime = leading * 40
        dataset.TemporalPositionIdentifier = leading + 1
        dataset.NumberOfTemporalPositions = volume.shape[0]
    elif volume.axes == "bzyx":
        dataset.EchoNumbers = leading + 1


def _ds(value: float) -> str:
    """A number as DS, at most 16 characters (PS3.5 6.2)."""
    return f"{value:.9g}"
