"""Pedicle screws and rods of a fused lumbar spine as solids in patient space.

Own frame [mm]: x to the patient's left, y to the back, z to the head, origin midway between all screws.
Sizes lie within what is sold: screws of 5.5 to 7.5 mm and 38 to 46 mm in bone, rods of 4.75 to 6.35 mm.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from simulation import shapes, solids
from simulation.implants import Implant, ImplantPart
from simulation.materials import COCRMO, STEEL_316L, TI6AL4V, Material
from simulation.shapes import Point, Shape
from simulation.stacks import random_turn

REACH_MM = (60.0, 65.0, 100.0)
"""No part is farther from the middle of the screws along LPS x, y and z [mm]."""
_OF_SCREWS_AND_RODS = ((TI6AL4V, TI6AL4V), (TI6AL4V, COCRMO), (STEEL_316L, STEEL_316L), (COCRMO, COCRMO))
_SHARES = (0.55, 0.25, 0.15, 0.05)
_CROSS_SHARE = 0.3
_POSE_DEG = 3.0
_ROD_RADII_MM = (2.375, 2.75, 3.0, 3.175)
_THREAD_SHARE = 0.9
"""Radius of a rod as heavy as a threaded screw, in radii of the screw."""


def random_spine_rods(centre_mm: Point, rng: np.random.Generator, material: Material | None = None) -> Implant:
    """Draw screws in two to four neighbouring vertebrae, on two rods along the curve of the spine.

    Args:
        centre_mm: midway between all screws [mm, LPS].
        rng: source of randomness.
        material: of all of it; None draws one for the screws and one for the rods.

    Returns:
        The implant, within `REACH_MM` of the centre.
    """
    screw_material, rod_material = _OF_SCREWS_AND_RODS[int(rng.choice(len(_SHARES), p=_SHARES))]
    heights, curve = _levels(rng)
    rod_radius = float(rng.choice(_ROD_RADII_MM))
    screws: list[Shape] = []
    rods: list[Shape] = []
    for side in (-1.0, 1.0):
        heads = []
        for height in heights:
            screw, head = _screw(side, float(height), curve, rod_radius, rng)
            screws.append(screw)
            heads.append(head)
        rods.append(_rod(np.array(heads), rod_radius, rng))
    if rng.random() < _CROSS_SHARE:
        across = [rod.centre for rod in rods]
        rods.append(shapes.round_cone(across[0], across[1], 2.5, 2.5))
    turn = random_turn(rng, _POSE_DEG)
    pieces = [(rod_material, rod) for rod in rods] + [(screw_material, screw) for screw in screws]
    drawn = Implant(parts=tuple(ImplantPart(one, solids.placed(shape, turn, centre_mm)) for one, shape in pieces))
    return drawn if material is None else drawn.made_of(material)


def _levels(rng: np.random.Generator) -> tuple[NDArray[np.float64], float]:
    """Heights of the vertebrae [mm], and the curvature of the lordosis, whose hollow side is behind [1/mm]."""
    steps = rng.uniform(32, 40, int(rng.integers(2, 5)) - 1)
    heights = np.concatenate(([0.0], np.cumsum(steps)))
    return heights - heights.mean(), float(rng.uniform(1 / 400, 1 / 150))


def _screw(
    side: float, height: float, curve: float, rod_radius: float, rng: np.random.Generator
) -> tuple[Shape, Point]:
    """A screw that runs forwards and inwards through the pedicle, with its head; and where the rod lies in it."""
    slope = curve * height
    forwards = np.array([0.0, -1.0, slope]) / np.hypot(1, slope)  # at right angles to the curve
    inwards = np.deg2rad(rng.uniform(5, 20))
    direction = np.cos(inwards) * forwards + np.array([-side * np.sin(inwards), 0.0, 0.0])
    entry = np.array([side * rng.uniform(18, 23), curve * height**2 / 2 + 18, height]) + rng.normal(0, 1.0, 3)
    radius = _THREAD_SHARE * float(rng.uniform(5.5, 7.5)) / 2
    tip = entry + rng.uniform(38, 46) * direction
    head = entry - 8 * direction
    top = head - 5 * direction
    tulip = rod_radius + float(rng.uniform(2.5, 3.5))
    pieces = (
        shapes.round_cone(shapes.as_point(entry), shapes.as_point(tip), radius, 0.75 * radius),
        shapes.round_cone(shapes.as_point(entry), shapes.as_point(top), tulip - 1, tulip),
    )
    return shapes.union(pieces), shapes.as_point(head)


def _rod(heads: NDArray[Any], radius: float, rng: np.random.Generator) -> Shape:
    """Straight from head to head, a little beyond the outermost ones."""
    ends = []
    for last, before in ((0, 1), (-1, -2)):
        along = heads[last] - heads[before]
        ends.append(heads[last] + rng.uniform(7, 12) * along / np.linalg.norm(along))
    knots = [shapes.as_point(one) for one in (ends[0], *heads, ends[1])]
    return shapes.union(tuple(shapes.round_cone(a, b, radius, radius) for a, b in pairwise(knots)))
