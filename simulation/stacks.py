"""Grids that phantoms are drawn on."""

from __future__ import annotations

from enum import StrEnum
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicom_node.contracts import Geometry
from simulation import shapes
from simulation.shapes import Point


class Plane(StrEnum):
    """Main directions of slices."""

    AXIAL = "axial"
    CORONAL = "coronal"
    SAGITTAL = "sagittal"


# Rows and columns as radiologists look at them; slices then follow along row x column.
_DIRECTIONS: dict[Plane, tuple[Point, Point]] = {
    Plane.AXIAL: ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0)),
    Plane.CORONAL: ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0)),
    Plane.SAGITTAL: ((0.0, 1.0, 0.0), (0.0, 0.0, -1.0)),
}


def stack(plane: Plane, *, slices: int, n_pixels: int, pixel_mm: float, spacing_mm: float, centre: Point) -> Geometry:
    """Square slices around a point.

    Args:
        plane: direction of the slices.
        slices: number of slices.
        n_pixels: side of a slice.
        pixel_mm: pixel size [mm].
        spacing_mm: distance between slices, and their thickness [mm].
        centre: middle of the stack [mm, LPS].

    Raises:
        ValueError: a size is not positive.
    """
    row, column = _DIRECTIONS[plane]
    return oblique_stack(
        row, column, slices=slices, n_pixels=n_pixels, pixel_mm=pixel_mm, spacing_mm=spacing_mm, centre=centre
    )


def oblique_stack(
    row: Point, column: Point, *, slices: int, n_pixels: int, pixel_mm: float, spacing_mm: float, centre: Point
) -> Geometry:
    """Square slices around a point, in any direction.

    Args:
        row: unit vector of increasing x.
        column: unit vector of increasing y, at right angles to `row`.
        slices: number of slices.
        n_pixels: side of a slice.
        pixel_mm: pixel size [mm].
        spacing_mm: distance between slices, and their thickness [mm].
        centre: middle of the stack [mm, LPS].

    Raises:
        ValueError: a size is not positive.
    """
    if slices < 1 or n_pixels < 1 or pixel_mm <= 0 or spacing_mm <= 0:
        raise ValueError(
            f"sizes must be positive: {slices} slices, {n_pixels} pixels of {pixel_mm:g} mm, {spacing_mm:g} mm apart"
        )
    along_row, along_column = np.asarray(row), np.asarray(column)
    normal = np.cross(along_row, along_column)
    corner = np.asarray(centre) - (n_pixels - 1) / 2 * pixel_mm * (along_row + along_column)
    offsets = (np.arange(slices) - (slices - 1) / 2) * spacing_mm
    return Geometry(
        row_direction=row,
        column_direction=column,
        pixel_spacing_mm=(pixel_mm, pixel_mm),
        slice_origins_mm=tuple(shapes.as_point(corner + offset * normal) for offset in offsets),
        rows=n_pixels,
        columns=n_pixels,
        slice_thickness_mm=spacing_mm,
    )


def random_turn(rng: np.random.Generator, degrees: float) -> NDArray[Any]:
    """Rotation (3, 3) about a random axis by a normally distributed angle."""
    axis = rng.standard_normal(3)
    x, y, z = axis / np.linalg.norm(axis)
    angle = np.deg2rad(rng.normal(0, degrees))
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    return np.asarray(np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross)
