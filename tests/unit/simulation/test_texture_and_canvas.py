"""Random fields have the grain that they promise; canvases keep their books; stacks lie where they should."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dicom_node.contracts import FloatArray
from simulation import shapes
from simulation.mr_phantom import with_noise
from simulation.phantoms import make_pelvis
from simulation.stacks import Plane, random_turn, stack
from simulation.texture import RandomField, sheets
from simulation.tissue_canvas import Canvas
from simulation.tissues import Tissue


def grid(size: int, step_mm: float, z: float = 0.0) -> FloatArray:
    y, x = np.meshgrid(*(np.arange(size, dtype=np.float32) * step_mm,) * 2, indexing="ij")
    return np.stack([x, y, np.full_like(x, z)], axis=-1)


def test_a_field_has_its_variance_and_its_wavelength() -> None:
    field = RandomField(np.random.default_rng(1), wavelength_mm=20.0, octaves=0.25)
    values = np.stack([field.at(grid(128, 2.0, z)) for z in (0.0, 31.0, 67.0)])
    assert values.mean() == pytest.approx(0, abs=0.15)
    assert values.std() == pytest.approx(1, abs=0.15)
    crossings = np.mean(np.diff(np.sign(values), axis=-1) != 0) / 2.0  # on a line, for each mm
    # Isotropic waves are cut at every angle: a line meets fewer zeros than 2 for each wavelength.
    assert 1.0 / 20 < crossings < 2.2 / 20


def test_a_field_belongs_to_space_and_not_to_a_grid() -> None:
    field = RandomField(np.random.default_rng(2), 15.0)
    fine, coarse = field.at(grid(64, 1.0)), field.at(grid(32, 2.0))
    assert np.allclose(fine[::2, ::2], coarse, atol=1e-4)


def test_the_cheap_way_over_a_slice_is_close() -> None:
    field = RandomField(np.random.default_rng(3), 40.0)
    points = grid(150, 1.0, 5.0)[:, :113]
    exact = field.at(points)
    assert np.abs(field.over(points) - exact).max() < 0.4 * exact.std()
    assert np.abs(field.over(points) - exact).mean() < 0.06 * exact.std()
    assert np.array_equal(field.over(grid(10, 30.0)), field.at(grid(10, 30.0)))


@given(half=st.floats(0.1, 2), voxel=st.floats(0.2, 4))
def test_thin_sheets_keep_their_volume_at_any_voxel_size(half: float, voxel: float) -> None:
    across = np.linspace(-40, 40, 4001).astype(np.float32)  # mm from a sheet, in a field of constant slope
    share = sheets(across * np.float32(2 * np.pi / 25), 25.0, half, voxel)
    assert 0 <= share.min() <= share.max() <= 1
    assert share.sum() * 80 / 4000 == pytest.approx(half * np.sqrt(np.pi), rel=0.01)


def test_shares_of_a_canvas_add_up_to_one() -> None:
    canvas = Canvas(grid(40, 1.0), 1.0)
    canvas.draw(Tissue.FAT, shapes.sphere((20, 20, 0), 15))
    canvas.draw_bone(shapes.sphere((20, 25, 0), 7), 2.0, Tissue.RED_MARROW)
    canvas.replace(Tissue.FAT, Tissue.MUSCLE, np.full((40, 40), 0.3, np.float32))
    canvas.replace(Tissue.LIVER, Tissue.MUSCLE, np.ones((40, 40), np.float32))  # there is none: nothing happens
    total = np.sum(list(canvas.shares.values()), axis=0)
    assert np.allclose(total, 1, atol=1e-5)
    assert canvas.shares[Tissue.MUSCLE].max() == pytest.approx(0.3)
    order = tuple(Tissue)
    assert order[canvas.labels()[25, 20]] is Tissue.RED_MARROW
    assert order[canvas.labels()[19, 20]] is Tissue.CORTICAL_BONE
    assert order[canvas.labels()[0, 0]] is Tissue.AIR


def test_opposed_tissues_cancel_in_a_voxel() -> None:
    canvas = Canvas(grid(3, 1.0), 1.0)
    canvas.cover(Tissue.MUSCLE, np.ones((3, 3), np.float32))
    canvas.replace(Tissue.MUSCLE, Tissue.FAT, np.full((3, 3), 0.5, np.float32))
    flat = np.zeros((3, 3), np.float32)
    values = {Tissue.AIR: 0.0, Tissue.MUSCLE: 100.0, Tissue.FAT: -100.0}
    assert np.allclose(canvas.rendered(values, (flat, flat)), 0, atol=1e-4)


@pytest.mark.parametrize("plane", list(Plane))
def test_stacks_are_centred_and_right_handed(plane: Plane) -> None:
    geometry = stack(plane, slices=5, n_pixels=9, pixel_mm=2.0, spacing_mm=4.0, centre=(3.0, -5.0, 7.0))
    assert shapes.slice_points(geometry, 2)[4, 4] == pytest.approx((3.0, -5.0, 7.0))
    assert geometry.slice_spacing_mm == pytest.approx(4.0)
    assert np.all(np.diff(geometry.slice_offsets_mm) > 0)


def test_stacks_without_size_are_refused() -> None:
    with pytest.raises(ValueError, match="sizes must be positive"):
        stack(Plane.AXIAL, slices=0, n_pixels=9, pixel_mm=2.0, spacing_mm=4.0, centre=(0.0, 0.0, 0.0))


@given(seed=st.integers(0, 1000), degrees=st.floats(0, 60))
def test_turns_are_rotations(seed: int, degrees: float) -> None:
    turn = random_turn(np.random.default_rng(seed), degrees)
    assert np.allclose(turn @ turn.T, np.eye(3), atol=1e-9)
    assert np.linalg.det(turn) == pytest.approx(1)


def test_noise_is_rician() -> None:
    air = with_noise(np.zeros((64, 64), np.float32), 10.0, 1)
    assert air.mean() == pytest.approx(10 * np.sqrt(np.pi / 2), rel=0.03)
    tissue = with_noise(np.full((64, 64), 500, np.float32), 10.0, 1)
    assert tissue.std() == pytest.approx(10, rel=0.05)
    assert np.array_equal(tissue, with_noise(np.full((64, 64), 500, np.float32), 10.0, 1))


def test_the_ct_pelvis_keeps_its_voxels() -> None:
    hu = make_pelvis(seed=4, slices=2, n_pixels=64, pixel_mm=7.0).hu.astype(np.float64)
    assert hu.mean() == pytest.approx(-622.2862, abs=0.01)
    assert hu.std() == pytest.approx(496.6547, abs=0.01)
    found = [hu[0, 32, 12], hu[1, 30, 19], hu[1, 40, 32], hu[0, 20, 40]]
    assert found == pytest.approx([355.4303, 162.7386, 317.1833, -108.3766], abs=0.01)
