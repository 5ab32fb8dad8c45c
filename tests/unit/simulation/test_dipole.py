"""The field of magnetised matter against the textbook."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from simulation.dipole import HZ_PER_TESLA, off_resonance_hz

PPM = 1e-6


def sphere(radius_mm: float, voxel_mm: tuple[float, float, float], shape: tuple[int, int, int]) -> tuple[Tensor, ...]:
    """Distance along each axis and altogether [mm], and what is inside."""
    axes = [(torch.arange(n, dtype=torch.float64) - (n - 1) / 2) * s for n, s in zip(shape, voxel_mm, strict=True)]
    z, y, x = torch.meshgrid(*axes, indexing="ij")
    r = (z**2 + y**2 + x**2).sqrt()
    return z, y, x, r, (r < radius_mm).double()


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_sphere_is_a_dipole_outside_and_undisturbed_inside(axis: int) -> None:
    radius = 9.0
    *places, r, inside = sphere(radius, (1.0, 1.0, 1.0), (64, 60, 62))
    direction = [0.0, 0.0, 0.0]
    direction[axis] = -2.0
    field = off_resonance_hz(inside * PPM, (1.0, 1.0, 1.0), 3.0, direction)
    unit = 3.0 * HZ_PER_TESLA * PPM
    wanted = unit / 3 * (radius / r) ** 3 * (3 * (places[axis] / r) ** 2 - 1)
    outside = r > radius + 2
    assert float((field - wanted)[outside].norm() / wanted[outside].norm()) < 0.03
    assert float(field[r < radius - 3].abs().max()) < 0.03 * unit


def test_voxels_need_not_be_cubes() -> None:
    radius = 12.0
    z, _, _, r, inside = sphere(radius, (3.0, 1.5, 1.0), (24, 44, 64))
    field = off_resonance_hz(inside * PPM, (3.0, 1.5, 1.0), 1.5)
    wanted = 1.5 * HZ_PER_TESLA * PPM / 3 * (radius / r) ** 3 * (3 * (z / r) ** 2 - 1)
    outside = r > radius + 5
    assert float((field - wanted)[outside].norm() / wanted[outside].norm()) < 0.06


def test_it_is_linear_and_knows_the_field_strength() -> None:
    *_, inside = sphere(3.0, (1.0, 1.0, 1.0), (12, 12, 12))
    one = off_resonance_hz(inside * PPM, (1.0, 1.0, 1.0), 1.5)
    torch.testing.assert_close(off_resonance_hz(inside * 2 * PPM, (1.0, 1.0, 1.0), 3.0), 4 * one)


def test_what_makes_no_sense_is_refused() -> None:
    cube = torch.zeros(4, 4, 4)
    for values, voxel, field_t, b0 in (
        (cube[0], (1.0, 1.0, 1.0), 3.0, (1.0, 0.0, 0.0)),
        (cube, (1.0, 0.0, 1.0), 3.0, (1.0, 0.0, 0.0)),
        (cube, (1.0, 1.0, 1.0), 0.0, (1.0, 0.0, 0.0)),
        (cube, (1.0, 1.0, 1.0), 3.0, (0.0, 0.0, 0.0)),
    ):
        with pytest.raises(ValueError, match=r"z, y, x|positive"):
            off_resonance_hz(values, voxel, field_t, b0)
