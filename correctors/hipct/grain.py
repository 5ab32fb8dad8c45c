"""The noise of an image: how strong it is in a series, and how it is kept where a network takes it for streaks."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import torch
from scipy import ndimage
from torch import Tensor

from correctors.common.filters import gaussian
from correctors.hipct.body import body_mask, dense
from dicom_node.contracts import FloatArray

FINE_PIXELS = 1.5
"""What a Gaussian of this width takes away is grain: noise, and the finest streaks."""
LOCAL_PIXELS = 4.0
KEPT_UP_TO, KEPT_IN_AIR = 3.0, 1.0
"""Grain of up to so many times the series' own is kept whole, stronger grain in proportion less: it is streaks."""
NEAR_MM, FAR_MM = 4.0, 12.0
"""Nearer to metal than the first nothing is given back, beyond the second everything."""
UNKNOWN_HU = 8.0
"""Of a series without a slice to measure it in."""
_SOFT_HU = 150.0
_INSET = 8
_FEWEST_VOXELS = 500


def noise_level(slices_hu: Iterable[FloatArray]) -> float:
    """Standard deviation of the grain in soft tissue, the median over slices without metal [HU].

    Args:
        slices_hu: (y, x) [HU].
    """
    levels = []
    for one in slices_hu:
        smooth = ndimage.gaussian_filter(one, FINE_PIXELS)
        inner = ndimage.binary_erosion(body_mask(one), iterations=_INSET)
        soft = inner & (np.abs(ndimage.gaussian_filter(one, LOCAL_PIXELS)) < _SOFT_HU)
        if int(soft.sum()) >= _FEWEST_VOXELS:
            # The median leaves out edges, which are few.
            levels.append(float(np.median(np.abs((one - smooth)[soft]))) / 0.6745)
    return float(np.median(levels)) if levels else UNKNOWN_HU


def with_grain(result: Tensor, estimate: Tensor, away_mm: Tensor, noise_hu: float) -> Tensor:
    """A result whose grain is that of the estimate where this is as weak as the series' noise.

    Args:
        result: (batch, y, x), from which noise may have gone with the streaks [HU].
        estimate: (batch, y, x), made of measured rays [HU].
        away_mm: (batch, y, x), distance from metal [mm].
        noise_hu: `noise_level` of the series [HU].

    Returns:
        (batch, y, x) [HU].
    """
    lost = estimate - result
    grain = lost - gaussian(lost, FINE_PIXELS)
    energy = gaussian(grain.square(), LOCAL_PIXELS)
    kept_hu = torch.where(dense(result), KEPT_UP_TO, KEPT_IN_AIR) * noise_hu
    share = (kept_hu.square() / energy.clamp(min=1e-3)).clamp(max=1.0)
    far = ((away_mm - NEAR_MM) / (FAR_MM - NEAR_MM)).clamp(0.0, 1.0)
    return result + share * far * grain


def distance_mm(metal: Tensor, pixel_mm: float) -> Tensor:
    """Distance of each voxel from metal [mm], float32 of the shape of `metal`, bool (batch, y, x)."""
    found = [
        ndimage.distance_transform_edt(~one) if one.any() else np.full(one.shape, 1e3) for one in metal.cpu().numpy()
    ]
    return torch.from_numpy(np.stack(found).astype(np.float32) * np.float32(pixel_mm)).to(metal.device)
