"""Smoothing of batches of images."""

from __future__ import annotations

import math

import torch
from torch import Tensor
from torch.nn import functional


def gaussian(images: Tensor, sigma: float) -> Tensor:
    """Gaussian smoothing, separable, edges replicated, kernel cut at 3 sigma.

    Args:
        images: float (batch, y, x).
        sigma: standard deviation [pixels]; zero or less returns the images.

    Returns:
        Same shape.
    """
    if sigma <= 0:
        return images
    radius = min(math.ceil(3 * sigma), min(images.shape[-2:]) - 1)
    position = torch.arange(-radius, radius + 1, dtype=images.dtype, device=images.device)
    kernel = torch.exp(-0.5 * (position / sigma) ** 2)
    kernel = kernel / kernel.sum()
    padded = functional.pad(images[:, None], (radius, radius, radius, radius), mode="replicate")
    rows = functional.conv2d(padded, kernel[None, None, :, None])
    return functional.conv2d(rows, kernel[None, None, None, :])[:, 0]
