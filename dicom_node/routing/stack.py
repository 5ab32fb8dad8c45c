"""Geometry of a series from its headers alone: orientation, positions, spacing, field of view."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from dicom_node.contracts import InstanceHeader, TagValue
from dicom_node.routing.values import components, number

_AXES = ("sagittal", "coronal", "axial")
_COS_OBLIQUE = 0.9
"""Below this |cosine| between the slice normal and every patient axis a stack is oblique (26 degrees)."""
_SAME_DIRECTION = 0.99
_FACING = (0.0917, 0.3141, 1.0)
"""Normals are turned towards this side: no usual plane is parallel to it, so that rounding never turns one of two."""
_DECIMALS = 2
"""Positions are compared to 0.01 mm: scanners write them with rounding."""
_ROUNDING_MM = 0.021
"""Two places that were rounded from one differ by less [mm]."""

Position = tuple[str, float]
"""Orientation of the slice and its offset along the normal [mm]."""


@dataclass(frozen=True)
class StackGeometry:
    """Geometry of a set of 2-D instances; see `config.conditions.GeometryTest` for the terms.

    Attributes:
        orientation: axial, coronal, sagittal, oblique, or mixed when the instances do not lie in parallel planes.
        offsets_mm: distinct positions along the normal [mm], ascending.
        images_per_slice: median number of instances at one position.
        pixel_spacing_mm: larger of row and column spacing [mm], None where unknown.
        field_of_view_mm: larger side of the image [mm], None where unknown.
    """

    orientation: str
    offsets_mm: tuple[float, ...]
    images_per_slice: float
    pixel_spacing_mm: float | None
    field_of_view_mm: float | None

    @property
    def slices(self) -> int:
        """Number of distinct positions."""
        return len(self.offsets_mm)

    @property
    def slice_spacing_mm(self) -> float | None:
        """Median distance of neighbouring positions [mm], None for a single one."""
        steps = [b - a for a, b in pairwise(self.offsets_mm)]
        return median(steps) if steps else None

    @property
    def extent_mm(self) -> float:
        """From the first to the last position [mm]."""
        return self.offsets_mm[-1] - self.offsets_mm[0]


def stack_geometry(instances: Sequence[InstanceHeader]) -> StackGeometry | None:
    """Geometry of instances, None when one of them lacks Image Orientation or Position (Patient) (PS3.3 C.7.6.2)."""
    placed = [position(i) for i in instances]
    known = [p for p in placed if p is not None]
    if not known or len(known) < len(placed):
        return None
    directions = [_orientation(i) for i in instances]
    first = directions[0]
    parallel = first is not None and all(
        d is not None and _dot(_normal(d), _normal(first)) > _SAME_DIRECTION for d in directions
    )
    spacing = _spacing(instances[0])
    sides = [side for k in ("Rows", "Columns") for side in _numbers(instances[0].get(k))]
    view = max(s * n for s, n in zip(spacing, sides, strict=True)) if spacing and len(sides) == 2 else None
    per_position: dict[Position, int] = {}
    for p in known:
        per_position[p] = per_position.get(p, 0) + 1
    return StackGeometry(
        orientation=known[0][0] if parallel else "mixed",
        offsets_mm=tuple(sorted({p[1] for p in known})),
        images_per_slice=median(per_position.values()),
        pixel_spacing_mm=max(spacing) if spacing else None,
        field_of_view_mm=view,
    )


def position(instance: InstanceHeader) -> Position | None:
    """Where the slice lies: its orientation's name and its offset along the normal, rounded to 0.01 mm.

    It does not depend on the side from which the slice is seen, nor on the directions of rows and columns.
    """
    direction = _orientation(instance)
    origin = _numbers(instance.get("ImagePositionPatient"))
    if direction is None or len(origin) != 3:
        return None
    normal = _normal(direction)
    if _dot(normal, _FACING) < 0:  # slices that were prescribed flipped show the same place from behind
        normal = (-normal[0], -normal[1], -normal[2])
    # Adding zero turns -0.0 into 0.0, so that both count as one place.
    return _name(normal), round(_dot(normal, origin), _DECIMALS) + 0.0


def same_places(one: Iterable[Position | None], other: Iterable[Position | None]) -> bool:
    """Whether two sets of positions are the same but for rounding: flipped slices are told by another corner."""
    mine, theirs = set(one), set(other)
    if len(mine) != len(theirs) or (None in mine) != (None in theirs):
        return False
    pairs = zip(sorted(p for p in mine if p), sorted(p for p in theirs if p), strict=True)
    return all(a[0] == b[0] and abs(a[1] - b[1]) <= _ROUNDING_MM for a, b in pairs)


def _orientation(instance: InstanceHeader) -> tuple[float, ...] | None:
    values = _numbers(instance.get("ImageOrientationPatient"))
    return values if len(values) == 6 else None


def _normal(direction: tuple[float, ...]) -> tuple[float, float, float]:
    a, b = direction[:3], direction[3:]
    n = (a[1] * b[2] - a[2] * b[1], a[2] * b[0] - a[0] * b[2], a[0] * b[1] - a[1] * b[0])
    length = _dot(n, n) ** 0.5 or 1.0
    return n[0] / length, n[1] / length, n[2] / length


def _name(normal: tuple[float, float, float]) -> str:
    size, axis = max((abs(c), i) for i, c in enumerate(normal))
    return _AXES[axis] if size >= _COS_OBLIQUE else "oblique"


def _spacing(instance: InstanceHeader) -> tuple[float, ...] | None:
    values = _numbers(instance.get("PixelSpacing"))
    return values if len(values) == 2 else None


def _dot(a: Sequence[float], b: Sequence[float]) -> float:
    return sum(x * y for x, y in zip(a, b, strict=True))


def _numbers(value: TagValue | None) -> tuple[float, ...]:
    numbers = [number(p) for p in components(value)]
    return tuple(n for n in numbers if n is not None) if None not in numbers else ()
