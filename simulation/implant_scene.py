"""A random implant for a region of the body, without an anatomy that it must fit."""

from __future__ import annotations

from typing import Literal

import numpy as np

from simulation.hip_sites import HipSite
from simulation.implants import Implant, random_implant
from simulation.knee_implant import random_knee
from simulation.materials import Material
from simulation.shapes import Point
from simulation.spine_implant import random_spine_rods

Region = Literal["hip", "knee", "spine"]
_HEAD_RADIUS_MM = (20.0, 26.0)


def random_site_implant(
    rng: np.random.Generator, region: Region, centre_mm: Point, material: Material | None = None
) -> Implant:
    """Draw what is implanted in a region.

    Args:
        rng: source of randomness.
        region: hip (on either side), knee (likewise) or lumbar spine.
        centre_mm: of the femoral head, of the joint line, or midway between the screws [mm, LPS].
        material: of all its metal and ceramic; None draws a material for each piece.

    Returns:
        The implant, in the pose that it has in a patient who lies along LPS.
    """
    match region:
        case "hip":
            side: Literal["right", "left"] = "right" if rng.random() < 0.5 else "left"
            return random_implant(
                HipSite(side, centre_mm, float(rng.uniform(*_HEAD_RADIUS_MM))), rng, material=material
            )
        case "knee":
            return random_knee(centre_mm, rng, material)
        case "spine":
            return random_spine_rods(centre_mm, rng, material)
