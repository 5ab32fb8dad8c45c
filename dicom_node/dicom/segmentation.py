"""Masks as DICOM Segmentations (PS3.3 A.51)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset

from dicom_node.contracts.corrector import Mask
from dicom_node.contracts.geometry import Geometry
from dicom_node.dicom import codes
from dicom_node.dicom.companions import Companion, finished, slice_order, stand_in
from dicom_node.dicom.files import write_instance
from dicom_node.dicom.provenance import Provenance, node_version
from dicom_node.dicom.references import MODEL_NAME
from dicom_node.dicom.sources import Source, header_of
from dicom_node.dicom.tags import NODE_MANUFACTURER
from dicom_node.dicom.text import ascii_text


def write_segmentation(
    path: Path,
    mask: Mask,
    name: str,
    frames: Sequence[Source],
    geometry: Geometry,
    companion: Companion,
    provenance: Provenance,
) -> str:
    """Write a mask as a binary Segmentation of the slices that it touches.

    Args:
        path: the file.
        mask: at least one voxel set.
        name: its name.
        frames: sources of its role; the first frame at each slice is referenced.
        geometry: grid of its role.
        companion: identity.
        provenance: facts of the job.

    Returns:
        SOP Class UID.
    """
    slices = [int(z) for z in np.flatnonzero(mask.voxels.any(axis=(1, 2)))]
    headers = {z: header_of(frames[z].file) for z in slices}
    stand_ins = [stand_in(frames[z], headers[z], geometry) for z in slices]
    made = hd.seg.Segmentation(
        source_images=stand_ins,
        pixel_array=np.ones((len(slices), 1, 1), dtype=np.uint8),
        segmentation_type=hd.seg.SegmentationTypeValues.BINARY,
        segment_descriptions=[_segment(mask, name, provenance)],
        series_instance_uid=companion.series_uid,
        series_number=companion.series_number,
        sop_instance_uid=companion.instance_uid,
        instance_number=1,
        manufacturer=NODE_MANUFACTURER,
        manufacturer_model_name=MODEL_NAME,
        software_versions=node_version(),
        device_serial_number=provenance.uids.device()[-64:],
        content_label=codes.label(name),
        content_description=ascii_text(mask.meaning, 64),
    )
    dataset = finished(made, headers[slices[0]], companion, provenance)
    _fill(dataset, mask, slice_order(dataset, {frames[z].sop_instance_uid: z for z in slices}))
    write_instance(path, dataset)
    return str(dataset.SOPClassUID)


def _segment(mask: Mask, name: str, provenance: Provenance) -> hd.seg.SegmentDescription:
    category, kind = codes.segment_codes(name, mask.meaning)
    return hd.seg.SegmentDescription(
        segment_number=1,
        segment_label=ascii_text(mask.meaning, 64) or name,
        segmented_property_category=category.concept(),
        segmented_property_type=kind.concept(),
        algorithm_type=hd.seg.SegmentAlgorithmTypeValues.AUTOMATIC,
        algorithm_identification=hd.AlgorithmIdentificationSequence(
            name=ascii_text(f"{provenance.spec.name} {provenance.method}", 64),
            family=codes.own_code("ARTCORR_SEG", "Segmentation within artifact correction").concept(),
            version=ascii_text(provenance.spec.version, 64),
        ),
        tracking_uid=provenance.uids.other("segment", name),
        tracking_id=ascii_text(name, 64),
    )


def _fill(dataset: Dataset, mask: Mask, order: Sequence[int]) -> None:
    """Frames at their true size, packed as one run of bits, first voxel lowest (PS3.5 8.1.1)."""
    dataset.Rows, dataset.Columns = mask.voxels.shape[1:]
    packed = np.packbits(mask.voxels[list(order)].ravel(), bitorder="little").tobytes()
    dataset.PixelData = packed + b"\0" * (len(packed) % 2)
    dataset["PixelData"].VR = "OB"
