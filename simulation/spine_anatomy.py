"""Vertebrae, canal, muscles and trunk around the lumbar spine, drawn at random within what adults have.

Own frame [mm]: x to the patient's left, y to the back, z to the head. Its origin lies where pedicles join the body of
the middle vertebra, as that of `spine_implant` does. All vertebrae are alike but for their size.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from dicom_node.contracts import FloatArray
from simulation import shapes, solids
from simulation.shapes import Shape

BODY_Y_MM, CANAL_Y_MM = -13.0, 13.5
"""Middle of the bodies and of the canal [mm]."""
_LEVELS = 15
_PEDICLE_UP_MM = 5.0
"""How far above the middle of its vertebra a pedicle lies [mm]."""
_HALF_WAVE_MM = 150.0


@dataclass(frozen=True, eq=False)
class Vertebra:
    """One vertebra and the disc half above and below it, around its own middle.

    Attributes:
        body: its body.
        arch: pedicles, laminae and processes.
        disc: outline of the discs.
        nucleus: their cores.
    """

    body: Shape
    arch: Shape
    disc: Shape
    nucleus: Shape


@dataclass(frozen=True, eq=False)
class SpineAnatomy:
    """One patient.

    Attributes:
        vertebra: all of them, for a factor of 1.
        factors: size across of each, the lowest first.
        moist: how much water the core of the disc above each has kept, 0 to 1.
        spacing_mm: from vertebra to vertebra [mm].
        sway_mm: how far lordosis, hollow behind, brings the middle of the spine forwards [mm].
        half_width_mm: of the trunk [mm].
        half_depth_mm: likewise from front to back [mm].
        fat_mm: thickness of the subcutaneous fat behind [mm].
        muscles: of the back, left and right; endless columns.
        vessels: aorta and vena cava, likewise.
        bowel: loops.
        infiltration: share of fat in the muscles of the back.
        roots_mm: places (root, 2) of the nerve roots in the dural sac, x and y from its middle [mm].
    """

    vertebra: Vertebra
    factors: NDArray[np.float32]
    moist: NDArray[np.float32]
    spacing_mm: float
    sway_mm: float
    half_width_mm: float
    half_depth_mm: float
    fat_mm: float
    muscles: tuple[Shape, ...]
    vessels: tuple[Shape, Shape]
    bowel: tuple[Shape, ...]
    infiltration: float
    roots_mm: NDArray[np.float32]

    def straightened(self, points: FloatArray) -> FloatArray:
        """Points (..., 3) of the trunk along the spine: each goes to its foot on the curved axis."""
        y, z = points[..., 1], points[..., 2]
        foot = z
        for _ in range(2):  # Newton's steps
            at, slope = self._axis(foot)
            foot = foot + (z - foot + slope * (y - at)) / (1 + slope**2)
        at, slope = self._axis(foot)
        behind = ((y - at) - slope * (z - foot)) / np.hypot(1, slope)
        return np.stack((points[..., 0], behind, foot), axis=-1).astype(np.float32)

    def _axis(self, height: FloatArray) -> tuple[FloatArray, FloatArray]:
        """Where the axis of the spine lies along y [mm], and its slope; lordosis turns into kyphosis at both ends."""
        phase = np.float32(np.pi / _HALF_WAVE_MM) * height
        sway = np.float32(self.sway_mm)
        return sway * (1 - np.cos(phase)), np.float32(np.pi / _HALF_WAVE_MM) * sway * np.sin(phase)

    def of_vertebra(self, straight: FloatArray) -> tuple[FloatArray, NDArray[np.intp]]:
        """Points around the middle of the nearest vertebra, in units of its size; and which it is."""
        height = straight[..., 2] + np.float32(_PEDICLE_UP_MM)
        level = np.round(height / np.float32(self.spacing_mm))
        which = np.clip(level + _LEVELS // 2, 0, _LEVELS - 1).astype(np.intp)
        local = straight.copy()
        local[..., 2] = height - level * np.float32(self.spacing_mm)
        local[..., :2] /= self.factors[which][..., None]
        return local, which

    def skin_distance(self, points: FloatArray) -> FloatArray:
        """Signed distance to the skin (y, x) [mm]: an oval trunk with a furrow along the back."""
        back = 56.0 + self.fat_mm + 0.7 * self._axis(points[..., 2])[0] + 3 * np.exp(-((points[..., 0] / 25) ** 2))
        y = points[..., 1] - (back - 6 * np.exp(-((points[..., 0] / 12) ** 2)) - self.half_depth_mm)
        power = 2.4
        x = np.abs(points[..., 0]) / self.half_width_mm
        level = (x**power + np.abs(y / self.half_depth_mm) ** power) ** (1 / power)
        return np.asarray((level - 1) * self.half_depth_mm, np.float32)


def draw_spine(rng: np.random.Generator) -> SpineAnatomy:
    """Draw one patient."""
    spacing, frail = float(rng.uniform(33, 38)), float(rng.uniform(0, 1))
    bulk = 1.1 - 0.25 * frail
    muscles = []
    for side in (-1.0, 1.0):
        for x, y, wide, deep in ((15, 38, 13, 13), (42, 38, 27, 18), (46, -6, 19, 23), (76, 14, 20, 11)):
            jitter = rng.normal(0, 1.5, 2)
            place = (side * (x + float(jitter[0])), y + float(jitter[1]), 0.0)
            muscles.append(solids.column(place, (wide * bulk, deep * bulk), 1e4))
    half_depth = float(rng.uniform(95, 125))
    loops = rng.uniform((-95, -1.5 * half_depth + 60, -150), (95, -68, 150), (45, 3))
    return SpineAnatomy(
        vertebra=_vertebra(spacing, float(rng.uniform(7, 11)), rng),
        factors=np.linspace(1.06, 0.94, _LEVELS).astype(np.float32) * np.float32(rng.normal(1, 0.04)),
        moist=np.clip(rng.normal(0.8 - 0.6 * frail, 0.3, _LEVELS), 0, 1).astype(np.float32),
        spacing_mm=spacing,
        sway_mm=float(rng.uniform(4, 11)),
        half_width_mm=float(rng.uniform(145, 180)),
        half_depth_mm=half_depth,
        fat_mm=float(rng.uniform(8, 30)),
        muscles=tuple(muscles),
        vessels=(
            solids.column((9.0, -42.0, 0.0), (8.5, 8.5), 1e4),
            solids.column((-15.0, -40.0, 0.0), (10.5, 8.0), 1e4),
        ),
        bowel=tuple(shapes.ellipsoid(shapes.as_point(one), (24.0, 16.0, 20.0)) for one in loops),
        infiltration=0.03 + 0.3 * frail**2,
        roots_mm=rng.uniform((-6, -1.0), (6, 5.0), (14, 2)).astype(np.float32),
    )


def _vertebra(spacing: float, disc: float, rng: np.random.Generator) -> Vertebra:
    wide, deep, low = float(rng.uniform(21, 25)), float(rng.uniform(16, 18)), (spacing - disc) / 2
    pedicle = float(rng.uniform(4.2, 5.5))
    arch = []
    for side in (-1.0, 1.0):
        arch += [
            shapes.round_cone(
                (0.68 * side * wide, 0.0, _PEDICLE_UP_MM), (side * 18, 17.0, _PEDICLE_UP_MM), pedicle, pedicle
            ),
            shapes.round_cone((side * 18, 19.0, 8.0), (side * 19, 23.0, -9.0), 6.0, 5.5),  # joints above and below
            shapes.round_cone((side * 16, 20.0, 2.0), (0.0, 30.0, -4.0), 4.0, 3.5),
            shapes.round_cone((side * 18, 15.0, 5.0), (side * 40, 19.0, 6.0), 4.0, 3.0),
        ]
    arch.append(shapes.round_cone((0.0, 30.0, -2.0), (0.0, 50.0, -6.0), 3.5, 4.0))
    arch.append(shapes.round_cone((0.0, 30.0, -8.0), (0.0, 48.0, -11.0), 3.0, 4.0))
    middle = (0.0, BODY_Y_MM, 0.0)
    half_disc = spacing / 2 - low
    discs, cores = [], []
    for at in (-spacing / 2, spacing / 2):
        discs.append(solids.column((0.0, BODY_Y_MM, at), (wide, deep), half_disc))
        cores.append(shapes.ellipsoid((0.0, BODY_Y_MM + 1, at), (0.66 * wide, 0.6 * deep, 0.8 * half_disc)))
    return Vertebra(
        body=solids.column(middle, (wide, deep), low),
        arch=shapes.union(tuple(arch)),
        disc=shapes.union(tuple(discs)),
        nucleus=shapes.union(tuple(cores)),
    )
