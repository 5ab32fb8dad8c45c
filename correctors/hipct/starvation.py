"""Whether the metal of a slice let so little through that anatomy was lost, told from the images alone."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from correctors.hipct.body import body_mask
from dicom_node.contracts import BoolArray, FloatArray

DARK_HU, TISSUE_HU = -800.0, -300.0
SMOOTHING_PIXELS = 2.0
FEWEST_SHARE = 0.005
"""Of the patient's voxels: less is a rim of metal, or gas that a correction closed."""


def is_starved(before: FloatArray, after: FloatArray, metal: BoolArray) -> bool:
    """Whether dark bands of the original, as dark as air, lie where the corrected slice has tissue.

    Args:
        before: (y, x) original [HU].
        after: (y, x) corrected [HU].
        metal: bool (y, x).
    """
    body = body_mask(after)
    dark = (_smooth(before) < DARK_HU) & (_smooth(after) > TISSUE_HU) & body & ~metal
    return bool(dark.sum() > FEWEST_SHARE * max(1, int(body.sum())))


def _smooth(slice_hu: FloatArray) -> FloatArray:
    smooth: FloatArray = ndimage.gaussian_filter(np.clip(slice_hu, -1024.0, 200.0), SMOOTHING_PIXELS)
    return smooth
