"""Joseph's interpolating line integrals (P. M. Joseph, IEEE TMI 1(3):192-196, 1982), one octant of rays."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from simulation import ray_symmetry
from simulation.ray_matrix import CompressedRows, RowsBuilder


def joseph_octant(
    n_pixels: int, pixel_mm: float, n_angles: int, n_detectors: int, detector_mm: float
) -> CompressedRows:
    """Build the rays with angle in [0, 45] degrees and s >= 0.

    Such rays run mostly along y: each crosses every image row once, where the image is interpolated linearly in x
    and weighted with the length pixel_mm / cos(theta) of the ray within the row. Outside the image is zero.

    Args:
        n_pixels: side of the square image.
        pixel_mm: pixel size [mm].
        n_angles: angles over [0, 180), even.
        n_detectors: detectors.
        detector_mm: detector spacing [mm].

    Returns:
        (octant angles * half detectors) rays by (y * x) pixels, values in mm.
    """
    half = ray_symmetry.half_detectors(n_detectors)
    s = (np.arange(half, dtype=np.float64) + (0.0 if n_detectors % 2 else 0.5)) * detector_mm
    n_octant = ray_symmetry.octant_angles(n_angles)
    matrix = RowsBuilder(n_octant * half, n_pixels * n_pixels, largest=n_octant * half * n_pixels * 2)
    for k in range(n_octant):
        append_steep(matrix, np.full(half, np.pi * k / n_angles), s, n_pixels, pixel_mm)
    return matrix.finish()


def append_steep(
    matrix: RowsBuilder, theta: NDArray[np.float64], s_mm: NDArray[np.float64], n_pixels: int, pixel_mm: float
) -> None:
    """Append Joseph's rows of rays that run mostly along y: x cos(theta) + y sin(theta) = s.

    Args:
        matrix: where to.
        theta: (ray,) between -45 and 45 degrees [rad].
        s_mm: (ray,) distance from the centre [mm].
        n_pixels: side of the square image.
        pixel_mm: pixel size [mm].
    """
    centre = (n_pixels - 1) / 2
    y = np.arange(n_pixels) - centre
    cos, sin = np.cos(theta)[:, None], np.sin(theta)[:, None]
    x = (s_mm[:, None] / pixel_mm - y[None, :] * sin) / cos + centre
    left = np.floor(x)
    share = (x - left).astype(np.float32)
    index = np.empty((*x.shape, 2), np.int32)
    index[..., 0] = left
    index[..., 1] = index[..., 0] + 1
    weight = np.empty((*x.shape, 2), np.float32)
    length = (pixel_mm / cos).astype(np.float32)
    weight[..., 0] = (1 - share) * length
    weight[..., 1] = share * length
    inside = (index >= 0) & (index < n_pixels)
    index += (np.arange(n_pixels, dtype=np.int32) * n_pixels)[None, :, None]
    matrix.append(index, weight, inside)
