"""The field of an ordinary dual-polarity spin echo, against the one that was simulated."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage
from torch import Tensor

from correctors.mavric.pair_field import pair_field_hz
from simulation.mavric import Bins, MavricAcquisition, acquire
from simulation.mavric_scene import make_scene

SPIN_ECHO = Bins(1, 1000.0, 1e9)
N = 64


def pair(strongest_hz: float, bandwidth: float, noise: float) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Both images, the true field, and where there is tissue."""
    y, x = np.meshgrid(*2 * (np.linspace(-1, 1, N, dtype=np.float32),), indexing="ij")
    grain = ndimage.gaussian_filter(np.random.default_rng(1).standard_normal((N, N)), 2.5)
    body = np.hypot(y, x) < 0.75
    signal = (body * (0.6 + 0.15 * grain / grain.std()).clip(0.2, 1.0)).astype(np.float32)
    field = (strongest_hz * np.exp(-(((x - 0.2) ** 2 + y**2) / 0.12))).astype(np.float32)
    scene = make_scene(signal[None], np.zeros_like(signal)[None], field[None])
    how = MavricAcquisition(bandwidth, SPIN_ECHO, noise)
    made = acquire(scene.signal, scene.off_resonance_hz, how, torch.Generator().manual_seed(3))
    inside = ndimage.binary_erosion(body, iterations=3)
    return made.plus[0], made.minus[0], torch.from_numpy(field)[None], torch.from_numpy(inside)[None]


@pytest.mark.parametrize(("strongest", "bandwidth"), [(600.0, 200.0), (-600.0, 200.0), (1000.0, 500.0), (0.0, 300.0)])
@pytest.mark.parametrize(("noise", "most_pixels"), [(0.0, 0.25), (0.02, 0.5)])
def test_a_smooth_field_is_found(strongest: float, bandwidth: float, noise: float, most_pixels: float) -> None:
    """To a quarter of a pixel (root mean square); with 3 % of noise to half a pixel."""
    plus, minus, field, inside = pair(strongest, bandwidth, noise)
    error = (pair_field_hz(plus, minus, bandwidth, 1.0) - field)[inside]
    assert float(error.square().mean().sqrt()) < most_pixels * bandwidth


def test_it_is_finite_where_there_is_nothing() -> None:
    nothing = torch.zeros(2, 5, 16)
    assert not pair_field_hz(nothing, nothing, 300.0, 0.0).any()
    one = nothing.clone()
    one[0, 2, 4] = 1.0
    assert pair_field_hz(one, nothing, 300.0, 1.0).isfinite().all()
