"""Solid shapes as signed distances in patient space, the common ground of phantoms and implants."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dicom_node.contracts import FloatArray, Geometry

Point = tuple[float, float, float]
Distance = Callable[[FloatArray], FloatArray]
"""Maps points (..., 3) in LPS [mm] to signed distances (...) [mm], negative inside; exact near the surface."""


@dataclass(frozen=True, eq=False)
class Shape:
    """A solid and the sphere it fits in.

    Attributes:
        distance: signed distance.
        centre: of the bounding sphere [mm, LPS].
        reach_mm: radius of the bounding sphere [mm].
    """

    distance: Distance
    centre: Point
    reach_mm: float


def sphere(centre: Point, radius_mm: float) -> Shape:
    """A ball."""
    middle = np.asarray(centre, np.float32)

    def distance(points: FloatArray) -> FloatArray:
        return _length(points - middle) - np.float32(radius_mm)

    return Shape(distance, centre, radius_mm)


def round_cone(start: Point, end: Point, start_radius_mm: float, end_radius_mm: float) -> Shape:
    """A rod with round ends whose radius runs linearly from `start` to `end`."""
    a, b = np.asarray(start, np.float32), np.asarray(end, np.float32)
    axis = b - a
    length2 = np.float32(max(float(axis @ axis), 1e-6))

    def distance(points: FloatArray) -> FloatArray:
        offset = points - a
        along = np.clip(offset @ axis / length2, 0, 1)
        radius = np.float32(start_radius_mm) + along * np.float32(end_radius_mm - start_radius_mm)
        return (_length(offset - along[..., None] * axis) - radius).astype(np.float32)

    middle = (a + b) / 2
    reach = float(np.linalg.norm(axis)) / 2 + max(start_radius_mm, end_radius_mm)
    return Shape(distance, as_point(middle), reach)


def ellipsoid(centre: Point, semi_axes_mm: Point) -> Shape:
    """An ellipsoid along the patient axes (first-order distance)."""
    middle, semi = np.asarray(centre, np.float32), np.asarray(semi_axes_mm, np.float32)

    def distance(points: FloatArray) -> FloatArray:
        scaled = (points - middle) / semi
        norm = _length(scaled)
        slope = _length(scaled / semi)
        return np.where(norm > 1e-3, norm * (norm - 1) / np.maximum(slope, 1e-6), -semi.min()).astype(np.float32)

    return Shape(distance, centre, max(semi_axes_mm))


def cup(centre: Point, opening: Point, outer_radius_mm: float, inner_radius_mm: float) -> Shape:
    """A hollow half ball.

    Args:
        centre: of both spheres [mm].
        opening: direction out of the open side, any length.
        outer_radius_mm: outer radius [mm].
        inner_radius_mm: inner radius [mm].
    """
    middle = np.asarray(centre, np.float32)
    towards = np.asarray(opening, np.float32)
    towards = towards / np.linalg.norm(towards)

    def distance(points: FloatArray) -> FloatArray:
        offset = points - middle
        away = _length(offset)
        shell = np.maximum(away - np.float32(outer_radius_mm), np.float32(inner_radius_mm) - away)
        half: FloatArray = np.maximum(shell, offset @ towards)
        return half

    return Shape(distance, centre, outer_radius_mm)


def union(shapes: tuple[Shape, ...]) -> Shape:
    """All points in any of the shapes."""
    middle = np.mean([s.centre for s in shapes], axis=0)
    reach = max(float(np.linalg.norm(np.subtract(s.centre, middle))) + s.reach_mm for s in shapes)

    def distance(points: FloatArray) -> FloatArray:
        nearest: FloatArray = np.minimum.reduce([s.distance(points) for s in shapes])
        return nearest

    return Shape(distance, as_point(middle), reach)


def distance_on_slice(
    shape: Shape, points: FloatArray, margin_mm: float
) -> tuple[tuple[slice, slice], FloatArray] | None:
    """Evaluate a shape on the part of a slice that its bounding sphere and a margin reach.

    Args:
        shape: the solid.
        points: (y, x, 3) voxel centres of a planar slice [mm, LPS].
        margin_mm: how far outside the surface distances are wanted [mm].

    Returns:
        (window, distances in the window), None where nothing is in reach.
    """
    away = np.asarray(shape.centre, np.float32) - points[0, 0]
    down, right = points[-1, 0] - points[0, 0], points[0, -1] - points[0, 0]
    reach = shape.reach_mm + margin_mm
    normal = np.cross(right, down)
    if abs(float(away @ normal)) > reach * float(np.linalg.norm(normal)):
        return None
    window = (_span(away, down, reach, points.shape[0]), _span(away, right, reach, points.shape[1]))
    if any(w.start >= w.stop for w in window):
        return None
    return window, shape.distance(points[window])


def slice_points(geometry: Geometry, index: int) -> FloatArray:
    """Voxel centres (y, x, 3) of one slice [mm, LPS]."""
    down = np.asarray(geometry.column_direction) * geometry.pixel_spacing_mm[0]
    right = np.asarray(geometry.row_direction) * geometry.pixel_spacing_mm[1]
    rows, columns = np.arange(geometry.rows), np.arange(geometry.columns)
    points = np.asarray(geometry.slice_origins_mm[index]) + rows[:, None, None] * down + columns[None, :, None] * right
    return points.astype(np.float32)


def fill_share(distance: FloatArray, voxel_mm: float) -> FloatArray:
    """Share of a voxel inside a surface, from the distance of its centre: linear over one voxel."""
    share: FloatArray = np.clip(0.5 - distance / np.float32(voxel_mm), 0, 1)
    return share


def as_point(values: NDArray[np.floating]) -> Point:
    """Three plain floats."""
    return float(values[0]), float(values[1]), float(values[2])


def _length(vectors: FloatArray) -> FloatArray:
    """Euclidean length along the last axis."""
    length: FloatArray = np.sqrt(np.einsum("...i,...i->...", vectors, vectors))
    return length


def _span(away: FloatArray, side: FloatArray, reach: float, count: int) -> slice:
    """Index range along one side of the slice within `reach` of the foot of `away`."""
    length = float(np.linalg.norm(side))
    step = length / max(count - 1, 1)
    at = float(away @ side) / max(length, 1e-6)
    return slice(max(int((at - reach) / step), 0), min(int((at + reach) / step) + 2, count))
