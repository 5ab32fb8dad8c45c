"""Rays of a fan: what they integrate, their transpose, and the way back."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from simulation.fan_beam import FanGeometry
from simulation.fan_projector import FanProjector, body_fan, fan_response
from simulation.fbp import filter_projections, ramp_response
from simulation.projection import Projector
from simulation.projector import ParallelGeometry, ParallelProjector

fans = st.builds(
    FanGeometry,
    source_mm=st.floats(70, 600),
    field_mm=st.floats(10, 60),
    n_views=st.integers(1, 9).map(lambda n: 4 * n),
    n_detectors=st.integers(2, 30),
)
sides = st.integers(2, 20)
seeds = st.integers(0, 2**31 - 1)


def noise(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def grid(n_pixels: int, pixel_mm: float) -> tuple[torch.Tensor, torch.Tensor]:
    place = (torch.arange(n_pixels) - (n_pixels - 1) / 2) * pixel_mm
    return place[None, :], place[:, None]


def chords(fan: FanGeometry, x_mm: float, y_mm: float, radius_mm: float) -> torch.Tensor:
    """Analytic sinogram of a disc: from the source, not from theta and s."""
    beta = np.arange(fan.n_views)[:, None] * 2 * np.pi / fan.n_views
    gamma = np.linspace(-fan.half_fan, fan.half_fan, fan.n_detectors)[None]
    source = fan.source_mm * np.stack([-np.sin(beta), np.cos(beta)])
    along = np.stack([np.sin(beta + gamma), -np.cos(beta + gamma)])
    to_disc = np.array([x_mm, y_mm])[:, None, None] - source
    away = to_disc[0] * along[1] - to_disc[1] * along[0]
    return torch.from_numpy(2 * np.sqrt(np.maximum(radius_mm**2 - away**2, 0))).float()


@given(fans, sides, st.floats(0.3, 3.0), seeds)
@settings(max_examples=60, deadline=None)
def test_adjoint_is_the_transpose(fan: FanGeometry, side: int, pixel_mm: float, seed: int) -> None:
    projector = FanProjector(fan, side, pixel_mm)
    image, sinogram = noise(2, side, side, seed=seed), noise(2, fan.n_views, fan.n_detectors, seed=seed + 1)
    forward, adjoint = projector.forward(image).double(), projector.adjoint(sinogram).double()
    scale = float(forward.norm() * sinogram.double().norm()) + 1e-12
    assert abs(float((forward * sinogram).sum() - (image * adjoint).sum())) <= 1e-5 * scale


@given(fans, sides, st.floats(0.3, 3.0), seeds)
@settings(max_examples=60, deadline=None)
def test_each_ray_is_the_parallel_ray_that_it_lies_on(fan: FanGeometry, side: int, pixel_mm: float, seed: int) -> None:
    image = noise(1, side, side, seed=seed)
    rays = FanProjector(fan, side, pixel_mm).forward(image)[0]
    numbers = np.random.default_rng(seed)
    view, detector = int(numbers.integers(fan.n_views)), int(numbers.integers(fan.n_detectors))
    gamma = (detector / (fan.n_detectors - 1) * 2 - 1) * fan.half_fan
    theta, s = view * 2 * math.pi / fan.n_views + gamma, fan.source_mm * math.sin(gamma)
    assert float(rays[view, detector]) == pytest.approx(by_hand(image[0].numpy(), pixel_mm, theta, s), abs=2e-3)


def by_hand(image: np.ndarray, pixel_mm: float, theta: float, s: float) -> float:
    """Joseph's sum along x cos(theta) + y sin(theta) = s, image rows or columns as the ray is steep or not."""
    cos, sin = math.cos(theta), math.sin(theta)
    if abs(cos) < abs(sin):
        image, cos, sin = image.T, sin, cos
    middle, total = (len(image) - 1) / 2, 0.0
    for row, values in enumerate(image):
        at = (s / pixel_mm - (row - middle) * sin) / cos + middle
        padded = np.pad(values, 1)
        if -1 <= at <= len(image):
            total += float(np.interp(at + 1, np.arange(len(padded)), padded))
    return total * pixel_mm / abs(cos)


