"""Properties that hold for every geometry and image."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from simulation.projector import ParallelGeometry, ParallelProjector

geometries = st.builds(
    ParallelGeometry,
    n_pixels=st.integers(2, 20),
    pixel_mm=st.floats(0.3, 3.0),
    n_angles=st.integers(1, 12).map(lambda n: 2 * n),
    n_detectors=st.none() | st.integers(1, 40),
    detector_mm=st.none() | st.floats(0.3, 3.0),
)
seeds = st.integers(0, 2**31 - 1)


def noise(*shape: int, seed: int) -> torch.Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(seed))


def inner(a: torch.Tensor, b: torch.Tensor) -> float:
    return float((a.double() * b.double()).sum())


@given(geometries, seeds)
@settings(max_examples=60, deadline=None)
def test_adjoint_is_the_transpose(geometry: ParallelGeometry, seed: int) -> None:
    projector = ParallelProjector(geometry)
    image = noise(2, geometry.n_pixels, geometry.n_pixels, seed=seed)
    sinogram = noise(2, geometry.n_angles, geometry.detectors, seed=seed + 1)
    forward, adjoint = projector.forward(image), projector.adjoint(sinogram)
    scale = float(forward.double().norm() * sinogram.double().norm()) + 1e-12
    assert abs(inner(forward, sinogram) - inner(image, adjoint)) <= 1e-6 * scale


@given(geometries, seeds, st.floats(0.2, 5.0))
@settings(max_examples=30, deadline=None)
def test_a_resized_projector_is_one_of_that_pixel_size(geometry: ParallelGeometry, seed: int, pixel_mm: float) -> None:
    resized = ParallelProjector(geometry).resized(pixel_mm)
    fresh = ParallelProjector(resized.geometry)
    image = noise(1, geometry.n_pixels, geometry.n_pixels, seed=seed)
    sinogram = noise(1, geometry.n_angles, geometry.detectors, seed=seed)
    assert resized.geometry.pixel_mm == pixel_mm
    assert resized.geometry.detectors == geometry.detectors
    for name, values in (("forward", image), ("adjoint", sinogram), ("fbp", sinogram)):
        wanted = getattr(fresh, name)(values)
        torch.testing.assert_close(
            getattr(resized, name)(values), wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max())
        )


@given(geometries, seeds, st.floats(-3, 3))
@settings(max_examples=30, deadline=None)
def test_linearity(geometry: ParallelGeometry, seed: int, factor: float) -> None:
    projector = ParallelProjector(geometry)
    a, b = noise(2, geometry.n_pixels, geometry.n_pixels, seed=seed)[:, None]
    together = projector.forward(a + factor * b)
    apart = projector.forward(a) + factor * projector.forward(b)
    torch.testing.assert_close(together, apart, rtol=1e-4, atol=1e-4 * geometry.pixel_mm * geometry.n_pixels)


@given(geometries, seeds)
@settings(max_examples=30, deadline=None)
def test_quarter_turn_of_the_image_shifts_the_angles(geometry: ParallelGeometry, seed: int) -> None:
    projector = ParallelProjector(geometry)
    image = noise(1, geometry.n_pixels, geometry.n_pixels, seed=seed)
    quarter = geometry.n_angles // 2
    turned = projector.forward(torch.rot90(image, 1, (1, 2)))
    # rot90 shows at (x, y) what was at (-y, x), so an angle sees what the angle 90 degrees further saw.
    expected = projector.forward(image)
    expected = torch.cat([expected[:, quarter:], expected[:, :quarter].flip(2)], 1)
    torch.testing.assert_close(turned, expected, rtol=1e-5, atol=1e-5)


@given(geometries, seeds)
@settings(max_examples=30, deadline=None)
def test_gradient_of_forward_is_the_adjoint(geometry: ParallelGeometry, seed: int) -> None:
    projector = ParallelProjector(geometry)
    image = noise(1, geometry.n_pixels, geometry.n_pixels, seed=seed).requires_grad_()
    weights = noise(1, geometry.n_angles, geometry.detectors, seed=seed + 1)
    (projector.forward(image) * weights).sum().backward()
    torch.testing.assert_close(image.grad, projector.adjoint(weights))


@given(geometries, seeds)
@settings(max_examples=20, deadline=None)
def test_gradient_of_fbp_is_its_transpose(geometry: ParallelGeometry, seed: int) -> None:
    projector = ParallelProjector(geometry)
    sinogram = noise(1, geometry.n_angles, geometry.detectors, seed=seed).requires_grad_()
    image = noise(1, geometry.n_pixels, geometry.n_pixels, seed=seed + 1)
    reconstruction = projector.fbp(sinogram)
    (reconstruction * image).sum().backward()
    assert sinogram.grad is not None
    other = noise(1, geometry.n_angles, geometry.detectors, seed=seed + 2)
    scale = float(sinogram.grad.double().norm() * other.double().norm()) + 1e-12
    assert abs(inner(projector.fbp(other), image) - inner(other, sinogram.grad)) <= 1e-5 * scale


@given(
    st.integers(24, 48),
    st.floats(0.4, 2.0),
    st.floats(-0.12, 0.12),
    st.floats(-0.12, 0.12),
    st.floats(0.08, 0.12),
)
@settings(max_examples=30, deadline=None)
def test_every_angle_keeps_the_mass(size: int, pixel_mm: float, x: float, y: float, width: float) -> None:
    geometry = ParallelGeometry(size, pixel_mm, 10)
    grid = (torch.arange(size) - (size - 1) / 2) / size
    blob = torch.exp(-((grid[None, :] - x) ** 2 + (grid[:, None] - y) ** 2) / (2 * width**2))[None]
    masses = ParallelProjector(geometry).forward(blob).sum(-1) * geometry.spacing_mm
    expected = float(blob.sum()) * pixel_mm**2
    torch.testing.assert_close(masses, torch.full_like(masses, expected), rtol=1e-3, atol=0)


@given(st.floats(0.2, 0.4), st.floats(-0.1, 0.1), st.floats(-0.1, 0.1), st.floats(0.5, 2.0))
@settings(max_examples=15, deadline=None)
def test_fbp_of_an_analytic_disc(radius: float, x: float, y: float, pixel_mm: float) -> None:
    size = 64
    geometry = ParallelGeometry(size, pixel_mm, 90)
    length = size * pixel_mm
    theta = torch.arange(90) * math.pi / 90
    s = (torch.arange(geometry.detectors) - (geometry.detectors - 1) / 2) * geometry.spacing_mm
    off = s[None, :] - length * (x * torch.cos(theta) + y * torch.sin(theta))[:, None]
    # Averaged over the detector's width: samples at points miss part of the disc's area at its edge.
    within = (torch.arange(16) - 7.5) / 16 * geometry.spacing_mm
    chords = 2 * torch.sqrt(((radius * length) ** 2 - (off[..., None] + within) ** 2).clamp(min=0)).mean(-1)
    image = ParallelProjector(geometry).fbp(0.02 * chords[None], window="hann")[0]
    grid = (torch.arange(size) - (size - 1) / 2) * pixel_mm
    distance = torch.hypot(grid[None, :] - x * length, grid[:, None] - y * length)
    inside = image[distance < radius * length - 4 * pixel_mm]
    assert float(inside.mean()) == pytest.approx(0.02, rel=1e-3)
    assert float((inside - 0.02).abs().max()) < 3e-3 * 0.02
