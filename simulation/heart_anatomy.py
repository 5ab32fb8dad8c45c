"""Shape of a heart at end diastole and of the chest around it, drawn at random within what adults have.

The heart's own frame [mm]: origin on the long axis of the left ventricle, x and y across it as in a short-axis
picture (the right ventricle at negative x, the front wall at negative y), z along it towards the base. The chest is in
LPS, its origin where the heart's is.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from dicom_node.contracts import FloatArray
from simulation import shapes
from simulation.shapes import Shape


@dataclass(frozen=True, eq=False)
class HeartAnatomy:
    """One patient's heart at end diastole.

    Attributes:
        radius_mm: of the left ventricle's cavity at its base [mm].
        wall_mm: thickness of its wall at the base [mm].
        apex_mm: z of the tip of the cavity [mm], negative.
        base_mm: z of the valve plane [mm].
        right_mm: largest depth of the right ventricle across its free wall [mm].
        right_deg: direction of the right ventricle [degrees from +x towards +y].
        fat_mm: thickness of the epicardial fat [mm].
        papillary: the papillary muscles.
    """

    radius_mm: float
    wall_mm: float
    apex_mm: float
    base_mm: float
    right_mm: float
    right_deg: float
    fat_mm: float
    papillary: tuple[Shape, ...]

    def endocardium(self, z: FloatArray) -> FloatArray:
        """Radius of the left cavity at heights z [mm]; above the valve plane that of the atrium."""
        down = np.clip((self.base_mm - z) / (self.base_mm - self.apex_mm), 0, 1)
        radius: FloatArray = (self.radius_mm * (1 - down**2.3) ** 0.62).astype(np.float32)
        return radius

    def epicardium(self, z: FloatArray) -> FloatArray:
        """Outer radius of the left ventricle at heights z [mm]; its wall is thin above the valve plane."""
        down = np.clip((self.base_mm - z) / (self.base_mm - self.apex_mm + 0.8 * self.wall_mm), 0, 1)
        wall = self.wall_mm * (1 - 0.7 * np.clip((z - self.base_mm + 3) / 8, 0, 1))
        radius = (self.radius_mm + wall) * (1 - down**2.6) ** 0.56
        return np.asarray(radius, np.float32)

    def right_depth(self, angle: FloatArray, z: FloatArray) -> FloatArray:
        """Depth of the right ventricle outside the septum [mm] at angles [radians] and heights z [mm]."""
        off = np.angle(np.exp(1j * (angle - np.deg2rad(self.right_deg))))
        around = np.maximum(np.cos(np.clip(off * 90 / 74, -np.pi / 2, np.pi / 2)), 0) ** 0.7
        up = np.clip((z - self.apex_mm - 10) / (self.base_mm - self.apex_mm - 5), 0, 1)
        depth: FloatArray = (self.right_mm * around * up**0.7).astype(np.float32)
        return depth

    def groove(self, angle: FloatArray) -> FloatArray:
        """How near an angle [radians] is to the grooves between the ventricles, 0 to 1."""
        off = np.abs(np.angle(np.exp(1j * (angle - np.deg2rad(self.right_deg)))))
        near: FloatArray = np.exp(-(((off - np.deg2rad(74)) / 0.28) ** 2)).astype(np.float32)
        return near

    def volume_ml(self) -> float:
        """Volume of the left cavity from apex to valve plane [ml], papillary muscles included."""
        z = np.linspace(self.apex_mm, self.base_mm, 400).astype(np.float32)
        return float(np.trapezoid(np.pi * self.endocardium(z) ** 2, z)) / 1000


def draw_heart(rng: np.random.Generator) -> HeartAnatomy:
    """Draw one patient."""
    radius, wall = rng.uniform(23.5, 30.0), rng.uniform(7.5, 11.0)
    length = rng.uniform(76, 92)
    papillary = []
    for degrees in (-42 + rng.normal(0, 8), 98 + rng.normal(0, 8)):
        across = np.array([np.cos(np.deg2rad(degrees)), np.sin(np.deg2rad(degrees))])
        low, high = 0.60 * radius * across, 0.52 * radius * across
        size = rng.uniform(4.0, 6.0)
        papillary.append(
            shapes.round_cone(
                (float(low[0]), float(low[1]), -0.32 * length),
                (float(high[0]), float(high[1]), 0.12 * length),
                size,
                0.7 * size,
            )
        )
    return HeartAnatomy(
        radius_mm=radius,
        wall_mm=wall,
        apex_mm=-0.5 * length,
        base_mm=0.5 * length,
        right_mm=rng.uniform(30, 40),
        right_deg=180 + rng.uniform(10, 35),
        fat_mm=rng.uniform(1.5, 5.0),
        papillary=tuple(papillary),
    )


@dataclass(frozen=True)
class ChestAnatomy:
    """One patient's chest.

    Attributes:
        half_width_mm: of the trunk [mm].
        half_depth_mm: of the trunk [mm].
        fat_mm: thickness of the subcutaneous fat [mm].
        wall_mm: thickness of muscles and ribs [mm].
        middle: LPS x and y of the middle of the trunk, seen from the heart [mm].
        diaphragm_mm: LPS z of the top of the right dome [mm].
    """

    half_width_mm: float
    half_depth_mm: float
    fat_mm: float
    wall_mm: float
    middle: tuple[float, float]
    diaphragm_mm: float

    def skin(self, points: FloatArray) -> FloatArray:
        """Signed distance to the skin [mm] at LPS points (y, x, 3)."""
        u = np.abs(points[..., 0] - self.middle[0]) / self.half_width_mm
        v = np.abs(points[..., 1] - self.middle[1]) / self.half_depth_mm
        level = (u**2.5 + v**2.5) ** 0.4
        distance: FloatArray = ((level - 1) * (self.half_depth_mm + 25 * np.clip(u - v, 0, 1))).astype(np.float32)
        return distance

    def over_diaphragm(self, points: FloatArray) -> FloatArray:
        """Height above the diaphragm [mm] at LPS points (y, x, 3)."""
        x, y = points[..., 0] - self.middle[0], points[..., 1] - self.middle[1]
        right = self.diaphragm_mm - 45 * ((x + 75) / 85) ** 2
        left = self.diaphragm_mm - 14 - 40 * ((x - 75) / 85) ** 2
        dome = np.logaddexp(right / 8, left / 8) * 8 - 55 * ((y + 12) / 100) ** 2
        height: FloatArray = (points[..., 2] - dome).astype(np.float32)
        return height


def draw_chest(rng: np.random.Generator) -> ChestAnatomy:
    """Draw one patient."""
    depth = rng.uniform(100, 122)
    return ChestAnatomy(
        half_width_mm=rng.uniform(155, 185),
        half_depth_mm=depth,
        fat_mm=float(np.clip(rng.lognormal(2.3, 0.4), 4, 28)),
        wall_mm=rng.uniform(18, 25),
        middle=(rng.uniform(-42, -30), rng.uniform(18, 28)),
        diaphragm_mm=rng.uniform(-34, -16),
    )
