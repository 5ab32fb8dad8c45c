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
        labels, count = ndimage.label(void[z])
        if not count or not strong[z].any():
            continue
        border = ndimage.binary_dilation(strong[z], np.ones((3, 3), bool))
        sizes = np.bincount(labels.ravel())
        touched = np.unique(labels[border & void[z]])
        # Air outside the patient may touch an implant's strong field; it is no void of the implant.
        outside = np.unique(np.concatenate([labels[z_] for z_ in _edges(labels)]))
        chosen = [n for n in touched if n and sizes[n] >= FEWEST_VOXELS and n not in outside]
        found[z] = np.isin(labels, chosen)
    return found


def _edges(labels: FloatArray) -> tuple[tuple[int | slice, int | slice], ...]:
    return ((0, slice(None)), (-1, slice(None)), (slice(None), 0), (slice(None), -1))
