"""Where the images of a series lie, and whether they make one evenly spaced stack (PS3.3 C.7.6.2)."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dicom_node.contracts import Geometry, InstanceHeader
from dicom_node.errors import UnusableSeries

SAME_POSITION_MM = 0.01
"""Images closer than this along the normal lie at the same position; positions are written to 1e-3 mm or finer."""
SPACING_TOLERANCE = 0.05
"""Allowed deviation of one step from the median step, relative; a missing slice makes it 1."""
SPACING_TOLERANCE_MM = 0.02
"""Allowed in any case: rounding of positions to 0.01 mm."""
SIDEWAYS_TOLERANCE_PIXELS = 0.25
"""Allowed distance of a slice's origin from the straight line through the stack."""
_DIRECTION_TOLERANCE = 1e-3
_SPACING_EQUAL = 1e-4


@dataclass(frozen=True, eq=False)
class Placement:
    """Images of one orientation, spacing and size.

    Attributes:
        series: Series Instance UID, for messages.
        row_direction: unit vector (3,) of increasing column index.
        column_direction: unit vector (3,) of increasing row index.
        normal: unit vector (3,), row x column.
        pixel_spacing_mm: (between rows, between columns) [mm].
        rows: number of rows.
        columns: number of columns.
        slice_thickness_mm: nominal [mm], None where absent or not constant.
        origins_mm: (n, 3) Image Position (Patient) of each image [mm].
        offsets_mm: (n,) position along the normal [mm].
    """

    series: str
    row_direction: NDArray[np.float64]
    column_direction: NDArray[np.float64]
    normal: NDArray[np.float64]
    pixel_spacing_mm: tuple[float, float]
    rows: int
    columns: int
    slice_thickness_mm: float | None
    origins_mm: NDArray[np.float64]
    offsets_mm: NDArray[np.float64]


def reference_views(headers: Sequence[InstanceHeader]) -> frozenset[int]:
    """Indices of the lone images that lie across a stack to show where it was cut, as reformatting tools add them.

    At most one image in ten, each turned by more than 30 degrees out of the plane that all the others share.

    Raises:
        UnusableSeries: an orientation is missing.
    """
    directions = _numbers(headers, "ImageOrientationPatient", 6)
    normals = np.cross(directions[:, :3], directions[:, 3:])
    middle = np.median(normals, axis=0)
    turned = normals @ middle < math.cos(math.radians(30)) * np.linalg.norm(middle)
    rest = directions[~turned]
    one_plane = len(rest) > 0 and bool((np.abs(rest - rest[0]) <= _DIRECTION_TOLERANCE).all())
    if not one_plane or 10 * int(turned.sum()) > len(headers):
        return frozenset()
    return frozenset(int(index) for index in np.flatnonzero(turned))


def place(headers: Sequence[InstanceHeader]) -> Placement:
    """Read where the images lie.

    Raises:
        UnusableSeries: a position, orientation or spacing is missing or makes no sense, or the images differ in
            orientation, pixel spacing or size.
    """
    series = headers[0].series_instance_uid
    origins = _numbers(headers, "ImagePositionPatient", 3)
    directions = _numbers(headers, "ImageOrientationPatient", 6)
    spacings = _numbers(headers, "PixelSpacing", 2)
    sizes = {(header.get("Rows"), header.get("Columns")) for header in headers}
    if len(sizes) > 1:
        raise UnusableSeries(f"series {series}: images of {len(sizes)} different sizes")
    if (np.abs(directions - directions[0]) > _DIRECTION_TOLERANCE).any():
        raise UnusableSeries(f"series {series}: several orientations")
    if (spacings <= 0).any():
        raise UnusableSeries(f"series {series}: PixelSpacing is not positive")
    if (np.abs(spacings / spacings[0] - 1) > _SPACING_EQUAL).any():
        raise UnusableSeries(f"series {series}: several pixel spacings")
    row, column, normal = _axes(directions[0], series)
    rows, columns = sizes.pop()
    return Placement(
        series=series,
        row_direction=row,
        column_direction=column,
        normal=normal,
        pixel_spacing_mm=(float(spacings[0, 0]), float(spacings[0, 1])),
        rows=int(str(rows)),
        columns=int(str(columns)),
        slice_thickness_mm=_thickness(headers),
        origins_mm=origins,
        offsets_mm=origins @ normal,
    )


