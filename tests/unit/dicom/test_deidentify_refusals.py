"""Images that may show their patient are not exported; the reason says why and quotes nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from everything import exported
from pydicom.uid import CTImageStorage, SecondaryCaptureImageStorage, UltrasoundImageStorage

from dicom_node.dicom.deidentify_refusals import other_class, refusal
from dicom_node.errors import UnreadableFile, UnusableSeries
from dicom_node.testing.series import SyntheticSeries, mr_series

EXPLICIT = "1.2.840.10008.1.2.1"


def refused(**tags: Any) -> str | None:
    return refusal(SyntheticSeries(slices=1, rows=8, columns=8, tags=tags).dataset(0), EXPLICIT)


def test_an_ordinary_slice_is_exported() -> None:
    assert refused() is None
    assert refused(BurnedInAnnotation="NO", RecognizableVisualFeatures="NO") is None
    assert refused(ImageType=["DERIVED", "SECONDARY", "AXIAL"]) is None
    assert refusal(mr_series(slices=1, rows=8, columns=8).dataset(0), EXPLICIT) is None


@pytest.mark.parametrize(
    ("tags", "reason"),
    [
        ({"BurnedInAnnotation": "YES"}, "BurnedInAnnotation"),
        ({"BurnedInAnnotation": "MAYBE"}, "BurnedInAnnotation"),
        ({"RecognizableVisualFeatures": "YES"}, "RecognizableVisualFeatures"),
        ({"ConversionType": "WSD"}, "ConversionType"),
        ({"SecondaryCaptureDeviceManufacturer": "Canary"}, "SecondaryCaptureDeviceManufacturer"),
        ({"ImageType": ["DERIVED", "SECONDARY", "SCREEN SAVE"]}, "ImageType"),
        ({"ImageType": ["DERIVED", "SECONDARY", "OTHER", "CT_SOM5 PROT"]}, "ImageType"),
        ({"ImageType": ["DERIVED", "SECONDARY", "DOSE_INFO"]}, "ImageType"),
        ({"SOPClassUID": SecondaryCaptureImageStorage}, "Secondary Capture Image Storage"),
        ({"SOPClassUID": UltrasoundImageStorage}, "Ultrasound Image Storage"),
        ({"SOPClassUID": "1.2.3.4"}, "unknown SOP class"),
        ({"Modality": "MR"}, "Modality"),
        ({"ImagePositionPatient": None}, "ImagePositionPatient"),
        ({"PixelSpacing": None}, "PixelSpacing"),
        ({"PixelData": None}, "no pixel data"),
        ({"PhotometricInterpretation": "CANARY"}, "not grey"),
        ({"PhotometricInterpretation": "PALETTE COLOR"}, "not grey"),
        ({"SamplesPerPixel": 3}, "colour"),
        ({"NumberOfFrames": 2}, "multi-frame"),
    ],
)
def test_refused_with_a_reason(tags: dict[str, Any], reason: str) -> None:
    said = refused(**tags)
    assert said is not None
    assert reason in said
    assert "CANARY" not in said.upper()


def test_a_transfer_syntax_that_nobody_reads_is_refused() -> None:
    assert refusal(SyntheticSeries(slices=1).dataset(0), "1.2.840.10008.1.2.4.100") is not None


def test_what_cannot_be_read_is_refused(tmp_path: Path) -> None:
    dataset = SyntheticSeries(slices=1, rows=8, columns=8).dataset(0)
    dataset.PixelData = dataset.PixelData[:50]
    with pytest.raises(UnreadableFile):
        exported(dataset, tmp_path)
    with pytest.raises(UnusableSeries, match="BurnedIn"):
        exported(SyntheticSeries(slices=1, tags={"BurnedInAnnotation": "YES"}).dataset(0), tmp_path)


def test_a_reason_names_the_class_and_no_uid() -> None:
    assert other_class(CTImageStorage) is None
    assert "1.2" not in str(other_class("1.2.3.4"))
