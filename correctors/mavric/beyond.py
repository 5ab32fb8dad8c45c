"""Where no bin reaches: metal, and tissue so near to it that its frequency lies beyond all bins."""

from __future__ import annotations

import numpy as np
from scipy import ndimage

from dicom_node.contracts import BoolArray, FloatArray
from simulation.mavric import Bins

FAINT_SHARE = 0.08
"""Of the series' brightness: what is fainter shows no tissue."""
EDGE_SHARE = 0.6
"""Of the bins' reach: a void whose border has such frequencies was made by an implant that the bins do not cover."""
FEWEST_VOXELS = 4


def beyond_reach(image: FloatArray, off_resonance_hz: FloatArray, bins: Bins, brightness: float) -> BoolArray:
    """Voids with frequencies at their border that come near the bins' reach.

    Args:
        image: combined image (z, y, x).
        off_resonance_hz: (z, y, x) [Hz].
        bins: which bins.
        brightness: of the series, in the units of the image.

    Returns:
        bool (z, y, x): nothing was measured there.
    """
    void = image < FAINT_SHARE * brightness
    strong = (np.abs(off_resonance_hz) > EDGE_SHARE * bins.reach_hz) & ~void
    found = np.zeros_like(void)
    for z in range(len(void)):
        if not strong[z].any():
            continue
        # Air outside the patient may touch an implant's strong field; it is no void of the implant.
        labels, _ = ndimage.label(enclosed(void[z]))
        border = ndimage.binary_dilation(strong[z], np.ones((3, 3), bool))
        sizes = np.bincount(labels.ravel())
        touched = np.unique(labels[border])
        found[z] = np.isin(labels, [n for n in touched if n and sizes[n] >= FEWEST_VOXELS])
    return found


def enclosed(void: BoolArray) -> BoolArray:
    """What of a void (y, x) does not reach the edge of the image."""
    inner: BoolArray = ndimage.binary_fill_holes(~void) & void
    return inner
