"""Heart and chest painted in tissues."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicom_node.contracts import FloatArray
from simulation import shapes
from simulation.heart_anatomy import ChestAnatomy, HeartAnatomy
from simulation.texture import RandomField
from simulation.tissue_canvas import Canvas
from simulation.tissues import Tissue

_SKIN_MM = 2.0


class HeartScene:
    """One patient's chest at end diastole.

    Args:
        heart: the heart.
        chest: the chest.
        axes: (3, 3) rows are x, y and z of the heart's own frame in LPS.
        rng: source of textures.
    """

    def __init__(self, heart: HeartAnatomy, chest: ChestAnatomy, axes: NDArray[Any], rng: np.random.Generator) -> None:
        self._heart, self._chest = heart, chest
        self._axes = axes.astype(np.float32)
        self._trabeculae = RandomField(rng, 9.0, 0.6)
        self._uneven = RandomField(rng, 40.0, 0.6)
        self._branches = [RandomField(rng, wavelength, 0.4) for wavelength in (24.0, 31.0)]
        self._twigs = [RandomField(rng, wavelength, 0.4) for wavelength in (10.0, 13.0)]
        self._muscles = RandomField(rng, 55.0, 0.6)

    def own_points(self, points: FloatArray) -> FloatArray:
        """See `Scene`."""
        own: FloatArray = points @ self._axes.T
        return own

    def paint(self, canvas: Canvas) -> None:
        """See `Scene`."""
        lps = canvas.points @ self._axes
        self._paint_wall(canvas, lps)
        self._paint_lungs(canvas, lps)
        self._paint_belly(canvas, lps)
        _paint_spine(canvas, lps - np.array([*self._chest.middle, 0], np.float32), self._chest)
        self._paint_heart(canvas)

    def _paint_wall(self, canvas: Canvas, lps: FloatArray) -> None:
        chest = self._chest
        skin = chest.skin(lps)
        waves = self._muscles.over(lps)
        canvas.fill(Tissue.SKIN, skin)
        canvas.fill(Tissue.FAT, skin + _SKIN_MM)
        deep = skin + chest.fat_mm + 1.5 * waves
        canvas.fill(Tissue.MUSCLE, deep, edge_mm=0.5)
        inner = skin + chest.fat_mm + chest.wall_mm
        for layer in (5.5, 11.5):  # fat between the layers of muscles
            sheet = np.abs(deep + layer + 1.5 * waves) - 0.5 - 0.7 * np.abs(waves)
            share = shapes.fill_share(np.asarray(sheet, np.float32), canvas.voxel_mm)
            canvas.replace(Tissue.MUSCLE, Tissue.FAT, 0.85 * share)
        # Ribs run down towards the front, with muscle and fat between them.
        phase = (lps[..., 2] - 0.45 * lps[..., 1]) * np.float32(2 * np.pi / 27)
        rib = np.hypot((np.arccos(np.clip(np.cos(phase), -1, 1)) * np.float32(27 / 2 / np.pi)), 1.1 * (inner - 7)) - 5.5
        canvas.fill(Tissue.CORTICAL_BONE, rib)
        canvas.fill(Tissue.RED_MARROW, rib + 1.2)
        canvas.fill(Tissue.FAT, inner, edge_mm=1)

    def _paint_lungs(self, canvas: Canvas, lps: FloatArray) -> None:
        chest = self._chest
        inner = chest.skin(lps) + chest.fat_mm + chest.wall_mm + 2.0
        x, y = lps[..., 0] - chest.middle[0], lps[..., 1] - chest.middle[1]
        middle = 15 + 9 * np.clip(-y / 70, -0.3, 1) - np.abs(x - 2)  # the mediastinum, wider at the front
        lung = np.maximum.reduce([inner, middle + 4 * self._uneven.over(lps), 3 - chest.over_diaphragm(lps)])
        canvas.fill(Tissue.LUNG, lung, edge_mm=1)
        for fields, thick in ((self._branches, 0.14), (self._twigs, 0.11)):
            first, second = (field.over(lps) for field in fields)
            vessel = np.clip((thick - np.hypot(first, second)) / 0.06, 0, 1)
            canvas.replace(Tissue.LUNG, Tissue.BLOOD_POOL, 0.85 * vessel)

    def _paint_belly(self, canvas: Canvas, lps: FloatArray) -> None:
        chest = self._chest
        below = chest.over_diaphragm(lps)
        inside = np.maximum(below, chest.skin(lps) + chest.fat_mm + chest.wall_mm)
        canvas.fill(Tissue.MUSCLE, inside)
        canvas.fill(Tissue.FAT, inside + 3, edge_mm=1)
        x, y = lps[..., 0] - chest.middle[0], lps[..., 1] - chest.middle[1]
        uneven = self._uneven.over(lps)
        liver = np.maximum(inside + 4, x - 38 - 10 * uneven - 0.3 * y)
        canvas.fill(Tissue.LIVER, liver, edge_mm=0.5)
        first, second = (field.over(lps) for field in self._branches)
        canvas.replace(Tissue.LIVER, Tissue.VEIN, 0.9 * np.clip((0.2 - np.hypot(first, second)) / 0.08, 0, 1))
        stomach = np.maximum(inside + 7, np.hypot(x - 78, y + 10) - 36 - 4 * uneven)
        canvas.fill(Tissue.BOWEL, stomach, edge_mm=1)
        canvas.fill(Tissue.AIR, np.maximum(stomach + 4, y + 14), edge_mm=1)
        canvas.fill(Tissue.LIVER, np.maximum(inside + 5, np.hypot(x - 105, y - 42) - 30), edge_mm=1)  # spleen

    def _paint_heart(self, canvas: Canvas) -> None:
        heart, points = self._heart, canvas.points
        x, y, z = points[..., 0], points[..., 1], points[..., 2]
        angle = np.arctan2(y, x)
        rough, uneven = self._trabeculae.at(points), self._uneven.over(points)
        # Taken off a radius: distances from the axis, uneven as walls are, and rougher inside than outside.
        radius = np.hypot(x, y) + np.float32(0.9) * uneven
        outer, depth = heart.epicardium(z), heart.right_depth(angle, z)
        tip = heart.apex_mm - 0.8 * heart.wall_mm
        below = np.maximum(tip - z, 0) * 2
        right_wall = 3.6 * np.clip(depth / 4, 0, 1)
        fat = (heart.fat_mm + 5.5 * heart.groove(angle)) * np.clip(outer / 12, 0, 1)
        surface = radius - outer - depth - right_wall + below
        canvas.fill(Tissue.TENDON, surface - fat - 1.0)  # pericardium
        canvas.fill(Tissue.FAT, surface - fat)
        canvas.fill(Tissue.MYOCARDIUM, surface)
        right = np.maximum(radius - outer - depth + np.float32(1.1) * rough, outer + 0.6 - radius)
        shallow = np.maximum(2.5 - depth, 0)
        canvas.fill(Tissue.BLOOD_POOL, right + shallow, edge_mm=0.4)
        left = radius - heart.endocardium(z) + np.float32(0.8) * rough * np.clip(heart.endocardium(z) / 8, 0, 1)
        canvas.fill(Tissue.BLOOD_POOL, np.maximum(left, heart.apex_mm - z), edge_mm=0.4)
        for muscle in heart.papillary:
            found = shapes.distance_on_slice(muscle, points, 4.0)
            if found is not None:
                window, distance = found
                canvas.fill(Tissue.MYOCARDIUM, distance + np.float32(0.8) * rough[window], window, 0.4)


def _paint_spine(canvas: Canvas, here: FloatArray, chest: ChestAnatomy) -> None:
    """Spine, great vessels and breastbone; `here` is LPS from the middle of the trunk [mm]."""
    x, y, z = here[..., 0], here[..., 1], here[..., 2]
    back = chest.half_depth_mm - 48
    disc = np.abs(np.abs((z % 28) - 14) - 14)  # distance to the nearest disc
    body = np.hypot(x / 1.2, y - back + 12) - 17
    canvas.fill(Tissue.CORTICAL_BONE, body)
    canvas.fill(Tissue.RED_MARROW, np.maximum(body + 1.2, 3.2 - disc))
    canvas.fill(Tissue.CARTILAGE, np.maximum(body + 1.0, disc - 2.2))
    canvas.fill(Tissue.CORTICAL_BONE, np.hypot(x, y - back - 14) - 13)
    canvas.fill(Tissue.CSF, np.hypot(x, y - back - 14) - 9)
    canvas.fill(Tissue.WHITE_MATTER, np.hypot(x / 1.2, y - back - 14) - 4.5)
    canvas.fill(Tissue.CORTICAL_BONE, np.hypot(0.5 * x, y - back - 36) - 6)
    aorta = np.hypot(x - 24, y - back + 22)
    canvas.fill(Tissue.MUSCLE, aorta - 13)
    canvas.fill(Tissue.BLOOD_POOL, aorta - 11.3)
    canvas.fill(Tissue.MUCOSA, np.hypot(x - 7, 1.3 * (y - back + 38)) - 7, edge_mm=1)  # gullet
    front = -chest.half_depth_mm + chest.fat_mm + 12
    breastbone = np.hypot(np.maximum(np.abs(x) - 11, 0), y - front) - 6
    canvas.fill(Tissue.CORTICAL_BONE, breastbone)
    canvas.fill(Tissue.RED_MARROW, breastbone + 1.3)
