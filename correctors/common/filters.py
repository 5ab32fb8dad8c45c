"""Gaussian smoothing of batches of images and sinograms."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


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
    radius = min(math.ceil(3 * sigma), values.shape[axis] - 1)
    position = torch.arange(-radius, radius + 1, dtype=values.dtype, device=values.device)
    kernel = torch.exp(-0.5 * (position / sigma) ** 2)
    kernel = kernel / kernel.sum()
    across = axis == -1
    pad = (radius, radius, 0, 0) if across else (0, 0, radius, radius)
    padded = functional.pad(values[:, None], pad, mode="replicate")
    weights = kernel[None, None, None, :] if across else kernel[None, None, :, None]
    return functional.conv2d(padded, weights)[:, 0]
