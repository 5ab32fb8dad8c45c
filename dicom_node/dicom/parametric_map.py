"""Maps of physical quantities as DICOM Parametric Maps (PS3.3 A.75)."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

import highdicom as hd
import numpy as np
from pydicom.dataset import Dataset
from pydicom.tag import Tag

from dicom_node.contracts.corrector import ParameterMap
from dicom_node.contracts.geometry import Geometry
from dicom_node.contracts.volume import FloatArray
from dicom_node.dicom import codes
from dicom_node.dicom.companions import Companion, finished, slice_order, stand_in
from dicom_node.dicom.files import write_instance
from dicom_node.dicom.provenance import Provenance, node_version
from dicom_node.dicom.raw import raw_value, rebuilt, set_raw
from dicom_node.dicom.references import MODEL_NAME
from dicom_node.dicom.sources import Source, header_of
from dicom_node.dicom.tags import NODE_MANUFACTURER
from dicom_node.dicom.text import ascii_text
from dicom_node.errors import DerivationError

_LARGEST_VALUE = 2**32 - 2
"""Longest value of an element with defined length [bytes] (PS3.5 7.1.1)."""


def mapped_slices(values: FloatArray) -> list[int]:
    """Slices where a map says anything: those not zero throughout."""
    return [z for z in range(values.shape[0]) if values[z].any()]


def write_parametric_map(
    path: Path,
    quantity: ParameterMap,
    name: str,
    frames: Sequence[Source],
    geometry: Geometry,
    companion: Companion,
    provenance: Provenance,
) -> str:
    """Write a map as float32 frames, for the slices where it is not zero throughout.

    The header is made for one-pixel frames; the values are streamed to the file slice by slice.

    Args:
        path: the file.
        quantity: values (z, y, x) in its units, finite, not all zero.
        name: its name.
        frames: sources of its role; the first frame at each slice is referenced.
        geometry: grid of its role.
        companion: identity.
        provenance: facts of the job.

    Returns:
        SOP Class UID.

    Raises:
        DerivationError: not finite, or larger than one instance can hold.
    """
    slices = mapped_slices(quantity.values)
    lowest, highest = _range(quantity.values, slices, companion.role)
    rows, columns = quantity.values.shape[1:]
    length = len(slices) * rows * columns * 4
    if length > _LARGEST_VALUE:
        raise DerivationError(f"{companion.role}: {length} bytes of values do not fit one Parametric Map")
    headers = {z: header_of(frames[z].file) for z in slices}
    made = hd.pm.ParametricMap(
        source_images=[stand_in(frames[z], headers[z], geometry) for z in slices],
        pixel_array=np.zeros((len(slices), 1, 1), dtype=np.float32),
        series_instance_uid=companion.series_uid,
        series_number=companion.series_number,
        sop_instance_uid=companion.instance_uid,
        instance_number=1,
        manufacturer=NODE_MANUFACTURER,
        manufacturer_model_name=MODEL_NAME,
        software_versions=node_version(),
        device_serial_number=provenance.uids.device()[-64:],
        contains_recognizable_visual_features=False,
        real_world_value_mappings=[_mapping(quantity, name, lowest, highest)],
        voi_lut_transformations=[_window(lowest, highest)],
        content_label=codes.label(name),
        content_description=ascii_text(quantity.meaning, 64),
        content_qualification=hd.ContentQualificationValues.RESEARCH,
        derivation=codes.MAP_DERIVATION.concept(),
    )
    dataset = finished(made, headers[slices[0]], companion, provenance)
    _keep_laterality(dataset, headers[slices[0]])
    del dataset["FloatPixelData"]
    dataset.Rows, dataset.Columns = rows, columns
    head = b"\xe0\x7f\x08\x00OF\0\0" + length.to_bytes(4, "little")
    order = slice_order(dataset, {frames[z].sop_instance_uid: z for z in slices})
    write_instance(path, dataset, _encoded(quantity.values, order), head)
    return str(dataset.SOPClassUID)


def _keep_laterality(dataset: Dataset, header: Dataset) -> None:
    """Laterality (0020,0060) belongs to an image of a paired body part, as the source is (PS3.3 C.7.3.1)."""
    laterality = raw_value(rebuilt(header, lambda tag: tag == Tag("Laterality")), "Laterality")
    if Tag("Laterality") in header:
        set_raw(dataset, "Laterality", laterality)


def _encoded(values: FloatArray, slices: Sequence[int]) -> Iterator[bytes]:
    for z in slices:
        yield values[z].astype("<f4").tobytes()


def _range(values: FloatArray, slices: Sequence[int], role: str) -> tuple[float, float]:
    lows = [float(values[z].min()) for z in slices]
    highs = [float(values[z].max()) for z in slices]
    lowest, highest = min(lows), max(highs)
    if not np.isfinite([*lows, *highs]).all():
        raise DerivationError(f"{role}: values are not all finite")
    return lowest, highest


def _mapping(quantity: ParameterMap, name: str, lowest: float, highest: float) -> hd.pm.RealWorldValueMapping:
    unit = codes.unit_code(quantity.units)
    return hd.pm.RealWorldValueMapping(
        lut_label=codes.label(name),
        lut_explanation=ascii_text(quantity.meaning, 64),
        unit=unit.concept(),
        value_range=(lowest, highest),
        slope=1.0,
        intercept=0.0,
        quantity_definition=codes.own_code(name, quantity.meaning).concept(),
    )


def _window(lowest: float, highest: float) -> hd.VOILUTTransformation:
    width = float(f"{max(highest - lowest, 1e-6):.6g}")
    return hd.VOILUTTransformation(
        window_center=float(f"{(lowest + highest) / 2:.6g}"),
        window_width=width,
        voi_lut_function=hd.VOILUTFunctionValues.LINEAR_EXACT,
    )
