"""Many or large instances whose size matters and whose pixels do not: noise, written fast."""

from __future__ import annotations

import io
import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from pydicom.dataset import Dataset, FileDataset
from pydicom.uid import EnhancedMRImageStorage

from dicom_node.testing.identity import uid
from dicom_node.testing.series import SyntheticSeries

_FRAME_BYTES = 512 * 512 * 2


@dataclass(frozen=True)
class Bulk:
    """One series of noise.

    Attributes:
        modality: `CT` or `MR`.
        count: number of instances.
        rows: rows and columns; two bytes for each pixel.
    """

    modality: str
    count: int
    rows: int

    def write(self, folders: Sequence[Path]) -> None:
        """Deal the instances out to the folders, in turn."""
        for folder in folders:
            folder.mkdir(parents=True)
        noise = np.random.default_rng(0)
        dataset = _header(self.modality, self.rows)
        for number in range(self.count):
            _name(dataset, uid(0, "bulk", self.modality, number))
            dataset.InstanceNumber = number + 1
            dataset.PixelData = noise.bytes(2 * self.rows**2)
            dataset.save_as(folders[number % len(folders)] / f"{number:05d}.dcm", enforce_file_format=True)


def write_enhanced_mr(path: Path, size: int) -> None:
    """Write one Enhanced MR instance of about `size` bytes."""
    with path.open("wb") as stream:
        for block in enhanced_mr(size):
            stream.write(block)


def enhanced_mr(size: int, seed: int = 0) -> Iterator[bytes]:
    """A Part 10 file of one Enhanced MR instance of about `size` bytes, header first, then frame by frame.

    Every frame of 512 x 512 holds the same noise.
    """
    frames = max(1, size // _FRAME_BYTES)
    dataset = _header("MR", 512)
    dataset.SOPClassUID = dataset.file_meta.MediaStorageSOPClassUID = EnhancedMRImageStorage
    _name(dataset, uid(seed, "enhanced"))
    dataset.NumberOfFrames = frames
    dataset.PerFrameFunctionalGroupsSequence = [_groups(number) for number in range(frames)]
    head = io.BytesIO()
    del dataset.PixelData
    dataset.save_as(head, enforce_file_format=True)
    yield head.getvalue() + struct.pack("<HH2sHL", 0x7FE0, 0x0010, b"OW", 0, frames * _FRAME_BYTES)
    frame = np.random.default_rng(seed).bytes(_FRAME_BYTES)
    for _ in range(frames):
        yield frame


def _header(modality: str, rows: int) -> FileDataset:
    zeros = np.zeros((1, rows, rows), dtype=np.int64)
    # A body part that no default route takes: nothing but receiving and filing is measured.
    return SyntheticSeries(modality, slices=1, rows=rows, columns=rows, stored=zeros, body_part="HEAD").dataset(0)


def _name(dataset: FileDataset, sop_instance_uid: str) -> None:
    dataset.SOPInstanceUID = dataset.file_meta.MediaStorageSOPInstanceUID = sop_instance_uid


def _groups(number: int) -> Dataset:
    """A plane position for one frame, so that the header has an item for each."""
    position, groups = Dataset(), Dataset()
    position.ImagePositionPatient = [0.0, 0.0, float(number)]
    groups.PlanePositionSequence = [position]
    return groups
