"""Synthetic, valid, classic single-frame CT and MR series."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
from numpy.typing import NDArray
from pydicom.dataset import FileDataset
from pydicom.uid import UID, ExplicitVRBigEndian, ExplicitVRLittleEndian

from dicom_node.testing import modules
from dicom_node.testing.encoding import UNCOMPRESSED, compress
from dicom_node.testing.identity import SyntheticPatient, uid
from dicom_node.testing.patterns import ct_pattern, mr_pattern

PerFrame = float | tuple[float, ...] | None


@dataclass(frozen=True, eq=False)
class SyntheticSeries:
    """A series to be made. Frames run through the slices, and within a slice through the phases.

    Attributes:
        modality: `CT` or `MR`.
        slices: number of slice positions.
        phases: images at each position (cine, bins); Trigger Time, Temporal Position and Echo Numbers tell them apart.
        rows: number of rows.
        columns: number of columns.
        stored: stored integers (frame, y, x), written as they are; overrides `values`.
        values: physical values (frame, y, x) in HU or signal; None for a generated pattern.
        pixel_spacing_mm: between rows, between columns [mm].
        slice_spacing_mm: between slice centres along the normal [mm]; negative runs against it.
        slice_thickness_mm: nominal thickness [mm].
        origin_mm: centre of the first voxel of the first slice [mm, LPS].
        orientation: Image Orientation (Patient).
        slope: Rescale Slope, one for all or one for each frame; None leaves both rescale tags out.
        intercept: Rescale Intercept likewise.
        signed: Pixel Representation 1.
        bits_allocated: 8, 16 or 32.
        bits_stored: at most `bits_allocated`.
        padding_value: Pixel Padding Value, stored outside the inscribed circle.
        junk_high_bits: fill the bits above `bits_stored` with noise (as old overlays do); uncompressed only.
        transfer_syntax_uid: how the pixels are encoded.
        patient: who it pretends to show.
        study_description: Study Description.
        series_description: Series Description.
        protocol_name: Protocol Name.
        body_part: Body Part Examined.
        image_type: Image Type; empty for the modality's usual one.
        series_number: Series Number.
        seed: the same seed gives the same UIDs and the same noise.
        study_seed: the same study for several series; None for one study for each seed.
        tags: values by keyword that replace or add to every instance's; None removes the tag.
        frame_tags: the same with one value for each frame.
    """

    modality: str = "CT"
    slices: int = 5
    phases: int = 1
    rows: int = 64
    columns: int = 64
    stored: NDArray[Any] | None = None
    values: NDArray[Any] | None = None
    pixel_spacing_mm: tuple[float, float] = (0.75, 0.75)
    slice_spacing_mm: float = 3.0
    slice_thickness_mm: float = 3.0
    origin_mm: tuple[float, float, float] = (-24.0, -24.0, -100.0)
    orientation: tuple[float, float, float, float, float, float] = (1.0, 0.0, 0.0, 0.0, 1.0, 0.0)
    slope: PerFrame = 1.0
    intercept: PerFrame = -1024.0
    signed: bool = False
    bits_allocated: int = 16
    bits_stored: int = 16
    padding_value: int | None = None
    junk_high_bits: bool = False
    transfer_syntax_uid: str = ExplicitVRLittleEndian
    patient: SyntheticPatient = field(default_factory=SyntheticPatient)
    study_description: str = "SYNTHETIC STUDY"
    series_description: str = "SYNTHETIC SERIES"
    protocol_name: str = "SYNTHETIC PROTOCOL"
    body_part: str = "PELVIS"
    image_type: tuple[str, ...] = ()
    series_number: int = 1
    seed: int = 0
    study_seed: int | None = None
    tags: Mapping[str, Any] = field(default_factory=lambda: MappingProxyType({}))
    frame_tags: Mapping[str, tuple[Any, ...]] = field(default_factory=lambda: MappingProxyType({}))

    @property
    def frames(self) -> int:
        """Number of instances."""
        return self.slices * self.phases

    @property
    def study_instance_uid(self) -> str:
        """Study Instance UID of every instance."""
        return uid(self.seed if self.study_seed is None else self.study_seed, "study")

    @property
    def series_instance_uid(self) -> str:
        """Series Instance UID of every instance."""
        return uid(self.seed, "series", self.modality, self.series_number)

    @property
    def frame_of_reference_uid(self) -> str:
        """Frame of Reference UID, shared by the series of a study and modality."""
        return uid(self.seed if self.study_seed is None else self.study_seed, "frame of reference", self.modality)

    def sop_instance_uid(self, frame: int) -> str:
        """SOP Instance UID of one frame."""
        return uid(self.seed, "instance", self.modality, self.series_number, frame)

    def position_mm(self, frame: int) -> tuple[float, float, float]:
        """Image Position (Patient) of one frame [mm]."""
        row, column = np.asarray(self.orientation[:3]), np.asarray(self.orientation[3:])
        position = np.asarray(self.origin_mm) + (frame // self.phases) * self.slice_spacing_mm * np.cross(row, column)
        return float(position[0]), float(position[1]), float(position[2])

    def rescale(self, frame: int) -> tuple[float, float]:
        """(slope, intercept) of one frame; (1, 0) where the tags are left out."""
        slope = self.slope[frame] if isinstance(self.slope, tuple) else self.slope
        intercept = self.intercept[frame] if isinstance(self.intercept, tuple) else self.intercept
        return (1.0 if slope is None else slope), (0.0 if slope is None or intercept is None else intercept)

    def stored_frame(self, frame: int) -> NDArray[np.int64]:
        """Stored integers (y, x) of one frame, padding included, before junk in the high bits."""
        if self.stored is not None:
            return np.asarray(self.stored[frame], dtype=np.int64)
        slope, intercept = self.rescale(frame)
        lowest, highest = self.stored_range
        stored = np.clip(np.rint((self._physical(frame) - intercept) / slope), lowest, highest).astype(np.int64)
        if self.padding_value is not None:
            stored[stored == self.padding_value] += 1 if self.padding_value < highest else -1
            stored[self.outside_circle()] = self.padding_value
        return stored

    @property
    def stored_range(self) -> tuple[int, int]:
        """Smallest and largest value that the stored bits can hold."""
        if self.signed:
            return -(1 << (self.bits_stored - 1)), (1 << (self.bits_stored - 1)) - 1
        return 0, (1 << self.bits_stored) - 1

    def outside_circle(self) -> NDArray[np.bool_]:
        """(y, x) True outside the circle inscribed in the image."""
        y, x = np.mgrid[: self.rows, : self.columns]
        return np.asarray(
            np.hypot(y - (self.rows - 1) / 2, x - (self.columns - 1) / 2) > min(self.rows, self.columns) / 2
        )

    def dataset(self, frame: int) -> FileDataset:
        """One whole instance, encoded."""
        dataset = modules.build(self, frame)
        syntax = UID(self.transfer_syntax_uid)
        order = ">" if syntax == ExplicitVRBigEndian else "<"
        kind = "i" if self.signed else "u"
        words = self._with_junk(self.stored_frame(frame), frame)
        data = words.astype(f"{order}{kind}{self.bits_allocated // 8}").tobytes()
        dataset.PixelData = data + b"\0" * (len(data) % 2)
        dataset["PixelData"].VR = "OW" if self.bits_allocated > 8 else "OB"
        dataset.file_meta.TransferSyntaxUID = syntax if syntax in UNCOMPRESSED else ExplicitVRLittleEndian
        if syntax not in UNCOMPRESSED:
            dataset = compress(dataset, syntax)
        modules.override(dataset, {**self.tags, **{key: values[frame] for key, values in self.frame_tags.items()}})
        return dataset

    def datasets(self) -> Iterator[FileDataset]:
        """Every instance in frame order."""
        return (self.dataset(frame) for frame in range(self.frames))

    def write(self, folder: Path) -> list[Path]:
        """Write every instance as `<modality><series>_<frame>.dcm`.

        Args:
            folder: made when missing.

        Returns:
            The files in frame order.
        """
        folder.mkdir(parents=True, exist_ok=True)
        paths = []
        for frame, dataset in enumerate(self.datasets()):
            path = folder / f"{self.modality}{self.series_number:03d}_{frame:04d}.dcm"
            dataset.save_as(path, enforce_file_format=True)
            paths.append(path)
        return paths

    def _physical(self, frame: int) -> NDArray[np.float64]:
        if self.values is not None:
            return np.asarray(self.values[frame], dtype=np.float64)
        make = ct_pattern if self.modality == "CT" else mr_pattern
        z, phase = divmod(frame, self.phases)
        return make(self.rows, self.columns, z, phase, self.seed)

    def _with_junk(self, stored: NDArray[np.int64], frame: int) -> NDArray[np.int64]:
        if not self.junk_high_bits:
            return stored
        mask = (1 << self.bits_stored) - 1
        noise = np.random.default_rng((self.seed, frame)).integers(
            0, 1 << (self.bits_allocated - self.bits_stored), stored.shape
        )
        return (stored & mask) | (noise << self.bits_stored)


def mr_series(**options: Any) -> SyntheticSeries:
    """An MR series without rescale tags, 12 bits stored; the options are the attributes of `SyntheticSeries`."""
    return replace(SyntheticSeries(modality="MR", slope=None, intercept=None, bits_stored=12), **options)
