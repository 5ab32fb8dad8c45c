"""The synthetic leg has the bones and muscles of a leg, in MR and CT."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
from scipy import ndimage

from simulation import shapes
from simulation.limbs import LegRegion, make_leg, make_leg_ct
from simulation.mr_contrast import Weighting, protocol
from simulation.mr_phantom import MrPhantom
from simulation.stacks import Plane
from simulation.tissues import Tissue

GRID = {"slices": 3, "n_pixels": 160, "pixel_mm": 1.3, "spacing_mm": 12.0}
BONE = (Tissue.CORTICAL_BONE, Tissue.YELLOW_MARROW, Tissue.SPONGY_BONE)


@cache
def leg(region: LegRegion, weighting: Weighting = Weighting.T1, seed: int = 1, **more: object) -> MrPhantom:
    return make_leg(seed=seed, region=region, sequence=protocol(weighting), **{**GRID, **more})  # type: ignore[arg-type]


def bone_of(phantom: MrPhantom) -> np.ndarray:
    return np.logical_or.reduce([phantom.mask(tissue) for tissue in BONE])


@pytest.mark.parametrize(("region", "bones"), [(LegRegion.THIGH, 1), (LegRegion.LOWER_LEG, 2)])
@pytest.mark.parametrize("seed", [1, 2, 3])
def test_regions_have_their_bones(region: LegRegion, bones: int, seed: int) -> None:
    for layer in bone_of(leg(region, seed=seed)):
        parts, count = ndimage.label(ndimage.binary_opening(layer))
        sizes = [int((parts == part + 1).sum()) for part in range(count)]
        assert len([size for size in sizes if size > 20]) == bones


def test_knees_have_joints() -> None:
    knee = leg(LegRegion.KNEE, plane=Plane.SAGITTAL, slices=5, pixel_mm=1.0)
    for tissue in (Tissue.CARTILAGE, Tissue.SYNOVIAL_FLUID, Tissue.TENDON, Tissue.SPONGY_BONE):
        assert knee.mask(tissue).any()


@pytest.mark.parametrize("region", list(LegRegion))
def test_mostly_muscle_between_fat_and_bone(region: LegRegion) -> None:
    phantom = leg(region)
    inside = phantom.labels != tuple(Tissue).index(Tissue.AIR)
    muscle, fat = (float(phantom.mask(t).sum() / inside.sum()) for t in (Tissue.MUSCLE, Tissue.FAT))
    assert muscle > (0.05 if region is LegRegion.KNEE else 0.4)
    assert fat > 0.05
    for layer in phantom.mask(Tissue.MUSCLE) if region is LegRegion.THIGH else ():
        parts, count = ndimage.label(ndimage.binary_erosion(layer))
        big = [p for p in range(count) if (parts == p + 1).sum() > 60]
        assert len(big) >= 3  # septa part them


@pytest.mark.parametrize("seed", [1, 2, 4, 5])
def test_a_leg_lies_on_its_own_side(seed: int) -> None:
    phantom = leg(LegRegion.LOWER_LEG, seed=seed, slices=1)
    points = shapes.slice_points(phantom.geometry, 0)
    middle = points[phantom.labels[0] != tuple(Tissue).index(Tissue.AIR)].mean(axis=0)
    assert abs(middle[0]) == pytest.approx(96, abs=20)
    # The fibula, the smaller bone, lies to the outside of the shin.
    parts, count = ndimage.label(ndimage.binary_opening(bone_of(phantom)[0]))
    by_size = sorted(range(1, count + 1), key=lambda part: int((parts == part).sum()))
    fibula, shin = (points[parts == by_size[place]].mean(axis=0) for place in (-2, -1))
    assert (fibula[0] - shin[0]) * np.sign(middle[0]) > 5
    assert shin[1] < middle[1]  # and the shin in front


def test_seeds_choose_both_sides() -> None:
    assert {
        float(np.sign(leg(LegRegion.KNEE, seed=s, slices=1).geometry.slice_origins_mm[0][0] + 104)) for s in range(6)
    } == {
        -1.0,
        1.0,
    }


def test_both_legs_are_there_and_not_mirror_images() -> None:
    both = leg(LegRegion.THIGH, both=True, slices=1, pixel_mm=2.6)
    inside = both.labels[0] != tuple(Tissue).index(Tissue.AIR)
    _, count = ndimage.label(inside)
    assert count == 2
    signal = both.signal[0]
    assert np.abs(signal - signal[:, ::-1]).mean() > 10


def test_contrasts_order_the_tissues() -> None:
    t1, fat_saturated = leg(LegRegion.KNEE), leg(LegRegion.KNEE, Weighting.PD_FAT_SATURATED)
    assert np.array_equal(t1.labels, fat_saturated.labels)

    def mean(phantom: MrPhantom, tissue: Tissue) -> float:
        return float(np.median(phantom.signal[phantom.mask(tissue)]))

    assert mean(t1, Tissue.FAT) > 2 * mean(t1, Tissue.MUSCLE) > 2 * mean(t1, Tissue.CORTICAL_BONE)
    assert mean(fat_saturated, Tissue.MUSCLE) > 1.5 * mean(fat_saturated, Tissue.FAT)
    assert mean(fat_saturated, Tissue.SPONGY_BONE) < mean(fat_saturated, Tissue.CARTILAGE)


def test_ct_shows_the_same_patient() -> None:
    mr = leg(LegRegion.THIGH)
    hu, geometry = make_leg_ct(seed=1, region=LegRegion.THIGH, **GRID)  # type: ignore[arg-type]
    assert geometry == mr.geometry
    assert hu.dtype == np.float32
    assert -1024 <= hu.min() <= hu.max() < 2000
    cortex, dense = mr.mask(Tissue.CORTICAL_BONE), hu > 600
    assert 2 * (cortex & dense).sum() / (cortex.sum() + dense.sum()) > 0.9
    assert np.median(hu[mr.mask(Tissue.FAT)]) == pytest.approx(-100, abs=15)
    assert 20 < np.median(hu[mr.mask(Tissue.MUSCLE)]) < 65  # less where fat has grown into it
    assert hu[0, 0, 0] == -1000


def test_planes_of_one_patient_agree() -> None:
    axial = leg(LegRegion.KNEE, slices=1, n_pixels=121)
    coronal = leg(LegRegion.KNEE, slices=1, n_pixels=121, plane=Plane.CORONAL)
    # Both cut the line through the middle of the stack from right to left.
    agree = axial.labels[0, 60] == coronal.labels[0, 60]
    assert agree.mean() > 0.9


def test_signal_is_physical_and_textured() -> None:
    phantom = leg(LegRegion.THIGH)
    assert phantom.signal.dtype == np.float32
    assert np.isfinite(phantom.signal).all()
    assert 0 <= phantom.signal.min() < phantom.signal.max() < 1200
    core = np.stack([ndimage.binary_erosion(layer, iterations=2) for layer in phantom.mask(Tissue.MUSCLE)])
    values = phantom.signal[core]
    assert 0.02 < values.std() / values.mean() < 0.4
    assert np.unique(values).size > 0.9 * values.size


def test_seeds_are_patients() -> None:
    one, again, other = (make_leg(seed=s, slices=1, n_pixels=80, pixel_mm=2.5).signal for s in (1, 1, 3))
    assert np.array_equal(one, again)
    assert np.abs(one - other).mean() > 20
