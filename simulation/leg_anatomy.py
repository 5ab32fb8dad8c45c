"""Bones, muscles and vessels of a leg from hip to ankle, drawn at random within what adults have.

Own frame [mm]: origin in the knee joint, x to the outside of the leg, y to the back, z to the hip.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dicom_node.contracts import FloatArray
from simulation import shapes
from simulation.shapes import Point, Shape
from simulation.solids import without

Path = tuple[tuple[float, float, float, float], ...]
"""A tube: (height z, x, y, radius) [mm], from low to high; it ends where its first and last radius say 0."""

_MUSCLES: tuple[Path, ...] = (
    ((45, 4, -38, 0), (80, 4, -36, 7), (130, 6, -46, 15), (210, 6, -50, 20), (330, 4, -52, 20)),  # rectus femoris
    (
        (20, 34, -22, 0),
        (60, 34, -24, 13),
        (110, 38, -22, 22),
        (210, 43, -20, 31),
        (340, 44, -18, 30),
    ),  # vastus lateralis
    ((40, 8, -30, 0), (80, 8, -29, 13), (150, 16, -28, 22), (330, 24, -24, 22)),  # vastus intermedius
    ((5, -36, -14, 0), (40, -36, -14, 15), (90, -32, -18, 25), (210, -22, -30, 20), (340, -6, -34, 8)),  # v. medialis
    ((-40, -30, 8, 0), (0, -44, 22, 6), (80, -46, 18, 11), (200, -44, -24, 12), (340, -26, -54, 12)),  # sartorius
    ((130, -30, 6, 0), (190, -34, 2, 13), (340, -42, -10, 19)),  # adductor longus
    ((60, -34, 10, 0), (120, -26, 16, 12), (210, -22, 24, 28), (340, -26, 26, 38)),  # adductor magnus
    ((-40, -28, 10, 0), (0, -42, 31, 3), (80, -46, 32, 6), (200, -56, 20, 10), (340, -62, 6, 10)),  # gracilis
    ((-25, 34, 20, 0), (0, 38, 25, 5), (80, 30, 38, 15), (210, 25, 50, 21), (340, 10, 58, 14)),  # biceps, long head
    ((10, 36, 24, 0), (80, 27, 26, 12), (170, 26, 22, 10), (250, 24, 14, 0)),  # biceps, short head
    ((-40, -28, 12, 0), (0, -37, 37, 3), (80, -14, 54, 9), (210, 0, 60, 17), (340, 2, 60, 15)),  # semitendinosus
    ((-20, -30, 24, 0), (5, -30, 33, 9), (80, -22, 42, 18), (210, -22, 50, 17), (340, -8, 44, 6)),  # semimembranosus
    ((280, 44, 52, 0), (350, 40, 56, 30)),  # gluteus maximus
    (
        (-250, -8, 44, 0),
        (-200, -16, 46, 14),
        (-130, -26, 42, 26),
        (-60, -25, 40, 21),
        (10, -19, 36, 13),
        (35, -20, 24, 0),
    ),
    ((-230, 8, 46, 0), (-190, 12, 46, 10), (-130, 20, 44, 21), (-60, 19, 41, 18), (10, 19, 35, 12), (35, 20, 24, 0)),
    ((-345, 2, 36, 0), (-300, 2, 36, 12), (-200, 2, 34, 24), (-120, 4, 30, 27), (-60, 12, 30, 13), (-35, 20, 24, 0)),
    ((-95, -8, 14, 0), (-60, -4, 20, 13), (-20, 10, 26, 6), (0, 22, 20, 0)),  # popliteus
    (
        (-340, 4, -14, 0),
        (-260, 12, -15, 9),
        (-130, 18, -17, 16),
        (-60, 20, -15, 12),
        (-25, 18, -14, 0),
    ),  # tibialis anterior
    ((-345, 14, -14, 0), (-260, 22, -8, 8), (-130, 28, -6, 11), (-60, 30, -5, 8), (-25, 28, -4, 0)),  # long extensor
    ((-345, 26, 14, 0), (-260, 31, 10, 9), (-130, 37, 9, 12), (-60, 37, 8, 9), (-30, 34, 10, 0)),  # peroneus
    ((-345, -6, 14, 0), (-260, 2, 10, 8), (-130, 10, 6, 11), (-60, 12, 8, 6), (-40, 12, 8, 0)),  # tibialis posterior
    ((-345, -12, 18, 0), (-260, -12, 15, 9), (-130, -14, 10, 9), (-80, -14, 12, 0)),  # flexor of the toes
    ((-345, 8, 24, 0), (-260, 15, 20, 14), (-130, 20, 16, 9), (-90, 20, 16, 0)),  # flexor of the great toe
)
_TENDONS: tuple[Path, ...] = (
    ((30, 0, -41, 5), (60, 3, -37, 5), (90, 4, -37, 3)),  # quadriceps
    ((-52, 0, -31, 4), (-40, 0, -33, 4), (5, 0, -42, 3.5)),  # patellar
    *(((-36, x, -34, 2.6), (5, x * 1.4, -42, 2.6)) for x in (-7, -3.5, 3.5, 7)),
    ((-350, 0, 46, 6), (-260, 0, 47, 5), (-220, 0, 48, 3)),  # Achilles
    ((-45, -33, 2, 1.6), (0, -39, 2, 1.8), (35, -38, 2, 1.6)),  # medial collateral ligament
    ((-30, 33, 18, 2.2), (25, 37, 6, 2.0)),  # lateral collateral ligament
    ((-14, -3, -8, 4), (13, 8, 12, 4)),  # anterior cruciate ligament
    ((-16, 1, 22, 4.5), (10, -6, 6, 5)),  # posterior cruciate ligament
)
_ARTERIES: tuple[Path, ...] = (
    (
        (-340, -12, 22, 1.4),
        (-200, -4, 18, 1.8),
        (-60, 3, 27, 2.6),
        (0, 2, 36, 3.2),
        (100, -12, 24, 3.6),
        (210, -30, 0, 4.0),
        (340, -26, -34, 4.5),
    ),
    ((-340, 6, -4, 1.0), (-130, 14, 0, 1.4), (-60, 14, 8, 1.6)),
    ((150, 0, 8, 1.6), (340, -8, -6, 3.0)),
)
_VEINS: tuple[Path, ...] = (
    (
        (-340, -9, 25, 1.6),
        (-200, 0, 21, 2.0),
        (-60, 6, 31, 3.0),
        (0, 5, 41, 4.0),
        (100, -8, 30, 4.4),
        (210, -27, 8, 4.8),
        (340, -34, -28, 5.5),
    ),
    ((-340, 9, -3, 1.0), (-130, 17, 2, 1.5), (-60, 17, 10, 1.6)),
)
_OUTLINE: Path = (  # of the skin, with both half axes in the last place: see _WIDTH
    (-350, 4, 12, 37), (-260, 4, 14, 42), (-130, 3, 16, 57), (-60, 2, 10, 57), (-20, 0, 4, 56),
    (20, 0, 4, 57), (60, 0, 6, 59), (120, 0, 6, 65), (210, 0, 5, 76), (340, -2, 6, 88),
)  # fmt: skip
_WIDTH: Path = (
    (-350, 0, 0, 0.9), (-260, 0, 0, 0.94), (-130, 0, 0, 0.93), (-40, 0, 0, 0.9), (20, 0, 0, 0.93), (120, 0, 0, 1.02),
    (340, 0, 0, 1.04),
)  # fmt: skip


@dataclass(frozen=True, eq=False)
class Bone:
    """A bone of a leg.

    Attributes:
        shape: its outline.
        cortex_mm: thickness of the shell [mm].
        cartilage_mm: thickness of the cartilage on it [mm], near the joint only.
        spongy: whether trabeculae fill it, as they do ends but not shafts.
    """

    shape: Shape
    cortex_mm: float
    cartilage_mm: float = 0.0
    spongy: bool = True


@dataclass(frozen=True, eq=False)
class LegAnatomy:
    """One patient's leg.

    Attributes:
        bones: drawn in order.
        muscles: bellies.
        tendons: tendons and ligaments.
        arteries: arteries.
        veins: deep veins.
        fat_mm: mean thickness of the subcutaneous fat at the thigh [mm].
        septum_mm: half width of the fat between muscles [mm].
        muscle_bulk: factor on the radii of the muscles.
        infiltration: share of fat in each muscle.
    """

    bones: tuple[Bone, ...]
    muscles: tuple[Path, ...]
    tendons: tuple[Path, ...]
    arteries: tuple[Path, ...]
    veins: tuple[Path, ...]
    fat_mm: float
    septum_mm: float
    muscle_bulk: float
    infiltration: tuple[float, ...]

    def skin_distance(self, points: FloatArray) -> FloatArray:
        """Signed distance to the skin (y, x) [mm]."""
        x, y, height, half_depth = self._outline(points)
        half_width = half_depth * along(_WIDTH, height, 3)
        level = np.sqrt((x / half_width) ** 2 + (y / half_depth) ** 2)
        slope = np.hypot(x / half_width**2, y / half_depth**2) / np.maximum(level, 1e-3)
        distance = ((level - 1) / np.maximum(slope, 1 / half_depth)).astype(np.float32)
        # The inner face of the shin lies right under the skin.
        shin = -0.75 * points[..., 0] - 0.66 * points[..., 1] - 31 - 0.4 * (self.fat_mm - 9)
        shin -= 45 * np.clip((height + 70) / 60, 0, 1)
        return np.asarray(np.logaddexp(distance / 4, shin / 4) * 4, np.float32)

    def fat_here(self, points: FloatArray) -> FloatArray:
        """Thickness of the subcutaneous fat on the ray through each point (y, x) [mm]: least at shin and kneecap."""
        x, y, height, _ = self._outline(points)
        angle = np.arctan2(y, x)
        thigh = np.clip((height + 60) / 200, 0.0, 1.0)
        around = 1 + 0.45 * np.sin(angle) - 0.25 * np.cos(angle) - 0.15 * np.sin(2 * angle)
        thickness: FloatArray = (self.fat_mm * (0.45 + 0.55 * thigh) * np.clip(around, 0.3, 2)).astype(np.float32)
        return thickness

    def _outline(self, points: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray, FloatArray]:
        height = points[..., 2]
        scale = 0.5 + 0.5 * self.muscle_bulk
        half = along(_OUTLINE, height, 3) * scale + (self.fat_mm - 9) * 0.9
        return points[..., 0] - along(_OUTLINE, height, 1), points[..., 1] - along(_OUTLINE, height, 2), height, half


def along(path: Path, height: FloatArray, what: int) -> FloatArray:
    """Coordinate 1 (x), 2 (y) or 3 (radius) of a path at heights z [mm]."""
    knots = np.asarray(path, np.float64)
    return np.interp(height, knots[:, 0], knots[:, what]).astype(np.float32)


def tube_distance(path: Path, points: FloatArray, factor: float = 1.0) -> FloatArray:
    """Signed distance to the surface of a tube that is not far from upright (y, x) [mm]; large beyond its ends."""
    height = points[..., 2]
    across = np.hypot(points[..., 0] - along(path, height, 1), points[..., 1] - along(path, height, 2))
    beyond = np.maximum(np.maximum(path[0][0] - height, height - path[-1][0]), 0)
    distance: FloatArray = across - factor * along(path, height, 3) + 2 * beyond
    return distance


def draw_leg(rng: np.random.Generator) -> LegAnatomy:
    """Draw one patient."""

    def vary(path: Path) -> Path:
        shift = rng.normal(0, 1.2, (len(path), 2)) + rng.normal(0, 1.0, 2)
        bulk = rng.normal(1, 0.07)
        return tuple(
            (z, x + float(dx), y + float(dy), radius * float(bulk))
            for (z, x, y, radius), (dx, dy) in zip(path, shift, strict=True)
        )

    frail = rng.uniform(0, 1)
    return LegAnatomy(
        bones=_bones(rng),
        muscles=tuple(vary(path) for path in _MUSCLES),
        tendons=_TENDONS,
        arteries=tuple(vary(path) for path in _ARTERIES),
        veins=tuple(vary(path) for path in _VEINS),
        fat_mm=float(np.clip(rng.lognormal(2.2, 0.4), 4, 24)),
        septum_mm=0.3 + 0.7 * frail,
        muscle_bulk=1.1 - 0.22 * frail + rng.normal(0, 0.03),
        infiltration=tuple(float(share) for share in 0.02 + 0.1 * frail * rng.uniform(0, 1, len(_MUSCLES))),
    )


def _bones(rng: np.random.Generator) -> tuple[Bone, ...]:
    size = rng.normal(1.0, 0.04)

    def at(x: float, y: float, z: float) -> Point:
        return (size * x, size * y, z)

    def cone(start: Point, end: Point, first: float, last: float) -> Shape:
        return shapes.round_cone(at(*start), at(*end), size * first, size * last)

    def ball(centre: Point, semi: Point) -> Shape:
        return shapes.ellipsoid(at(*centre), shapes.as_point(size * np.asarray(semi)))

    cortex = rng.uniform(4.0, 6.0)
    condyles = shapes.union(
        (
            ball((-21, 7, 17), (18, 29, 21)),
            ball((21, 7, 17), (17, 28, 20)),
            ball((2, -10, 26), (29, 19, 19)),
            cone((2, -4, 46), (4, -6, 85), 24, 15),
            ball((-18, 0, 38), (18, 20, 20)),
            ball((20, 0, 38), (16, 20, 20)),
        )
    )
    notch = cone((0, 24, -12), (0, 20, 22), 9, 7)
    plateau = shapes.union(
        (
            ball((-17, 4, -21), (21, 23, 11)),
            ball((17, 4, -21), (20, 22, 11)),
            ball((0, -2, -30), (30, 24, 18)),
            cone((0, -2, -40), (-5, -5, -85), 23, 13),
            cone((2, -24, -42), (-2, -18, -75), 8, 7),
        )
    )
    shin = shapes.union(
        (
            cone((-6, -4, -85), (-8, -1, -340), 13, 11),
            cone((-2, -16, -80), (-6, -10, -300), 6.5, 6),
            cone((3, -3, -80), (-3, 2, -320), 9, 8),
        )
    )
    fibula = shapes.union((ball((31, 17, -36), (11, 12, 13)), cone((33, 16, -45), (33, 14, -70), 7.5, 6)))
    return (
        Bone(cone((4, -6, 85), (14, -9, 200), 15.5, 13.5), cortex, spongy=False),
        Bone(cone((14, -9, 200), (24, -6, 380), 13.5, 14.5), cortex + 1, spongy=False),
        Bone(without(condyles, notch.distance), 1.3, rng.uniform(2.0, 3.0)),
        Bone(shin, cortex, spongy=False),
        Bone(plateau, 1.3, rng.uniform(1.8, 2.8)),
        Bone(
            shapes.union((cone((33, 14, -70), (30, 12, -200), 6.3, 6.3), cone((30, 12, -200), (25, 10, -345), 6.3, 7))),
            2.6,
            spongy=False,
        ),
        Bone(fibula, 1.2),
        Bone(ball((0, -41, 18), (22, 9.5, 21)), 1.4, rng.uniform(2.0, 3.2)),
    )
