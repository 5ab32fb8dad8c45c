"""The synthetic pelvis looks like a pelvis, and implants land in its hips."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from dicom_node.contracts import Geometry
from simulation import shapes
from simulation.hip_sites import find_hips
from simulation.implants import ImplantKind, random_implant, rasterise
from simulation.materials import ALUMINA, BONE_CEMENT, COCRMO, STEEL_316L, TI6AL4V, UHMWPE, ZIRCONIA, Material
from simulation.phantoms import PelvisPhantom, make_pelvis


@pytest.fixture(scope="module")
def pelvis() -> PelvisPhantom:
    return make_pelvis(seed=4, slices=26, n_pixels=192, pixel_mm=2.3, spacing_mm=6.0)


def test_phantom_holds_every_tissue(pelvis: PelvisPhantom) -> None:
    assert pelvis.hu.shape == pelvis.geometry.shape == (26, 192, 192)
    assert pelvis.hu.dtype == np.float32
    hu = pelvis.hu
    share = {
        "air": (hu < -900).mean(),
        "fat": ((hu > -140) & (hu < -60)).mean(),
        "muscle": ((hu > 20) & (hu < 90)).mean(),
        "bone": (hu > 200).mean(),
        "cortex": (hu > 700).mean(),
    }
    assert 0.4 < share["air"] < 0.8
    assert share["fat"] > 0.05
    assert share["muscle"] > 0.1
    assert 0.005 < share["bone"] < 0.1
    assert share["cortex"] > 0.001


def test_phantom_is_reproducible_and_varied(pelvis: PelvisPhantom) -> None:
    same = make_pelvis(seed=4, slices=2, n_pixels=64, pixel_mm=7)
    assert np.array_equal(same.hu, make_pelvis(seed=4, slices=2, n_pixels=64, pixel_mm=7).hu)
    assert np.abs(same.hu - make_pelvis(seed=5, slices=2, n_pixels=64, pixel_mm=7).hu).mean() > 20


def test_hips_are_found_where_they_are(pelvis: PelvisPhantom) -> None:
    found = find_hips(pelvis.hu, pelvis.geometry)
    assert [site.side for site in found] == ["right", "left"]
    for site, true in zip(found, pelvis.hips, strict=True):
        assert np.linalg.norm(np.subtract(site.centre_mm, true.centre_mm)) < 14
        assert site.radius_mm == pytest.approx(true.radius_mm, abs=4)
        assert site.shaft_mm is not None
        assert abs(site.shaft_mm[0]) > abs(site.centre_mm[0]) + 10  # the shaft lies lateral of the head


def test_hips_are_found_in_one_slice_and_upside_down(pelvis: PelvisPhantom) -> None:
    z = 15
    geometry = replace(pelvis.geometry, slice_origins_mm=pelvis.geometry.slice_origins_mm[z : z + 1])
    single = find_hips(pelvis.hu[z : z + 1], geometry)
    assert [site.side for site in single] == ["right", "left"]
    assert all(site.shaft_mm is None for site in single)
    g = pelvis.geometry
    far = tuple(float(o + 191 * 2.3) for o in g.slice_origins_mm[z][:2])
    prone = replace(
        geometry,
        row_direction=(-1.0, 0.0, 0.0),
        column_direction=(0.0, -1.0, 0.0),
        slice_origins_mm=((far[0], far[1], g.slice_origins_mm[z][2]),),
    )
    turned = find_hips(np.ascontiguousarray(pelvis.hu[z : z + 1, ::-1, ::-1]), prone)
    for a, b in zip(single, turned, strict=True):
        assert np.linalg.norm(np.subtract(a.centre_mm, b.centre_mm)) < 7


def test_nothing_is_found_in_air_and_water(pelvis: PelvisPhantom) -> None:
    assert find_hips(np.full_like(pelvis.hu, -1000), pelvis.geometry) == ()
    assert find_hips(np.zeros_like(pelvis.hu), pelvis.geometry) == ()


DRAWN = tuple(kind for kind in ImplantKind if kind is not ImplantKind.BAR)


@pytest.mark.parametrize("kind", DRAWN)
def test_implants_lie_at_the_hip_and_mostly_in_bone(pelvis: PelvisPhantom, kind: ImplantKind) -> None:
    site = find_hips(pelvis.hu, pelvis.geometry)[0]
    implant = random_implant(site, np.random.default_rng(3), kind)
    filled = rasterise((implant,), pelvis.geometry)
    metal = sum(share for material, share in filled.items() if material not in (UHMWPE, BONE_CEMENT))
    volume_ml = float(metal.sum()) * 2.3**2 * 6 / 1000
    assert 2 < volume_ml < 250
    z, y, x = (float((index * metal).sum() / metal.sum()) for index in np.indices(metal.shape))
    centre = np.add(pelvis.geometry.slice_origins_mm[0], (x * 2.3, y * 2.3, z * 6.0))
    assert np.linalg.norm(centre - site.centre_mm) < 95
    assert centre[0] < 0  # the right hip
    assert float((pelvis.hu[metal > 0.5] > 60).mean()) > 0.3


def test_shares_never_exceed_one_voxel(pelvis: PelvisPhantom) -> None:
    implants = tuple(random_implant(s, np.random.default_rng(1), ImplantKind.TOTAL) for s in pelvis.hips)
    filled = rasterise(implants, pelvis.geometry)
    assert {TI6AL4V, UHMWPE} <= set(filled)
    total = sum(filled.values())
    assert float(total.max()) <= 1 + 1e-5
    assert all(float(share.min()) >= 0 for share in filled.values())


def test_total_hips_come_in_every_material(pelvis: PelvisPhantom) -> None:
    drawn = [
        random_implant(pelvis.hips[0], np.random.default_rng(seed), ImplantKind.TOTAL).parts for seed in range(120)
    ]
    heads, liners = {parts[-1].material for parts in drawn}, {parts[-5].material for parts in drawn}
    assert heads == {COCRMO, STEEL_316L, ZIRCONIA, ALUMINA}
    assert liners == {UHMWPE, ALUMINA, COCRMO}
    assert {parts[-2].material for parts in drawn} == {COCRMO, STEEL_316L, TI6AL4V}
    cemented = [any(part.material is BONE_CEMENT for part in parts) for parts in drawn]
    assert 5 < sum(cemented) < 60
    assert all(parts[-2].material is not TI6AL4V for parts, cement in zip(drawn, cemented, strict=True) if cement)


@pytest.mark.parametrize("material", [COCRMO, TI6AL4V, STEEL_316L])
def test_the_material_can_be_chosen(pelvis: PelvisPhantom, material: Material) -> None:
    drawn = [random_implant(pelvis.hips[0], np.random.default_rng(seed), material=material) for seed in range(40)]
    assert {part.material for implant in drawn for part in implant.parts} <= {material, UHMWPE, BONE_CEMENT}
    kinds = {implant.kind for implant in drawn}
    assert ImplantKind.TOTAL in kinds and len(kinds) > 1
    assert (ImplantKind.NAIL in kinds) == (material is not COCRMO)
    forced = random_implant(pelvis.hips[0], np.random.default_rng(0), ImplantKind.PLATE, material=material)
    assert (forced.kind, {part.material for part in forced.parts}) == (ImplantKind.PLATE, {material})


def test_bars_are_drawn_elsewhere(pelvis: PelvisPhantom) -> None:
    with pytest.raises(ValueError, match=r"simulation\.bars"):
        random_implant(pelvis.hips[0], np.random.default_rng(0), ImplantKind.BAR)


def test_implants_differ_by_seed_and_repeat_by_seed(pelvis: PelvisPhantom) -> None:
    site = pelvis.hips[0]
    kinds = {random_implant(site, np.random.default_rng(seed)).kind for seed in range(60)}
    assert kinds == set(DRAWN)
    first, again = (rasterise((random_implant(site, np.random.default_rng(9)),), pelvis.geometry) for _ in range(2))
    assert first.keys() == again.keys()
    assert all(np.array_equal(first[m], again[m]) for m in first)


def test_a_rasterised_ball_has_its_volume() -> None:
    geometry = Geometry((1, 0, 0), (0, 1, 0), (1.0, 1.0), tuple((0.0, 0.0, float(z)) for z in range(40)), 40, 40)
    ball = shapes.sphere((19.5, 19.5, 19.5), 15)
    total = 0.0
    for z in range(40):
        found = shapes.distance_on_slice(ball, shapes.slice_points(geometry, z), 1.0)
        total += float(shapes.fill_share(found[1], 1.0).sum()) if found else 0.0
    assert total == pytest.approx(4 / 3 * np.pi * 15**3, rel=0.01)
