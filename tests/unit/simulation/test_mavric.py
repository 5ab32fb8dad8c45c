"""The MAVRIC acquisition."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from simulation.mavric import FINE, Bins, MavricAcquisition, Mismatch, SpectralBins, acquire, undistorted

N = 40


def scan(
    signal: Tensor,
    field_hz: Tensor,
    mismatch: Mismatch | None = None,
    *,
    bandwidth_hz_px: float = 780.0,
    noise: float = 0.0,
) -> SpectralBins:
    return acquire(
        signal, field_hz, MavricAcquisition(bandwidth_hz_px, noise=noise), torch.Generator().manual_seed(3), mismatch
    )


def block() -> Tensor:
    """Two lines with smooth signal in their middle."""
    place = (torch.arange(N * FINE) - (FINE - 1) / 2) / FINE
    return torch.exp(-(((place - N / 2) / 4) ** 2)).expand(2, -1).contiguous()


def centroid(image: Tensor) -> float:
    return float((image * torch.arange(N)).sum() / image.sum())


def test_the_bins_of_the_paper_cover_their_band_evenly() -> None:
    bins = Bins()
    assert bins.centres_hz[0] == -11500 and bins.centres_hz[-1] == 11500
    together = bins.profiles(torch.linspace(-10500, 10500, 500)).square().sum(dim=0).sqrt()
    assert float(together.max() / together.min()) < 1.03
    half = bins.profiles(torch.tensor([bins.centres_hz[3] + 1125.0]))[3]
    assert float(half) == pytest.approx(0.5)
    assert not bins.profiles(torch.tensor([20000.0])).any()


def test_on_resonance_both_polarities_are_the_undistorted_image() -> None:
    signal = block()
    made = scan(signal, torch.zeros_like(signal), bandwidth_hz_px=500.0)
    # The bins at +-500 Hz excite water 500 Hz beside their centre: they move it a pixel, each its own way.
    wanted = undistorted(signal, torch.zeros_like(signal), Bins())
    lone = acquire(signal, torch.zeros_like(signal), MavricAcquisition(bins=Bins(1)), torch.Generator())
    torch.testing.assert_close(lone.plus[0], undistorted(signal, torch.zeros_like(signal), Bins(1)), atol=1e-5, rtol=0)
    assert centroid(made.plus[11]) == pytest.approx(centroid(wanted) + 1, abs=0.01)
    assert centroid(made.minus[11]) == pytest.approx(centroid(wanted) - 1, abs=0.01)


def test_polarities_move_signal_opposite_ways_by_frequency_over_bandwidth() -> None:
    signal = block()
    made = scan(signal, torch.full_like(signal, 1500.0), bandwidth_hz_px=500.0)
    for number, centre in ((12, 500.0), (13, 1500.0), (14, 2500.0)):
        by = (1500.0 - centre) / 500.0
        assert centroid(made.plus[number]) - (N - 1) / 2 == pytest.approx(by + 0.5, abs=0.02)
        assert centroid(made.minus[number]) - (N - 1) / 2 == pytest.approx(-by + 0.5, abs=0.02)


def test_the_field_piles_signal_up_for_one_polarity_and_spreads_it_for_the_other() -> None:
    signal = block()
    ramp = torch.linspace(8000, -8000, N * FINE).expand(2, -1)  # 400 Hz a pixel: all of a bin lands on one pixel
    made = scan(signal, ramp, bandwidth_hz_px=400.0)
    for number in range(10, 14):
        excited = (signal * Bins().profiles(ramp)[number])[0]
        assert float(made.plus[number, 0].max()) == pytest.approx(float(excited.sum()) / FINE, rel=0.15)
        assert float(made.minus[number, 0].max()) == pytest.approx(float(excited.max()) / 2, rel=0.05)
        assert float(made.minus[number, 0].sum()) == pytest.approx(float(excited.sum()) / FINE, rel=0.05)


def test_signal_that_leaves_the_field_of_view_does_not_come_back_on_the_other_side() -> None:
    signal = torch.zeros(1, N * FINE)
    signal[:, -4 * FINE :] = 1.0
    made = scan(signal, torch.full_like(signal, 1000.0), bandwidth_hz_px=100.0)
    assert float(made.plus[12, :, : N // 2].max()) < 0.02


def test_noise_is_that_of_a_magnitude_image() -> None:
    signal = torch.zeros(200, N * FINE)
    made = scan(signal, signal, noise=0.1)
    assert float(made.plus.square().mean()) == pytest.approx(2 * 0.1**2, rel=0.02)
    assert not torch.equal(made.plus, made.minus)
    torch.testing.assert_close(scan(signal, signal, noise=0.1).minus, made.minus)


def test_a_mismatch_changes_the_negative_polarity_only() -> None:
    signal = block()
    still = torch.zeros_like(signal)
    mismatch = Mismatch(torch.full_like(signal, 0.8), torch.full_like(signal, 0.5))
    made, plain = scan(signal, still, mismatch), scan(signal, still)
    torch.testing.assert_close(made.plus, plain.plus)
    assert float(made.minus[11].sum() / plain.minus[11].sum()) == pytest.approx(0.8, abs=0.02)
    assert centroid(made.minus[11]) - centroid(plain.minus[11]) == pytest.approx(0.5, abs=0.02)


def test_impossible_acquisitions_are_refused() -> None:
    for make in (lambda: Bins(0), lambda: Bins(spacing_hz=0.0), lambda: MavricAcquisition(-1.0)):
        with pytest.raises(ValueError, match=r"MAVRIC|bandwidth"):
            make()
