"""Gaussian smoothing against scipy's, and the streak levels that are built on it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import ndimage

from correctors.common.filters import gaussian, gaussian_along
from correctors.hipct.harm import streak_levels


@given(st.integers(0, 2**31), st.floats(0.3, 6.0), st.integers(2, 40), st.integers(2, 40))
@settings(max_examples=40, deadline=None)
def test_it_is_scipys_with_replicated_edges_and_a_kernel_of_three_sigma(
    seed: int, sigma: float, height: int, width: int
) -> None:
    values = np.random.default_rng(seed).normal(0, 100, (2, height, width))
    expected = values
    for axis in (1, 2):
        radius = min(int(np.ceil(3 * sigma)), values.shape[axis] - 1)
        expected = ndimage.gaussian_filter1d(expected, sigma, axis=axis, mode="nearest", radius=radius)
    np.testing.assert_allclose(gaussian(torch.from_numpy(values), sigma).numpy(), expected, atol=1e-9)


@pytest.mark.parametrize("axis", [-1, -2])
def test_each_axis_is_smoothed_alone_and_constants_stay(axis: int) -> None:
    one = torch.zeros(1, 9, 9)
    one[0, 4, 4] = 1.0
    smooth = gaussian_along(one, 1.0, axis)
    assert float(smooth.sum()) == pytest.approx(1.0)
    assert bool((smooth.sum(dim=axis) > 0).sum() == 1)
    flat = torch.full((1, 7, 5), -1000.0)
    torch.testing.assert_close(gaussian_along(flat, 2.0, axis), flat)
    assert torch.equal(gaussian_along(one, 0.0, axis), one)


def test_it_passes_gradients_and_keeps_the_type() -> None:
    values = torch.randn(2, 8, 8, dtype=torch.float64, generator=torch.Generator().manual_seed(1), requires_grad=True)
    assert gaussian(values, 1.3).dtype is torch.float64
    assert torch.autograd.gradcheck(lambda v: gaussian(v, 1.3), (values,))


def test_streak_levels_see_streaks_in_the_region_only() -> None:
    quiet = np.full((96, 96), 40.0, np.float32)
    streaks = 30 * np.sin(np.arange(96, dtype=np.float32) / 2.0)[None]
    region = np.zeros((96, 96), dtype=bool)
    region[20:76, 20:76] = True
    loud = quiet + streaks
    before, after = streak_levels(loud, quiet, region, 1.0)
    assert after == pytest.approx(0.0, abs=1e-2)
    assert 5 < before < 30
    outside = np.where(region, quiet, quiet + 900).astype(np.float32)
    assert streak_levels(outside, quiet, region, 1.0)[0] == pytest.approx(0.0, abs=1e-2)
    assert streak_levels(loud, quiet, np.zeros_like(region), 1.0) == (0.0, 0.0)
