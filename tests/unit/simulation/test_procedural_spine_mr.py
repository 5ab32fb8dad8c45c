"""The synthetic lumbar spine has vertebrae, discs and a sac with fluid, where screws would look for them."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy import ndimage

from simulation import shapes
from simulation.implants import rasterise
from simulation.mr_contrast import Weighting, protocol
from simulation.mr_phantom import MrPhantom
from simulation.spine_anatomy import draw_spine
from simulation.spine_implant import random_spine_rods
from simulation.spine_mr import make_spine_mr
from simulation.stacks import Plane
from simulation.tissues import Tissue

SEEDS = (1, 2, 3)
seeds = pytest.mark.parametrize("seed", SEEDS)


@cache
def spine(seed: int, plane: Plane = Plane.SAGITTAL, weighting: Weighting = Weighting.T1, slices: int = 1) -> MrPhantom:
    return make_spine_mr(
        seed=seed, plane=plane, slices=slices, n_pixels=140, pixel_mm=2.8, sequence=protocol(weighting)
    )


@seeds
def test_vertebrae_and_discs_alternate(seed: int) -> None:
    phantom = spine(seed)
    points = shapes.slice_points(phantom.geometry, 0)
    bodies = phantom.mask(Tissue.RED_MARROW)[0] & (points[..., 1] < 5) & (np.abs(points[..., 2]) < 100)
    parts, count = ndimage.label(bodies)
    sizes = np.bincount(parts.ravel())[1:]
    whole = [part + 1 for part in range(count) if sizes[part] > 0.75 * sizes.max()]  # not cut off above or below
    heights = sorted(float(points[parts == part][:, 2].mean()) for part in whole)
    assert 4 <= len(heights) <= 6, heights
    assert all(30 < step < 41 for step in np.diff(heights)), heights


@seeds
def test_the_canal_runs_through_behind_the_bodies(seed: int) -> None:
    phantom = spine(seed, Plane.AXIAL, slices=5)
    for layer in range(5):
        points = shapes.slice_points(phantom.geometry, layer)
        sac = phantom.mask(Tissue.CSF)[layer] | phantom.mask(Tissue.WHITE_MATTER)[layer]
        middle = points[sac].mean(axis=0)
        assert abs(middle[0]) < 4 and 5 < middle[1] < 22
        assert 90 < sac.sum() * 2.8**2 < 330


def test_all_tissues_are_there_in_plausible_shares() -> None:
    phantom = spine(1, Plane.AXIAL, slices=5)
    inside = ~phantom.mask(Tissue.AIR)
    assert not inside[:, 0].any() and not inside[:, :, 0].any()  # the field of view holds the trunk
    share = {tissue: float(phantom.mask(tissue).sum() / inside.sum()) for tissue in Tissue}
    assert share[Tissue.MUSCLE] > 0.15
    assert 0.15 < share[Tissue.FAT] < 0.8
    for tissue in (Tissue.CORTICAL_BONE, Tissue.RED_MARROW, Tissue.ARTERY, Tissue.VEIN):
        assert share[tissue] > 0.001


def test_contrasts_are_those_of_the_tissues() -> None:
    t1, t2 = spine(1), spine(1, weighting=Weighting.T2)
    assert np.array_equal(t1.labels, t2.labels)
    fluid, marrow = t1.mask(Tissue.CSF), t1.mask(Tissue.RED_MARROW)
    assert t2.signal[fluid].mean() > 2 * t2.signal[marrow].mean()
    assert t1.signal[fluid].mean() < t1.signal[marrow].mean()


def test_seeds_are_patients() -> None:
    one, again, other = (make_spine_mr(seed=s, slices=1, n_pixels=48, pixel_mm=8).signal for s in (1, 1, 2))
    assert np.array_equal(one, again)
    assert np.abs(one - other).mean() > 20
    assert 0 <= one.min() < one.max() < 1200


def test_screws_of_three_levels_hold_in_bone_and_nowhere_leave_the_trunk() -> None:
    phantom = spine(2, Plane.AXIAL, slices=11)
    drawn = (random_spine_rods((0.0, 0.0, 0.0), np.random.default_rng(seed)) for seed in range(40))
    rods = next(one for one in drawn if len(one.parts) // 2 == 4)  # three levels: the middle one is the vertebra's
    metal = np.asarray(sum(rasterise((rods,), phantom.geometry).values())) > 0.5
    assert not (metal & phantom.mask(Tissue.AIR)).any()
    bone = phantom.mask(Tissue.RED_MARROW) | phantom.mask(Tissue.CORTICAL_BONE)
    assert bone[metal].mean() > 0.3  # heads and rods lie behind it
    assert not (metal & phantom.mask(Tissue.CSF)).any()


@seeds
def test_the_straightened_spine_is_where_the_curved_one_was(seed: int) -> None:
    """Lengths along and across the spine stay those of the patient, and the middle does not move."""
    anatomy = draw_spine(np.random.default_rng(seed))
    points = np.random.default_rng(seed).uniform(-60, 60, (200, 3)).astype(np.float32)
    straight = anatomy.straightened(points)
    step = np.float32(0.5) * np.array([1, 0, 0], np.float32)
    np.testing.assert_allclose(anatomy.straightened(points + step) - straight, np.tile(step, (200, 1)), atol=1e-3)
    behind = anatomy.straightened(points + np.array([0, 0.5, 0], np.float32)) - straight
    assert (np.abs(np.linalg.norm(behind, axis=-1) - 0.5) < 0.25).all()
    np.testing.assert_allclose(anatomy.straightened(np.zeros((1, 3), np.float32)), 0, atol=1e-4)
