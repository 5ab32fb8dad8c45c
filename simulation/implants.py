"""Plausible hip implants, and where in a CT volume they belong."""

from __future__ import annotations

from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dicom_node.contracts import FloatArray, Geometry
from simulation import shapes
from simulation.materials import COCRMO, STEEL_316L, TI6AL4V, UHMWPE, ZIRCONIA, Material
from simulation.shapes import Point, Shape

_BONE_HU = 160.0
_GRID_MM = 3.0
_MIDLINE_MM = 40.0
_SMALLEST_SITE_MM = 9.0


@dataclass(frozen=True)
class HipSite:
    """A place for an implant.

    Attributes:
        side: of the patient.
        centre_mm: centre of the femoral head, or of the femur where the head is not in the volume [mm, LPS].
        radius_mm: radius of the largest ball of bone there [mm].
    """

    side: Literal["right", "left"]
    centre_mm: Point
    radius_mm: float


class ImplantKind(StrEnum):
    """What can be implanted in a hip."""

    TOTAL = "total hip"
    """Femoral head, neck and stem, acetabular shell and liner."""
    RESURFACING = "resurfacing"
    """Metal-on-metal cap and shell."""
    NAIL = "nail"
    """Intramedullary nail with a hip screw through neck and head."""
    SCREWS = "screws"
    """Two or three screws through the neck."""


@dataclass(frozen=True, eq=False)
class ImplantPart:
    """One piece of one material."""

    material: Material
    shape: Shape


@dataclass(frozen=True, eq=False)
class HipImplant:
    """An implant in place.

    Attributes:
        kind: what it is.
        site: where it is.
        parts: its pieces; a later piece displaces earlier ones.
    """

    kind: ImplantKind
    site: HipSite
    parts: tuple[ImplantPart, ...]


def find_hips(hu: FloatArray, geometry: Geometry) -> tuple[HipSite, ...]:
    """Find the femoral heads as the largest balls that fit into bone left and right of the midline.

    Args:
        hu: (z, y, x) CT numbers of a pelvis or hip [HU].
        geometry: of `hu`.

    Returns:
        At most one site for each side, right first; the patient's right is at the smaller LPS x.
    """
    spacing = (geometry.slice_spacing_mm or geometry.slice_thickness_mm or 1.0, *geometry.pixel_spacing_mm)
    strides = [max(1, round(_GRID_MM / s)) for s in spacing]
    body_x = _body_middle(hu, geometry)
    coarse = ndimage.uniform_filter(hu, [1, *strides[1:]])[:: strides[0], :: strides[1], :: strides[2]]
    bone = ndimage.binary_closing(coarse > _BONE_HU, iterations=1)
    bone = np.stack([ndimage.binary_fill_holes(b) for b in bone])
    padded = np.pad(bone, ((1, 1), (0, 0), (0, 0)), mode="edge")  # the volume's end is not the bone's end
    depth = ndimage.distance_transform_edt(padded, sampling=[s * n for s, n in zip(spacing, strides, strict=True)])[
        1:-1
    ]
    depth = ndimage.gaussian_filter(depth.astype(np.float32), 0.7)

    index = np.indices(depth.shape).reshape(3, -1) * np.array(strides)[:, None]
    across = _across(geometry, index[2], index[1], index[0]).reshape(depth.shape) - body_x
    sites = []
    sides: tuple[tuple[Literal["right", "left"], int], ...] = (("right", -1), ("left", 1))
    for side, sign in sides:
        here = np.where(across * sign > _MIDLINE_MM, depth, 0)
        peak = np.unravel_index(int(here.argmax()), here.shape)
        if here[peak] >= _SMALLEST_SITE_MM:
            z, y, x = (int(p) * n for p, n in zip(peak, strides, strict=True))
            sites.append(HipSite(side, _position(geometry, x, y, z), float(here[peak])))
    return tuple(sites)


