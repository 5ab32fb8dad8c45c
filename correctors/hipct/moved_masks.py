"""Masks of metal with another size and place (near-hip paper, section II-A)."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy import ndimage

from dicom_node.contracts import BoolArray, FloatArray


def moved(mask: BoolArray, factor: float, shift: NDArray[np.float64]) -> FloatArray:
    """Scale a mask about its centroid and shift it.

    Args:
        mask: bool (y, x), not empty.
        factor: of its size.
        shift: (y, x) [pixels].

    Returns:
        Share of each pixel that it covers, float32 (y, x).
    """
    centre = np.array(ndimage.center_of_mass(mask))
    # affine_transform maps output to input coordinates: output o shows input centre + (o - centre - shift) / factor.
    offset = centre - (centre + shift) / factor
    share: FloatArray = ndimage.affine_transform(mask.astype(np.float32), [1 / factor] * 2, offset, order=1)
    return share
