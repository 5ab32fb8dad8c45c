"""Noise is measured as it is, and given back where it is noise."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hip_scenes import PIXEL_MM, SIDE, pelvis
from hypothesis import given, settings
from hypothesis import strategies as st

from correctors.common.filters import gaussian
from correctors.hipct.grain import KEPT_UP_TO, UNKNOWN_HU, distance_mm, noise_level, with_grain


def noise(seed: int, strength: float) -> torch.Tensor:
    return torch.randn(1, 96, 96, generator=torch.Generator().manual_seed(seed)) * strength


FAR = torch.full((1, 96, 96), 100.0)


@pytest.mark.parametrize("strength", [4.0, 15.0])
def test_the_level_is_that_of_the_noise_above_what_a_gaussian_keeps(strength: float) -> None:
    rng = np.random.default_rng(3)
    slices = [pelvis() + rng.normal(0, strength, (SIDE, SIDE)).astype(np.float32) for _ in range(3)]
    assert noise_level(slices) == pytest.approx(strength, rel=0.25)


def test_where_nothing_can_be_measured_a_usual_level_is_taken() -> None:
    assert noise_level([]) == UNKNOWN_HU
    assert noise_level([np.full((SIDE, SIDE), -1000.0, np.float32)]) == UNKNOWN_HU


@given(st.integers(0, 2**31), st.floats(2, 30))
@settings(max_examples=15, deadline=None)
def test_smoothed_noise_is_given_back(seed: int, strength: float) -> None:
    estimate = noise(seed, strength)
    back = with_grain(gaussian(estimate, 1.0), estimate, FAR, strength)
    fine = estimate - gaussian(estimate, 1.5)
    assert float((back - gaussian(back, 1.5)).std() / fine.std()) == pytest.approx(1.0, abs=0.1)


@given(st.integers(0, 2**31))
@settings(max_examples=10, deadline=None)
def test_streaks_far_above_the_noise_stay_away(seed: int) -> None:
    estimate, level = noise(seed, 200.0), 5.0
    back = with_grain(torch.zeros_like(estimate), estimate, FAR, level)
    assert float(back.std()) < KEPT_UP_TO * level


def test_nothing_changes_near_metal_or_where_nothing_was_lost() -> None:
    estimate = noise(1, 10.0)
    assert torch.equal(with_grain(estimate, estimate, FAR, 10.0), estimate)
    result = torch.zeros_like(estimate)
    assert torch.equal(with_grain(result, estimate, torch.zeros_like(FAR), 10.0), result)


def test_distances_are_in_mm() -> None:
    metal = torch.zeros(2, 9, 9, dtype=torch.bool)
    metal[0, 4, 4] = True
    found = distance_mm(metal, PIXEL_MM)
    assert float(found[0, 4, 7]) == pytest.approx(3 * PIXEL_MM)
    assert float(found[1].min()) > 100


def test_in_air_noise_comes_back_and_the_streaks_that_tissue_would_keep_do_not() -> None:
    air, tissue, level = torch.full((1, 96, 96), -1000.0), torch.zeros(1, 96, 96), 5.0
    for strength, kept_in_air in ((level, 1.0), (3 * level, 1 / 9)):
        grain = noise(1, strength)
        fine = grain - gaussian(grain, 1.5)
        in_air, in_tissue = (with_grain(image, image + grain, FAR, level) - image for image in (air, tissue))
        assert float(in_air.std() / fine.std()) == pytest.approx(kept_in_air, abs=0.15)
        assert float(in_tissue.std() / fine.std()) == pytest.approx(1.0, abs=0.15)
