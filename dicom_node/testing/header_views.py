"""Series as routing sees them, made from plain tags: no files, no pixels."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType

from dicom_node.contracts import FileRef, InstanceHeader, SeriesView, TagValue
from dicom_node.testing.identity import uid

AXIAL = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
CORONAL = (1.0, 0.0, 0.0, 0.0, 0.0, -1.0)

HIP_CT: Mapping[str, TagValue] = MappingProxyType(
    {
        "Modality": "CT",
        "ImageType": ("ORIGINAL", "PRIMARY", "AXIAL"),
        "BodyPartExamined": "HIP",
        "StudyDescription": "CT Becken",
        "SeriesDescription": "Hips 2.0 B30f",
        "PixelSpacing": (0.8, 0.8),
        "Rows": 512,
        "Columns": 512,
    }
)
"""Tags of a hip CT with more cues than the default route wants."""


def series_view(
    name: str,
    tags: Mapping[str, TagValue],
    instances: Sequence[Mapping[str, TagValue]] = (),
    *,
    study: str = "study",
    patient: str = "patient",
    orientation: tuple[float, ...] = AXIAL,
    own_output: bool = False,
) -> SeriesView:
    """A series of headers.

    Args:
        name: seeds the UIDs.
        tags: tags of every instance.
        instances: tags of each instance, on top; empty for four slices 5 mm apart along the patient's long axis.
        study: seeds the Study Instance UID.
        patient: the patient key.
        orientation: Image Orientation (Patient).
        own_output: whether the node itself derived the series.
    """
    frames = instances or [{"ImagePositionPatient": (0.0, 0.0, 5.0 * z)} for z in range(4)]
    headers = []
    for number, frame in enumerate(frames):
        sop_uid = uid(0, name, number)
        headers.append(
            InstanceHeader(
                sop_instance_uid=sop_uid,
                sop_class_uid="1.2.840.10008.5.1.4.1.1.2",
                series_instance_uid=uid(0, "series", name),
                study_instance_uid=uid(0, "study", study),
                transfer_syntax_uid="1.2.840.10008.1.2.1",
                patient_key=patient,
                tags={"ImageOrientationPatient": orientation, "InstanceNumber": number + 1, **tags, **frame},
                file=FileRef(Path(f"{sop_uid}.dcm")),
                sha256="0" * 64,
                own_output=own_output,
            )
        )
    return SeriesView(headers[0].study_instance_uid, headers[0].series_instance_uid, patient, tuple(headers))
