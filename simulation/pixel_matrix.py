"""Pixel-driven backprojection with linear interpolation between detectors, one octant of rays."""

from __future__ import annotations

import numpy as np

from simulation import ray_symmetry
from simulation.ray_matrix import CompressedRows, RowsBuilder

_ROWS_PER_BLOCK = 16  # image rows built at once: bounds the scratch memory


def pixel_octant(n_pixels: int, pixel_mm: float, n_angles: int, n_detectors: int, detector_mm: float) -> CompressedRows:
    """Build what each pixel reads from the rays with angle in [0, 45] degrees and s >= 0.

    A pixel reads, at each angle, the sinogram at its own s, interpolated linearly between the two detectors beside
    it; so its weights add up to one at every angle, which the transpose of Joseph's matrix does only on average.

    Args:
        n_pixels: side of the square image.
        pixel_mm: pixel size [mm].
        n_angles: angles over [0, 180), even.
        n_detectors: detectors.
        detector_mm: detector spacing [mm].

    Returns:
        (y * x) pixels by (octant angles * half detectors) rays, dimensionless.
    """
    centre = (n_pixels - 1) / 2
    half = ray_symmetry.half_detectors(n_detectors)
    theta = np.pi * np.arange(ray_symmetry.octant_angles(n_angles)) / n_angles
    scale = pixel_mm / detector_mm
    cos, sin = np.cos(theta) * scale, np.sin(theta) * scale
    offset = 0.0 if n_detectors % 2 else 0.5
    x = (np.arange(n_pixels) - centre)[None, :, None]
    first_ray = (np.arange(len(theta), dtype=np.int32) * half)[None, None, :, None]
    n_rays = len(theta) * half
    matrix = RowsBuilder(n_pixels * n_pixels, n_rays, largest=n_pixels * n_pixels * len(theta) * 2)
    for start in range(0, n_pixels, _ROWS_PER_BLOCK):
        y = (np.arange(start, min(start + _ROWS_PER_BLOCK, n_pixels)) - centre)[:, None, None]
        s = x * cos + y * sin - offset
        lower = np.floor(s)
        share = (s - lower).astype(np.float32)
        index = np.empty((*s.shape, 2), np.int32)
        index[..., 0] = lower
        index[..., 1] = index[..., 0] + 1
        weight = np.stack([1 - share, share], axis=-1)
        inside = (index >= 0) & (index < half)
        index += first_ray
        matrix.append(index, weight, inside)
    return matrix.finish()
