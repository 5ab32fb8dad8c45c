"""Training-free correction of dual-polarity MAVRIC: against truth that the simulation knows."""

from __future__ import annotations

from functools import cache

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from correctors.mavric.classical import Combined, classical, mean_of_polarities
from correctors.mavric.matched_filter import combined, field_hz, root_sum_of_squares
from correctors.mavric.unwarping import unwarped
from simulation.dipole import off_resonance_hz
from simulation.mavric import Bins, MavricAcquisition, SpectralBins, acquire, undistorted
from simulation.mavric_scene import MavricScene, make_scene

BINS = Bins()
N, VOXEL_MM = 80, (4.0, 1.5, 1.5)


@cache
def scene(ppm: float) -> MavricScene:
    """Textured tissue with a ball of metal of 9 mm radius; three slices of its middle."""
    z, y, x = np.meshgrid(
        (np.arange(17) - 8) * VOXEL_MM[0], *((np.arange(N) - (N - 1) / 2) * s for s in VOXEL_MM[1:]), indexing="ij"
    )
    ball = (z**2 + y**2 + x**2 < 9.0**2).astype(np.float32)
    field = off_resonance_hz(torch.from_numpy(ball * np.float32(1e-6 * ppm)), VOXEL_MM, 1.5).numpy()
    grain = ndimage.gaussian_filter(np.random.default_rng(5).standard_normal((17, N, N)), (0, 3, 3))
    signal = (0.6 + 0.15 * grain / grain.std()).clip(0.1, 1.0).astype(np.float32)
    here = slice(7, 10)
    return make_scene(signal[here], ball[here], field[here])


@cache
def bins_of(ppm: float, bandwidth: float, noise: float) -> SpectralBins:
    made = scene(ppm)
    acquisition = MavricAcquisition(bandwidth, BINS, noise)
    return acquire(made.signal, made.off_resonance_hz, acquisition, torch.Generator().manual_seed(2))


def judged(ppm: float, within_mm: float) -> tuple[Tensor, Tensor]:
    """The truth, and where it is judged: outside metal, within the bins' reach."""
    made = scene(ppm)
    away = ndimage.distance_transform_edt(~made.metal, sampling=VOXEL_MM)
    where = torch.from_numpy((away > 0) & (away < within_mm)) & (torch.from_numpy(made.true_hz).abs() < BINS.reach_hz)
    return undistorted(made.signal, made.off_resonance_hz, BINS), where


def nrmse(image: Tensor, truth: Tensor, where: Tensor) -> float:
    return float((image - truth)[where].norm() / truth[where].norm())


# Titanium at a high bandwidth is hardly distorted: there is little but noise to gain on.
@pytest.mark.parametrize(("ppm", "bandwidth", "most"), [(180.0, 300.0, 0.8), (180.0, 780.0, 1.0), (900.0, 780.0, 0.8)])
def test_near_metal_it_is_much_nearer_to_the_truth_than_the_mean_of_the_polarities(
    ppm: float, bandwidth: float, most: float
) -> None:
    bins = bins_of(ppm, bandwidth, 0.02)
    truth, near = judged(ppm, 25.0)
    made = classical(bins.plus, bins.minus, bandwidth, BINS)
    assert nrmse(made.image, truth, near) < most * nrmse(mean_of_polarities(bins.plus, bins.minus), truth, near)


def test_the_field_is_found_to_a_tenth_of_the_bins_spacing() -> None:
    bins = bins_of(180.0, 780.0, 0.01)
    _, near = judged(180.0, 40.0)
    found = field_hz(bins.plus, bins.minus, BINS)
    error = (found - torch.from_numpy(scene(180.0).true_hz))[near].abs()
    assert float(error.median()) < 0.1 * BINS.spacing_hz


def test_swapped_polarities_of_a_turned_field_give_the_same_image() -> None:
    """Which polarity is called positive is a matter of the sign of frequency."""
    bins = bins_of(900.0, 780.0, 0.02)
    made = classical(bins.plus, bins.minus, 780.0, BINS)
    other = classical(bins.minus.flip(0), bins.plus.flip(0), 780.0, BINS)
    torch.testing.assert_close(other.image, made.image, rtol=1e-3, atol=1e-4)
    torch.testing.assert_close(other.off_resonance_hz, -made.off_resonance_hz, rtol=1e-3, atol=1.0)
    torch.testing.assert_close(other.attention, 1 - made.attention, rtol=1e-3, atol=1e-3)


def test_without_metal_it_is_not_worse_than_the_mean() -> None:
    bins = bins_of(0.0, 780.0, 0.03)
    truth, everywhere = judged(0.0, 200.0)
    made = classical(bins.plus, bins.minus, 780.0, BINS)
    assert nrmse(made.image, truth, everywhere) < nrmse(mean_of_polarities(bins.plus, bins.minus), truth, everywhere)


def test_what_lies_beyond_the_bins_is_marked_and_holds_no_signal() -> None:
    made: Combined = classical(*(getattr(bins_of(5000.0, 780.0, 0.0), one) for one in ("plus", "minus")), 780.0, BINS)
    true = torch.from_numpy(scene(5000.0).true_hz)
    inside = torch.from_numpy(scene(5000.0).metal)
    far_beyond = (true.abs() > 1.6 * BINS.reach_hz) & ~inside
    assert far_beyond.any()
    assert float(made.image[far_beyond].median()) < 0.3 * float(made.image[~inside].median())


def test_a_uniform_field_is_undone_exactly_and_the_scale_is_that_of_rsos() -> None:
    line = torch.rand(1, 4, 64, generator=torch.Generator().manual_seed(1))
    field = torch.full_like(line, 3000.0)
    profiles = BINS.profiles(torch.tensor(3000.0))
    clean = profiles.view(-1, 1, 1, 1) * line
    shifts = [(3000.0 - centre) / 500.0 for centre in BINS.centres_hz]  # whole pixels
    plus, minus = (
        torch.stack([one.roll(round(sign * by), -1) for one, by in zip(clean, shifts, strict=True)]) for sign in (1, -1)
    )
    straight = unwarped(plus, minus, field, 500.0, BINS)
    torch.testing.assert_close(straight.images, clean, rtol=1e-5, atol=1e-6)
    torch.testing.assert_close(straight.attention, torch.full_like(line, 0.5))
    torch.testing.assert_close(combined(clean, field, BINS), root_sum_of_squares(clean), rtol=5e-3, atol=0)


def test_units_do_not_matter() -> None:
    bins = bins_of(180.0, 300.0, 0.02)
    one, thousand = (classical(bins.plus * k, bins.minus * k, 300.0, BINS) for k in (1.0, 1000.0))
    torch.testing.assert_close(thousand.image / 1000, one.image, rtol=1e-3, atol=1e-4)
    assert not classical(torch.zeros_like(bins.plus), torch.zeros_like(bins.minus), 300.0, BINS).image.any()
