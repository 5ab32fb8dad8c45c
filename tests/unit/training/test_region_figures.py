"""Figures of a region, and their ratios to a baseline."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from training import metrics
from training.against_baseline import Ratios, ratios
from training.region_figures import region_figures

SHAPE = (2, 48, 44)
WINDOW = (0.0, 1000.0)


def images(seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    truth = rng.uniform(100, 900, SHAPE).astype(np.float32)
    return truth + rng.normal(0, 50, SHAPE).astype(np.float32), truth


def figures(image: np.ndarray, truth: np.ndarray, measured: np.ndarray, **regions: np.ndarray) -> dict[str, float]:
    return region_figures(image, truth, window=WINDOW, measured=measured, regions=regions)


@given(st.floats(0.1, 3.0), st.integers(0, 5))
@settings(deadline=None, max_examples=10)
def test_a_gain_is_its_own_error(gain: float, seed: int) -> None:
    _, truth = images(seed)
    everywhere = np.ones(SHAPE, bool)
    found = figures((gain * truth).astype(np.float32), truth, everywhere, near=everywhere)
    assert found["near_nrmse"] == pytest.approx(abs(gain - 1), rel=1e-4, abs=1e-6)


def test_the_whole_image_as_a_region_has_the_usual_ssim() -> None:
    image, truth = images(1)
    measured = np.ones(SHAPE, bool)
    measured[:, 20:25, 20:25] = False
    whole = [metrics.ssim(image[z], truth[z], window=WINDOW, measured=measured[z]) for z in (0, 1)]
    found = figures(image, truth, measured, near=np.ones(SHAPE, bool))
    assert found["near_ssim"] == pytest.approx(np.mean(whole))


def test_what_is_not_judged_does_not_count() -> None:
    image, truth = images(2)
    measured, near = np.ones(SHAPE, bool), np.zeros(SHAPE, bool)
    near[0, 10:30, 10:30] = True
    measured[0, 10:20, 10:30] = False
    spoilt = np.where(measured, image, 1e6).astype(np.float32)
    assert figures(spoilt, truth, measured, near=near) == figures(image, truth, measured, near=near)
    worse = np.where(near & measured, truth, image).astype(np.float32)
    assert figures(worse, truth, measured, near=near)["near_nrmse"] == 0
    assert figures(worse, truth, measured, far=~near)["far_nrmse"] > 0.05


def test_slices_are_pooled() -> None:
    image, truth = images(3)
    near = np.zeros(SHAPE, bool)
    near[0, 10:12, 10:12], near[1] = True, True
    error = np.sqrt(np.mean((image - truth)[near].astype(np.float64) ** 2))
    expected = error / np.sqrt(np.mean(truth[near].astype(np.float64) ** 2))
    assert figures(image, truth, np.ones(SHAPE, bool), near=near)["near_nrmse"] == pytest.approx(expected)


def test_an_empty_region_and_a_black_truth_have_no_figure() -> None:
    image, truth = images(4)
    everywhere, nowhere = np.ones(SHAPE, bool), np.zeros(SHAPE, bool)
    assert figures(image, truth, everywhere) == {}
    assert figures(image, truth, everywhere, near=nowhere) == {}
    assert set(figures(image, 0 * truth, everywhere, far=everywhere)) == {"far_ssim"}
    with pytest.raises(ValueError, match="region near has shape"):
        figures(image, truth, everywhere, near=everywhere[:1])


def test_ratios_are_geometric_and_over_means() -> None:
    found = ratios(
        {"near_nrmse": [0.5, 2.0, 0.1], "near_ssim": [0.8, 0.9], "far_nrmse": [0.3]},
        {"near_nrmse": [1.0, 1.0, 0.1], "near_ssim": [0.6, 0.7], "far_nrmse": [0.1]},
    )
    assert found.near_nrmse == pytest.approx(1)
    assert found.near_lower == pytest.approx(1 / 3)  # a tie is not lower
    assert found.far_nrmse == pytest.approx(3)
    assert found.near_gap_closed == pytest.approx(1 - 0.15 / 0.35)


def test_where_there_is_nothing_to_divide() -> None:
    assert ratios({}, {"near_nrmse": [1.0]}) == Ratios(None, None, None, None)
    perfect = {"near_nrmse": [0.0], "near_ssim": [1.0]}
    assert ratios(perfect, perfect) == Ratios(None, 0.0, None, None)
    assert ratios(perfect, {"near_nrmse": [0.5], "near_ssim": [0.5]}) == Ratios(0.0, 1.0, None, 1.0)
