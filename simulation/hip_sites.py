"""Where in a CT volume hip implants belong."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dicom_node.contracts import FloatArray, Geometry
from simulation import shapes
from simulation.shapes import Point

_BONE_HU = 160.0
_GRID_MM = 3.0
_MIDLINE_MM = 45.0
_LATERAL_MM = 200.0
_SMALLEST_SITE_MM = 9.0
_SHAFT_BELOW_MM = (35.0, 75.0)
"""How far below the head the shaft is looked for [mm]: as low as the volume goes, within these."""


@dataclass(frozen=True)
class HipSite:
    """A place for an implant.

    Attributes:
        side: of the patient.
        centre_mm: centre of the femoral head, or of the femur where the head is not in the volume [mm, LPS].
        radius_mm: radius of the largest ball of bone there [mm].
        shaft_mm: a point on the axis of the femur below the head [mm, LPS], None where it is not in the volume.
    """

    side: Literal["right", "left"]
    centre_mm: Point
    radius_mm: float
    shaft_mm: Point | None = None


def find_hips(hu: FloatArray, geometry: Geometry) -> tuple[HipSite, ...]:
    """Find the femoral heads as the largest balls that fit into bone left and right of the midline.

    Args:
        hu: (z, y, x) CT numbers of a pelvis or hip, axial [HU].
        geometry: of `hu`.

    Returns:
        At most one site for each side, right first; the patient's right is at the smaller LPS x.
    """
    depth, points = _bone_depth(hu, geometry)
    across = points[..., 0] - _body_middle(hu, geometry)
    sites = []
    sides: tuple[tuple[Literal["right", "left"], float], ...] = (("right", -1.0), ("left", 1.0))
    for side, sign in sides:
        # Slightly in favour of what lies lateral: where no head is in the volume, the femur rather than the ischium.
        score = np.where(across * sign > _MIDLINE_MM, depth * (1 + np.abs(across) / _LATERAL_MM), 0)
        peak = np.unravel_index(int(score.argmax()), score.shape)
        if score[peak] == 0 or depth[peak] < _SMALLEST_SITE_MM:
            continue
        head = points[peak]
        shaft = _shaft_point(depth, points, head, outwards=sign)
        sites.append(HipSite(side, shapes.as_point(head), float(depth[peak]), shaft))
    return tuple(sites)


def _shaft_point(
    depth: NDArray[np.float32], points: NDArray[np.float64], head: NDArray[np.float64], *, outwards: float
) -> Point | None:
    """The thickest bone below the head that is not medial of it, as the ischium is."""
    below = head[2] - points[:, 0, 0, 2]
    nearest, farthest = _SHAFT_BELOW_MM
    if not ((below >= nearest) & (below <= farthest)).any():
        return None
    level = int(np.where(below <= farthest, below, -np.inf).argmax())
    offset = points[level] - head
    lateral = (offset[..., 0] * outwards > -5) & (np.hypot(offset[..., 0], offset[..., 1]) < 70)
    here = np.where(lateral, depth[level], 0)
    peak = np.unravel_index(int(here.argmax()), here.shape)
    return shapes.as_point(points[level][peak]) if here[peak] >= _SMALLEST_SITE_MM else None


def _bone_depth(hu: FloatArray, geometry: Geometry) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Distance of coarse voxels from the surface of (filled) bone [mm], and where they lie [mm, LPS]."""
    spacing = (geometry.slice_spacing_mm or geometry.slice_thickness_mm or 1.0, *geometry.pixel_spacing_mm)
    strides = [max(1, round(_GRID_MM / s)) for s in spacing]
    coarse = ndimage.uniform_filter(hu, [1, *strides[1:]])[:: strides[0], :: strides[1], :: strides[2]]
    # Slice by slice: a three-dimensional closing would erode the first and the last slice away.
    bone = np.stack([ndimage.binary_fill_holes(ndimage.binary_closing(c > _BONE_HU)) for c in coarse])
    padded = np.pad(bone, ((20, 20), (0, 0), (0, 0)), mode="edge")  # the end of the volume is not the end of the bone
    sampling = [s * n for s, n in zip(spacing, strides, strict=True)]
    depth = ndimage.distance_transform_edt(padded, sampling=sampling)[20:-20]
    depth = ndimage.gaussian_filter(depth.astype(np.float32), 0.7)
    points = np.stack([shapes.slice_points(geometry, z) for z in range(0, geometry.shape[0], strides[0])])
    return depth, points[:, :: strides[1], :: strides[2]].astype(np.float64)


def _body_middle(hu: FloatArray, geometry: Geometry) -> float:
    """LPS x of the middle of everything denser than fat [mm]."""
    middle = geometry.shape[0] // 2
    x = shapes.slice_points(geometry, middle)[..., 0]
    body = hu[middle] > -200
    return float(x[body].mean()) if body.any() else float(x.mean())
