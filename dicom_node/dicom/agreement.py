"""Whether two derived instances hold the same pixels, or how far they differ."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import Dataset, FileDataset

from dicom_node.contracts import FileRef
from dicom_node.dicom.parsing import PARSE_ERRORS, quiet
from dicom_node.dicom.pixels import stored_from
from dicom_node.dicom.reading import open_dataset
from dicom_node.errors import UnreadableFile, UnusableSeries

_ROUNDING = 1e-9
"""A difference of exactly the tolerance is within it, whatever float64 makes of the rescale (relative)."""
_TRACKING_IDENTIFIER = "112039"
Values = NDArray[Any]
Key = tuple[str, ...]
"""Names a frame by its source, a figure by its group and concept; empty for the one frame of an image."""


@dataclass(frozen=True)
class Difference:
    """How two instances differ.

    Attributes:
        values: pixels or figures compared.
        differing: those that are not equal.
        beyond: those that differ by more than the tolerance.
        largest: largest |difference| in physical units; infinite where the two cannot be laid over one another.
    """

    values: int
    differing: int
    beyond: int
    largest: float


def compare(given: FileRef, made: FileRef, tolerance: float = 0.0) -> Difference:
    """Compare two instances of one kind pixel by pixel.

    Corrected images are compared in physical values (float64), which are equal where stored values and rescale are;
    maps in their values; masks in their bits; reports figure by figure. Slices of a map or mask, and figures, that only
    one of the two has count as zero in the other, because zeros are not written.

    Args:
        given: an instance.
        made: another one.
        tolerance: largest |difference| that counts as none [units of the pixels]; for a mask the share of the voxels of
            `given`'s mask that may differ.

    Raises:
        UnreadableFile: one of them is damaged or gone.
        UnusableSeries: pixels of a kind that the node does not derive.
    """
    one, other = open_dataset(given), open_dataset(made)
    if _kind(one) != _kind(other):
        return Difference(1, 1, 1, math.inf)
    left, right = _values(one, given), _values(other, made)
    values = differing = beyond = 0
    largest = 0.0
    for key in sorted(left.keys() | right.keys()):
        a = left.get(key)
        b = right.get(key)
        a, b = (np.zeros_like(b) if a is None else a), (np.zeros_like(a) if b is None else b)
        if a.shape != b.shape:
            size = max(a.size, b.size)
            values, differing, beyond, largest = values + size, differing + size, beyond + size, math.inf
            continue
        values += a.size
        off = np.flatnonzero(a != b)
        if not off.size:
            continue
        distance = np.abs(a.ravel()[off].astype(np.float64) - b.ravel()[off].astype(np.float64))
        distance[~np.isfinite(distance)] = math.inf
        differing += off.size
        beyond += int(np.count_nonzero(distance > tolerance * (1 + _ROUNDING)))
        largest = max(largest, float(distance.max()))
    if _kind(one) == "mask":
        allowed = tolerance * sum(int(np.count_nonzero(frame)) for frame in left.values())
        beyond = differing if differing > allowed * (1 + _ROUNDING) else 0
    return Difference(values, differing, beyond, largest)


def _kind(dataset: FileDataset) -> str:
    if "SegmentSequence" in dataset:
        return "mask"
    if "FloatPixelData" in dataset:
        return "map"
    return "report" if "ContentSequence" in dataset else "image"


def _values(dataset: FileDataset, ref: FileRef) -> Mapping[Key, Values]:
    try:
        with quiet():
            match _kind(dataset):
                case "mask":
                    return _mask_frames(dataset, ref)
                case "map":
                    return _frames(dataset, np.frombuffer(dataset.FloatPixelData, dtype="<f4"), ref)
                case "report":
                    return dict(_figures(dataset, ""))
                case _:
                    frame = stored_from(dataset, ref)
                    return {(): frame.stored.astype(np.float64) * frame.slope + frame.intercept}
    except PARSE_ERRORS as error:
        raise UnreadableFile(f"{ref}: damaged ({type(error).__name__} in its frames or figures)") from None


def _mask_frames(dataset: FileDataset, ref: FileRef) -> Mapping[Key, Values]:
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated or int(dataset.BitsAllocated) != 1:
        raise UnusableSeries(f"{ref}: no uncompressed binary segmentation, which is what the node writes")
    bits = np.unpackbits(np.frombuffer(dataset.PixelData, dtype=np.uint8), bitorder="little")
    return _frames(dataset, bits, ref)


def _frames(dataset: FileDataset, values: Values, ref: FileRef) -> Mapping[Key, Values]:
    """Frames (y, x) by the SOP Instance UID of the source image that each names."""
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    groups = dataset.PerFrameFunctionalGroupsSequence
    if len(values) < len(groups) * rows * columns:
        raise UnreadableFile(f"{ref}: has fewer pixels than its {len(groups)} frames need")
    frames = values[: len(groups) * rows * columns].reshape(-1, rows, columns)
    return {
        (str(group.DerivationImageSequence[0].SourceImageSequence[0].ReferencedSOPInstanceUID),): frames[index]
        for index, group in enumerate(groups)
    }


def _figures(item: Dataset, group: str) -> Iterator[tuple[Key, Values]]:
    """Figures of a report by tracking identifier and code value (PS3.16 TID 1501, 300)."""
    content = list(item.get("ContentSequence") or ())
    for one in content:
        if _concept(one) == _TRACKING_IDENTIFIER:
            group = str(one.TextValue)
    for one in content:
        if one.get("ValueType") == "NUM":
            yield (group, _concept(one)), np.array([float(one.MeasuredValueSequence[0].NumericValue)])
        yield from _figures(one, group)


def _concept(item: Dataset) -> str:
    names = item.get("ConceptNameCodeSequence") or ()
    return str(names[0].CodeValue) if names else ""
