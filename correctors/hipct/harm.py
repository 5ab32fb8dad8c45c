"""Whether a correction made a slice's soft tissue worse: then the slice is left as it was."""

from __future__ import annotations

import numpy as np
import torch
from scipy import ndimage

from correctors.common.filters import gaussian_within
from correctors.hipct.body import body_mask
from dicom_node.contracts import BoolArray, FloatArray

FINE_MM = 1.5
COARSE_MM = 12.0
MARGIN_MM = 6.0
WORSE = 1.03
"""Streaks may grow by this factor before the correction counts as harm; noise alone moves it by about a hundredth."""
FEWEST_VOXELS = 200
BONE_HU = 180.0
GAS_HU = -300.0


def judged_region(before: FloatArray, after: FloatArray, metal: BoolArray, pixel_mm: float) -> BoolArray:
    """Where streaks are measured: soft tissue of the patient, away from skin, bone, gas and metal.

    What is bone or gas in both slices is anatomy; what is so in one of them is streak, and stays in.

    Args:
        before: (y, x) original [HU].
        after: (y, x) corrected [HU].
        metal: bool (y, x).
        pixel_mm: pixel size [mm].

    Returns:
        bool (y, x).
    """
    margin = max(1, round(MARGIN_MM / pixel_mm))
    inner = ndimage.binary_erosion(body_mask(after), iterations=margin)
    sigma = FINE_MM / pixel_mm
    bone = ndimage.gaussian_filter(np.minimum(before, after), sigma) > BONE_HU
    gas = ndimage.gaussian_filter(np.maximum(before, after), sigma) < GAS_HU
    region: BoolArray = inner & ~ndimage.binary_dilation(metal | bone | gas, iterations=margin)
    return region


def streak_levels(before: FloatArray, after: FloatArray, region: BoolArray, pixel_mm: float) -> tuple[float, float]:
    """Root mean square of the band between noise and anatomy in a region [HU]; only levels of one slice compare.

    Args:
        before: (y, x) original [HU].
        after: (y, x) corrected [HU].
        region: bool (y, x).
        pixel_mm: pixel size [mm].

    Returns:
        Levels before and after; zero where the region is too small to tell.
    """
    if int(region.sum()) < FEWEST_VOXELS:
        return 0.0, 0.0
    slices = torch.from_numpy(np.stack([before, after])).clamp(-1000.0, 2000.0)
    inside = torch.from_numpy(region[None]).to(slices.dtype)
    fine, coarse = (gaussian_within(slices, inside, mm / pixel_mm) for mm in (FINE_MM, COARSE_MM))
    first, second = (float(band[region].double().square().mean().sqrt()) for band in fine - coarse)
    return first, second


def is_harm(before: float, after: float) -> bool:
    """Whether the streak level [HU] rose by more than chance."""
    return after > WORSE * before
