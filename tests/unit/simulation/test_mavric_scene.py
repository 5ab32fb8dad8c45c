"""Implants in MR: the field that they make, and spins on the fine readout."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from dicom_node.contracts import Geometry
from simulation import shapes
from simulation.dipole import HZ_PER_TESLA
from simulation.implants import Implant, ImplantPart
from simulation.materials import COCRMO, IMPLANT_MATERIALS, TI6AL4V, Material
from simulation.mavric import FINE
from simulation.mavric_scene import make_scene
from simulation.susceptibility import SUSCEPTIBILITY_PPM, implant_field_hz

RADIUS_MM = 14.0


def grid(slices: int, spacing_mm: float, first_mm: float) -> Geometry:
    origins = tuple((-47.25, -47.25, first_mm + k * spacing_mm) for k in range(slices))
    return Geometry((1, 0, 0), (0, 1, 0), (1.5, 1.5), origins, 64, 64, spacing_mm)


def ball(material: Material) -> tuple[Implant, ...]:
    return (Implant(parts=(ImplantPart(material, shapes.sphere((0.0, 0.0, 0.0), RADIUS_MM)),)),)


@pytest.mark.parametrize(("slices", "spacing_mm", "first_mm"), [(5, 5.0, -10.0), (9, 1.5, -6.0), (1, 5.0, 0.0)])
def test_a_ball_of_metal_is_a_dipole_on_any_stack(slices: int, spacing_mm: float, first_mm: float) -> None:
    geometry = grid(slices, spacing_mm, first_mm)
    field = implant_field_hz(ball(TI6AL4V), geometry, 1.5)
    z, y, x = np.meshgrid(first_mm + np.arange(slices) * spacing_mm, *(np.arange(64) * 1.5 - 47.25,) * 2, indexing="ij")
    r = np.sqrt(x**2 + y**2 + z**2)
    unit = 1.5 * HZ_PER_TESLA * 182e-6
    wanted = unit / 3 * (RADIUS_MM / np.maximum(r, 1)) ** 3 * (3 * (z / np.maximum(r, 1)) ** 2 - 1)
    outside = r > RADIUS_MM + 4
    assert field.shape == geometry.shape
    assert np.linalg.norm((field - wanted)[outside]) < 0.06 * np.linalg.norm(wanted[outside])


def test_an_implant_beyond_the_slices_is_felt_in_them() -> None:
    above = grid(3, 5.0, 25.0)
    assert float(np.abs(implant_field_hz(ball(COCRMO), above, 3.0)).max()) > 2000.0


def test_the_field_is_as_strong_as_the_susceptibility() -> None:
    geometry = grid(3, 5.0, -5.0)
    one = implant_field_hz(ball(COCRMO), geometry, 3.0)
    half = implant_field_hz(ball(COCRMO), geometry, 1.5, ppm={COCRMO: 900.0})
    np.testing.assert_allclose(one, 2 * half, rtol=1e-4, atol=0.5)
    assert set(SUSCEPTIBILITY_PPM) == set(IMPLANT_MATERIALS)


def test_spins_lie_evenly_in_their_pixels_and_none_in_metal() -> None:
    ramp = np.broadcast_to(np.arange(20, dtype=np.float32), (2, 3, 20)).copy()
    implanted = np.zeros_like(ramp)
    implanted[:, :, 8:12] = 1.0
    scene = make_scene(ramp, implanted, 100 * ramp)
    assert scene.signal.shape == scene.off_resonance_hz.shape == (2, 3, 20 * FINE)
    pixels = scene.off_resonance_hz.reshape(2, 3, 20, FINE).mean(-1)
    torch.testing.assert_close(pixels[..., 1:-1], torch.from_numpy(100 * ramp)[..., 1:-1], rtol=1e-4, atol=1e-2)
    assert not scene.signal.reshape(2, 3, 20, FINE)[:, :, 9:11].any()
    assert float(scene.signal.min()) >= 0 and bool(scene.metal[0, 0, 8]) and not bool(scene.metal[0, 0, 7])
