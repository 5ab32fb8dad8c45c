"""Plausible implants as solids in patient space, those of the hip first."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import StrEnum
from functools import partial
from typing import Self

import numpy as np

from dicom_node.contracts import FloatArray, Geometry
from simulation import shapes
from simulation.hip_sites import HipSite
from simulation.implant_pose import Pose
from simulation.materials import (
    ALUMINA,
    BONE_CEMENT,
    COCRMO,
    STEEL_316L,
    TI6AL4V,
    UHMWPE,
    ZIRCONIA,
    Material,
)
from simulation.shapes import Shape


class ImplantKind(StrEnum):
    """What can be implanted in a hip."""

    TOTAL = "total hip"
    """Femoral head, neck and stem, with or without cement, acetabular shell and liner."""
    RESURFACING = "resurfacing"
    """Metal-on-metal cap and shell."""
    NAIL = "nail"
    """Intramedullary nail with a hip screw through neck and head."""
    SCREWS = "screws"
    """Two or three screws through the neck."""
    PLATE = "plate"
    """Plate along the femur with its screws, most with a sliding screw through the neck."""
    BAR = "bar"
    """A round bar or ball of one material; see `simulation.bars`."""


_SHARES = {
    ImplantKind.TOTAL: 0.5,
    ImplantKind.RESURFACING: 0.1,
    ImplantKind.NAIL: 0.17,
    ImplantKind.SCREWS: 0.13,
    ImplantKind.PLATE: 0.1,
}
_FIXATION = (ImplantKind.NAIL, ImplantKind.SCREWS, ImplantKind.PLATE)
_KINDS_OF = {
    COCRMO: (ImplantKind.TOTAL, ImplantKind.RESURFACING),
    TI6AL4V: (ImplantKind.TOTAL, *_FIXATION),
    STEEL_316L: (ImplantKind.TOTAL, *_FIXATION),
}
"""What is sold wholly, or nearly so, of one material."""
_NO_METAL = (UHMWPE, BONE_CEMENT)
_BEARINGS = (
    (COCRMO, UHMWPE),
    (STEEL_316L, UHMWPE),
    (ZIRCONIA, UHMWPE),
    (ALUMINA, UHMWPE),
    (ALUMINA, ALUMINA),
    (COCRMO, COCRMO),
)
"""Head and liner."""
_BEARING_SHARES = (0.4, 0.12, 0.13, 0.15, 0.1, 0.1)
_CEMENTED_SHARE, _PLAIN_CUP_SHARE = 0.6, 0.4
_SLIDING_SHARE = 0.7


@dataclass(frozen=True, eq=False)
class ImplantPart:
    """One piece of one material."""

    material: Material
    shape: Shape


@dataclass(frozen=True, eq=False, kw_only=True)
class Implant:
    """An implant in place, anywhere in the body.

    Attributes:
        parts: its pieces; a later piece displaces earlier ones.
    """

    parts: tuple[ImplantPart, ...]

    def made_of(self, material: Material) -> Self:
        """The same with all its metal and ceramic of one material; polyethylene and cement stay."""
        parts = (part if part.material in _NO_METAL else replace(part, material=material) for part in self.parts)
        return replace(self, parts=tuple(parts))


@dataclass(frozen=True, eq=False)
class HipImplant(Implant):
    """An implant in a hip.

    Attributes:
        kind: what it is.
        site: where it is.
    """

    kind: ImplantKind
    site: HipSite


def random_implant(
    site: HipSite,
    rng: np.random.Generator,
    kind: ImplantKind | None = None,
    *,
    material: Material | None = None,
) -> HipImplant:
    """Draw an implant of plausible size, material and pose.

    Args:
        site: where it goes.
        rng: source of randomness.
        kind: what it is; None draws it, with `material` among what is sold of that.
        material: of all its metal and ceramic; None draws a material for each piece.

    Returns:
        The implant.

    Raises:
        ValueError: a bar is no implant; `simulation.bars` draws them.
    """
    if kind is None:
        kinds = tuple(_SHARES) if material is None else _KINDS_OF.get(material, (ImplantKind.TOTAL,))
        shares = np.array([_SHARES[one] for one in kinds])
        kind = kinds[int(rng.choice(len(kinds), p=shares / shares.sum()))]
    if kind is ImplantKind.BAR:
        raise ValueError("bars are drawn by simulation.bars.random_bar")
    builders: dict[ImplantKind, Callable[[HipSite, np.random.Generator], tuple[ImplantPart, ...]]] = {
        # Liners of ceramic or titanium alone would make one solid ball with head and shell.
        ImplantKind.TOTAL: partial(_total, hard_liners=material in (None, COCRMO)),
        ImplantKind.RESURFACING: _resurfacing,
        ImplantKind.NAIL: _nail,
        ImplantKind.SCREWS: _screws,
        ImplantKind.PLATE: _plate,
    }
    drawn = HipImplant(kind, site, parts=builders[kind](site, rng))
    return drawn if material is None else drawn.made_of(material)


def rasterise(implants: tuple[Implant, ...], geometry: Geometry) -> dict[Material, FloatArray]:
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


def _total(site: HipSite, rng: np.random.Generator, *, hard_liners: bool) -> tuple[ImplantPart, ...]:
    pose = Pose(site, rng)
    bearing, liner = _BEARINGS[int(rng.choice(len(_BEARINGS), p=_BEARING_SHARES))]
    liner = liner if hard_liners else UHMWPE
    hard = liner is not UHMWPE
    head = float(rng.choice([28, 32, 36, 40, 44] if hard else [22, 28, 32, 36, 40])) / 2
    liner_mm = 3.5 if hard else 5.0
    stem = _chosen(rng, (TI6AL4V, COCRMO, STEEL_316L), (0.6, 0.25, 0.15))
    shell = _chosen(rng, (TI6AL4V, COCRMO, STEEL_316L), (0.8, 0.1, 0.1))
    shell_outer = max(head + liner_mm + 4, site.radius_mm * rng.uniform(0.95, 1.1))
    width = rng.uniform(6.0, 9.0)
    middle, tip = pose.down_shaft(0.35), pose.down_shaft(rng.uniform(0.8, 1))
    # Titanium stems are pressed in; the others are mostly cemented, some with a cup of polyethylene and no shell.
    cemented = bool(rng.random() < _CEMENTED_SHARE) and stem is not TI6AL4V
    plain_cup = bool(rng.random() < _PLAIN_CUP_SHARE) and cemented and not hard
    shaft = (pose.calcar, middle, width + 3, width), (middle, tip, width, width * 0.6)
    parts: list[ImplantPart] = []
    if cemented:
        mantle = rng.uniform(2.0, 4.0)
        parts += [ImplantPart(BONE_CEMENT, shapes.round_cone(a, b, r + mantle, s + mantle)) for a, b, r, s in shaft]
    outside = BONE_CEMENT if plain_cup else shell
    parts += [
        ImplantPart(outside, shapes.cup(pose.head, pose.neck_direction, shell_outer, shell_outer - 4)),
        ImplantPart(liner, shapes.cup(pose.head, pose.neck_direction, shell_outer - 4, head)),
        ImplantPart(stem, shapes.round_cone(pose.head, pose.calcar, 6, 7)),
        *(ImplantPart(stem, shapes.round_cone(*ends)) for ends in shaft),
        ImplantPart(bearing, shapes.sphere(pose.head, head)),
    ]
    return tuple(parts)


def _chosen(rng: np.random.Generator, materials: tuple[Material, ...], shares: tuple[float, ...]) -> Material:
    return materials[int(rng.choice(len(materials), p=shares))]


def _resurfacing(site: HipSite, rng: np.random.Generator) -> tuple[ImplantPart, ...]:
    pose = Pose(site, rng)
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
    pose = Pose(site, rng)
    material = (TI6AL4V, STEEL_316L)[int(rng.integers(2))]
    radius = rng.uniform(5.0, 6.5)
    outside = shapes.as_point(np.asarray(pose.calcar) + 20 * np.asarray(pose.neck_direction))
    return (
        ImplantPart(material, shapes.round_cone(pose.above_shaft(25), pose.down_shaft(1.0), radius + 1.5, radius)),
        ImplantPart(material, shapes.round_cone(pose.head, outside, rng.uniform(5, 6), 5)),
    )


def _screws(site: HipSite, rng: np.random.Generator) -> tuple[ImplantPart, ...]:
    pose = Pose(site, rng)
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


def _plate(site: HipSite, rng: np.random.Generator) -> tuple[ImplantPart, ...]:
    pose = Pose(site, rng)
    material = (TI6AL4V, STEEL_316L)[int(rng.integers(2))]
    on_bone, top, length = rng.uniform(14.0, 17.0), rng.uniform(-5.0, 10.0), rng.uniform(50.0, 110.0)
    thick, rails = rng.uniform(2.0, 2.8), (-5.1, -1.7, 1.7, 5.1)  # rods that overlap make it flat
    rods = [
        shapes.round_cone(
            pose.along_shaft(top, on_bone, behind), pose.along_shaft(top + length, on_bone, behind), thick, thick
        )
        for behind in rails
    ]
    parts = [ImplantPart(material, shapes.union(tuple(rods)))]
    for down in np.arange(top + 14, top + length, rng.uniform(14, 20)):
        ends = pose.along_shaft(float(down), on_bone), pose.along_shaft(float(down), -rng.uniform(14, 18))
        parts.append(ImplantPart(material, shapes.round_cone(*ends, 2.3, 2.2)))
    if rng.random() < _SLIDING_SHARE:
        start = np.asarray(pose.calcar) + 20 * np.asarray(pose.neck_direction)
        parts.append(ImplantPart(material, shapes.round_cone(pose.head, shapes.as_point(start), rng.uniform(4, 6), 5)))
    return tuple(parts)