def positions(placement: Placement) -> list[list[int]]:
    """Indices of the images at each position, in order along the normal; within a position in the given order."""
    order = np.argsort(placement.offsets_mm, kind="stable")
    groups: list[list[int]] = []
    start = -np.inf
    for index in order:
        offset = placement.offsets_mm[index]
        if offset - start > SAME_POSITION_MM:
            groups.append([])
            start = offset
        groups[-1].append(int(index))
    return [sorted(group) for group in groups]


def stack(placement: Placement, slices: Sequence[int]) -> Geometry:
    """Geometry of a stack.

    Args:
        placement: of all images.
        slices: index of one image for each slice, in order along the normal.

    Raises:
        UnusableSeries: slices are missing, unevenly spaced or shifted sideways; the message says where.
    """
    origins = placement.origins_mm[list(slices)]
    _refuse_gaps(placement.offsets_mm[list(slices)], placement.series)
    _refuse_sideways(origins, placement)
    return Geometry(
        row_direction=_vector(placement.row_direction),
        column_direction=_vector(placement.column_direction),
        pixel_spacing_mm=placement.pixel_spacing_mm,
        slice_origins_mm=tuple(_vector(origin) for origin in origins),
        rows=placement.rows,
        columns=placement.columns,
        slice_thickness_mm=placement.slice_thickness_mm,
    )


def _numbers(headers: Sequence[InstanceHeader], keyword: str, count: int) -> NDArray[np.float64]:
    rows = []
    for header in headers:
        value = header.get(keyword)
        problem = "is missing" if value is None else f"does not hold {count} numbers"
        try:
            row = np.asarray(value, dtype=np.float64)
        except (TypeError, ValueError):
            row = np.empty(0)
        if row.shape != (count,) or not np.isfinite(row).all():
            raise UnusableSeries(f"series {header.series_instance_uid}: {keyword} {problem} in {header.file}")
        rows.append(row)
    return np.stack(rows)


def _axes(
    directions: NDArray[np.float64], series: str
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    row, column = directions[:3], directions[3:]
    lengths = np.linalg.norm(row), np.linalg.norm(column)
    if max(abs(length - 1) for length in lengths) > 0.01 or abs(row @ column) > 0.01:
        raise UnusableSeries(f"series {series}: ImageOrientationPatient is not two unit vectors at a right angle")
    row, column = row / lengths[0], column / lengths[1]
    normal = np.cross(row, column)
    return row, column, normal / np.linalg.norm(normal)


def _thickness(headers: Sequence[InstanceHeader]) -> float | None:
    values = {header.get("SliceThickness") for header in headers}
    value = values.pop() if len(values) == 1 else None
    return float(value) if isinstance(value, int | float) and value > 0 else None


def _refuse_gaps(offsets: NDArray[np.float64], series: str) -> None:
    steps = np.diff(offsets)
    if len(steps) < 2:
        return
    # The smaller middle one: of an even number of steps, half of them long, the short ones are the true spacing.
    usual = float(np.sort(steps)[(len(steps) - 1) // 2])
    wrong = np.flatnonzero(np.abs(steps - usual) > max(SPACING_TOLERANCE * usual, SPACING_TOLERANCE_MM))
    if len(wrong) == 0:
        return
    places = ", ".join(f"{offsets[i]:.2f} to {offsets[i + 1]:.2f}" for i in wrong[:5])
    more = f" and {len(wrong) - 5} more" if len(wrong) > 5 else ""
    raise UnusableSeries(
        f"series {series}: slices are missing or unevenly spaced: usual step {usual:.3f} mm, "
        f"other steps along the normal at {places}{more} mm"
    )


def _refuse_sideways(origins: NDArray[np.float64], placement: Placement) -> None:
    if len(origins) < 3:
        return
    place_in_stack = np.linspace(0, 1, len(origins))[:, None]
    line = origins[0] + place_in_stack * (origins[-1] - origins[0])
    away = origins - line
    away -= (away @ placement.normal)[:, None] * placement.normal
    worst = float(np.linalg.norm(away, axis=1).max())
    if worst > SIDEWAYS_TOLERANCE_PIXELS * min(placement.pixel_spacing_mm):
        raise UnusableSeries(f"series {placement.series}: slices are shifted sideways by up to {worst:.2f} mm")


def _vector(values: NDArray[np.float64]) -> tuple[float, float, float]:
    return float(values[0]), float(values[1]), float(values[2])
