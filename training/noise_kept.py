"""How much of an acquisition's noise an image still holds: what tells a correction of artefacts from a smoothing.

A simulation knows its noise: the same acquisition without metal, minus the truth. The noise of rays through metal is
part of the artefact, and may go. That of the rays beside it is found by projecting the noise, leaving out the rays
through metal, and reconstructing the others. How much of it an image holds is the coefficient of a regression of the
image's error on both parts, in a high band of soft tissue far from metal. Streaks, and a scanner's own noise (which is
in the truth as well), have nothing in common with either part: removing them does not lower the coefficient, and
leaving them does not hide that an image was smoothed. A standard deviation would take streaks for noise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from scipy import ndimage

from dicom_node.contracts import BoolArray
from simulation.projector import ParallelGeometry, ParallelProjector

Image = NDArray[np.float64]
ANGLES = 480
METAL_MARGIN = 2
"""Voxels around metal whose rays count as the metal's."""
BAND_SIGMA = 1.5
"""The band of noise is what a Gaussian of so many pixels takes away."""
STREAK_SIGMA_MM = 3.0
"""Where streaks are strong their chance likeness to noise counts less; over this distance [mm]."""
SMALLEST_HU = 0.1
"""Below this there is rounding, and no noise [HU]."""
FEWEST_VOXELS = 200


@dataclass(frozen=True, eq=False)
class KnownNoise:
    """The noise of one slice where it is measured, each a vector over these voxels.

    Attributes:
        where: bool (y, x), the voxels.
        parts: (voxel, 2) noise of the rays beside metal and of those through it, in the high band [HU].
        weights: (voxel,), less where the input has streaks; the slice as a whole weighs 1.
    """

    where: BoolArray
    parts: Image
    weights: Image


def known_noise(noise: Image, streaks: Image, *, metal: BoolArray, far: BoolArray, pixel_mm: float) -> list[KnownNoise]:
    """Prepare the slices of a case.

    Args:
        noise: (slice, y, x), the acquisition without metal minus the truth [HU].
        streaks: (slice, y, x), the acquisition with metal minus that without [HU].
        metal: bool (slice, y, x).
        far: bool (slice, y, x), soft tissue where noise is measured.
        pixel_mm: pixel size [mm].
    """
    beside, through = _by_rays(noise, metal, pixel_mm)
    made = []
    for z, where in enumerate(far):
        parts = np.stack([high_band(beside[z])[where], high_band(through[z])[where]], axis=1)
        power = np.where(where, high_band(streaks[z]) ** 2, 0.0)
        local = _mean_in(power, where, STREAK_SIGMA_MM / pixel_mm)[where]
        own = np.mean(parts**2) if len(parts) else 0.0
        weights = 1 / (local + own + SMALLEST_HU**2)
        # Every slice counts the same: else the ones with the weakest artefact would speak for all.
        weights /= np.sum(weights * (parts[:, 0] ** 2 + SMALLEST_HU**2))
        made.append(KnownNoise(where, parts, weights))
    return made


def noise_ratio(errors: Sequence[Image], given: Sequence[Image], noise: Sequence[KnownNoise]) -> float | None:
    """What an image holds of the noise of rays beside metal, over what the input of the correction holds.

    Args:
        errors: (y, x), the image minus the truth, of each slice of a case [HU].
        given: the same of the input.
        noise: of each slice.

    Returns:
        1 for the input, and but for chance for the floor; 0 for an image without noise. None where there is no noise,
        or no place to measure it.
    """
    count = sum(len(one.parts) for one in noise)
    power = sum(float(np.sum(one.parts[:, 0] ** 2)) for one in noise)
    if count < FEWEST_VOXELS or power < count * SMALLEST_HU**2:
        return None
    held, reference = _coefficient(errors, noise), _coefficient(given, noise)
    return held / reference if reference > 0 else None


def high_band(image: Image) -> Image:
    """An image minus its Gaussian mean."""
    high: Image = image - ndimage.gaussian_filter(image, BAND_SIGMA)
    return high


def _coefficient(errors: Sequence[Image], noise: Sequence[KnownNoise]) -> float:
    """Of the noise beside metal, in a weighted regression over all slices on both parts."""
    normal, right = np.zeros((2, 2)), np.zeros(2)
    for error, one in zip(errors, noise, strict=True):
        weighted = one.parts * one.weights[:, None]
        normal += weighted.T @ one.parts
        right += weighted.T @ high_band(error)[one.where]
    return float(np.linalg.lstsq(normal, right, rcond=1e-9)[0][0])


def _by_rays(noise: Image, metal: BoolArray, pixel_mm: float) -> tuple[Image, Image]:
    """Noise that the rays beside metal and those through it bring, each (slice, y, x)."""
    side = max(noise.shape[1:])
    side += side % 2  # an even side halves exactly
    top, left = ((side - length) // 2 for length in noise.shape[1:])
    here = (slice(top, top + noise.shape[1]), slice(left, left + noise.shape[2]))
    projector = ParallelProjector(ParallelGeometry(side, pixel_mm, ANGLES))
    beside, through = np.empty(noise.shape), np.empty(noise.shape)
    for z in range(len(noise)):
        square = torch.zeros(2, side, side)
        square[0][here] = torch.from_numpy(noise[z]).float()
        square[1][here] = torch.from_numpy(ndimage.binary_dilation(metal[z], iterations=METAL_MARGIN)).float()
        rays, shadow = projector.forward(square)
        both = projector.fbp(torch.stack([torch.where(shadow > 0, 0.0, rays), torch.where(shadow > 0, rays, 0.0)]))
        beside[z], through[z] = (image[here].numpy() for image in both)
    return beside, through


def _mean_in(values: Image, where: BoolArray, sigma: float) -> Image:
    weight = ndimage.gaussian_filter(where.astype(np.float64), sigma)
    mean: Image = ndimage.gaussian_filter(values, sigma) / np.maximum(weight, 1e-6)
    return mean
