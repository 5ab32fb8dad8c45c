"""Simple generated anatomy: enough structure that a shifted, flipped or rescaled image is noticed."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray


def ct_pattern(rows: int, columns: int, slice_index: int, phase: int, seed: int) -> NDArray[np.float64]:
    """A soft-tissue ellipse with two bones in air, (y, x) [HU]; moves a little with each slice."""
    y, x = _unit_grid(rows, columns)
    image = np.full((rows, columns), -1000.0)
    image[(x / 0.85) ** 2 + (y / 0.6) ** 2 < 1] = 40.0
    for side in (-1, 1):
        image[(x - 0.4 * side) ** 2 + (y - 0.02 * slice_index) ** 2 < 0.15**2] = 700.0 + 10.0 * slice_index
    noise = np.random.default_rng((seed, slice_index, phase)).normal(0.0, 8.0, image.shape)
    return np.maximum(image + noise, -1024.0)


def mr_pattern(rows: int, columns: int, slice_index: int, phase: int, seed: int) -> NDArray[np.float64]:
    """A bright ellipse with a chamber whose size follows the phase, (y, x) [a.u.], 0 to about 1000."""
    y, x = _unit_grid(rows, columns)
    image = np.zeros((rows, columns))
    image[(x / 0.8) ** 2 + (y / 0.7) ** 2 < 1] = 400.0
    radius = 0.25 + 0.05 * np.sin(0.8 * phase)
    image[(x - 0.1) ** 2 + (y + 0.02 * slice_index) ** 2 < radius**2] = 900.0
    noise = np.random.default_rng((seed, slice_index, phase)).normal(0.0, 10.0, (2, *image.shape))
    return np.asarray(np.hypot(image + noise[0], noise[1]))


def _unit_grid(rows: int, columns: int) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    return np.linspace(-1, 1, rows)[:, None], np.linspace(-1, 1, columns)[None, :]
