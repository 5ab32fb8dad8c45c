"""Where the patient is in an axial CT slice."""

from __future__ import annotations

import numpy as np
from scipy import ndimage
from torch import Tensor

from correctors.common.attenuation import AIR_HU
from correctors.common.filters import gaussian
from dicom_node.contracts import BoolArray, FloatArray

TISSUE_HU = -400.0
"""Between lung/fat boundary blur and air: everything above counts as patient or equipment [HU]."""
SMOOTHING_PIXELS = 3.0
DENSEST_HU = 200.0


def body_mask(slice_hu: FloatArray, *, opening: int = 3) -> BoolArray:
    """Largest dense object of a slice, holes filled: the patient without table, markers and wires.

    Streaks of a large implant tear a thresholded patient to pieces, so the slice is smoothed first, with metal and
    bright streaks cut to the level of tissue.

    Args:
        slice_hu: (y, x) CT numbers [HU].
        opening: radius of the opening that parts the patient from what lies on or under it [pixels].

    Returns:
        bool (y, x); all False when the slice holds no object.
    """
    smooth = ndimage.gaussian_filter(np.clip(slice_hu, AIR_HU, DENSEST_HU), SMOOTHING_PIXELS)
    dense = ndimage.binary_opening(smooth > TISSUE_HU, iterations=opening)
    labels, count = ndimage.label(dense)
    if count == 0:
        return np.zeros(slice_hu.shape, dtype=bool)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    filled: BoolArray = ndimage.binary_fill_holes(labels == int(sizes.argmax()))
    return filled


def dense(images: Tensor) -> Tensor:
    """Patient, and what lies under him, bool (batch, y, x), in images without streaks [HU]."""
    return gaussian(images.clamp(AIR_HU, 0.0), SMOOTHING_PIXELS) > TISSUE_HU
