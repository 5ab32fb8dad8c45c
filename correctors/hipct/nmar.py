"""Method `nmar`: normalised interpolation in the metal trace (Meyer et al., Med. Phys. 37(10):5482-5493, 2010)."""

from __future__ import annotations

import torch
from torch import Tensor

from correctors.common.attenuation import AIR_HU
from correctors.common.filters import gaussian
from correctors.hipct.scene import Scene
from correctors.hipct.trace import interpolate

SOFT_FROM_HU = -500.0
BONE_FROM_HU = 300.0
CLEAN_BONE_FROM_HU = 150.0
"""Bone in the prior of later rounds, whose image has few streaks left [HU]."""
SMOOTHING_PIXELS = 1.0
SMALLEST_SHARE = 0.01
"""Prior projections below this share of their largest value are raised to it before dividing."""


def normalised(scene: Scene) -> Tensor:
    """Correct by interpolation of the sinogram divided by that of a prior image.

    Args:
        scene: slices with metal.

    Returns:
        (batch, y, x) [HU], metal not put back.
    """
    first = scene.reconstruct(interpolate(scene.sinogram, scene.trace))
    prior = segmented_prior(first, scene.shadow)
    return scene.correct(normalised_interpolation(scene, prior))


def segmented_prior(images: Tensor, metal: Tensor, bone_from_hu: float = BONE_FROM_HU) -> Tensor:
    """Prior image: air, soft tissue as water, bone with its own values, metal as water (Meyer 2010, section II.B).

    Args:
        images: (batch, y, x) CT numbers after a first correction [HU].
        metal: bool (batch, y, x), voxels whose values mean nothing.
        bone_from_hu: lowest value of bone; lower only where few streaks are left to be taken for bone [HU].

    Returns:
        (batch, y, x) [HU].
    """
    smooth = gaussian(torch.where(metal, 0.0, images), SMOOTHING_PIXELS)
    prior = torch.where(smooth < bone_from_hu, 0.0, smooth)
    return torch.where(smooth < SOFT_FROM_HU, AIR_HU, prior)


def normalised_interpolation(scene: Scene, prior: Tensor) -> Tensor:
    """Sinogram whose trace is interpolated after division by the prior's sinogram (Meyer 2010, equations 1-4).

    Args:
        scene: slices with metal.
        prior: (batch, y, x) [HU].

    Returns:
        (batch, angle, detector).
    """
    return divided_interpolation(scene.sinogram, scene.trace, scene.project(prior))


def divided_interpolation(sinogram: Tensor, trace: Tensor, expected: Tensor) -> Tensor:
    """Interpolate across a trace after division by what is expected, and multiply again.

    Args:
        sinogram: (batch, angle, detector).
        trace: bool, same shape.
        expected: same shape, projections of a prior; small ones are raised to `SMALLEST_SHARE` of the largest.

    Returns:
        Same shape; values outside the trace are unchanged.
    """
    expected = torch.maximum(expected, SMALLEST_SHARE * expected.amax(dim=(-2, -1), keepdim=True))
    return torch.where(trace, interpolate(sinogram / expected, trace) * expected, sinogram)
