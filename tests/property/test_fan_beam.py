"""Fan rays are the parallel rays that they lie on."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from simulation.fan_beam import FanBeam, FanGeometry, body_scanner
from simulation.projector import ParallelGeometry, ParallelProjector

PARALLEL = ParallelGeometry(64, 4.0, 180)
BEAM = body_scanner(PARALLEL)


def parallel_chords(x_mm: float, y_mm: float, radius_mm: float) -> torch.Tensor:
    """Analytic sinogram of a disc."""
    theta = np.arange(PARALLEL.n_angles)[:, None] * np.pi / PARALLEL.n_angles
    s = (np.arange(PARALLEL.detectors) - (PARALLEL.detectors - 1) / 2)[None] * PARALLEL.spacing_mm
    away = s - x_mm * np.cos(theta) - y_mm * np.sin(theta)
    return torch.from_numpy(2 * np.sqrt(np.maximum(radius_mm**2 - away**2, 0))).float()[None]


def fan_chords(beam: FanBeam, x_mm: float, y_mm: float, radius_mm: float) -> torch.Tensor:
    """Analytic fan sinogram of a disc: distance of its middle from the line through the source at angle gamma."""
    fan = beam.fan
    beta = np.arange(fan.n_views)[:, None] * 2 * np.pi / fan.n_views
    gamma = np.linspace(-fan.half_fan, fan.half_fan, fan.n_detectors)[None]
    source = fan.source_mm * np.stack([-np.sin(beta), np.cos(beta)])
    along = np.stack([-np.sin(beta + gamma), np.cos(beta + gamma)])
    to_disc = np.array([x_mm, y_mm])[:, None, None] - source
    away = to_disc[0] * along[1] - to_disc[1] * along[0]
    return torch.from_numpy(2 * np.sqrt(np.maximum(radius_mm**2 - away**2, 0))).float()[None]


discs = st.tuples(st.floats(-60, 60), st.floats(-60, 60), st.floats(25, 50))


@given(discs)
@settings(max_examples=20, deadline=None)
def test_fan_rays_have_the_chords_of_a_disc(disc: tuple[float, float, float]) -> None:
    found, wanted = BEAM.rays(parallel_chords(*disc)), fan_chords(BEAM, *disc)
    assert float((found - wanted).abs().mean()) < 0.01 * float(wanted.max())
    assert float((found - wanted).square().mean().sqrt()) < 0.04 * float(wanted.max())


@given(discs)
@settings(max_examples=20, deadline=None)
def test_rebinned_rays_are_the_parallel_ones(disc: tuple[float, float, float]) -> None:
    wanted = parallel_chords(*disc)
    found = BEAM.rebinned(fan_chords(BEAM, *disc))
    assert float((found - wanted).square().mean().sqrt()) < 0.04 * float(wanted.max())


@given(st.floats(400, 800), st.floats(80, 130), st.integers(0, 2**31))
@settings(max_examples=20, deadline=None)
def test_what_every_ray_shares_comes_back(source_mm: float, field_mm: float, seed: int) -> None:
    beam = FanBeam(FanGeometry(source_mm, field_mm, 120, 91), PARALLEL)
    level = float(np.random.default_rng(seed).uniform(0.1, 9))
    rays = beam.rays(torch.full((1, PARALLEL.n_angles, PARALLEL.detectors), level))
    assert torch.allclose(rays, torch.tensor(level), rtol=1e-4)
    back = beam.rebinned(rays)
    s = (torch.arange(PARALLEL.detectors) - (PARALLEL.detectors - 1) / 2).abs() * PARALLEL.spacing_mm
    assert torch.allclose(back[..., s < field_mm - 4], torch.tensor(level), rtol=1e-3)
    assert not bool(back[..., s > field_mm + 2 * math.pi * source_mm / 91].any())


def test_a_phantom_is_reconstructed_through_the_fan_as_well_as_in_parallel() -> None:
    projector = ParallelProjector(PARALLEL)
    grid = (torch.arange(64) - 31.5) * 4.0
    image = torch.exp(-((grid[None] - 20) ** 2 + (grid[:, None] + 10) ** 2) / (2 * 25.0**2))[None] * 0.02
    sinogram = projector.forward(image)
    errors = [
        float((projector.fbp(rays) - image).abs().max()) for rays in (sinogram, BEAM.rebinned(BEAM.rays(sinogram)))
    ]
    assert errors[1] < 1.5 * errors[0] + 2e-4


def test_a_source_inside_the_field_is_refused() -> None:
    with pytest.raises(ValueError, match="outside the field"):
        FanGeometry(200.0, 250.0, 100, 100)