def random_implant(site: HipSite, rng: np.random.Generator, kind: ImplantKind | None = None) -> HipImplant:
    """Draw an implant of plausible size, material and pose.

    Args:
        site: where it goes.
        rng: source of randomness.
        kind: what it is; None draws it.

    Returns:
        The implant.
    """
    if kind is None:
        kind = list(ImplantKind)[int(rng.choice(4, p=[0.5, 0.15, 0.2, 0.15]))]
    build = {
        ImplantKind.TOTAL: _total,
        ImplantKind.RESURFACING: _resurfacing,
        ImplantKind.NAIL: _nail,
        ImplantKind.SCREWS: _screws,
    }[kind]
    return HipImplant(kind, site, build(site, rng))


def rasterise(implants: tuple[HipImplant, ...], geometry: Geometry) -> dict[Material, FloatArray]:
    """Share of each voxel that each implant material fills.

    Args:
        implants: implants in place.
        geometry: the grid.

    Returns:
        By material, float32 (z, y, x) from 0 to 1; the sum over materials never exceeds 1.
    """
    parts = [part for implant in implants for part in implant.parts]
    shares = {m: np.zeros(geometry.shape, np.float32) for m in {p.material: None for p in parts}}
    voxel = min(geometry.pixel_spacing_mm)
    for z in range(geometry.shape[0]):
        points = shapes.slice_points(geometry, z)
        for part in parts:
            found = shapes.distance_on_slice(part.shape, points, voxel)
            if found is None:
                continue
            window, distance = found
            filled = shapes.fill_share(distance, voxel)
            for material, share in shares.items():
                share[z][window] *= 1 - filled
                if material == part.material:
                    share[z][window] += filled
    return shares


def _total(site: HipSite, rng: np.random.Generator) -> tuple[ImplantPart, ...]:
    pose = _Pose(site, rng)
    head = float(rng.choice([22, 28, 32, 36, 40])) / 2
    bearing = (COCRMO, ZIRCONIA, STEEL_316L)[int(rng.choice(3, p=[0.6, 0.25, 0.15]))]
    stem = (TI6AL4V, COCRMO, STEEL_316L)[int(rng.choice(3, p=[0.6, 0.25, 0.15]))]
    shell_outer = max(head + 9, site.radius_mm * rng.uniform(0.95, 1.1))
    width = rng.uniform(6.0, 9.0)
    middle = pose.down_shaft(0.35)
    parts = [
        ImplantPart(TI6AL4V, shapes.cup(pose.head, pose.neck_direction, shell_outer, shell_outer - 4)),
        ImplantPart(UHMWPE, shapes.cup(pose.head, pose.neck_direction, shell_outer - 4, head)),
        ImplantPart(stem, shapes.round_cone(pose.head, pose.calcar, 6, 7)),
        ImplantPart(stem, shapes.round_cone(pose.calcar, middle, width + 3, width)),
        ImplantPart(stem, shapes.round_cone(middle, pose.down_shaft(rng.uniform(0.8, 1)), width, width * 0.6)),
        ImplantPart(bearing, shapes.sphere(pose.head, head)),
    ]
    return tuple(parts)


def _resurfacing(site: HipSite, rng: np.random.Generator) -> tuple[ImplantPart, ...]:
    pose = _Pose(site, rng)
    cap = float(np.clip(site.radius_mm, 19, 25))
    inwards = shapes.as_point(-np.asarray(pose.neck_direction))
    tip = shapes.as_point(np.asarray(pose.head) + 25 * np.asarray(pose.neck_direction))
    return (
        ImplantPart(COCRMO, shapes.cup(pose.head, pose.neck_direction, cap + 4, cap + 0.5)),
        ImplantPart(COCRMO, shapes.cup(pose.head, pose.neck_direction, cap, cap - rng.uniform(3, 5))),
        ImplantPart(
            COCRMO, shapes.round_cone(shapes.as_point(np.asarray(pose.head) + cap * np.asarray(inwards)), tip, 3, 2.5)
        ),
    )


