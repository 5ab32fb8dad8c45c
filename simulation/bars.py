"""Round bars and balls of one material: the plainest implants, of any size."""

from __future__ import annotations

import numpy as np

from simulation import shapes
from simulation.hip_sites import HipSite
from simulation.implants import HipImplant, ImplantKind, ImplantPart
from simulation.materials import ALUMINA, COCRMO, STEEL_316L, TI6AL4V, ZIRCONIA, Material

RADIUS_MM = (4.0, 25.0)
JITTER_MM = 8.0
HALF_LENGTH_MM = (20.0, 80.0)
BALL_SHARE = 0.3
MATERIALS: tuple[Material, ...] = (COCRMO, STEEL_316L, TI6AL4V, ZIRCONIA, ALUMINA)
MATERIAL_SHARES = (0.35, 0.3, 0.25, 0.05, 0.05)


def random_material(rng: np.random.Generator) -> Material:
    """A metal or ceramic that implants are made of."""
    return MATERIALS[int(rng.choice(len(MATERIALS), p=MATERIAL_SHARES))]


def random_bar(site: HipSite, rng: np.random.Generator) -> HipImplant:
    """A ball at the site, or a bar along the femur that leans a little.

    Args:
        site: where it goes.
        rng: source of randomness.
    """
    material = random_material(rng)
    radius = float(rng.uniform(*RADIUS_MM))
    middle = np.asarray(site.centre_mm) + rng.normal(0, JITTER_MM, 3) * (1, 1, 0)
    if rng.random() < BALL_SHARE:
        shape: shapes.Shape = shapes.sphere(shapes.as_point(middle), radius)
    else:
        axis = np.array([rng.normal(0, 0.3), rng.normal(0, 0.3), 1.0])
        half = float(rng.uniform(*HALF_LENGTH_MM)) * axis / np.linalg.norm(axis)
        ends = shapes.as_point(middle - half), shapes.as_point(middle + half)
        shape = shapes.round_cone(*ends, radius, radius * float(rng.uniform(0.7, 1.0)))
    return HipImplant(ImplantKind.BAR, site, parts=(ImplantPart(material, shape),))
