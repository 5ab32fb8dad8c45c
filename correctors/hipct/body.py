"""Where the patient is in an axial CT slice."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from dicom_node.contracts import BoolArray, FloatArray

TISSUE_HU = -400.0
"""Between lung/fat boundary blur and air: everything above counts as patient or equipment [HU]."""


def body_mask(slice_hu: FloatArray, *, opening: int = 2) -> BoolArray:
    """Largest dense object of a slice, holes filled: the patient without table, markers and wires.

    Args:
        slice_hu: (y, x) CT numbers [HU].
        opening: radius of the opening that parts the patient from what lies on or under it [pixels].

    Returns:
        bool (y, x); all False when the slice holds no object.
    """
    dense = slice_hu > TISSUE_HU
    dense = ndimage.binary_opening(dense, iterations=opening)
    labels, count = ndimage.label(dense)
    if count == 0:
        return np.zeros(slice_hu.shape, dtype=bool)
    sizes = np.bincount(labels.ravel())
    sizes[0] = 0
    filled: BoolArray = ndimage.binary_fill_holes(labels == int(sizes.argmax()))
    return filled
