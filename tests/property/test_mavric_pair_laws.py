"""The field from one pair of images: what holds for every pair."""

from __future__ import annotations

import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from correctors.mavric.pair_field import pair_field_hz

seeds = st.integers(0, 2**31 - 1)
sizes = st.tuples(st.integers(1, 2), st.integers(1, 12), st.integers(8, 40))
bandwidths = st.floats(100.0, 1000.0)


def magnitude(size: tuple[int, int, int], seed: int) -> Tensor:
    return torch.rand(*size, generator=torch.Generator().manual_seed(seed))


@given(sizes, seeds, bandwidths)
@settings(max_examples=60, deadline=None)
def test_swapped_polarities_turn_its_sign(size: tuple[int, int, int], seed: int, bandwidth: float) -> None:
    plus, minus = magnitude(size, seed), magnitude(size, seed + 1)
    found, swapped = pair_field_hz(plus, minus, bandwidth, 1.0), pair_field_hz(minus, plus, bandwidth, 1.0)
    torch.testing.assert_close(swapped, -found, rtol=1e-4, atol=1e-3 * bandwidth)


@given(sizes, seeds, bandwidths)
@settings(max_examples=60, deadline=None)
def test_equal_images_have_none(size: tuple[int, int, int], seed: int, bandwidth: float) -> None:
    image = magnitude(size, seed)
    assert not pair_field_hz(image, image, bandwidth, 1.0).any()


@given(sizes, seeds, st.floats(1e-3, 1e4))
@settings(max_examples=60, deadline=None)
def test_units_do_not_matter(size: tuple[int, int, int], seed: int, factor: float) -> None:
    plus, minus = magnitude(size, seed), magnitude(size, seed + 1)
    torch.testing.assert_close(
        pair_field_hz(plus * factor, minus * factor, 300.0, factor),
        pair_field_hz(plus, minus, 300.0, 1.0),
        rtol=1e-3,
        atol=1.0,
    )
