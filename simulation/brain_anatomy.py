"""Shapes of a head, drawn at random within what adults have.

Own frame [mm]: x to the patient's left, y to the back, z to the crown, origin in the middle of the brain between the
thalami. Distances are signed, negative inside.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dicom_node.contracts import FloatArray
from simulation import shapes
from simulation.shapes import Point, Shape


@dataclass(frozen=True, eq=False)
class HeadAnatomy:
    """What differs from patient to patient.

    Attributes:
        pia_mm: distance between skull and brain [mm].
        sulcus_mm: half width of the sulci [mm].
        cortex_mm: thickness of the cortex [mm].
        skull_mm: thickness of the skull [mm].
        scalp_mm: thickness of the scalp [mm].
        ventricles: the ventricles.
        deep_grey: thalami, caudate nuclei, putamina, hippocampi.
        pallidum: the globi pallidi.
        lesions: white matter lesions.
    """

    pia_mm: float
    sulcus_mm: float
    cortex_mm: float
    skull_mm: float
    scalp_mm: float
    ventricles: Shape
    deep_grey: tuple[Shape, ...]
    pallidum: tuple[Shape, ...]
    lesions: tuple[Shape, ...]


def draw_head(rng: np.random.Generator, lesions: int) -> HeadAnatomy:
    """Draw one patient with a number of white matter lesions."""
    age = rng.uniform(0, 1)  # how much the brain has shrunk
    wide = 0.85 + 0.85 * age + rng.normal(0, 0.1)
    return HeadAnatomy(
        pia_mm=1.0 + 2.0 * age + rng.uniform(0, 0.6),
        sulcus_mm=0.35 + 0.7 * age,
        cortex_mm=rng.uniform(2.8, 3.5),
        skull_mm=rng.uniform(5.0, 8.0),
        scalp_mm=rng.uniform(4.5, 8.0),
        ventricles=shapes.union(tuple(_ventricles(max(wide, 0.7), rng))),
        deep_grey=tuple(shape for side in (-1.0, 1.0) for shape in _nuclei(side, max(wide, 0.7), rng)),
        pallidum=tuple(shapes.ellipsoid(_near((side * 18, -2, 2), 0.6, rng), (4.0, 8.5, 6.5)) for side in (-1.0, 1.0)),
        lesions=tuple(_lesion(rng) for _ in range(lesions)),
    )


def vault(points: FloatArray) -> FloatArray:
    """Distance to the inner table of an unbounded, egg-shaped braincase; near zero it is true to scale."""
    x, y, z = points[..., 0], points[..., 1], points[..., 2]
    half_width = 67 * (1 + 0.075 * np.tanh((y - 8) / 45) - 0.0008 * np.abs(z - 12))
    half_height = np.where(z > 0, np.float32(80), np.float32(58))
    u, v, w = np.abs(x) / half_width, np.abs(y) / 86, np.abs(z) / half_height
    level = (u**2.2 + v**2.2 + w**2.2) ** (1 / 2.2)
    floor = np.maximum(level, 1e-3)
    slopes = (((part / floor) ** 1.2 / half) ** 2 for part, half in ((u, half_width), (v, 86), (w, half_height)))
    slope = np.sqrt(sum(slopes, start=np.zeros_like(level)))
    distance: FloatArray = ((level - 1) / np.maximum(slope, 1 / 90)).astype(np.float32)
    return distance


def cavity(points: FloatArray, dome: FloatArray) -> tuple[FloatArray, FloatArray, FloatArray]:
    """Spaces of the braincase.

    Args:
        points: (y, x, 3) [mm].
        dome: `vault` of the points.

    Returns:
        Distances to: the whole cavity; the part of the cerebrum; the part of the cerebellum, below the tentorium.
    """
    x, y, z = points[..., 0], points[..., 1], points[..., 2]
    behind_ridge = _step(y - 12 - 0.5 * (np.abs(x) - 15), -3, 9)  # of the petrous bones
    orbits = 6 * np.exp(-(((np.abs(x) - 30) / 13) ** 2))
    tent = -24 + 20 * np.exp(-((x / 24) ** 2) - ((y - 22) / 40) ** 2) - 0.12 * (y - 40)
    floor = -20 + orbits - 12 * _step(y, -28, -8)
    floor += (tent - floor) * behind_ridge
    above = np.maximum(dome, 0.9 * (floor - z))
    resting = np.maximum(dome, 0.9 * (floor - z) - 2.5)  # the frontal lobes lie on the floor
    temporal = np.minimum.reduce(
        [shapes.ellipsoid((side * 40, -4, -24), (25.5, 38, 23)).distance(points) for side in (-1.0, 1.0)]
    )
    temporal = np.maximum(temporal, 16 - np.abs(x))
    cerebrum = smooth_union(above, temporal, 3)
    fossa = shapes.ellipsoid((0, 42, -38), (54, 40, 40)).distance(points)
    ridge = 0.9 * (12 + 0.5 * (np.abs(x) - 15) - y)
    behind = np.maximum.reduce([fossa, dome, z - tent - 1, ridge])
    stem = shapes.union(
        (shapes.ellipsoid((0, 8, -26), (20, 22, 24)), shapes.round_cone((0, 24, -60), (0, 38, -150), 15, 11))
    )
    whole = np.minimum(cerebrum, smooth_union(behind, stem.distance(points), 4))
    over_tent = 0.9 * (tent - z) * behind_ridge - 50 * (1 - behind_ridge)
    return whole, np.maximum(smooth_union(resting, temporal, 3), over_tent), behind


def smooth_union(one: NDArray[Any], other: NDArray[Any], by_mm: float) -> FloatArray:
    """Union of two distances whose seam is rounded over `by_mm`."""
    half = np.clip(0.5 + 0.5 * (other - one) / by_mm, 0, 1)
    union: FloatArray = (other + (one - other) * half - by_mm * half * (1 - half)).astype(np.float32)
    return union


def _step(values: NDArray[Any], start: float, end: float) -> FloatArray:
    share = np.clip((values - start) / (end - start), 0, 1)
    return np.asarray(share * share * (3 - 2 * share), np.float32)


def _near(point: Point, by_mm: float, rng: np.random.Generator) -> Point:
    return shapes.as_point(np.asarray(point) + rng.normal(0, by_mm, 3))


def _chain(points: list[Point], radii: list[float]) -> list[Shape]:
    """A tube through points."""
    ends = zip(points[:-1], points[1:], radii[:-1], radii[1:], strict=True)
    return [shapes.round_cone(a, b, r, s) for a, b, r, s in ends]


def _ventricles(wide: float, rng: np.random.Generator) -> list[Shape]:
    parts: list[Shape] = [
        shapes.ellipsoid((0, 2, -1), (1.7 * wide + 0.5, 14, 10)),  # third
        shapes.round_cone((0, 20, -12), (0, 28, -28), 1.0, 1.2),  # aqueduct
        shapes.ellipsoid((0, 30, -39), (6.5 * wide**0.5, 5.5, 11)),  # fourth
    ]
    for side in (-1.0, 1.0):
        here = wide * rng.uniform(0.88, 1.14)

        def at(x: float, y: float, z: float, side: float = side, here: float = here) -> Point:
            return _near((side * (x + 2.5 * (here - 1)), y, z), 0.7, rng)

        front, body, atrium = at(14, -35, 5), at(8, -14, 14), at(24, 34, 13)
        parts += _chain(
            [front, body, at(10, 8, 20), atrium, at(27, 52, 7)],
            [2.2 * here, 4.4 * here, 4.4 * here, 6.0 * here, 2.0 * here],
        )
        parts += _chain([atrium, at(33, 16, -8), at(31, -6, -19)], [4.5 * here, 2.0 * here, 1.6 * here])
    return parts


def _nuclei(side: float, wide: float, rng: np.random.Generator) -> list[Shape]:
    def at(x: float, y: float, z: float) -> Point:
        return _near((side * x, y, z), 0.7, rng)

    out = 3.0 * (wide - 1)
    return [
        shapes.union(
            (shapes.ellipsoid(at(10.5, 6, 5), (8, 12, 8.5)), shapes.ellipsoid(at(14, 17, 6), (9, 9, 8)))
        ),  # thalamus
        shapes.union(
            tuple(
                _chain(
                    [at(14 + out, -24, 3), at(15 + out, -16, 12), at(18 + out, 2, 21), at(24 + out, 22, 22)],
                    [6.2, 5.2, 3.2, 2.0],
                )
            )
        ),  # caudate nucleus
        shapes.union(
            (
                shapes.ellipsoid(at(25, -10, 1), (4.6, 11, 9)),
                shapes.ellipsoid(at(27.5, 3, 3), (4.0, 12, 9)),
            )
        ),  # putamen
        shapes.union(tuple(_chain([at(24, -2, -20), at(28, 14, -16), at(26, 26, -8)], [5.0, 4.2, 3.0]))),  # hippocampus
    ]


def _lesion(rng: np.random.Generator) -> Shape:
    """A blob in white matter, oftener near the ventricles."""
    side = rng.choice((-1.0, 1.0))
    radius = float(np.clip(rng.lognormal(0.9, 0.5), 1.2, 8))
    if rng.uniform() < 0.6:
        along = rng.uniform(-1, 1)
        centre = (side * (16 + 10 * max(along, -0.2) + rng.uniform(0, 6)), 40 * along, 14 + rng.uniform(-4, 12))
    else:
        centre = (side * rng.uniform(18, 42), rng.uniform(-45, 50), rng.uniform(8, 45))
    return shapes.ellipsoid(centre, (radius * rng.uniform(0.7, 1.1), radius * rng.uniform(0.8, 1.8), radius))
