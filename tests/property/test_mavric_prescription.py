"""A stack prescribed with flipped axes comes back voxel by voxel, and no other one does."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from correctors.mavric.prescription import LARGEST_SHIFT_PIXELS, onto
from dicom_node.contracts import CorrectionRefused, Geometry, Units, Volume

Flips = tuple[bool, bool, bool]
sizes = st.tuples(st.integers(1, 3), st.integers(1, 4), st.integers(2, 5), st.integers(2, 5))
flips = st.tuples(st.booleans(), st.booleans(), st.booleans())
angles = st.floats(0, 6.28)
spacings = st.tuples(st.floats(0.4, 3.0), st.floats(0.4, 3.0), st.floats(1.0, 8.0))


def grid(depth: int, rows: int, columns: int, spacing: tuple[float, float, float], angle: float) -> Geometry:
    """Slices turned about z and tilted by the same angle."""
    c, s = float(np.cos(angle)), float(np.sin(angle))
    row, column = np.array([c, s, 0.0]), np.array([-s * c, c * c, s])
    normal = np.cross(row, column)
    origins = [np.array([3.0, -7.0, 11.0]) + normal * spacing[2] * z for z in range(depth)]
    return Geometry(
        vector(row), vector(column), spacing[:2], tuple(vector(one) for one in origins), rows, columns, spacing[2]
    )


def vector(values: np.ndarray) -> tuple[float, float, float]:
    return float(values[0]), float(values[1]), float(values[2])


def series(geometry: Geometry, bins: int, seed: int) -> Volume:
    shape = (bins, *geometry.shape)
    rng = np.random.default_rng(seed)
    frames = tuple(range(bins * geometry.shape[0]))
    pixels = rng.random(shape, dtype=np.float32)
    padding = rng.random(shape) < 0.3
    return Volume(pixels, Units.MR_SIGNAL, geometry, axes="bzyx", frame_tags={"Frame": frames}, padding=padding)


def prescribed(volume: Volume, flipped: Flips) -> Volume:
    """The same voxels in the same places, counted from the other ends."""
    own = volume.geometry
    across, down = (np.asarray(one) for one in (own.row_direction, own.column_direction))
    origins = np.asarray(own.slice_origins_mm)
    if flipped[1]:
        origins, down = origins + down * own.pixel_spacing_mm[0] * (own.rows - 1), -down
    if flipped[2]:
        origins, across = origins + across * own.pixel_spacing_mm[1] * (own.columns - 1), -across
    if flipped[0]:
        origins = origins[::-1]
    geometry = replace(
        own,
        row_direction=vector(across),
        column_direction=vector(down),
        slice_origins_mm=tuple(vector(one) for one in origins),
    )
    index = (slice(None), *(slice(None, None, -1 if flip else 1) for flip in flipped))
    frames = np.arange(volume.shape[0] * volume.shape[1]).reshape(volume.shape[:2])[index[:2]]
    assert volume.padding is not None
    return replace(
        volume,
        pixels=volume.pixels[index].copy(),
        padding=volume.padding[index].copy(),
        geometry=geometry,
        frame_tags={"Frame": tuple(int(n) for n in frames.ravel())},
    )


def moved(volume: Volume, by_mm: np.ndarray) -> Volume:
    origins = tuple(vector(np.asarray(one) + by_mm) for one in volume.geometry.slice_origins_mm)
    return replace(volume, geometry=replace(volume.geometry, slice_origins_mm=origins))


@given(sizes, spacings, angles, flips, st.integers(0, 99))
@settings(max_examples=80, deadline=None)
def test_every_flip_comes_back_exactly(
    size: tuple[int, int, int, int], spacing: tuple[float, float, float], angle: float, flipped: Flips, seed: int
) -> None:
    wanted = series(grid(*size[1:], spacing, angle), size[0], seed)
    found = onto(wanted.geometry, prescribed(wanted, flipped))
    assert found.geometry == wanted.geometry
    assert np.array_equal(found.pixels, wanted.pixels) and found.pixels.flags.c_contiguous
    assert np.array_equal(np.asarray(found.padding), np.asarray(wanted.padding))
    assert found.frame_tags == wanted.frame_tags


@given(spacings, angles, flips, st.sampled_from(["across", "down", "through"]), st.floats(0.5, 0.95))
@settings(max_examples=60, deadline=None)
def test_half_a_pixel_is_refused_and_a_hundredth_is_not(
    spacing: tuple[float, float, float], angle: float, flipped: Flips, way: str, share: float
) -> None:
    wanted = series(grid(2, 3, 4, spacing, angle), 2, 1)
    own = wanted.geometry
    direction = {"across": own.row_direction, "down": own.column_direction, "through": own.normal}[way]
    pixel = np.asarray(direction) * min(spacing[:2])
    other = prescribed(wanted, flipped)
    with pytest.raises(CorrectionRefused, match="nothing is interpolated before signal is moved back"):
        onto(own, moved(other, share * pixel))
    found = onto(own, moved(other, 0.2 * LARGEST_SHIFT_PIXELS * pixel))
    assert np.array_equal(found.pixels, wanted.pixels)


def test_a_grid_that_is_turned_or_spaced_otherwise_is_refused() -> None:
    wanted = series(grid(2, 4, 4, (1.0, 1.0, 5.0), 0.0), 1, 1)
    with pytest.raises(CorrectionRefused, match=r"lie up to .* mm apart"):
        onto(wanted.geometry, series(grid(2, 4, 4, (1.0, 1.0, 5.0), 0.1), 1, 1))
    with pytest.raises(CorrectionRefused, match="different pixel spacings"):
        onto(wanted.geometry, series(grid(2, 4, 4, (1.0, 1.01, 5.0), 0.0), 1, 1))
    with pytest.raises(CorrectionRefused, match="different matrices: 2 x 4 x 4 and 3 x 4 x 4"):
        onto(wanted.geometry, series(grid(3, 4, 4, (1.0, 1.0, 5.0), 0.0), 1, 1))
