"""Plausible hip implants as solids in patient space."""

from __future__ import annotations

from dataclasses import dataclass, replace
from enum import StrEnum

import numpy as np

from dicom_node.contracts import FloatArray, Geometry
from simulation import shapes
from simulation.hip_sites import HipSite
from simulation.materials import COCRMO, STEEL_316L, TI6AL4V, UHMWPE, ZIRCONIA, Material
from simulation.shapes import Point, Shape


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
    BAR = "bar"
    """A round bar or ball of one material; see `simulation.bars`."""


_DRAWN = (ImplantKind.TOTAL, ImplantKind.RESURFACING, ImplantKind.NAIL, ImplantKind.SCREWS)


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

    def made_of(self, material: Material) -> HipImplant:
        """The same with all its metal and ceramic of one material; polyethylene stays."""
        return replace(
            self,
            parts=tuple(part if part.material == UHMWPE else replace(part, material=material) for part in self.parts),
        )


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
        kind = _DRAWN[int(rng.choice(4, p=[0.5, 0.15, 0.2, 0.15]))]
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
    """Axes of neck and femoral shaft on one side: the patient's own where the site knows them, with some scatter."""

    def __init__(self, site: HipSite, rng: np.random.Generator) -> None:
        outwards = -1.0 if site.side == "right" else 1.0
        shaft = np.array([-outwards * 0.1 + rng.normal(0, 0.02), rng.normal(0, 0.03), -1.0])
        self._shaft = shaft / np.linalg.norm(shaft)
        self._length = rng.uniform(110, 160)
        head = np.asarray(site.centre_mm) + rng.normal(0, 1.5, 3)
        if site.shaft_mm is None:
            neck = np.array([outwards * 0.74, rng.normal(0.12, 0.08), -0.66 + rng.normal(0, 0.05)])
            calcar = head + rng.uniform(44, 54) * neck / np.linalg.norm(neck)
        else:
            below = np.asarray(site.shaft_mm) + rng.normal(0, 1, 3)
            rise = min(head[2] - rng.uniform(28, 36) - below[2], 0.9 * (head[2] - below[2]))
            calcar = below + rise / self._shaft[2] * self._shaft
            calcar[1] = 0.55 * head[1] + 0.45 * below[1]  # the femur bows: its neck leaves the shaft's line in y
            self._shaft = (below - calcar) / np.linalg.norm(below - calcar)
        self._neck = (calcar - head) / np.linalg.norm(calcar - head)
        self.head, self.calcar = shapes.as_point(head), shapes.as_point(calcar)
        self.neck_direction = shapes.as_point(self._neck)

    def down_shaft(self, share: float) -> Point:
        """Point in the shaft at a share of the stem's length below the calcar."""
        return shapes.as_point(np.asarray(self.calcar) + share * self._length * self._shaft)

    def above_shaft(self, distance_mm: float) -> Point:
        """Point on the shaft's axis above the calcar."""
        return shapes.as_point(np.asarray(self.calcar) - distance_mm * self._shaft)
