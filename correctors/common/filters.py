"""Gaussian smoothing of batches of images and sinograms."""

from __future__ import annotations

import math

import torch
from torch import Tensor

LEAST_INSIDE = 1e-3
"""Share of a Gaussian's weight that lies inside; less is taken as this."""


def gaussian(images: Tensor, sigma: float) -> Tensor:
    """Smooth images: separable, edges replicated, kernel cut at 3 sigma.

    Args:
        images: float (batch, y, x).
        sigma: standard deviation [pixels]; zero or less returns the images.

    Returns:
        Same shape.
    """
    return gaussian_along(gaussian_along(images, sigma, -1), sigma, -2)


def gaussian_along(values: Tensor, sigma: float, axis: int) -> Tensor:
    """Smooth along one of the last two axes.

    Args:
        values: float (batch, y, x) or (batch, angle, detector).
        sigma: standard deviation [samples]; zero or less returns the values.
        axis: -1 or -2.

    Returns:
        Same shape.
    """
    if sigma <= 0:
        return values
    matrix = _smoothing_matrix(values.shape[axis], sigma).to(values)
    return values @ matrix.T if axis == -1 else matrix @ values


def gaussian_within(images: Tensor, inside: Tensor, sigma: float) -> Tensor:
    """Gaussian mean of what lies inside, so that nothing beside it leaks in; little but zero far from it.

    Args:
        images: float (batch, y, x).
        inside: 1 inside and 0 elsewhere, same type, (batch, y, x) or (1, y, x).
        sigma: standard deviation [pixels].

    Returns:
        Shape of `images`.
    """
    return gaussian(images * inside, sigma) / gaussian(inside, sigma).clamp(min=LEAST_INSIDE)


def _smoothing_matrix(count: int, sigma: float) -> Tensor:
    """Row i holds the weights of all samples in smoothed sample i; several times faster than a thin convolution."""
    radius = min(math.ceil(3 * sigma), count - 1)
    position = torch.arange(-radius, radius + 1)
    kernel = torch.exp(-0.5 * (position.double() / sigma) ** 2)
    nearest = (torch.arange(count)[:, None] + position).clamp(0, count - 1)
    weights = (kernel / kernel.sum()).expand(count, -1)
    return torch.zeros(count, count, dtype=torch.float64).scatter_add_(1, nearest, weights)
