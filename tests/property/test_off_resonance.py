"""Identities of the readout in the presence of off-resonance, for every image and shift."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import Tensor

from simulation.off_resonance import Splat, moved, moved_back, shift_px
from simulation.readout import gather, spread

seeds = st.integers(0, 2**31 - 1)
splats = st.sampled_from(Splat)
lengths = st.integers(10, 70)


def noise(*shape: int, seed: int, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def smooth(*shape: int, seed: int, band: float) -> Tensor:
    """Real noise without frequencies above `band` [1/pixel], of unit variance."""
    spectrum = torch.fft.fft(noise(*shape, seed=seed))
    spectrum[..., torch.fft.fftfreq(shape[-1]).abs() > band] = 0
    values: Tensor = torch.fft.ifft(spectrum).real
    return values / values.std()


@given(splats, lengths, seeds, st.booleans())
@settings(max_examples=60, deadline=None)
def test_signal_is_moved_and_never_lost(splat: Splat, n: int, seed: int, is_complex: bool) -> None:
    image = noise(2, n, seed=seed, dtype=torch.complex128 if is_complex else torch.float64)
    shift = 5 * noise(2, n, seed=seed + 1)
    torch.testing.assert_close(moved(image, shift, splat).sum(-1), image.sum(-1), rtol=1e-9, atol=1e-9)


@given(splats, lengths, seeds, st.integers(-90, 90))
@settings(max_examples=60, deadline=None)
def test_a_uniform_whole_shift_is_a_circular_shift(splat: Splat, n: int, seed: int, by: int) -> None:
    image = noise(3, n, seed=seed)
    got = moved(image, torch.full((1, n), float(by), dtype=image.dtype), splat)
    torch.testing.assert_close(got, image.roll(by, -1), rtol=1e-9, atol=1e-9)


@given(splats, lengths, seeds)
@settings(max_examples=60, deadline=None)
def test_the_other_polarity_of_the_mirrored_image_is_the_mirror_image(splat: Splat, n: int, seed: int) -> None:
    image, shift = noise(2, n, seed=seed), 4 * noise(2, n, seed=seed + 1)
    mirrored = moved(image.flip(-1), -shift.flip(-1), splat)
    torch.testing.assert_close(mirrored.flip(-1), moved(image, shift, splat), rtol=1e-7, atol=1e-9)


@given(splats, lengths, seeds, st.booleans())
@settings(max_examples=60, deadline=None)
def test_moving_back_is_the_transpose(splat: Splat, n: int, seed: int, is_complex: bool) -> None:
    dtype = torch.complex128 if is_complex else torch.float64
    image, other, shift = noise(n, seed=seed, dtype=dtype), noise(n, seed=seed + 1, dtype=dtype), noise(n, seed=seed)
    forward = torch.vdot(other, moved(image, 3 * shift, splat))
    backward = torch.vdot(moved_back(other, 3 * shift, splat), image)
    assert abs(complex(forward - backward)) < 1e-9 * n


@given(splats, lengths, seeds)
@settings(max_examples=30, deadline=None)
def test_along_the_other_axis_it_is_the_transposed_image(splat: Splat, n: int, seed: int) -> None:
    image, shift = noise(n, 12, seed=seed), noise(n, 12, seed=seed + 1)
    turned = moved(image.mT, shift.mT, splat, dim=-2).mT
    torch.testing.assert_close(turned, moved(image, shift, splat), rtol=1e-9, atol=1e-9)


@given(seeds)
@settings(max_examples=30, deadline=None)
def test_the_three_ways_agree_on_what_pixels_resolve(seed: int) -> None:
    """Stated errors: 2 % for the sinc and 15 % for the linear splat, on images up to 0.15 cycles per pixel."""
    image, shift = smooth(20, 128, seed=seed, band=0.15), 2 * smooth(20, 128, seed=seed + 1, band=0.02)
    exact = moved(image, shift, Splat.EXACT)
    for splat, most in ((Splat.SINC, 0.02), (Splat.LINEAR, 0.15)):
        assert float((moved(image, shift, splat) - exact).norm() / exact.norm()) < most


@pytest.mark.parametrize("splat", Splat)
def test_gradients_in_image_and_shift(splat: Splat) -> None:
    image, shift = noise(3, 19, seed=1).requires_grad_(), (2 * noise(3, 19, seed=2)).requires_grad_()
    assert torch.autograd.gradcheck(lambda i, s: moved(i, s, splat), (image, shift))
    assert torch.autograd.gradcheck(lambda i, s: moved_back(i, s, splat), (image, shift))


@given(st.integers(2, 80), st.integers(1, 50), seeds)
@settings(max_examples=60, deadline=None)
def test_the_exact_sum_is_the_dirichlet_kernel(n: int, spins: int, seed: int) -> None:
    values, places = noise(2, spins, seed=seed, dtype=torch.complex128), 30 * noise(2, spins, seed=seed + 1)
    k = torch.arange(-((n - 1) // 2), (n - 1) // 2 + 1)
    distance = torch.arange(n) - places[:, :, None]
    kernel = torch.cos(2 * math.pi / n * distance[..., None] * k).sum(-1)
    if n % 2 == 0:
        kernel += torch.cos(math.pi * distance)
    torch.testing.assert_close(
        spread(values, places, n), (values[:, :, None] * kernel / n).sum(1), rtol=1e-9, atol=1e-9
    )
    image = noise(2, n, seed=seed)
    torch.testing.assert_close(gather(image, places), (image[:, None] * kernel / n).sum(-1), rtol=1e-9, atol=1e-9)


def test_what_cannot_be_moved_is_refused() -> None:
    with pytest.raises(ValueError, match="real"):
        moved(torch.ones(4), torch.ones(4, dtype=torch.complex64))
    with pytest.raises(ValueError, match="line, spin"):
        spread(torch.ones(4), torch.ones(4), 4)
    with pytest.raises(ValueError, match="precise"):
        spread(torch.ones(1, 4), torch.ones(1, 4, dtype=torch.float64), 4)
    with pytest.raises(ValueError, match="same lines"):
        gather(torch.ones(2, 4), torch.ones(1, 4))


def test_a_shift_is_frequency_over_bandwidth() -> None:
    assert float(shift_px(torch.tensor(2060.0), 500.0, 780.0)) == pytest.approx(2.0)
