"""MR of the synthetic pelvis: the CT's anatomy in any contrast."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from simulation import shapes
from simulation.mr_contrast import Weighting, protocol
from simulation.pelvis_mr import PelvisPair, make_pelvis_mr, make_pelvis_pair
from simulation.tissues import Tissue

GRID = {"slices": 8, "n_pixels": 160, "pixel_mm": 2.6, "spacing_mm": 14.0}


@pytest.fixture(scope="module")
def pair() -> PelvisPair:
    return make_pelvis_pair(seed=4, **GRID)  # type: ignore[arg-type]


def test_ct_and_mr_lie_on_each_other(pair: PelvisPair) -> None:
    assert pair.ct.geometry == pair.mr.geometry
    assert pair.ct.hu.shape == pair.mr.signal.shape == (8, 160, 160)
    body, skin = pair.ct.hu > -500, pair.mr.labels != tuple(Tissue).index(Tissue.AIR)
    assert 2 * (body & skin).sum() / (body.sum() + skin.sum()) > 0.99
    assert np.median(pair.ct.hu[pair.mr.mask(Tissue.FAT)]) < -80
    assert 40 < np.median(pair.ct.hu[pair.mr.mask(Tissue.MUSCLE)]) < 70


def test_bones_are_the_same_in_ct_and_mr() -> None:
    near = make_pelvis_pair(seed=4, slices=3, n_pixels=160, pixel_mm=1.4, spacing_mm=20.0)
    tissues = (Tissue.CORTICAL_BONE, Tissue.RED_MARROW, Tissue.SPONGY_BONE, Tissue.YELLOW_MARROW)
    bone = np.logical_or.reduce([near.mr.mask(tissue) for tissue in tissues])
    dense = near.ct.hu > 250
    for layer in range(3):
        mr, ct = ndimage.binary_fill_holes(bone[layer]), ndimage.binary_fill_holes(dense[layer])
        overlap = {
            (dy, dx): 2 * (mr & np.roll(ct, (dy, dx), (0, 1))).sum() / (mr.sum() + ct.sum())
            for dy in (-1, 0, 1)
            for dx in (-1, 0, 1)
        }
        assert overlap[0, 0] > 0.88
        assert max(overlap, key=lambda shift: overlap[shift]) == (0, 0)  # not a pixel of shift between them


def test_hips_are_where_the_phantom_says(pair: PelvisPair) -> None:
    for hip in pair.hips:
        z = int(np.argmin([abs(o[2] - hip.centre_mm[2]) for o in pair.mr.geometry.slice_origins_mm]))
        away = np.linalg.norm(shapes.slice_points(pair.mr.geometry, z) - np.asarray(hip.centre_mm), axis=-1)
        assert pair.mr.mask(Tissue.SPONGY_BONE)[z][away < 0.7 * hip.radius_mm].mean() > 0.9
    assert pair.hips[0].centre_mm[0] < 0 < pair.hips[1].centre_mm[0]


def test_contrasts_are_those_of_the_tissues(pair: PelvisPair) -> None:
    def ratio(weighting: Weighting, one: Tissue, other: Tissue) -> float:
        found = make_pelvis_mr(seed=4, sequence=protocol(weighting), **GRID)  # type: ignore[arg-type]
        assert np.array_equal(found.labels, pair.mr.labels)  # one anatomy
        return float(found.signal[found.mask(one)].mean() / found.signal[found.mask(other)].mean())

    assert ratio(Weighting.T2, Tissue.FLUID, Tissue.MUSCLE) > 5
    assert ratio(Weighting.STIR, Tissue.FAT, Tissue.MUSCLE) < 0.6
    t1 = pair.mr.signal
    assert t1[pair.mr.mask(Tissue.FAT)].mean() > 2 * t1[pair.mr.mask(Tissue.MUSCLE)].mean()


def test_signal_is_physical_and_textured(pair: PelvisPair) -> None:
    signal = pair.mr.signal
    assert signal.dtype == np.float32
    assert np.isfinite(signal).all()
    assert 0 <= signal.min() < signal.max() < 1200
    assert (signal[pair.mr.mask(Tissue.AIR)] < 300).all()
    assert signal[0, 0, 0] == 0
    for tissue in (Tissue.FAT, Tissue.MUSCLE, Tissue.SPONGY_BONE):
        values = signal[pair.mr.mask(tissue)]
        assert 0.02 < values.std() / values.mean() < 0.5
        assert np.unique(values).size > 0.9 * values.size


def test_seeds_are_patients() -> None:
    small = {"slices": 2, "n_pixels": 64, "pixel_mm": 7.0}
    one, again, other = (make_pelvis_mr(seed=seed, **small).signal for seed in (1, 1, 2))  # type: ignore[arg-type]
    assert np.array_equal(one, again)
    assert np.abs(one - other).mean() > 20
