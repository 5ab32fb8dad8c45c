"""How close a case is to its truth in parts of the image: beside the implant, and far from it.

`REGION_nrmse` is the root mean square error over the root mean square of the truth, values as they are. `REGION_ssim`
is the mean of the map that `metrics.ssim` averages: clipped to the window, voxels that are not judged show the truth,
and only voxels count whose 11 x 11 neighbourhood lies inside the image. Both take the judged voxels of the region in
all judged slices together, for a slice may hold but a few of them.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from dicom_node.contracts import BoolArray, FloatArray
from training import metrics


def region_figures(
    images: FloatArray,
    truth: FloatArray,
    *,
    window: tuple[float, float],
    measured: BoolArray,
    regions: Mapping[str, BoolArray],
) -> dict[str, float]:
    """Figures of one method in one case.

    Args:
        images: (slice, y, x), the judged slices, physical units.
        truth: (slice, y, x), same units.
        window: lowest and highest value that SSIM judges.
        measured: bool (slice, y, x), voxels that are judged.
        regions: bool (slice, y, x) by name.

    Returns:
        `NAME_nrmse` and `NAME_ssim` of each region; those are absent that have no judged voxel or no truth above zero.

    Raises:
        ValueError: shapes differ, a side is shorter than 41 pixels, or nothing is measured in a slice.
    """
    if not regions:
        return {}
    maps = [
        metrics.ssim_map(image, reference, window=window, measured=where)
        for image, reference, where in zip(images, truth, measured, strict=True)
    ]
    similarity, inside = np.stack([one for one, _ in maps]), np.stack([one for _, one in maps])
    found = {}
    for name, region in regions.items():
        if region.shape != measured.shape:
            raise ValueError(f"region {name} has shape {region.shape}, the slices {measured.shape}")
        judged = region & measured
        if not judged.any():
            continue
        reference = truth[judged].astype(np.float64)
        power = float(np.sqrt(np.mean(reference**2)))
        if power > 0:
            error = float(np.sqrt(np.mean((images[judged].astype(np.float64) - reference) ** 2)))
            found[f"{name}_nrmse"] = error / power
        whole = judged & inside
        found[f"{name}_ssim"] = float(np.mean(similarity[whole if whole.any() else judged]))
    return found
