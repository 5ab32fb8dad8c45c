"""System matrices of a fan beam, one eighth of the rays: Joseph's line integrals, and weighted back-projection."""

from __future__ import annotations

import math

import numpy as np

from simulation.fan_symmetry import FanEighth
from simulation.joseph_matrix import append_steep
from simulation.ray_matrix import CompressedRows, RowsBuilder

_ROWS_PER_BLOCK = 4  # image rows built at once: bounds the scratch memory


def fan_joseph(eighth: FanEighth, source_mm: float, n_pixels: int, pixel_mm: float) -> CompressedRows:
    """Line integrals along the rays themselves, see `simulation.joseph_matrix`.

    Args:
        eighth: the rays.
        source_mm: distance of the source from the centre [mm].
        n_pixels: side of the square image.
        pixel_mm: pixel size [mm].

    Returns:
        rays by (y * x) pixels, values in mm.
    """
    s = source_mm * np.sin(eighth.gamma)
    matrix = RowsBuilder(eighth.rows, n_pixels * n_pixels, largest=eighth.rows * n_pixels * 2)
    for k in range(eighth.quarter):
        beta = (eighth.first_view + k) * (2 * math.pi / eighth.n_views)
        append_steep(matrix, beta + eighth.gamma, s, n_pixels, pixel_mm)
    return matrix.finish()


def fan_pixels(eighth: FanEighth, source_mm: float, field_mm: float, n_pixels: int, pixel_mm: float) -> CompressedRows:
    """Read from each view what its ray through the pixel measured, over the squared distance to the source.

    Values are interpolated linearly between the two detectors beside the pixel (Kak & Slaney 1988, eq. 3.106).

    Args:
        eighth: the rays.
        source_mm: distance of the source from the centre [mm].
        field_mm: radius of the field; pixels outside it read nothing [mm].
        n_pixels: side of the square image.
        pixel_mm: pixel size [mm].

    Returns:
        (y * x) pixels by rays [1/mm2].
    """
    place = (np.arange(n_pixels) - (n_pixels - 1) / 2) * pixel_mm
    view = np.arange(eighth.first_view.min(), eighth.first_view.max() + eighth.quarter)
    beta = view * (2 * math.pi / eighth.n_views)
    cos, sin = np.cos(beta), np.sin(beta)
    x = place[None, :, None]
    offset = 0.0 if eighth.n_detectors % 2 else 0.5
    matrix = RowsBuilder(n_pixels**2, eighth.rows, largest=n_pixels**2 * len(view) * 2)
    for start in range(0, n_pixels, _ROWS_PER_BLOCK):
        y = place[start : start + _ROWS_PER_BLOCK, None, None]
        across, along = x * cos + y * sin, source_mm + x * sin - y * cos
        detector = np.arctan2(across, along) / eighth.step - offset
        lower = np.floor(detector)
        share = (detector - lower).astype(np.float32)
        index = np.stack([lower, lower + 1], axis=-1).astype(np.int32)
        weight = np.stack([1 - share, share], axis=-1) / (across**2 + along**2).astype(np.float32)[..., None]
        inside = (index >= 0) & (index < eighth.half) & (x**2 + y**2 <= field_mm**2)[..., None]
        np.clip(index, 0, eighth.half - 1, out=index)
        since = view[:, None] - eighth.first_view.astype(np.int32)[index]
        inside &= (since >= 0) & (since < eighth.quarter)
        matrix.append((since * eighth.half + index).astype(np.int32), weight, inside)
    return matrix.finish()
