"""Knee and spine implants have the size, the metal and the field of those that patients have."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import numpy as np
import pytest

from dicom_node.contracts import FloatArray, Geometry
from simulation import knee_implant, spine_implant
from simulation.implant_scene import Region, random_site_implant
from simulation.implants import HipImplant, Implant, rasterise
from simulation.knee_implant import random_knee
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
from simulation.spine_implant import random_spine_rods
from simulation.stacks import Plane, stack
from simulation.susceptibility import implant_field_hz

Draw = Callable[..., Implant]
CENTRE = (12.0, -30.0, 5.0)
PLASTIC = (UHMWPE, BONE_CEMENT)
REACH = {random_knee: knee_implant.REACH_MM, random_spine_rods: spine_implant.REACH_MM}
both = pytest.mark.parametrize("draw", [random_knee, random_spine_rods])


def grid(slices: int, n_pixels: int, voxel_mm: float) -> Geometry:
    return stack(Plane.AXIAL, slices=slices, n_pixels=n_pixels, pixel_mm=voxel_mm, spacing_mm=voxel_mm, centre=CENTRE)


WIDE = grid(120, 40, 4.0)


@cache
def filled(draw: Draw, seed: int) -> dict[Material, FloatArray]:
    return rasterise((draw(CENTRE, np.random.default_rng(seed)),), WIDE)


def metal_of(draw: Draw, seed: int) -> dict[Material, FloatArray]:
    return {material: share for material, share in filled(draw, seed).items() if material not in PLASTIC}


def extent_mm(share: FloatArray) -> tuple[np.ndarray, np.ndarray]:
    """Lowest and highest place along x, y, z from the centre [mm] of voxels that are at least a fifth filled."""
    places = (np.argwhere(share > 0.2) - (np.array(share.shape) - 1) / 2)[:, ::-1] * 4.0
    return places.min(axis=0), places.max(axis=0)


@both
@pytest.mark.parametrize("seed", range(6))
def test_no_part_leaves_the_stated_reach(draw: Draw, seed: int) -> None:
    low, high = extent_mm(np.asarray(sum(filled(draw, seed).values())))
    assert (np.maximum(-low, high) < REACH[draw]).all()


@both
@pytest.mark.parametrize("seed", range(6))
def test_bounding_spheres_hold_what_they_bound(draw: Draw, seed: int) -> None:
    points = np.random.default_rng(seed).uniform(-100, 100, (4000, 3)).astype(np.float32) + np.asarray(
        CENTRE, np.float32
    )
    for part in draw(CENTRE, np.random.default_rng(seed)).parts:
        inside = points[part.shape.distance(points) < 0]
        assert (np.linalg.norm(inside - part.shape.centre, axis=-1) <= part.shape.reach_mm + 1e-3).all()


@pytest.mark.parametrize(
    ("draw", "volume_ml", "mass_g"), [(random_knee, (28, 110), (180, 750)), (random_spine_rods, (8, 40), (35, 330))]
)
@pytest.mark.parametrize("seed", range(6))
def test_there_is_as_much_metal_as_in_real_ones(
    draw: Draw, volume_ml: tuple[float, float], mass_g: tuple[float, float], seed: int
) -> None:
    volumes = {material: float(share.sum()) * 4.0**3 / 1000 for material, share in metal_of(draw, seed).items()}
    assert volume_ml[0] < sum(volumes.values()) < volume_ml[1]
    assert mass_g[0] < sum(v * m.density_g_cm3 for m, v in volumes.items()) < mass_g[1]


@pytest.mark.parametrize("seed", range(6))
def test_a_knee_is_as_wide_as_a_knee_with_plastic_between_metal(seed: int) -> None:
    metal = np.asarray(sum(metal_of(random_knee, seed).values()))
    low, high = extent_mm(metal)
    assert 52 <= high[0] - low[0] <= 88  # across
    assert 44 <= high[1] - low[1] <= 84  # front to back
    assert low[2] < -30 and high[2] > 25
    column = metal[:, 19:21, 19:21].sum(axis=(1, 2))  # through the keel
    assert column[60 - 12 : 60 - 6].min() > 0.5
    insert = filled(random_knee, seed)[UHMWPE]
    heights = (np.arange(120) - 59.5) * 4.0
    below = np.where(heights < 6, insert.sum(axis=(1, 2)), 0)  # the patella's button lies higher
    assert -12 < float((heights * below).sum() / below.sum()) < 0


@pytest.mark.parametrize("seed", range(6))
def test_rods_run_through_all_levels_on_both_sides(seed: int) -> None:
    metal = np.asarray(sum(metal_of(random_spine_rods, seed).values()))
    low, high = extent_mm(metal)
    assert 40 < high[2] - low[2] < 160
    assert 35 < high[0] - low[0] < 80
    assert 45 < high[1] - low[1] < 90
    first, last = (int(60 + at / 4) for at in (low[2] + 4, high[2] - 4))
    for half in (metal[first:last, :, :20], metal[first:last, :, 20:]):
        assert (half.sum(axis=(1, 2)) > 0.5).all()


@both
def test_seeds_are_implants(draw: Draw) -> None:
    coarse = grid(20, 20, 8.0)
    one, again, other = (rasterise((draw(CENTRE, np.random.default_rng(s)),), coarse) for s in (1, 1, 2))
    assert one.keys() == again.keys()
    assert all(np.array_equal(one[material], again[material]) for material in one)
    assert float(np.abs(np.asarray(sum(one.values())) - np.asarray(sum(other.values()))).max()) > 0.1


@both
def test_the_centre_moves_all_of_it(draw: Draw) -> None:
    coarse = grid(20, 20, 8.0)
    there = rasterise((draw(CENTRE, np.random.default_rng(3)),), coarse)
    moved = rasterise((draw((CENTRE[0] + 16, CENTRE[1], CENTRE[2] - 8), np.random.default_rng(3)),), coarse)
    for material, share in there.items():
        np.testing.assert_allclose(np.roll(share, (-1, 2), (0, 2)), moved[material], atol=1e-4)


@both
@pytest.mark.parametrize("material", [COCRMO, TI6AL4V, STEEL_316L, ALUMINA])
def test_the_material_can_be_chosen(draw: Draw, material: Material) -> None:
    for seed in range(10):
        drawn = draw(CENTRE, np.random.default_rng(seed), material)
        assert {part.material for part in drawn.parts} - set(PLASTIC) == {material}
        free = draw(CENTRE, np.random.default_rng(seed))
        assert [p.material for p in free.made_of(material).parts] == [p.material for p in drawn.parts]


def test_knees_and_spines_come_in_what_is_sold() -> None:
    knees = [random_knee(CENTRE, np.random.default_rng(seed)) for seed in range(60)]
    spines = [random_spine_rods(CENTRE, np.random.default_rng(seed)) for seed in range(60)]
    assert {knee.parts[-1].material for knee in knees} == {COCRMO, ZIRCONIA}
    assert {knee.parts[-2].material for knee in knees} == {COCRMO, TI6AL4V}
    assert {part.material for spine in spines for part in spine.parts} == {COCRMO, TI6AL4V, STEEL_316L}
    reach = [knee.parts[-2].shape.reach_mm for knee in knees]
    assert 0.05 < np.mean(np.array(reach) > 70) < 0.4  # stems
    assert {len(spine.parts) // 2 - 1 for spine in spines} == {2, 3, 4}


def test_the_field_of_a_knee_of_cobalt_falls_from_tens_of_kilohertz() -> None:
    geometry = grid(16, 48, 4.0)
    knee = random_knee(CENTRE, np.random.default_rng(1), COCRMO)
    field = np.abs(implant_field_hz((knee,), geometry, 3.0))
    share = np.asarray(sum(rasterise((knee,), geometry).values()))
    places = np.moveaxis(np.indices(field.shape), 0, -1) - (np.array(field.shape) - 1) / 2
    away = 4.0 * np.linalg.norm(places, axis=-1)
    outside = share < 0.01
    assert 10e3 < float(field[outside].max()) < 80e3
    rings = [float(np.percentile(field[outside & (away > r) & (away < r + 10)], 90)) for r in (45, 65, 85)]
    assert rings[0] > 1.5 * rings[1] > 1.5 * 1.5 * rings[2] > 0
    titanium = np.abs(implant_field_hz((knee.made_of(TI6AL4V),), geometry, 3.0))
    assert float(titanium.max()) == pytest.approx(float(field.max()) * 182 / 900, rel=1e-3)


@pytest.mark.parametrize("region", ["hip", "knee", "spine"])
def test_regions_have_their_implants(region: Region) -> None:
    drawn = random_site_implant(np.random.default_rng(0), region, CENTRE, COCRMO)
    assert isinstance(drawn, HipImplant) == (region == "hip")
    share = rasterise((drawn,), grid(10, 16, 10.0))[COCRMO]
    assert float(share.sum()) > 5  # millilitres, near the centre
