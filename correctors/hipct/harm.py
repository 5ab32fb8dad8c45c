"""Whether a correction made a slice's soft tissue worse: then the slice is left as it was."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from correctors.hipct.body import body_mask
from dicom_node.contracts import BoolArray, FloatArray

FINE_MM = 1.5
COARSE_MM = 12.0
MARGIN_MM = 6.0
WORSE = 1.03
"""Streaks may grow by this factor before the correction counts as harm; noise alone moves it by about a hundredth."""
FEWEST_VOXELS = 200


def judged_region(slice_hu: FloatArray, metal: BoolArray, pixel_mm: float) -> BoolArray:
    """Where streaks are measured: inside the patient, away from skin and metal; bool (y, x)."""
    margin = max(1, round(MARGIN_MM / pixel_mm))
    inner = ndimage.binary_erosion(body_mask(slice_hu), iterations=margin)
    region: BoolArray = inner & ~ndimage.binary_dilation(metal, iterations=margin)
    return region


def streak_level(slice_hu: FloatArray, region: BoolArray, pixel_mm: float) -> float:
    """Root mean square of the band between noise and anatomy in a region [HU].

    Bones add the same to the level before and after, so only levels of one slice compare.

    Args:
        slice_hu: (y, x) [HU].
        region: bool (y, x).
        pixel_mm: pixel size [mm].

    Returns:
        Level [HU]; zero where the region is too small to tell.
    """
    if int(region.sum()) < FEWEST_VOXELS:
        return 0.0
    clipped = np.clip(slice_hu, -1000.0, 2000.0)
    fine = ndimage.gaussian_filter(clipped, FINE_MM / pixel_mm)
    band = fine - ndimage.gaussian_filter(clipped, COARSE_MM / pixel_mm)
    return float(np.sqrt(np.mean(np.square(band[region], dtype=np.float64))))


def is_harm(before: float, after: float) -> bool:
    """Whether the streak level [HU] rose by more than chance."""
    return after > WORSE * before
