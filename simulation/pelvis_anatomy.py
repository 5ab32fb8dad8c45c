"""Shapes and densities of a pelvis, drawn at random within what adults have.

Coordinates are LPS [mm] with the origin midway between the femoral heads: x to the patient's left, y to the back,
z to the head.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicom_node.contracts import FloatArray
from simulation import shapes
from simulation.hip_sites import HipSite
from simulation.shapes import Point, Shape
from simulation.tissues import Tissue


@dataclass(frozen=True, eq=False)
class Organ:
    """Soft tissue of one kind.

    Attributes:
        shape: its outline.
        hu: mean CT number [HU].
        texture_hu: standard deviation of its texture [HU].
        tissue: what MR sees in it.
        edge_mm: width of its edge [mm].
    """

    shape: Shape
    hu: float
    texture_hu: float
    tissue: Tissue
    edge_mm: float = 1.0


@dataclass(frozen=True, eq=False)
class Bone:
    """A bone with a cortical shell.

    Attributes:
        shape: its outline.
        cortex_hu: CT number of the shell [HU].
        cortex_mm: thickness of the shell [mm].
        cancellous_hu: mean CT number inside [HU].
        marrow: what MR sees inside.
    """

    shape: Shape
    cortex_hu: float
    cortex_mm: float
    cancellous_hu: float
    marrow: Tissue = Tissue.RED_MARROW


@dataclass(frozen=True, eq=False)
class Anatomy:
    """One patient.

    Attributes:
        half_width_mm: of the trunk at the hips [mm].
        half_depth_mm: of the trunk at the hips [mm].
        fat_mm: mean thickness of the subcutaneous fat [mm].
        fat_hu: its CT number [HU].
        muscle_hu: CT number of muscle [HU].
        organs: drawn in order.
        bones: drawn in order, over the organs.
        hips: the femoral heads, right first.
    """

    half_width_mm: float
    half_depth_mm: float
    fat_mm: float
    fat_hu: float
    muscle_hu: float
    organs: tuple[Organ, ...]
    bones: tuple[Bone, ...]
    hips: tuple[HipSite, ...]

    def body_distance(self, points: FloatArray) -> FloatArray:
        """Signed distance to the skin on one axial slice [mm]: a trunk that parts into two thighs."""
        x, y = points[..., 0], points[..., 1]
        below = -float(points[0, 0, 2])
        trunk = _superellipse(x, y - 8, self.half_width_mm - 0.12 * max(below, 0), self.half_depth_mm)
        thigh_radius = 0.46 * self.half_width_mm
        thighs = _superellipse(np.abs(x) - 0.52 * self.half_width_mm, y - 5, thigh_radius, thigh_radius * 1.05)
        apart = float(np.clip((below - 50) / 50, 0, 1))
        return np.asarray(trunk * (1 - apart) + thighs * apart, np.float32)


def draw_anatomy(rng: np.random.Generator) -> Anatomy:
    """Draw one patient."""
    half_width, half_depth = rng.uniform(165, 195), rng.uniform(100, 128)
    fat = rng.uniform(14, 30)
    density = rng.uniform(0.75, 1.15)
    spread = rng.uniform(84, 94)
    bones: list[Bone] = []
    sites: list[HipSite] = []
    for side, sign in (("right", -1.0), ("left", 1.0)):
        head: Point = (sign * spread + rng.normal(0, 1.5), rng.normal(0, 3), rng.normal(0, 2))
        radius = rng.uniform(22, 26)
        bones += _hemipelvis(sign, head, radius, density, rng)
        bones += _femur(sign, head, radius, density, rng)
        sites.append(HipSite("right" if side == "right" else "left", head, radius))
    bones += _sacrum(density, rng)
    return Anatomy(
        half_width_mm=half_width,
        half_depth_mm=half_depth,
        fat_mm=fat,
        fat_hu=rng.uniform(-112, -95),
        muscle_hu=rng.uniform(48, 62),
        organs=_organs(spread, rng),
        bones=tuple(bones),
        hips=tuple(sites),
    )


def _organs(spread: float, rng: np.random.Generator) -> tuple[Organ, ...]:
    def vary(point: Point, by: float) -> Point:
        return shapes.as_point(np.asarray(point) + rng.normal(0, by, 3))

    bladder = rng.uniform(22, 42)
    organs = [
        Organ(shapes.ellipsoid((0, 5, 45), (62, 58, 75)), -95, 12, Tissue.FAT, 6),  # fat of the pelvic cavity
        *(
            Organ(shapes.ellipsoid(vary((x, y, z), 8), (r, r * 0.8, r)), 35, 12, Tissue.BOWEL, 3)
            for x, y, z, r in ((-28, -10, 70, 22), (20, -20, 75, 24), (30, 15, 60, 18), (-5, 25, 80, 20))
        ),  # bowel
        Organ(shapes.ellipsoid(vary((12, -5, 78), 6), (10, 8, 16)), -850, 0, Tissue.AIR, 2),  # gas in bowel
        Organ(
            shapes.ellipsoid(vary((0, -28, 22), 3), (bladder * 1.2, bladder * 0.8, bladder)), 6, 3, Tissue.FLUID, 2
        ),  # bladder
        Organ(shapes.ellipsoid(vary((0, -5, -18), 2), (24, 20, 20)), 42, 6, Tissue.PROSTATE, 2),  # prostate or uterus
        Organ(shapes.ellipsoid(vary((0, 42, 0), 3), (17, 15, 60)), 38, 14, Tissue.BOWEL, 2),  # rectum
        Organ(shapes.ellipsoid(vary((0, 38, 5), 3), (7, 5, 18)), -820, 0, Tissue.AIR, 2),  # gas in it
    ]
    for sign in (-1.0, 1.0):
        for depth, hu, blood in ((-52, 42, Tissue.VEIN), (-50, 48, Tissue.ARTERY)):  # femoral vessels
            x = sign * (spread - 30 + (0 if depth == -52 else 14))
            vessel = shapes.round_cone((x, depth, -150), (x - sign * 12, depth + 10, 120), 5.5, 6)
            organs.append(Organ(vessel, hu, 3, blood))
        # fat planes between the gluteal muscles, and around the vessels
        organs.insert(0, Organ(shapes.ellipsoid((sign * (spread - 22), -52, 0), (24, 14, 90)), -98, 10, Tissue.FAT, 5))
        plane = shapes.round_cone((sign * 40, 78, -60), (sign * (spread + 25), 32, 70), 4, 3)
        organs.insert(0, Organ(plane, -95, 10, Tissue.FAT, 4))
    return tuple(organs)


def _hemipelvis(sign: float, head: Point, radius: float, density: float, rng: np.random.Generator) -> list[Bone]:
    hx, hy, hz = head

    def at(x: float, y: float, z: float) -> Point:
        """Point by its distance from the midline on this side."""
        return (sign * x, y, z)

    acetabulum = shapes.cup(head, (sign * 0.75, -0.25, -0.6), radius + rng.uniform(9, 12), radius + rng.uniform(2.5, 4))
    wall = abs(hx) - radius - 6
    ilium = (
        shapes.round_cone((hx, hy + 8, hz + radius + 14), at(72, 45, 62), 15, 9),
        shapes.round_cone((hx - sign * 4, hy - 8, hz + radius + 12), at(98, -25, 85), 13, 6),
        shapes.round_cone(at(72, 45, 62), at(112, 5, 110), 8, 7),
        shapes.round_cone(at(98, -25, 85), at(112, 5, 110), 6, 7),
        shapes.round_cone(at(72, 45, 62), at(52, 66, 88), 9, 12),
    )
    pubis = (
        shapes.round_cone(at(wall, hy - 18, hz - 2), at(14, -52, -14), 9, 9),
        shapes.round_cone(at(14, -52, -14), at(10, -50, -34), 9, 7),
        shapes.round_cone(at(10, -50, -34), at(44, 22, -62), 6, 8),
    )
    ischium = (
        shapes.round_cone(at(wall + 4, hy + 20, hz - 6), at(58, 36, -48), 13, 13),
        shapes.round_cone(at(58, 36, -48), at(50, 30, -68), 14, 10),
    )
    cortex = 1150 * density
    plate = Bone(acetabulum, cortex, 2.5, 420 * density)
    return [
        Bone(shapes.union(ilium), cortex, 2.2, 260 * density),
        Bone(shapes.union(pubis), cortex * 0.9, 1.8, 230 * density),
        Bone(shapes.union(ischium), cortex * 0.9, 2.0, 250 * density),
        plate,
    ]


def _femur(sign: float, head: Point, radius: float, density: float, rng: np.random.Generator) -> list[Bone]:
    base = np.asarray(head)
    outwards = np.array([sign * 0.74, rng.normal(0.12, 0.05), -0.66])
    outwards /= np.linalg.norm(outwards)
    corner = base + rng.uniform(46, 52) * outwards
    down = np.array([-sign * 0.1, 0.03, -1.0])
    shaft_radius = rng.uniform(13, 16)
    trochanter = corner + np.array([sign * 9, 6, 12])
    upper = (
        shapes.sphere(head, radius),
        shapes.round_cone(head, shapes.as_point(corner), radius * 0.62, 17),
        shapes.ellipsoid(shapes.as_point(trochanter), (15, 17, 22)),
        shapes.round_cone(shapes.as_point(corner), shapes.as_point(corner + 45 * down), 19, shaft_radius + 1),
        shapes.round_cone(
            shapes.as_point(corner + 32 * down), shapes.as_point(corner + 40 * down + (-sign * 12, 10, 0)), 13, 7
        ),
    )
    lower = shapes.round_cone(
        shapes.as_point(corner + 45 * down), shapes.as_point(corner + 240 * down), shaft_radius + 1, shaft_radius
    )
    return [
        Bone(lower, 1450 * density, rng.uniform(4.5, 6.5), -40, Tissue.YELLOW_MARROW),
        Bone(shapes.union(upper), 1200 * density, 1.8, 300 * density, Tissue.SPONGY_BONE),
    ]


def _sacrum(density: float, rng: np.random.Generator) -> list[Bone]:
    tilt = rng.normal(0, 3)
    body = (
        shapes.ellipsoid((0, 72 + tilt, 92), (50, 20, 32)),
        shapes.ellipsoid((0, 82 + tilt, 55), (34, 13, 26)),
        shapes.round_cone((0, 80 + tilt, 32), (0, 62 + tilt, 2), 9, 5),
    )
    return [Bone(shapes.union(body), 900 * density, 1.6, 190 * density)]


def _superellipse(x: NDArray[Any], y: NDArray[Any], a: float, b: float) -> NDArray[Any]:
    """Approximate signed distance to |x/a|^2.4 + |y/b|^2.4 = 1."""
    power = 2.4
    u, v = np.abs(x / a), np.abs(y / b)
    level = (u**power + v**power) ** (1 / power)
    slope = np.hypot((u / np.maximum(level, 1e-6)) ** (power - 1) / a, (v / np.maximum(level, 1e-6)) ** (power - 1) / b)
    return np.asarray((level - 1) / np.maximum(slope, 1e-6))
