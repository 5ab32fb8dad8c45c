"""A volume laid onto another one's grid where both were prescribed alike but for flipped axes.

Signal must not be interpolated along the readout before it is moved back, so nothing but flips is done.
"""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import numpy as np
from numpy.typing import NDArray

from dicom_node.contracts import CorrectionRefused, Geometry, TagValue, Volume

LARGEST_SHIFT_PIXELS = 0.05
"""Voxels of both grids that lie farther apart are not of one grid."""


def onto(wanted: Geometry, volume: Volume) -> Volume:
    """The volume with its axes flipped so that it lies on the wanted grid.

    Args:
        wanted: the grid.
        volume: axes bzyx.

    Raises:
        CorrectionRefused: no flip does it; says how the grids differ.
    """
    if volume.geometry.shape != wanted.shape:
        raise CorrectionRefused(
            f"the polarities have different matrices: {_size(wanted)} and {_size(volume.geometry)} (slices x rows x "
            "columns)"
        )
    spacing = np.asarray(volume.geometry.pixel_spacing_mm) / np.asarray(wanted.pixel_spacing_mm)
    if float(np.abs(spacing - 1).max()) > 1e-3:
        raise CorrectionRefused("the polarities have different pixel spacings: they were not prescribed alike")
    target = _corners(wanted)
    allowed = LARGEST_SHIFT_PIXELS * min(wanted.pixel_spacing_mm)
    nearest = np.inf
    for flips in product((False, True), repeat=3):
        off = float(np.abs(_corners(volume.geometry)[_index(flips)] - target).max())
        nearest = min(nearest, off)
        if off <= allowed:
            return _flipped(volume, wanted, flips)
    raise CorrectionRefused(
        f"the polarities lie up to {nearest:.2f} mm apart, more than {LARGEST_SHIFT_PIXELS:g} of a pixel: they were "
        "not prescribed alike, and nothing is interpolated before signal is moved back"
    )


def _flipped(volume: Volume, wanted: Geometry, flips: tuple[bool, ...]) -> Volume:
    at = _index(flips)
    pixels = np.ascontiguousarray(volume.pixels[(slice(None), *at)])
    padding = None if volume.padding is None else np.ascontiguousarray(volume.padding[(slice(None), *at)])
    tags = {name: _reordered(values, volume.shape, reverse=flips[0]) for name, values in volume.frame_tags.items()}
    return replace(volume, pixels=pixels, padding=padding, geometry=wanted, frame_tags=tags)


def _reordered(
    values: tuple[TagValue | None, ...], shape: tuple[int, ...], *, reverse: bool
) -> tuple[TagValue | None, ...]:
    depth = shape[1]
    rows = [values[first : first + depth] for first in range(0, len(values), depth)]
    return tuple(value for row in rows for value in (reversed(row) if reverse else row))


def _index(flips: tuple[bool, ...]) -> tuple[slice, slice, slice]:
    z, y, x = (slice(None, None, -1) if flip else slice(None) for flip in flips)
    return z, y, x


def _corners(geometry: Geometry) -> NDArray[np.float64]:
    """Places of the four corner voxels of each slice, (z, 2, 2, 3) [mm, LPS]."""
    origins = np.asarray(geometry.slice_origins_mm, dtype=np.float64)
    across = np.asarray(geometry.row_direction) * geometry.pixel_spacing_mm[1] * (geometry.columns - 1)
    down = np.asarray(geometry.column_direction) * geometry.pixel_spacing_mm[0] * (geometry.rows - 1)
    steps = np.array([[0 * across, across], [down, down + across]])
    corners: NDArray[np.float64] = origins[:, None, None] + steps[None]
    return corners


def _size(geometry: Geometry) -> str:
    return " x ".join(map(str, geometry.shape))
