"""More solids than balls and rods: boxes and columns, what is cut from others, and what is turned and moved."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicom_node.contracts import FloatArray
from simulation import shapes
from simulation.shapes import Distance, Point, Shape


def box(centre: Point, half_mm: Point) -> Shape:
    """A box along the axes, of given half widths [mm]."""
    middle, half = np.asarray(centre, np.float32), np.asarray(half_mm, np.float32)

    def distance(points: FloatArray) -> FloatArray:
        beyond = np.abs(points - middle) - half
        outside: FloatArray = np.linalg.norm(np.maximum(beyond, 0), axis=-1) + np.minimum(beyond.max(axis=-1), 0)
        return outside

    return Shape(distance, centre, float(np.linalg.norm(half)))


def column(centre: Point, semi_axes_mm: tuple[float, float], half_height_mm: float) -> Shape:
    """An upright column.

    Args:
        centre: its middle [mm].
        semi_axes_mm: of its elliptic outline along x and y [mm].
        half_height_mm: half its height along z [mm].
    """
    outline = shapes.ellipsoid((centre[0], centre[1], 0.0), (*semi_axes_mm, 1.0))

    def distance(points: FloatArray) -> FloatArray:
        flat = points * np.array([1, 1, 0], np.float32)
        ends = np.abs(points[..., 2] - np.float32(centre[2])) - np.float32(half_height_mm)
        both: FloatArray = np.maximum(outline.distance(flat), ends)
        return both

    return Shape(distance, centre, float(np.hypot(max(semi_axes_mm), half_height_mm)))


def without(shape: Shape, hole: Distance) -> Shape:
    """What of a shape lies outside a hole, which may be endless."""

    def distance(points: FloatArray) -> FloatArray:
        left: FloatArray = np.maximum(shape.distance(points), -hole(points))
        return left

    return Shape(distance, shape.centre, shape.reach_mm)


def placed(shape: Shape, turn: NDArray[Any], origin: Point) -> Shape:
    """A shape of its own frame in patient space.

    Args:
        shape: in its own frame [mm].
        turn: (3, 3), orthogonal, from the own frame to patient space; it may mirror.
        origin: where the own origin lies [mm, LPS].
    """
    to_patient, start = np.asarray(turn, np.float32), np.asarray(origin, np.float32)

    def distance(points: FloatArray) -> FloatArray:
        own = np.asarray((points - start) @ to_patient, np.float32)  # rows: p @ R is R^T p, back to the own frame
        return shape.distance(own)

    x, y, z = np.asarray(turn, np.float64) @ np.asarray(shape.centre) + np.asarray(origin)
    return Shape(distance, (float(x), float(y), float(z)), shape.reach_mm)