@given(st.floats(-60, 60), st.floats(-60, 60), st.floats(25, 50), st.floats(300, 700))
@settings(max_examples=15, deadline=None)
def test_line_integrals_of_a_disc_are_its_chords(x: float, y: float, radius: float, source: float) -> None:
    fan = FanGeometry(source, 130.0, 40, 65)
    columns, rows = grid(128, 2.0)
    disc = (0.5 - (torch.hypot(columns - x, rows - y) - radius) / 2.0).clamp(0, 1)
    found, wanted = FanProjector(fan, 128, 2.0).forward(disc[None])[0], chords(fan, x, y, radius)
    assert float((found - wanted).abs().mean()) < 0.005 * 2 * radius
    well_inside = wanted > radius
    assert float((found - wanted)[well_inside].abs().max()) < 0.03 * 2 * radius


def reconstruction_errors(window: str = "ram-lak") -> dict[str, torch.Tensor]:
    columns, rows = grid(96, 4.0)
    image = 0.02 * torch.exp(-((columns - 60) ** 2 + (rows + 40) ** 2) / (2 * 30.0**2))
    image = image + 0.01 * torch.exp(-(columns**2 + rows**2) / (2 * 60.0**2))
    projectors: dict[str, Projector] = {
        "parallel": ParallelProjector(ParallelGeometry(96, 4.0, 180)),
        "fan": FanProjector(body_fan(96, 4.0, 360), 96, 4.0),
    }
    errors = {}
    for name, projector in projectors.items():
        error = projector.fbp(projector.forward(image[None]), window=window)[0] - image
        errors[name] = error[torch.hypot(columns, rows) < 180]
    return errors


def test_a_smooth_phantom_is_reconstructed_as_well_as_in_parallel() -> None:
    errors = reconstruction_errors()
    assert float(errors["fan"].square().mean().sqrt()) < 1.5 * float(errors["parallel"].square().mean().sqrt()) + 1e-6
    assert float(errors["fan"].abs().max()) < 1.5 * float(errors["parallel"].abs().max())


def test_windows_soften_alike() -> None:
    errors = reconstruction_errors("hann")
    assert float((errors["fan"] - errors["parallel"]).abs().max()) < 0.01 * 0.02


def test_a_narrow_fan_is_filtered_as_parallel_rays() -> None:
    step, sinogram = 1e-5, noise(2, 3, 51, seed=4)
    narrow = filter_projections(sinogram, fan_response(51, step) * step)
    assert torch.allclose(narrow, 0.5 * filter_projections(sinogram, ramp_response(51, 1.0)), atol=1e-5)


def test_outside_the_field_nothing_is_reconstructed() -> None:
    fan = FanGeometry(300.0, 40.0, 60, 41)
    made = FanProjector(fan, 50, 2.0).fbp(torch.rand(1, 60, 41) + 1)[0]
    columns, rows = grid(50, 2.0)
    outside = torch.hypot(columns, rows) > 40
    assert not bool(made[outside].any())
    assert bool((made[~outside] != 0).all())


def test_gradients_are_the_transposes() -> None:
    projector = FanProjector(FanGeometry(100.0, 20.0, 12, 17), 9, 3.0)
    image = noise(1, 9, 9, seed=1).requires_grad_()
    sinogram = noise(1, 12, 17, seed=2)
    (projector.forward(image) * sinogram).sum().backward()
    assert torch.allclose(image.grad, projector.adjoint(sinogram))


def test_what_has_no_meaning_is_refused() -> None:
    with pytest.raises(ValueError, match="multiple of four"):
        FanProjector(FanGeometry(300.0, 40.0, 30, 41), 20, 2.0)
    with pytest.raises(ValueError, match="in the image"):
        FanProjector(FanGeometry(300.0, 40.0, 40, 41), 400, 2.0)
    with pytest.raises(ValueError, match="positive"):
        FanProjector(FanGeometry(300.0, 40.0, 40, 41), 0, 2.0)
    projector = FanProjector(FanGeometry(300.0, 40.0, 40, 41), 20, 2.0)
    with pytest.raises(ValueError, match="images must be"):
        projector.forward(torch.zeros(1, 21, 20))
    with pytest.raises(ValueError, match="unknown window"):
        projector.fbp(torch.zeros(1, 40, 41), window="odd")
