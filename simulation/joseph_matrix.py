"""Joseph's interpolating line integrals (P. M. Joseph, IEEE TMI 1(3):192-196, 1982), one octant of rays."""

from __future__ import annotations

import numpy as np

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
    centre = (n_pixels - 1) / 2
    y = np.arange(n_pixels) - centre
    half = ray_symmetry.half_detectors(n_detectors)
    s = (np.arange(half) + (0.0 if n_detectors % 2 else 0.5)) * (detector_mm / pixel_mm)
    row_start = (np.arange(n_pixels, dtype=np.int32) * n_pixels)[None, :, None]
    n_octant = ray_symmetry.octant_angles(n_angles)
    matrix = RowsBuilder(n_octant * half, n_pixels * n_pixels, largest=n_octant * half * n_pixels * 2)
    for k in range(n_octant):
        theta = np.pi * k / n_angles
        cos, sin = np.cos(theta), np.sin(theta)
        x = (s[:, None] - y[None, :] * sin) / cos + centre
        left = np.floor(x)
        share = (x - left).astype(np.float32)
        index = np.empty((half, n_pixels, 2), np.int32)
        index[..., 0] = left
        index[..., 1] = index[..., 0] + 1
        weight = np.empty((half, n_pixels, 2), np.float32)
        length = np.float32(pixel_mm / cos)
        weight[..., 0] = (1 - share) * length
        weight[..., 1] = share * length
        inside = (index >= 0) & (index < n_pixels)
        index += row_start
        matrix.append(index, weight, inside)
    return matrix.finish()
