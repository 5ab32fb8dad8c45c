"""Where a stack of slices lies in the patient (DICOM LPS coordinates, millimetres)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

Vector = tuple[float, float, float]


@dataclass(frozen=True)
class Geometry:
    """A stack of parallel slices, ordered along the slice normal (PS3.3 C.7.6.2).

    Attributes:
        row_direction: unit vector of increasing column index x (first triple of Image Orientation (Patient)).
        column_direction: unit vector of increasing row index y (second triple).
        pixel_spacing_mm: (between rows y, between columns x) [mm].
        slice_origins_mm: centre of voxel (y=0, x=0) of each slice [mm, LPS], in increasing order along `normal`.
        rows: number of rows (y).
        columns: number of columns (x).
        slice_thickness_mm: nominal thickness [mm], None where the source does not say.
    """

    row_direction: Vector
    column_direction: Vector
    pixel_spacing_mm: tuple[float, float]
    slice_origins_mm: tuple[Vector, ...]
    rows: int
    columns: int
    slice_thickness_mm: float | None = None

    @property
    def shape(self) -> tuple[int, int, int]:
        """Voxels along (z, y, x)."""
        return len(self.slice_origins_mm), self.rows, self.columns

    @property
    def normal(self) -> Vector:
        """Unit slice normal: row direction x column direction."""
        n = np.cross(self.row_direction, self.column_direction)
        n = n / np.linalg.norm(n)
        return float(n[0]), float(n[1]), float(n[2])

    @property
    def slice_offsets_mm(self) -> tuple[float, ...]:
        """Distance of each slice from the first along the normal [mm]."""
        origins = np.asarray(self.slice_origins_mm, dtype=np.float64)
        return tuple(float(d) for d in (origins - origins[0]) @ np.asarray(self.normal))

    @property
    def slice_spacing_mm(self) -> float | None:
        """Median distance between neighbouring slices [mm]; None for a single slice."""
        offsets = self.slice_offsets_mm
        return float(np.median(np.diff(offsets))) if len(offsets) > 1 else None

    def affine(self) -> NDArray[np.float64]:
        """4x4 matrix from voxel index (x, y, z) to LPS [mm], exact for evenly spaced, unsheared stacks."""
        matrix = np.eye(4)
        matrix[:3, 0] = np.asarray(self.row_direction) * self.pixel_spacing_mm[1]
        matrix[:3, 1] = np.asarray(self.column_direction) * self.pixel_spacing_mm[0]
        origins = np.asarray(self.slice_origins_mm, dtype=np.float64)
        step = (origins[-1] - origins[0]) / (len(origins) - 1) if len(origins) > 1 else np.asarray(self.normal)
        matrix[:3, 2] = step
        matrix[:3, 3] = origins[0]
        return matrix
