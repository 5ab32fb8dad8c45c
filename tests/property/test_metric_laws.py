"""Laws of the figures that methods are judged by."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.ndimage import gaussian_filter

from training.metrics import MOST_DB, figures, psnr, rmse, ssim, vif, vif_z

SIDE = 48
WINDOW = (-1000.0, 1604.0)
seeds = st.integers(0, 2**32 - 1)
laws = settings(max_examples=20, deadline=None)
EVERYWHERE = np.ones((SIDE, SIDE), dtype=bool)


def anatomy(seed: int) -> np.ndarray:
    """Structures of several sizes, within the window."""
    rng = np.random.default_rng(seed)
    image = sum(gaussian_filter(rng.standard_normal((SIDE, SIDE)), sigma) * sigma * 300 for sigma in (1, 3, 6))
    return np.clip(image, -900, 1500).astype(np.float32)


def noise(seed: int) -> np.ndarray:
    return np.random.default_rng([seed, 1]).standard_normal((SIDE, SIDE)).astype(np.float32)


def mask(seed: int) -> np.ndarray:
    measured = np.random.default_rng([seed, 2]).random((SIDE, SIDE)) < 0.8
    measured[20:28, 20:28] = False
    return measured


@laws
@given(seeds)
def test_an_image_equals_itself(seed: int) -> None:
    truth = anatomy(seed)
    same = figures(truth.copy(), truth, window=WINDOW, measured=mask(seed))
    assert same.psnr_db == pytest.approx(MOST_DB)
    assert (same.ssim, same.rmse) == pytest.approx((1.0, 0.0))
    assert (same.vif, same.vif_z) == pytest.approx((1.0, 1.0))


@laws
@given(seeds, st.floats(5, 200))
def test_errors_do_not_depend_on_the_order_of_the_two(seed: int, spread: float) -> None:
    truth = anatomy(seed)
    image = truth + np.float32(spread) * noise(seed)
    for figure in (psnr, ssim):
        one = figure(image, truth, window=WINDOW, measured=EVERYWHERE)
        assert one == pytest.approx(figure(truth, image, window=WINDOW, measured=EVERYWHERE), rel=1e-9)
    assert rmse(image, truth, measured=EVERYWHERE) == rmse(truth, image, measured=EVERYWHERE)


@laws
@given(seeds, st.floats(20, 60), st.floats(1.5, 4))
def test_more_of_the_same_noise_is_worse_in_every_figure(seed: int, spread: float, factor: float) -> None:
    truth = anatomy(seed)
    little, much = (
        figures(truth + np.float32(s) * noise(seed), truth, window=WINDOW, measured=mask(seed))
        for s in (spread, spread * factor)
    )
    assert much.psnr_db < little.psnr_db
    assert much.ssim < little.ssim
    assert much.rmse > little.rmse
    assert much.vif < little.vif < 1
    assert much.vif_z < little.vif_z


@laws
@given(seeds, st.floats(-5e3, 5e3, width=32))
def test_what_is_excluded_cannot_matter(seed: int, value: float) -> None:
    truth, measured = anatomy(seed), mask(seed)
    image = truth + 30 * noise(seed)
    other, otherwise = image.copy(), truth.copy()
    other[~measured] = value
    first = figures(image, truth, window=WINDOW, measured=measured)
    assert figures(other, truth, window=WINDOW, measured=measured) == first
    otherwise[~measured] = value
    assert rmse(image, otherwise, measured=measured) == first.rmse
    assert psnr(image, otherwise, window=WINDOW, measured=measured) == first.psnr_db


@laws
@given(seeds, st.integers(0, SIDE - 1), st.integers(0, SIDE - 1))
def test_every_measured_voxel_matters(seed: int, y: int, x: int) -> None:
    truth = anatomy(seed)
    image = truth.copy()
    image[y, x] += 50
    changed = figures(image, truth, window=WINDOW, measured=EVERYWHERE)
    assert changed.rmse == pytest.approx(50 / SIDE, rel=1e-5)
    assert changed.psnr_db < MOST_DB


@laws
@given(seeds, st.floats(-300, 300), st.floats(0.1, 10))
def test_units_may_change_when_the_window_follows(seed: int, shift: float, factor: float) -> None:
    truth = anatomy(seed).astype(np.float64)
    image = truth + 30.0 * noise(seed)
    window = tuple(factor * (w + shift) for w in WINDOW)
    first, second = factor * (image + shift), factor * (truth + shift)
    for figure in (psnr, ssim, vif):
        before = figure(image, truth, window=WINDOW, measured=EVERYWHERE)
        assert figure(first, second, window=window, measured=EVERYWHERE) == pytest.approx(before, rel=1e-6)
    assert vif_z(first, second, measured=EVERYWHERE) == pytest.approx(
        vif_z(image, truth, measured=EVERYWHERE), rel=1e-6
    )
    assert rmse(first, second, measured=EVERYWHERE) == pytest.approx(factor * rmse(image, truth, measured=EVERYWHERE))


@laws
@given(seeds)
def test_blur_loses_information_and_contrast_adds_it(seed: int) -> None:
    truth = anatomy(seed) / 4
    blurred = gaussian_filter(truth, 1.5)
    assert vif(blurred, truth, window=WINDOW, measured=EVERYWHERE) < 0.98
    assert vif(1.3 * truth, truth, window=WINDOW, measured=EVERYWHERE) > 1.0
    assert vif(-truth, truth, window=WINDOW, measured=EVERYWHERE) < 0.2
    assert vif_z(1.3 * truth, truth, measured=EVERYWHERE) == pytest.approx(1.0)  # blind to what z-scoring takes away