def _nail(site: HipSite, rng: np.random.Generator) -> tuple[ImplantPart, ...]:
    pose = _Pose(site, rng)
    material = (TI6AL4V, STEEL_316L)[int(rng.integers(2))]
    radius = rng.uniform(5.0, 6.5)
    outside = shapes.as_point(np.asarray(pose.calcar) + 20 * np.asarray(pose.neck_direction))
    return (
        ImplantPart(material, shapes.round_cone(pose.above_shaft(25), pose.down_shaft(1.0), radius + 1.5, radius)),
        ImplantPart(material, shapes.round_cone(pose.head, outside, rng.uniform(5, 6), 5)),
    )


def _screws(site: HipSite, rng: np.random.Generator) -> tuple[ImplantPart, ...]:
    pose = _Pose(site, rng)
    material = (TI6AL4V, STEEL_316L)[int(rng.integers(2))]
    head, direction = np.asarray(pose.head), np.asarray(pose.neck_direction)
    aside = np.cross(direction, (0.0, 1.0, 0.0))
    angles = rng.uniform(0, 2 * np.pi) + np.arange(rng.integers(2, 4)) * 2 * np.pi / 3
    parts = []
    for angle in angles:
        shift = 8 * (np.cos(angle) * aside / np.linalg.norm(aside) + np.sin(angle) * np.array([0.0, 1.0, 0.0]))
        start, end = head + shift - 8 * direction, head + shift + rng.uniform(55, 70) * direction
        parts.append(ImplantPart(material, shapes.round_cone(shapes.as_point(start), shapes.as_point(end), 3.5, 3.2)))
    return tuple(parts)


class _Pose:
    """Directions of neck and femoral shaft on one side, with a few degrees of scatter."""

    def __init__(self, site: HipSite, rng: np.random.Generator) -> None:
        outwards = -1.0 if site.side == "right" else 1.0
        neck = np.array([outwards * 0.74, rng.normal(0.12, 0.08), -0.66 + rng.normal(0, 0.05)])
        shaft = np.array([-outwards * 0.1 + rng.normal(0, 0.02), rng.normal(0, 0.03), -1.0])
        self._neck, self._shaft = neck / np.linalg.norm(neck), shaft / np.linalg.norm(shaft)
        self._length = rng.uniform(110, 160)
        self.head = shapes.as_point(np.asarray(site.centre_mm) + rng.normal(0, 1.5, 3))
        self.neck_direction = shapes.as_point(self._neck)
        self.calcar = shapes.as_point(np.asarray(self.head) + rng.uniform(44, 54) * self._neck)

    def down_shaft(self, share: float) -> Point:
        """Point in the shaft at a share of the stem's length below the calcar."""
        return shapes.as_point(np.asarray(self.calcar) + share * self._length * self._shaft)

    def above_shaft(self, distance_mm: float) -> Point:
        """Point on the shaft's axis above the calcar."""
        return shapes.as_point(np.asarray(self.calcar) - distance_mm * self._shaft)


def _body_middle(hu: FloatArray, geometry: Geometry) -> float:
    """LPS x of the middle of everything denser than fat [mm]."""
    z, y, x = np.nonzero(hu[::4, ::4, ::4] > -200)
    if not len(x):
        return float(
            _across(geometry, np.array([geometry.columns / 2]), np.array([geometry.rows / 2]), np.array([0]))[0]
        )
    return float(_across(geometry, x * 4, y * 4, z * 4).mean())


def _across(geometry: Geometry, x: NDArray[Any], y: NDArray[Any], z: NDArray[Any]) -> NDArray[np.float64]:
    """LPS x of voxels [mm]."""
    origins = np.asarray(geometry.slice_origins_mm)[:, 0]
    step_x = geometry.row_direction[0] * geometry.pixel_spacing_mm[1]
    step_y = geometry.column_direction[0] * geometry.pixel_spacing_mm[0]
    return np.asarray(origins[np.asarray(z, dtype=int)] + x * step_x + y * step_y)


def _position(geometry: Geometry, x: int, y: int, z: int) -> Point:
    right = np.asarray(geometry.row_direction) * geometry.pixel_spacing_mm[1]
    down = np.asarray(geometry.column_direction) * geometry.pixel_spacing_mm[0]
    return shapes.as_point(np.asarray(geometry.slice_origins_mm[z]) + x * right + y * down)
